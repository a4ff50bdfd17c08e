//! When a deferred job is tried again, and when it is given up (rfc5321bis 4.5.4.1).
//!
//! Promises jitter on every delay, so that what failed together does not come back together, and a
//! last attempt at or after the deadline before anything expires.

/// Which of the two schedules a route follows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Somebody else's exchanger: minutes to hours.
    Exchanger,
    /// A configured next hop or mailstore: seconds to minutes.
    NextHop,
}

/// The two retry schedules and the lifetime; all in milliseconds.
#[derive(Clone, Debug)]
pub struct Backoff {
    /// Delays after the first, second, ... failed attempt at an exchanger; the last repeats.
    pub exchanger_ms: Vec<u64>,
    /// The same at a configured next hop.
    pub next_hop_ms: Vec<u64>,
    /// How long a message is tried, counted from its acceptance, where its job says nothing else.
    pub lifetime_ms: u64,
}

/// A job whose attempt failed.
pub(super) struct Failed {
    pub(super) pace: Pace,
    /// Failed attempts, this one included.
    pub(super) attempts: u32,
    /// When its time is over.
    pub(super) deadline_ms: u64,
    /// When the attempt started.
    pub(super) started_ms: u64,
}

/// An eighth of each delay is left to chance.
const JITTER_SHARE: u64 = 8;
const FALLBACK_MS: u64 = 300_000;

impl Backoff {
    /// When the next attempt is due; `None` when the time is over.
    pub(super) fn after(
        &self,
        failed: &Failed,
        now_ms: u64,
        random: &mut fastrand::Rng,
    ) -> Option<u64> {
        let deadline_ms = failed.deadline_ms;
        if failed.started_ms >= deadline_ms {
            return None;
        }
        let delays = match failed.pace {
            Pace::Exchanger => &self.exchanger_ms,
            Pace::NextHop => &self.next_hop_ms,
        };
        let nth = (failed.attempts.saturating_sub(1)) as usize;
        let delay = delays.get(nth).or(delays.last()).copied().unwrap_or(FALLBACK_MS);
        let first = delays.first().copied().unwrap_or(FALLBACK_MS);
        let jitter = random.u64(0..=delay / JITTER_SHARE);
        let due_ms = now_ms + delay + jitter;
        // The last attempt comes with the deadline, not hours after it.
        Some(due_ms.min((deadline_ms + jitter).max(now_ms + first)))
    }
}
