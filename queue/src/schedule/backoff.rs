//! When a deferred job is tried again, and when it is given up (rfc5321bis 4.5.4.1).
//!
//! Promises jitter on every delay, so that what failed together does not come back together, and a
//! last attempt at or after the deadline before anything expires.

use super::job::Pace;

/// The two retry schedules; all in milliseconds.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// Delays after the first, second, ... failed attempt at an exchanger; the last repeats.
    pub exchanger_ms: Vec<u64>,
    /// The same at a configured next hop.
    pub next_hop_ms: Vec<u64>,
}

/// A job whose attempt failed.
pub(super) struct Failed {
    pub(super) pace: Pace,
    /// Failed attempts, this one included.
    pub(super) attempts: u32,
    /// When its time is over.
    pub(super) deadline_ms: u64,
}

/// An eighth of each delay is left to chance.
const JITTER_SHARE: u64 = 8;
const FALLBACK_MS: u64 = 300_000;

impl Backoff {
    /// When the next attempt is due.
    pub(super) fn after(&self, failed: &Failed, now_ms: u64, random: &mut fastrand::Rng) -> u64 {
        let delay_ms = self.delay_ms(failed.pace, failed.attempts, random);
        let first_ms = self.delays(failed.pace).first().copied().unwrap_or(FALLBACK_MS);
        // The last attempt comes with the deadline, not hours after it.
        let last_ms = failed.deadline_ms.saturating_add(delay_ms / JITTER_SHARE);
        now_ms.saturating_add(delay_ms).min(last_ms.max(now_ms.saturating_add(first_ms)))
    }

    /// How long to wait after the first, second, ... failure, with its share of chance.
    pub(super) fn delay_ms(&self, pace: Pace, failures: u32, random: &mut fastrand::Rng) -> u64 {
        let delays = self.delays(pace);
        let nth = failures.saturating_sub(1) as usize;
        let delay_ms = delays.get(nth).or(delays.last()).copied().unwrap_or(FALLBACK_MS);
        delay_ms.saturating_add(random.u64(0..=delay_ms / JITTER_SHARE))
    }

    fn delays(&self, pace: Pace) -> &[u64] {
        match pace {
            Pace::Exchanger => &self.exchanger_ms,
            Pace::NextHop => &self.next_hop_ms,
        }
    }
}
