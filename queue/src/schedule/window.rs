//! How many transactions a site takes at a time: what it bore so far, and a little more.
//!
//! Promises to grow by one for each round of successes, to fall at most once for each round of
//! failures, by one where it had just grown and to half otherwise, not to go soon again where it
//! was refused, and after an outage to grow quickly back to half of what it was (slow start).

/// A site that nothing is known of gets so many.
const FIRST: u16 = 5;
/// After an outage.
const AFTER_OUTAGE: u16 = 1;

/// A size that was too much is tried again after so many times the usual number of successes.
const PATIENCE: u16 = 16;

/// The window of one site.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    size: u16,
    /// Successes since it grew last.
    successes: u16,
    /// The last size that a round went well with. Below it, it doubles with each round.
    good: u16,
    /// The size that was too much last; 0 is none.
    refused: u16,
    /// Connections in a row that could not be had.
    failures: u8,
    /// As many as possible were under way since it grew last.
    filled: bool,
    /// What started before this is of a round that was answered for: the low bits of its
    /// milliseconds, until it grows; 0 is never.
    cut: u32,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            size: FIRST,
            successes: 0,
            // Nothing is known to be too much.
            good: u16::MAX,
            refused: 0,
            failures: 0,
            filled: false,
            cut: 0,
        }
    }
}

impl Window {
    /// How many at a time, where `max` are allowed.
    pub(super) fn size(&self, max: u32) -> u32 {
        u32::from(self.size).min(max)
    }

    /// Starts where it was before a restart.
    pub(super) fn restore(&mut self, size: u32) {
        self.size = u16::try_from(size).unwrap_or(u16::MAX).max(1);
        self.good = self.size;
    }

    /// So many are under way now.
    pub(super) fn fill(&mut self, assigned: u32) {
        self.filled |= assigned >= u32::from(self.size);
    }

    /// A transaction was carried out.
    pub(super) fn succeed(&mut self, max: u32) {
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        let enough = match self.size {
            size if size < self.good => 1,
            size if size.saturating_add(1) == self.refused => size.saturating_mul(PATIENCE),
            size => size,
        };
        if self.successes < enough {
            return;
        }
        (self.successes, self.cut) = (0, 0);
        self.good = self.good.max(self.size);
        if std::mem::take(&mut self.filled) && u32::from(self.size) < max {
            self.size = self.size.saturating_add(1);
        }
    }

    /// What started then was too much. Back to what went well before, if that was little less, else
    /// to half.
    pub(super) fn cut(&mut self, started_ms: u64, now_ms: u64) {
        let since = (started_ms as u32).wrapping_sub(self.cut);
        if self.cut != 0 && since >= u32::MAX / 2 {
            return;
        }
        self.cut = (now_ms as u32).wrapping_add(1).max(1);
        self.refused = self.size;
        let half = self.size / 2;
        self.size = if (half..self.size).contains(&self.good) { self.good } else { half }.max(1);
        (self.good, self.successes) = (self.size, 0);
    }

    /// A connection could not be had; the number of such in a row.
    pub(super) fn miss(&mut self) -> u8 {
        self.failures = self.failures.saturating_add(1);
        self.failures
    }

    /// The site works again.
    pub(super) fn reopen(&mut self) {
        let good = (self.size / 2).max(FIRST);
        *self = Self { size: AFTER_OUTAGE, good, refused: self.refused, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn succeed(window: &mut Window, count: u32) {
        for _ in 0..count {
            window.fill(window.size(20));
            window.succeed(20);
        }
    }

    #[test]
    fn grows_by_one_a_round_up_to_its_bound_and_only_when_used() {
        let mut window = Window::default();
        window.restore(5);
        succeed(&mut window, 5);
        assert_eq!(window.size(20), 6);
        window.succeed(20);
        (0..600).for_each(|_| {
            window.fill(5);
            window.succeed(20);
        });
        assert_eq!(window.size(20), 6);
        succeed(&mut window, 600);
        assert_eq!((window.size(20), window.size(3)), (20, 3));
    }

    #[test]
    fn halves_once_a_round() {
        let mut window = Window::default();
        window.restore(16);
        window.cut(100, 110);
        window.cut(105, 112);
        window.cut(110, 113);
        assert_eq!(window.size(20), 8);
        window.cut(111, 120);
        assert_eq!(window.size(20), 4);
        (0..9).for_each(|round| window.cut(200 + round * 10, 205 + round * 10));
        assert_eq!(window.size(20), 1);
    }

    #[test]
    fn at_first_it_doubles_with_each_round() {
        let mut window = Window::default();
        succeed(&mut window, 15);
        assert_eq!(window.size(20), 20);
        window.cut(100, 110);
        assert_eq!(window.size(20), 10);
        succeed(&mut window, 10);
        assert_eq!(window.size(20), 11, "and no more once something was too much");
    }

    #[test]
    fn a_bound_that_was_met_is_remembered() {
        let mut window = Window::default();
        window.restore(5);
        succeed(&mut window, 5);
        window.cut(100, 110);
        assert_eq!(window.size(20), 5, "back by one");
        succeed(&mut window, 5 * 16 - 1);
        assert_eq!(window.size(20), 5, "and not at once there again");
        succeed(&mut window, 1);
        assert_eq!(window.size(20), 6);
        window.cut(200, 210);
        window.cut(220, 230);
        assert_eq!(window.size(20), 2, "the bound fell");
    }

    #[test]
    fn an_outage_is_followed_by_a_slow_start() {
        let mut window = Window::default();
        window.restore(20);
        assert_eq!((window.miss(), window.miss()), (1, 2));
        window.reopen();
        assert_eq!(window.size(20), 1);
        succeed(&mut window, 9);
        assert_eq!(window.size(20), 10);
        succeed(&mut window, 10);
        assert_eq!(window.size(20), 11);
        assert_eq!(window.miss(), 1);
    }
}
