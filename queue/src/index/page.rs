//! Rows of messages in memory: 24 octets each, in pages by neighbouring identifiers.
//!
//! Promises that taking in or ending a message never moves more than one page, whatever the number
//! of messages: nothing doubles and nothing is hashed anew. A page gives memory back as it empties.

use std::collections::BTreeMap;

use crate::census::{Count, Standing};
use crate::id::MessageId;
use crate::mark::Place;

const PAGE_BITS: u32 = 8;
/// Rows of a full page.
const PAGE_ROWS: usize = 1 << PAGE_BITS;
/// How far a page grows at once.
const GROWTH: usize = 4;

const HELD: u8 = 1;
const EXTRA: u8 = 2;

/// One live message: where it lies, and the little that is asked for without reading it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) place: Place,
    /// Octets of the record and of the body behind it.
    pub(crate) octets: u32,
    pub(crate) recipients: u32,
    arrived_low: u32,
    arrived_high: u16,
    /// The last part of the identifier.
    low: u8,
    flags: u8,
}

impl Row {
    pub(crate) fn new(place: Place, octets: u32, recipients: u32, arrived_ms: u64) -> Self {
        // 48 bits of milliseconds last until the year 10889.
        let arrived_ms = arrived_ms.min((1 << 48) - 1);
        Self {
            place,
            octets,
            recipients,
            arrived_low: arrived_ms as u32,
            arrived_high: (arrived_ms >> 32) as u16,
            low: 0,
            flags: 0,
        }
    }

    pub(crate) fn arrived_ms(&self) -> u64 {
        u64::from(self.arrived_high) << 32 | u64::from(self.arrived_low)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.flags & HELD != 0
    }

    pub(crate) fn set_held(&mut self, held: bool) {
        self.flags = self.flags & !HELD | if held { HELD } else { 0 };
    }

    /// More is known of the message than the row says.
    pub(crate) fn has_extra(&self) -> bool {
        self.flags & EXTRA != 0
    }

    pub(crate) fn set_extra(&mut self, extra: bool) {
        self.flags = self.flags & !EXTRA | if extra { EXTRA } else { 0 };
    }
}

#[derive(Default)]
struct Page {
    /// In the order of the identifiers.
    rows: Vec<Row>,
    /// How many there are of each standing.
    standings: [u16; Standing::ALL.len()],
}

impl Page {
    fn find(&self, low: u8) -> Result<usize, usize> {
        self.rows.binary_search_by_key(&low, |row| row.low)
    }

    fn count(&mut self, standing: Standing, by: i16) {
        if let Some(count) = self.standings.get_mut(standing as usize) {
            *count = count.saturating_add_signed(by);
        }
    }
}

/// All rows.
#[derive(Default)]
pub(crate) struct Pages {
    pages: BTreeMap<u64, Page>,
    len: usize,
}

fn split(id: MessageId) -> (u64, u8) {
    (id.as_u64() >> PAGE_BITS, id.as_u64() as u8)
}

fn join(page: u64, low: u8) -> MessageId {
    MessageId::from_u64(page << PAGE_BITS | u64::from(low))
}

impl Pages {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, id: MessageId) -> Option<&Row> {
        let (page, low) = split(id);
        let page = self.pages.get(&page)?;
        page.rows.get(page.find(low).ok()?)
    }

    /// The row, to change what does not change its standing.
    pub(crate) fn get_mut(&mut self, id: MessageId) -> Option<&mut Row> {
        let (page, low) = split(id);
        let page = self.pages.get_mut(&page)?;
        let at = page.find(low).ok()?;
        page.rows.get_mut(at)
    }

    /// Puts a row in place of the one that was there, if any.
    pub(crate) fn insert(&mut self, id: MessageId, mut row: Row, standing: Standing) {
        let (page, low) = split(id);
        row.low = low;
        let page = self.pages.entry(page).or_default();
        match page.find(low) {
            Ok(at) => {
                if let Some(old) = page.rows.get_mut(at) {
                    *old = row;
                }
            }
            Err(at) => {
                if page.rows.len() == page.rows.capacity() {
                    let more = page.rows.len().saturating_mul(GROWTH - 1).clamp(GROWTH, PAGE_ROWS);
                    let room = PAGE_ROWS.saturating_sub(page.rows.len()).max(1);
                    page.rows.reserve_exact(more.min(room));
                }
                page.rows.insert(at, row);
                page.count(standing, 1);
                self.len += 1;
            }
        }
    }

    /// Takes a row out, whose standing is this.
    pub(crate) fn remove(&mut self, id: MessageId, standing: Standing) -> Option<Row> {
        let (number, low) = split(id);
        let page = self.pages.get_mut(&number)?;
        let at = page.find(low).ok()?;
        let row = page.rows.remove(at);
        page.count(standing, -1);
        self.len -= 1;
        if page.rows.is_empty() {
            self.pages.remove(&number);
        } else if page.rows.capacity() > GROWTH * page.rows.len().max(GROWTH) {
            page.rows.shrink_to(2 * page.rows.len());
        }
        Some(row)
    }

    /// Counts a message that stays where it is otherwise from now on.
    pub(crate) fn restand(&mut self, id: MessageId, from: Standing, to: Standing) {
        if from != to
            && let Some(page) = self.pages.get_mut(&split(id).0)
        {
            page.count(from, -1);
            page.count(to, 1);
        }
    }

    /// Every row behind this identifier, in order.
    pub(crate) fn after(&self, id: Option<MessageId>) -> impl Iterator<Item = (MessageId, &Row)> {
        let from = id.map_or(0, |id| split(id).0);
        self.pages
            .range(from..)
            .flat_map(|(number, page)| page.rows.iter().map(|row| (join(*number, row.low), row)))
            .skip_while(move |(found, _)| id.is_some_and(|id| *found <= id))
    }

    /// How many there are of each standing, and the age of the oldest, which `standing_of` finds.
    pub(crate) fn census(
        &self,
        standing_of: impl Fn(MessageId, &Row) -> Standing,
    ) -> [(Standing, Count); Standing::ALL.len()] {
        Standing::ALL.map(|standing| {
            let counted = |page: &Page| page.standings.get(standing as usize).copied().unwrap_or(0);
            let messages = self.pages.values().map(|page| usize::from(counted(page))).sum();
            // Identifiers rise with time, so the oldest stands on the first page that has any.
            let first = self.pages.iter().find(|(_, page)| counted(page) > 0);
            let oldest_arrived_ms = first.and_then(|(number, page)| {
                let of = page.rows.iter();
                of.filter(|row| standing_of(join(*number, row.low), row) == standing)
                    .map(Row::arrived_ms)
                    .min()
            });
            (standing, Count { messages, oldest_arrived_ms })
        })
    }

    /// Takes over all rows of another start.
    pub(crate) fn join(&mut self, mut others: Self) {
        self.len += others.len;
        self.pages.append(&mut others.pages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> MessageId {
        MessageId::from_u64(number)
    }

    fn row(number: u64) -> Row {
        Row::new(Place { slot: 1, offset: number as u32 }, 1, 1, number)
    }

    #[test]
    fn a_row_is_small() {
        assert_eq!(size_of::<Row>(), 24);
        let far = Row::new(Place::default(), 0, 0, 0xABCD_EF01_2345);
        assert_eq!(far.arrived_ms(), 0xABCD_EF01_2345);
    }

    #[test]
    fn rows_come_and_go_in_any_order() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut pages = Pages::default();
        let mut model = BTreeMap::new();
        for _ in 0..20_000 {
            let number = random.u64(0..2_000);
            if random.bool() {
                let row = row(number);
                pages.insert(id(number), row, Standing::Active);
                model.insert(number, row.place);
            } else {
                let gone = pages.remove(id(number), Standing::Active);
                assert_eq!(gone.map(|row| row.place), model.remove(&number));
            }
            assert_eq!(pages.len(), model.len());
        }
        let all: Vec<_> = pages.after(None).map(|(id, row)| (id.as_u64(), row.place)).collect();
        assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>());
        let rest: Vec<_> = pages.after(Some(id(700))).map(|(id, _)| id.as_u64()).collect();
        assert_eq!(rest, model.range(701..).map(|(number, _)| *number).collect::<Vec<_>>());
        for (number, place) in &model {
            assert_eq!(pages.get(id(*number)).map(|row| row.place), Some(*place));
            pages.remove(id(*number), Standing::Active);
        }
        assert!(pages.len() == 0 && pages.pages.is_empty());
    }

    #[test]
    fn a_page_that_empties_gives_memory_back() {
        let mut pages = Pages::default();
        (0..256).for_each(|number| pages.insert(id(number), row(number), Standing::Active));
        let capacity = |pages: &Pages| pages.pages[&0].rows.capacity();
        assert_eq!(capacity(&pages), 256);
        for number in 1..256 {
            pages.remove(id(number), Standing::Active);
        }
        assert!(capacity(&pages) <= 16, "{}", capacity(&pages));
    }
}
