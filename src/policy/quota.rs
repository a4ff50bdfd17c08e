//! How much one user may send: messages and recipients in an hour and in a day.
//!
//! Counted in slots, a 24th of the time each, because an operator reads a limit as a promise: no
//! hour and no day ever holds more than the limit says. A bucket that refills (GCRA) lets twice
//! the count through in its first hour, and has no figure to show. The price is that room comes back
//! up to one slot late. Wall time, so that the books outlive a restart.
//!
//! Promises that what was refused does not count, that each user's books are their own, and that a
//! clock which is set back delays nobody by more than the limit's own time. Refuses nothing where
//! a limit is 0.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

pub use crate::metric::Meter;

/// Slots of a limit's time.
const SLOTS: u32 = 24;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// The shortest slot: two times with no multiple of it between them are of the same slots.
pub const SLOT_MS_MIN: u64 = HOUR_MS / 24;

/// The length of a slot.
fn slot_ms(meter: Meter) -> u64 {
    let time_ms = match meter {
        Meter::MessagesPerHour | Meter::RecipientsPerHour => HOUR_MS,
        Meter::MessagesPerDay | Meter::RecipientsPerDay => DAY_MS,
    };
    time_ms / u64::from(SLOTS)
}

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// MAIL.
    Message,
    /// RCPT.
    Recipient,
}

impl Act {
    fn meters(self) -> [Meter; 2] {
        match self {
            Self::Message => [Meter::MessagesPerHour, Meter::MessagesPerDay],
            Self::Recipient => [Meter::RecipientsPerHour, Meter::RecipientsPerDay],
        }
    }
}

/// How much may be, by meter; none where nothing is said, no limit where it is 0.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits(pub [Option<u32>; Meter::COUNT]);

impl Limits {
    /// The limit of a meter.
    pub fn of(&self, meter: Meter) -> Option<u32> {
        self.0.get(meter as usize).copied().flatten().filter(|limit| *limit > 0)
    }

    /// These, and where they say nothing the others.
    pub fn or(self, others: Self) -> Self {
        let mut both = others;
        for (mine, theirs) in self.0.into_iter().zip(&mut both.0) {
            *theirs = mine.or(*theirs);
        }
        both
    }
}

/// What becomes of what is too much.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum OnExcess {
    /// 450 4.7.1
    #[default]
    Defer,
    /// 550 5.7.1
    Refuse,
}

/// A refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Excess {
    /// Which limit was reached.
    pub meter: Meter,
    /// What it is.
    pub limit: u32,
    /// The first within a day: somebody should be told.
    pub first: bool,
}

/// What was counted lately: numbers of slots, counted from the epoch, with counts.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
struct Window(VecDeque<(u32, u32)>);

impl Window {
    /// Forgets what is too old. What is later than now, by a clock that was set back, is of now.
    fn settle(&mut self, slot: u32) {
        while self.0.front().is_some_and(|(at, _)| at.saturating_add(SLOTS) < slot) {
            self.0.pop_front();
        }
        let mut later = 0_u32;
        while let Some((_, count)) = self.0.pop_back_if(|(at, _)| *at > slot) {
            later = later.saturating_add(count);
        }
        if later > 0 {
            self.add(slot, later);
        }
    }

    fn add(&mut self, slot: u32, more: u32) {
        match self.0.back_mut() {
            Some((at, count)) if *at == slot => *count = count.saturating_add(more),
            _ => self.0.push_back((slot, more)),
        }
    }

    /// Takes back what was added in a slot. One that a clock set back has moved stays.
    fn give_back(&mut self, slot: u32, fewer: u32) {
        if let Some((_, count)) = self.0.iter_mut().find(|(at, _)| *at == slot) {
            *count = count.saturating_sub(fewer);
        }
        self.0.retain(|(_, count)| *count > 0);
    }

    fn used(&self) -> u32 {
        self.0.iter().fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }
}

/// The books of one user.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Usage {
    windows: [Window; Meter::COUNT],
    /// When a limit was told of last, in ms since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    told_ms: Option<u64>,
}

impl Usage {
    /// Counts an act, if all its limits allow it.
    ///
    /// # Errors
    /// The limit that is reached; nothing is counted then.
    pub fn take(&mut self, act: Act, limits: &Limits, now_ms: u64) -> Result<(), Excess> {
        self.settle(now_ms);
        for meter in act.meters() {
            let Some(limit) = limits.of(meter) else { continue };
            if self.used(meter) >= limit {
                return Err(Excess { meter, limit, first: self.tell(now_ms) });
            }
        }
        for meter in act.meters() {
            if let Some(window) = self.windows.get_mut(meter as usize) {
                window.add(slot(meter, now_ms), 1);
            }
        }
        Ok(())
    }

    /// Takes acts back that were counted at a time.
    pub fn give_back(&mut self, act: Act, count: u32, at_ms: u64) {
        for meter in act.meters() {
            if let Some(window) = self.windows.get_mut(meter as usize) {
                window.give_back(slot(meter, at_ms), count);
            }
        }
    }

    /// How much counts at the time that was last settled.
    pub fn used(&self, meter: Meter) -> u32 {
        self.windows.get(meter as usize).map_or(0, Window::used)
    }

    /// Forgets what no longer counts; whether anything is left.
    pub fn settle(&mut self, now_ms: u64) -> bool {
        for (meter, window) in Meter::ALL.into_iter().zip(&mut self.windows) {
            window.settle(slot(meter, now_ms));
        }
        self.told_ms = self.told_ms.filter(|told_ms| now_ms.abs_diff(*told_ms) < DAY_MS);
        self.told_ms.is_some() || self.windows.iter().any(|window| !window.0.is_empty())
    }

    fn tell(&mut self, now_ms: u64) -> bool {
        let first = self.told_ms.is_none();
        self.told_ms.get_or_insert(now_ms);
        first
    }
}

fn slot(meter: Meter, now_ms: u64) -> u32 {
    u32::try_from(now_ms / slot_ms(meter)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn limits(counts: [u32; 4]) -> Limits {
        Limits(counts.map(Some))
    }

    #[test]
    fn the_hour_and_the_day_hold_at_once_and_one_is_told_of_once_a_day() {
        let mut usage = Usage::default();
        let limits = limits([2, 3, 0, 0]);
        let mut take = |act, ms| usage.take(act, &limits, NOW_MS + ms);
        let excess = |meter, limit, first| Err(Excess { meter, limit, first });
        assert_eq!((take(Act::Message, 0), take(Act::Message, 0)), (Ok(()), Ok(())));
        assert_eq!(take(Act::Message, 1), excess(Meter::MessagesPerHour, 2, true));
        assert_eq!(take(Act::Message, 2), excess(Meter::MessagesPerHour, 2, false));
        let later_ms = HOUR_MS + HOUR_MS / 24;
        assert_eq!(take(Act::Message, later_ms), Ok(()));
        assert_eq!(take(Act::Message, 2 * later_ms), excess(Meter::MessagesPerDay, 3, false));
        assert_eq!(take(Act::Message, DAY_MS), excess(Meter::MessagesPerDay, 3, false));
        assert_eq!(take(Act::Message, DAY_MS + HOUR_MS), Ok(()));
        for _ in 0..1000 {
            assert_eq!(take(Act::Recipient, 0), Ok(()), "0 is no limit");
        }
    }

    #[test]
    fn the_first_excess_of_another_day_is_told_of_again() {
        let mut usage = Usage::default();
        let limits = limits([1, 0, 0, 0]);
        let mut first = |ms| usage.take(Act::Message, &limits, NOW_MS + ms).map_err(|e| e.first);
        assert_eq!([first(0), first(1), first(2)], [Ok(()), Err(true), Err(false)]);
        assert_eq!([first(DAY_MS + 1), first(DAY_MS + 2)], [Ok(()), Err(true)]);
    }

    #[test]
    fn a_clock_set_back_keeps_nobody_out_for_longer_than_the_limit_says() {
        let mut usage = Usage::default();
        let limits = limits([1, 0, 0, 0]);
        usage.take(Act::Message, &limits, NOW_MS + 1000 * DAY_MS).unwrap();
        assert!(usage.take(Act::Message, &limits, NOW_MS).is_err());
        assert_eq!(usage.take(Act::Message, &limits, NOW_MS + HOUR_MS + HOUR_MS / 24), Ok(()));
    }

    #[test]
    fn what_is_given_back_leaves_room_and_takes_nothing_from_others() {
        let mut usage = Usage::default();
        let limits = limits([2, 2, 1, 1]);
        let earlier_ms = NOW_MS - SLOT_MS_MIN;
        usage.take(Act::Message, &limits, earlier_ms).unwrap();
        usage.take(Act::Message, &limits, NOW_MS).unwrap();
        usage.take(Act::Recipient, &limits, NOW_MS).unwrap();
        usage.give_back(Act::Message, 1, NOW_MS);
        assert_eq!(Meter::ALL.map(|meter| usage.used(meter)), [1, 1, 1, 1]);
        usage.take(Act::Message, &limits, NOW_MS).unwrap();
        assert!(usage.take(Act::Message, &limits, NOW_MS).is_err());
        assert!(usage.take(Act::Recipient, &limits, NOW_MS).is_err());
        usage.give_back(Act::Message, 9, NOW_MS - 3 * DAY_MS);
        assert_eq!(usage.used(Meter::MessagesPerHour), 2, "of a time that nothing is known of");
        usage.give_back(Act::Message, 9, NOW_MS);
        assert_eq!(usage.used(Meter::MessagesPerHour), 1, "and never below nothing");
    }

    #[test]
    fn who_sends_nothing_is_forgotten() {
        let mut usage = Usage::default();
        usage.take(Act::Message, &limits([1, 0, 0, 0]), NOW_MS).unwrap();
        assert!(usage.settle(NOW_MS + DAY_MS));
        assert!(!usage.settle(NOW_MS + DAY_MS + HOUR_MS));
        assert_eq!(usage, Usage::default());
    }

    #[test]
    fn what_one_has_of_its_own_comes_first() {
        let own = Limits([Some(5), None, Some(0), None]);
        let all = own.or(Limits([Some(1), Some(2), Some(3), None]));
        assert_eq!(Meter::ALL.map(|meter| all.of(meter)), [Some(5), Some(2), None, None]);
    }

    proptest! {
        /// Against a list of every moment that was let through.
        #[test]
        fn no_hour_and_no_day_holds_more_and_room_comes_back_within_a_slot(
            counts in prop::array::uniform4(0..12_u32),
            steps in prop::collection::vec((0..4_000_000_u64, any::<bool>(), any::<bool>()), 1..400),
        ) {
            let limits = limits(counts);
            let (mut usage, mut now_ms) = (Usage::default(), NOW_MS);
            let mut taken: [Vec<u64>; 2] = Default::default();
            for (gap_ms, is_message, restarts) in steps {
                // Mostly in quick succession.
                now_ms += if gap_ms % 3 == 0 { gap_ms } else { gap_ms % 60_000 };
                if restarts {
                    let saved = serde_json::to_string(&usage).unwrap();
                    usage = serde_json::from_str(&saved).unwrap();
                }
                let act = if is_message { Act::Message } else { Act::Recipient };
                let taken = &mut taken[usize::from(!is_message)];
                let within = |time_ms: u64| {
                    taken.iter().filter(|at_ms| now_ms - **at_ms < time_ms).count()
                };
                let times_ms = [HOUR_MS, DAY_MS];
                let pairs = act.meters().into_iter().zip(times_ms);
                let full = |slack: u64| pairs.clone().any(|(meter, time_ms)| {
                    let time_ms = time_ms + slack * slot_ms(meter);
                    limits.of(meter).is_some_and(|limit| within(time_ms) >= limit as usize)
                });
                let (must_refuse, may_refuse) = (full(0), full(1));
                match usage.take(act, &limits, now_ms) {
                    Ok(()) => {
                        prop_assert!(!must_refuse);
                        taken.push(now_ms);
                    }
                    Err(excess) => {
                        prop_assert!(may_refuse);
                        prop_assert_eq!(Some(excess.limit), limits.of(excess.meter));
                    }
                }
            }
        }
    }
}
