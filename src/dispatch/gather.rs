//! Messages whose senders are to be told that they wait, by sender, so that many make one report.
//!
//! Promises that a message is here once; that a group is due a short time after its first message
//! came, whatever came since; and that there are never more than [`GATHERED_MAX`] messages: a group
//! that is full, or the oldest where all together are too many, is told at once. Knows no clock.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use angarium_queue::id::MessageId;

use crate::syntax::path::Mailbox;

/// Most messages that one report tells of.
const GROUP_MAX: usize = 100;
/// Most messages that are gathered.
const GATHERED_MAX: usize = 10_000;
/// How long a group waits for others.
const GATHER_MS: u64 = 10_000;
/// How long a group waits that could not be told.
const AGAIN_MS: u64 = 60_000;

/// Whom a report goes to, and on whose account.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Sender {
    pub(super) tenant: Arc<str>,
    pub(super) reverse_path: Mailbox,
}

/// Messages of one sender, in the order they came; never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Group {
    pub(super) sender: Sender,
    pub(super) ids: Vec<MessageId>,
}

/// When a group is due, in ms since the epoch, and its number.
type Place = (u64, u64);

/// All that is gathered.
#[derive(Default, Debug)]
pub(super) struct Gathered {
    groups: BTreeMap<Place, Group>,
    /// The group of each sender that others join.
    open: HashMap<Sender, Place>,
    ids: HashSet<MessageId>,
    next_number: u64,
}

impl Gathered {
    /// Whether the sender of this message will be told without more.
    pub(super) fn contains(&self, id: MessageId) -> bool {
        self.ids.contains(&id)
    }

    /// Takes in a message that is not here; the group that is to be told at once, if there is one.
    pub(super) fn add(&mut self, sender: Sender, id: MessageId, now_ms: u64) -> Option<Group> {
        if !self.ids.insert(id) {
            return None;
        }
        let place = match self.open.get(&sender) {
            Some(place) => *place,
            None => {
                let place = self.place(now_ms + GATHER_MS);
                self.open.insert(sender.clone(), place);
                place
            }
        };
        let group = self.groups.entry(place).or_insert_with(|| Group { sender, ids: Vec::new() });
        group.ids.push(id);
        if group.ids.len() >= GROUP_MAX {
            return self.take(place);
        }
        if self.ids.len() > GATHERED_MAX {
            let (oldest, _) = self.groups.first_key_value()?;
            return self.take(*oldest);
        }
        None
    }

    /// Takes back a group that could not be told, to be told later by itself; false if there is no
    /// place for it.
    pub(super) fn put_back(&mut self, mut group: Group, now_ms: u64) -> bool {
        group.ids.retain(|id| !self.ids.contains(id));
        if self.ids.len() + group.ids.len() > GATHERED_MAX {
            return false;
        }
        if !group.ids.is_empty() {
            self.ids.extend(&group.ids);
            let place = self.place(now_ms + AGAIN_MS);
            self.groups.insert(place, group);
        }
        true
    }

    /// A group that has waited long enough.
    pub(super) fn due(&mut self, now_ms: u64) -> Option<Group> {
        let place = *self.groups.first_key_value()?.0;
        // What lies further off than any group may is left over from before the clock was set back.
        let due = place.0 <= now_ms || place.0 - now_ms > AGAIN_MS;
        due.then(|| self.take(place)).flatten()
    }

    fn place(&mut self, due_ms: u64) -> Place {
        self.next_number += 1;
        (due_ms, self.next_number)
    }

    fn take(&mut self, place: Place) -> Option<Group> {
        let group = self.groups.remove(&place)?;
        if self.open.get(&group.sender) == Some(&place) {
            self.open.remove(&group.sender);
        }
        for id in &group.ids {
            self.ids.remove(id);
        }
        Some(group)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(local_part: &str) -> Sender {
        let reverse_path = Mailbox::new(local_part, "b.example").unwrap();
        Sender { tenant: "t".into(), reverse_path }
    }

    fn id(number: u64) -> MessageId {
        MessageId::from_u64(number)
    }

    fn group(local_part: &str, ids: impl IntoIterator<Item = u64>) -> Group {
        Group { sender: sender(local_part), ids: ids.into_iter().map(id).collect() }
    }

    #[test]
    fn one_senders_messages_are_due_together_after_the_first() {
        let mut gathered = Gathered::default();
        for (local_part, number, at_ms) in [("a", 1, 0), ("b", 2, 1), ("a", 3, 9_999)] {
            assert_eq!(gathered.add(sender(local_part), id(number), at_ms), None);
        }
        assert_eq!(gathered.due(9_999), None);
        assert!(gathered.contains(id(3)));
        assert_eq!(gathered.due(10_000), Some(group("a", [1, 3])));
        assert!(!gathered.contains(id(3)));
        assert_eq!(gathered.due(10_000), None);
        assert_eq!(gathered.add(sender("a"), id(4), 10_000), None);
        assert_eq!(gathered.due(10_001), Some(group("b", [2])));
        assert_eq!(gathered.due(20_000), Some(group("a", [4])));
        assert_eq!((gathered.due(u64::MAX), gathered.open.len()), (None, 0));
    }

    #[test]
    fn tenants_do_not_share_a_report() {
        let mut gathered = Gathered::default();
        gathered.add(sender("a"), id(1), 0);
        gathered.add(Sender { tenant: "u".into(), ..sender("a") }, id(2), 0);
        let due: Vec<_> = std::iter::from_fn(|| gathered.due(10_000)).collect();
        assert_eq!(due.iter().map(|group| group.ids.len()).collect::<Vec<_>>(), [1, 1]);
    }

    #[test]
    fn a_message_is_gathered_once() {
        let mut gathered = Gathered::default();
        gathered.add(sender("a"), id(1), 0);
        gathered.add(sender("a"), id(1), 5);
        assert!(gathered.put_back(group("a", [1]), 5));
        assert_eq!(gathered.due(u64::MAX), Some(group("a", [1])));
        assert_eq!(gathered.due(u64::MAX), None);
    }

    #[test]
    fn a_full_group_is_told_at_once() {
        let mut gathered = Gathered::default();
        let most = GROUP_MAX as u64;
        for number in 1..most {
            assert_eq!(gathered.add(sender("a"), id(number), 0), None);
        }
        assert_eq!(gathered.add(sender("a"), id(most), 0), Some(group("a", 1..=most)));
        assert_eq!(gathered.add(sender("a"), id(0), 1), None);
        assert_eq!(gathered.due(10_001), Some(group("a", [0])));
    }

    #[test]
    fn of_too_many_the_oldest_are_told_at_once() {
        let mut gathered = Gathered::default();
        let most = GATHERED_MAX as u64;
        gathered.add(sender("first"), id(0), 0);
        gathered.add(sender("first"), id(1), 0);
        for number in 2..most {
            let name = (number / 50).to_string();
            assert_eq!(gathered.add(sender(&name), id(number), number), None);
        }
        assert!(!gathered.put_back(group("late", [most + 1]), 0));
        let told = gathered.add(sender("last"), id(most), most);
        assert_eq!(told, Some(group("first", [0, 1])));
        assert_eq!(gathered.ids.len(), GATHERED_MAX - 1);
    }

    #[test]
    fn what_could_not_be_told_comes_again_by_itself() {
        let mut gathered = Gathered::default();
        assert!(gathered.put_back(group("a", [1, 2]), 0));
        gathered.add(sender("a"), id(3), 40_000);
        assert_eq!(gathered.due(59_999), Some(group("a", [3])));
        assert_eq!(gathered.due(59_999), None);
        assert_eq!(gathered.due(60_000), Some(group("a", [1, 2])));
    }

    #[test]
    fn a_clock_that_is_set_back_keeps_nobody_waiting() {
        let mut gathered = Gathered::default();
        gathered.add(sender("a"), id(1), 1_000_000);
        assert_eq!(gathered.due(1_000), Some(group("a", [1])));
    }
}
