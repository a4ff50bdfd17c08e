//! What attempts came to, by destination.
//!
//! Promises that no count ever falls, and that memory stays bounded whatever mail comes: the first
//! destinations keep their names as long as the daemon runs, all later ones count together.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::metric::{Labels, Outcome};
use crate::route::Destination;

/// Destinations that count by name.
const NAMED_MAX: usize = 200;

/// Recipients that attempts settled or put off, by destination and result.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    named: BTreeMap<String, Counts>,
    other: Counts,
}

/// Recipients of one destination, by result.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Counts([u64; Outcome::COUNT]);

impl Counts {
    /// One recipient more.
    pub(super) fn add(&mut self, result: Outcome) {
        if let Some(count) = self.0.get_mut(result.cell()) {
            *count += 1;
        }
    }
}

impl Tally {
    /// Where an attempt of this destination counts. Those that differ only in their handling of
    /// content have one name, and count as one.
    pub(super) fn counts(&mut self, destination: &Destination) -> &mut Counts {
        let room = self.named.len() < NAMED_MAX;
        match self.named.entry(destination.to_string()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(free) if room => free.insert(Counts::default()),
            Entry::Vacant(_) => &mut self.other,
        }
    }

    /// Each count that is not zero, with its labels.
    pub fn cells(&self) -> impl Iterator<Item = (Vec<(&'static str, String)>, u64)> {
        let named = self.named.iter().map(|(name, counts)| (name.as_str(), counts));
        named.chain([("other", &self.other)]).flat_map(|(name, counts)| {
            let told = counts.0.iter().enumerate().filter(|(_, count)| **count > 0);
            told.map(move |(cell, count)| {
                let mut labels = vec![("destination", name.to_owned())];
                labels.extend(Outcome::describe(cell));
                (labels, *count)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::{DESTINATION_ATTEMPTS, Metric};
    use crate::route::{EightBit, Handling};

    fn hop(port: usize) -> Destination {
        let hop = format!("smtp://h.example:{port}").parse().unwrap();
        Destination::Hop(hop, Handling::default())
    }

    fn told(tally: &Tally, destination: &str) -> Vec<(String, u64)> {
        let of = |(labels, count): (Vec<(&str, String)>, u64)| {
            let [(_, name), (_, result)] = <[_; 2]>::try_from(labels).unwrap();
            (name == destination).then_some((result, count))
        };
        tally.cells().filter_map(of).collect()
    }

    #[test]
    fn each_destination_has_its_counts_and_zeros_are_left_out() {
        let mut tally = Tally::default();
        assert_eq!(tally.cells().count(), 0);
        tally.counts(&hop(25)).add(Outcome::Expired);
        tally.counts(&hop(25)).add(Outcome::Delivered);
        tally.counts(&hop(25)).add(Outcome::Delivered);
        tally.counts(&Destination::Unroutable).add(Outcome::Deferred);
        let first = [("delivered".to_owned(), 2), ("expired".to_owned(), 1)];
        assert_eq!(told(&tally, "smtp://h.example:25"), first);
        assert_eq!(told(&tally, "unroutable"), [("deferred".to_owned(), 1)]);
        assert_eq!(tally.cells().count(), 3);
    }

    #[test]
    fn destinations_of_one_name_count_as_one() {
        let mut tally = Tally::default();
        let Destination::Hop(same, _) = hop(25) else { panic!("no hop") };
        let handling = Handling { eight_bit: EightBit::Send, ..Handling::default() };
        tally.counts(&hop(25)).add(Outcome::Failed);
        tally.counts(&Destination::Hop(same, handling)).add(Outcome::Failed);
        assert_eq!(told(&tally, "smtp://h.example:25"), [("failed".to_owned(), 2)]);
    }

    #[test]
    fn the_first_keep_their_names_and_no_count_falls() {
        let (mut tally, mut before) = (Tally::default(), BTreeMap::new());
        for round in 1..=2 {
            for port in (1..=NAMED_MAX + 50).rev() {
                tally.counts(&hop(port)).add(Outcome::Delivered);
                assert!(tally.named.len() <= NAMED_MAX);
                let now: BTreeMap<_, _> = tally.cells().collect();
                assert!(before.iter().all(|(labels, count)| now.get(labels) >= Some(count)));
                before = now;
            }
            let first = format!("smtp://h.example:{}", NAMED_MAX + 50);
            assert_eq!(told(&tally, &first), [("delivered".to_owned(), round)]);
            assert_eq!(told(&tally, "other"), [("delivered".to_owned(), 50 * round)]);
        }
        let sum: u64 = tally.cells().map(|(_, count)| count).sum();
        assert_eq!(sum, 2 * (NAMED_MAX as u64 + 50), "each counts once");
        assert_eq!(tally.named.len(), NAMED_MAX);
    }

    #[test]
    fn the_help_names_the_bound() {
        let help = DESTINATION_ATTEMPTS.family().help.join(" ");
        assert!(help.contains(&format!(" {NAMED_MAX} ")), "{help}");
    }
}
