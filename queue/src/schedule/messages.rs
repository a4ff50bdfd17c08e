//! The jobs of each message, in the order of the identifiers, which is the order of acceptance.
//!
//! Promises that taking in or ending a message costs the same whatever the number of messages, and
//! about four octets for a message among neighbours, and little more for one left alone. All that is
//! read on the way to a page of millions of messages stays in the cache.

use std::collections::BTreeMap;

use super::prefetch::prefetch;
use crate::id::MessageId;

const PAGE_BITS: u32 = 9;
const PAGE: usize = 1 << PAGE_BITS;
const WORDS: usize = PAGE / 64;
const REGION_BITS: u32 = 9;
const REGION: usize = 1 << REGION_BITS;
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
#[repr(align(64))]
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

/// A run of neighbouring pages, of which one at least has a message.
#[derive(Debug)]
struct Region {
    pages: [Option<Box<Page>>; REGION],
    len: usize,
}

impl Default for Region {
    fn default() -> Self {
        Self { pages: [const { None }; REGION], len: 0 }
    }
}

/// From a message to the first of its jobs.
#[derive(Default, Debug)]
pub(super) struct Messages {
    regions: BTreeMap<u64, Box<Region>>,
}

/// The region of an identifier, the page within it, and the place on that.
fn split(id: u64) -> (u64, usize, u32) {
    let (page, low) = (id >> PAGE_BITS, id & (PAGE as u64 - 1));
    (page >> REGION_BITS, page as usize & (REGION - 1), low as u32)
}

fn join(region: u64, page: usize, low: u32) -> MessageId {
    MessageId::from_u64((region << REGION_BITS | page as u64) << PAGE_BITS | u64::from(low))
}

impl Messages {
    pub(super) fn first(&self, id: u64) -> Option<u32> {
        let (region, page, low) = split(id);
        let page = self.regions.get(&region)?.pages.get(page)?.as_ref()?;
        page.is_present(low).then(|| page.job(low)).flatten()
    }

    /// Has what is known of a message brought into the cache.
    pub(super) fn prefetch(&self, id: MessageId) {
        let (region, page, low) = split(id.as_u64());
        let page = self.regions.get(&region).and_then(|region| region.pages.get(page)?.as_ref());
        if let Some(page) = page {
            page.present.get(low as usize / 64).map(prefetch);
            prefetch(&page.len);
        }
    }

    /// Sets the first job of a message; the one before, if it had any.
    pub(super) fn set(&mut self, id: u64, job: u32) -> Option<u32> {
        let (region, page, low) = split(id);
        let region = self.regions.entry(region).or_default();
        let page = region.pages.get_mut(page)?;
        region.len += usize::from(page.is_none());
        let page = page.get_or_insert_default();
        let before = page.is_present(low).then(|| page.job(low)).flatten();
        page.set(low, job);
        before
    }

    pub(super) fn remove(&mut self, id: u64) {
        let (number, at, low) = split(id);
        let Some(region) = self.regions.get_mut(&number) else { return };
        let Some(place) = region.pages.get_mut(at) else { return };
        let Some(page) = place else { return };
        page.remove(low);
        if page.len > 0 {
            return;
        }
        *place = None;
        region.len -= 1;
        if region.len == 0 {
            self.regions.remove(&number);
        }
    }

    /// The first message from this identifier on, with its first job.
    pub(super) fn from(&self, id: MessageId) -> Option<(MessageId, u32)> {
        let start = split(id.as_u64());
        self.regions.range(start.0..).find_map(|(&number, region)| {
            let skip = if number == start.0 { start.1 } else { 0 };
            region.pages.iter().enumerate().skip(skip).find_map(|(at, page)| {
                let page = page.as_ref()?;
                let low =
                    page.from(if (number, at) == (start.0, start.1) { start.2 } else { 0 })?;
                Some((join(number, at, low), page.job(low)?))
            })
        })
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
        assert!(messages.regions.is_empty());
    }
}
