//! Where mail comes from.

use fastrand::Rng;

use super::SECOND;
use super::chance::exponential;
use super::discipline::Mail;

#[derive(Clone, Copy)]
enum Gap {
    /// Exponential of this mean.
    Poisson(f64),
    Every(u64),
}

/// Gives the nth mail; the world fills in when it came.
type Make = Box<dyn FnMut(u64, &mut Rng) -> Mail>;

/// Mail, one after the other.
pub struct Source {
    pub next_us: u64,
    until_us: u64,
    left: u64,
    gap: Gap,
    make: Make,
    count: u64,
}

impl Source {
    /// So many a second on average, from here to there.
    pub fn poisson(
        per_s: f64,
        from_us: u64,
        until_us: u64,
        make: impl FnMut(u64, &mut Rng) -> Mail + 'static,
    ) -> Self {
        let gap = Gap::Poisson(SECOND as f64 / per_s);
        Self { next_us: from_us, until_us, left: u64::MAX, gap, make: Box::new(make), count: 0 }
    }

    /// So many, this far apart; 0 for at once.
    pub fn every(
        gap_us: u64,
        from_us: u64,
        left: u64,
        make: impl FnMut(u64, &mut Rng) -> Mail + 'static,
    ) -> Self {
        let gap = Gap::Every(gap_us);
        Self { next_us: from_us, until_us: u64::MAX, left, gap, make: Box::new(make), count: 0 }
    }

    /// The next, if any comes at this time.
    pub fn take(&mut self, now_us: u64, rng: &mut Rng) -> Option<Mail> {
        if self.ended() || self.next_us > now_us {
            return None;
        }
        self.next_us += match self.gap {
            Gap::Poisson(mean_us) => (mean_us * exponential(rng)) as u64,
            Gap::Every(us) => us,
        };
        self.left -= 1;
        self.count += 1;
        Some(Mail { arrived_us: now_us, ..(self.make)(self.count - 1, rng) })
    }

    /// Nothing comes any more.
    pub fn close(&mut self) {
        self.left = 0;
    }

    pub fn ended(&self) -> bool {
        self.left == 0 || self.next_us >= self.until_us
    }
}
