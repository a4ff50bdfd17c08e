//! What is known of one site: its window, its rate, its outage.
//!
//! Promises to say in one word what a site waits for. What only some sites have stands apart, so
//! that a hundred thousand healthy ones stay small.

use std::sync::Arc;

use super::flow::Rings;
use super::rate::{Bucket, Meter, Pacer, Rate};
use super::slab::{Link, Linked, NONE};
use super::window::Window;

/// A success counts as recent for so long.
const PROOF_S: u64 = 60;
/// Connections in a row that a site which proved itself may refuse before it is closed.
const MISSES_MAX: u8 = 5;

/// Longest time for which a site is left alone because it said so: what it says may be nonsense.
pub(super) const PAUSE_MS_MAX: u64 = 86_400_000;

/// What a site or a route may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Most transactions at a time.
    pub concurrency_max: u32,
    /// Most recipients of a transaction.
    pub recipients_max: u32,
    /// Most messages in a time.
    pub rate: Option<Rate>,
}

/// A site that can't be reached.
#[derive(Clone, Debug)]
pub(super) struct Outage {
    /// A route that leads there.
    pub(super) route: u32,
    pub(super) since_ms: u64,
    /// When to see whether it is back.
    pub(super) probe_ms: u64,
    /// Probes that failed.
    pub(super) probes: u32,
    /// One is under way.
    pub(super) probing: bool,
    /// When it failed last.
    pub(super) failed_ms: u64,
    pub(super) reply: Arc<str>,
}

/// What only some sites have.
#[derive(Default, Debug)]
pub(super) struct Rare {
    pub(super) limits: Option<Limits>,
    pub(super) outage: Option<Outage>,
    pub(super) pacer: Option<Pacer>,
    bucket: Bucket,
    /// When it is looked at again; 0 is never.
    pub(super) wakes_ms: u64,
}

/// Where the site is listed among those that can be picked from: proven or not, and how much is
/// under way.
pub(super) type Listing = Option<(bool, u8)>;

/// One site.
#[derive(Default, Debug)]
pub(super) struct Site {
    link: Link,
    pub(super) rings: Rings,
    /// Streams beneath it that have something ready and are not held up.
    pub(super) streams: u32,
    /// The only one of them, where that is known.
    pub(super) only: u32,
    /// Transactions under way.
    pub(super) assigned: u32,
    pub(super) window: Window,
    meter: Meter,
    /// When it carried out a transaction last, in seconds since the epoch; 0 is never.
    served_s: u32,
    pub(super) listing: Listing,
    pub(super) rare: Option<Box<Rare>>,
}

impl Linked for Site {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

/// Why nothing is picked from a site.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shut {
    /// Nothing is ready.
    Empty,
    /// It can't be reached; when that is looked at again.
    Outage(u64),
    /// As much as it bears is under way.
    Full,
    /// Until then, by its rate.
    Until(u64),
}

impl Site {
    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Its only stream, if it has one and that is known.
    pub(super) fn only_stream(&self) -> Option<u32> {
        (self.streams == 1 && self.only != NONE).then_some(self.only)
    }

    /// The site after it among those that can be picked from and have as much under way.
    pub(super) fn next(&self) -> u32 {
        self.link.next
    }

    pub(super) fn outage(&self) -> Option<&Outage> {
        self.rare.as_ref()?.outage.as_ref()
    }

    pub(super) fn pacer(&self) -> Option<&Pacer> {
        self.rare.as_ref()?.pacer.as_ref()
    }

    pub(super) fn limits(&self, usual: &Limits) -> Limits {
        self.rare.as_ref().and_then(|rare| rare.limits).unwrap_or(*usual)
    }

    /// It carried out a transaction lately.
    pub(super) fn is_proven(&self, now_ms: u64) -> bool {
        self.served_s != 0 && (now_ms / 1000).saturating_sub(u64::from(self.served_s)) <= PROOF_S
    }

    /// Why nothing can be picked now.
    pub(super) fn shut(&self, usual: &Limits, now_ms: u64) -> Option<Shut> {
        if self.rings.is_empty() {
            return Some(Shut::Empty);
        }
        if let Some(outage) = self.outage() {
            return Some(Shut::Outage(outage.probe_ms));
        }
        let limits = self.limits(usual);
        if self.assigned >= self.window.size(limits.concurrency_max) {
            return Some(Shut::Full);
        }
        let opens_ms = self.opens_ms(&limits);
        (opens_ms > now_ms).then_some(Shut::Until(opens_ms))
    }

    /// It can take nothing, whether or not anything is ready.
    #[cfg(test)]
    pub(super) fn is_closed(&self, usual: &Limits, now_ms: u64) -> bool {
        let limits = self.limits(usual);
        self.outage().is_some()
            || self.assigned >= self.window.size(limits.concurrency_max)
            || self.opens_ms(&limits) > now_ms
    }

    /// When its rates allow the next message.
    fn opens_ms(&self, limits: &Limits) -> u64 {
        let Some(rare) = &self.rare else { return 0 };
        let closed_ms = rare.pacer.as_ref().map_or(0, |pacer| pacer.closed_until_ms);
        let gap_us = gap_us(rare.pacer.as_ref(), limits);
        closed_ms.max(gap_us.map_or(0, |gap_us| rare.bucket.opens_ms(gap_us)))
    }

    /// A transaction starts.
    pub(super) fn start(&mut self, usual: &Limits, now_ms: u64) {
        self.assigned += 1;
        self.window.fill(self.assigned);
        let limits = self.limits(usual);
        if limits.rate.is_none() && self.pacer().is_none() {
            return;
        }
        let rare = self.rare();
        if let Some(pacer) = &mut rare.pacer {
            pacer.send(now_ms);
        }
        if let Some(gap_us) = gap_us(rare.pacer.as_ref(), &limits) {
            rare.bucket.take(gap_us, now_ms);
        }
    }

    /// A transaction that started was never tried.
    pub(super) fn give_back(&mut self, usual: &Limits) {
        let limits = self.limits(usual);
        if let Some(rare) = &mut self.rare
            && let Some(gap_us) = gap_us(rare.pacer.as_ref(), &limits)
        {
            rare.bucket.give_back(gap_us);
        }
    }

    /// It carried out what started then.
    pub(super) fn serve(&mut self, usual: &Limits, started_ms: u64, now_ms: u64) {
        let max = self.limits(usual).concurrency_max;
        self.window.succeed(max);
        self.served_s = (now_ms / 1000).max(1) as u32;
        self.meter.add(now_ms);
        let Some(rare) = &mut self.rare else { return };
        if let Some(pacer) = &mut rare.pacer {
            pacer.take(started_ms);
            if pacer.is_forgotten(now_ms) {
                rare.pacer = None;
            }
        }
    }

    /// It complained of the rate of what started then.
    pub(super) fn complain(
        &mut self,
        started_ms: u64,
        pause_ms: u64,
        now_ms: u64,
        reply: Arc<str>,
    ) {
        let measured = self.meter.rate(now_ms);
        let rare = self.rare();
        let pacer = match &mut rare.pacer {
            Some(pacer) => {
                pacer.complain(measured, started_ms, now_ms, reply);
                pacer
            }
            none => none.insert(Pacer::new(measured, now_ms, reply)),
        };
        if pause_ms > 0 {
            pacer.closed_until_ms = pacer.closed_until_ms.max(now_ms + pause_ms.min(PAUSE_MS_MAX));
        }
    }

    /// A connection could not be had; whether the site is to be closed.
    pub(super) fn miss(&mut self, started_ms: u64, now_ms: u64) -> bool {
        let misses = self.window.miss();
        if !self.is_proven(now_ms) || misses >= MISSES_MAX {
            return true;
        }
        // One is no more than chance.
        if misses > 1 {
            self.window.cut(started_ms, now_ms);
        }
        false
    }

    /// It is back.
    pub(super) fn reopen(&mut self) {
        self.window.reopen();
        if let Some(rare) = &mut self.rare {
            rare.outage = None;
        }
    }
}

/// The slower of what was learned and what was configured.
fn gap_us(pacer: Option<&Pacer>, limits: &Limits) -> Option<u64> {
    let learned = pacer.map(Pacer::gap_us);
    learned.max(limits.rate.map(Rate::gap_us))
}
