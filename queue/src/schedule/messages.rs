//! The jobs of each message, in the order of the identifiers, which is the order of acceptance.
//!
//! Promises that taking in or ending a message costs the same whatever the number of messages, and
//! about four octets for a message among neighbours, and little more for one left alone.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::id::MessageId;

const PAGE_BITS: u32 = 9;
const PAGE: usize = 1 << PAGE_BITS;
const WORDS: usize = PAGE / 64;
/// A page with more is dense.
const SPARSE_MAX: usize = 64;
/// A dense page with fewer is made sparse again.
const DENSE_MIN: usize = 32;

/// The first job of each message of a page.
#[derive(Debug)]
enum Jobs {
    /// Of those present, in their order.
    Sparse(Vec<u32>),
    /// By number; those that are not present are left as they were.
    Dense(Box<[u32]>),
}

/// A run of neighbouring identifiers.
#[derive(Debug)]
struct Page {
    present: [u64; WORDS],
    len: u16,
    jobs: Jobs,
}

impl Default for Page {
    fn default() -> Self {
        Self { present: [0; WORDS], len: 0, jobs: Jobs::Sparse(Vec::new()) }
    }
}

impl Page {
    fn is_present(&self, low: u32) -> bool {
        self.present.get(low as usize / 64).is_some_and(|word| word >> (low % 64) & 1 != 0)
    }

    fn rank(&self, low: u32) -> usize {
        let whole: u32 = self.present.iter().take(low as usize / 64).map(|w| w.count_ones()).sum();
        let word = self.present.get(low as usize / 64).copied().unwrap_or(0);
        (whole + (word & ((1 << (low % 64)) - 1)).count_ones()) as usize
    }

    fn flip(&mut self, low: u32) {
        if let Some(word) = self.present.get_mut(low as usize / 64) {
            *word ^= 1 << (low % 64);
        }
    }

    /// The first that is present from `low` on.
    fn from(&self, low: u32) -> Option<u32> {
        (low / 64..WORDS as u32).find_map(|at| {
            let skip = if at == low / 64 { low % 64 } else { 0 };
            let word = self.present.get(at as usize)? & (u64::MAX << skip);
            (word != 0).then(|| at * 64 + word.trailing_zeros())
        })
    }

    fn all(&self) -> impl Iterator<Item = u32> {
        std::iter::successors(self.from(0), |&low| self.from(low + 1))
    }

    /// The job of one that is present.
    fn job(&self, low: u32) -> Option<u32> {
        match &self.jobs {
            Jobs::Sparse(jobs) => jobs.get(self.rank(low)).copied(),
            Jobs::Dense(jobs) => jobs.get(low as usize).copied(),
        }
    }

    fn set(&mut self, low: u32, job: u32) {
        let present = self.is_present(low);
        let at = match &self.jobs {
            Jobs::Dense(_) => low as usize,
            Jobs::Sparse(_) => self.rank(low),
        };
        let place = match &mut self.jobs {
            Jobs::Sparse(jobs) if !present => {
                jobs.insert(at, job);
                None
            }
            Jobs::Sparse(jobs) => jobs.get_mut(at),
            Jobs::Dense(jobs) => jobs.get_mut(at),
        };
        if let Some(place) = place {
            *place = job;
        }
        if !present {
            self.flip(low);
            self.len += 1;
        }
        if matches!(&self.jobs, Jobs::Sparse(jobs) if jobs.len() > SPARSE_MAX) {
            self.make_dense();
        }
    }

    fn remove(&mut self, low: u32) {
        if !self.is_present(low) {
            return;
        }
        if let Jobs::Sparse(_) = self.jobs {
            let rank = self.rank(low);
            if let Jobs::Sparse(jobs) = &mut self.jobs {
                jobs.remove(rank);
            }
        }
        self.flip(low);
        self.len -= 1;
        if matches!(self.jobs, Jobs::Dense(_)) && usize::from(self.len) < DENSE_MIN {
            self.jobs = Jobs::Sparse(self.all().filter_map(|low| self.job(low)).collect());
        }
    }

    fn make_dense(&mut self) {
        let mut dense = vec![0; PAGE].into_boxed_slice();
        for low in self.all() {
            if let (Some(place), Some(job)) = (dense.get_mut(low as usize), self.job(low)) {
                *place = job;
            }
        }
        self.jobs = Jobs::Dense(dense);
    }
}

/// From a message to the first of its jobs.
#[derive(Default, Debug)]
pub(super) struct Messages {
    pages: BTreeMap<u64, Page>,
    /// The page that messages are added to just now, apart from the others.
    recent: (u64, Page),
}

fn split(id: u64) -> (u64, u32) {
    (id >> PAGE_BITS, (id & (PAGE as u64 - 1)) as u32)
}

impl Messages {
    pub(super) fn first(&self, id: u64) -> Option<u32> {
        let (high, low) = split(id);
        let page = self.page(high)?;
        page.is_present(low).then(|| page.job(low)).flatten()
    }

    /// Sets the first job of a message; the one before, if it had any.
    pub(super) fn set(&mut self, id: u64, job: u32) -> Option<u32> {
        let (high, low) = split(id);
        if high != self.recent.0 {
            self.turn_to(high);
        }
        let page = &mut self.recent.1;
        let before = page.is_present(low).then(|| page.job(low)).flatten();
        page.set(low, job);
        before
    }

    pub(super) fn remove(&mut self, id: u64) {
        let (high, low) = split(id);
        if high == self.recent.0 {
            return self.recent.1.remove(low);
        }
        let Some(page) = self.pages.get_mut(&high) else { return };
        page.remove(low);
        if page.len == 0 {
            self.pages.remove(&high);
        }
    }

    /// The first message from this identifier on, with its first job.
    pub(super) fn from(&self, id: MessageId) -> Option<(MessageId, u32)> {
        let (high, low) = split(id.as_u64());
        let here = self.page(high).and_then(|page| Some((high, page, page.from(low)?)));
        let (high, page, low) = here.or_else(|| self.after(high))?;
        Some((MessageId::from_u64(high << PAGE_BITS | u64::from(low)), page.job(low)?))
    }

    fn page(&self, high: u64) -> Option<&Page> {
        if high == self.recent.0 { Some(&self.recent.1) } else { self.pages.get(&high) }
    }

    /// The first page after this one, with its first message.
    fn after(&self, high: u64) -> Option<(u64, &Page, u32)> {
        let later = (Bound::Excluded(high), Bound::Unbounded);
        let other = self.pages.range(later).next().map(|(&high, page)| (high, page));
        let recent = Some((self.recent.0, &self.recent.1));
        let recent = recent.filter(|(at, page)| *at > high && page.len > 0);
        let (high, page) = other.into_iter().chain(recent).min_by_key(|(high, _)| *high)?;
        Some((high, page, page.from(0)?))
    }

    /// Makes another page the recent one.
    fn turn_to(&mut self, high: u64) {
        let page = self.pages.remove(&high).unwrap_or_default();
        let (before, page) = std::mem::replace(&mut self.recent, (high, page));
        if page.len > 0 {
            self.pages.insert(before, page);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_what_a_sorted_map_does() {
        let mut random = fastrand::Rng::with_seed(3);
        let (mut messages, mut model) = (Messages::default(), BTreeMap::new());
        for job in 0..40_000 {
            // It fills up, and empties again.
            let emptying = job / 8_000 % 2 == 1;
            let id = random.u64(0..2000) + (random.u64(0..2) << 36);
            match random.u8(0..6) {
                0 => {
                    let next = model.range(id..).next().map(|(&id, &job)| (id, job));
                    let from = messages.from(MessageId::from_u64(id));
                    assert_eq!(from.map(|(id, job)| (id.as_u64(), job)), next);
                }
                at if (at == 1) != emptying => {
                    messages.remove(id);
                    model.remove(&id);
                }
                _ => assert_eq!(messages.set(id, job), model.insert(id, job)),
            }
            assert_eq!(messages.first(id), model.get(&id).copied());
        }
        for id in model.into_keys() {
            messages.remove(id);
        }
        assert!(messages.pages.is_empty() && messages.recent.1.len == 0);
    }
}
