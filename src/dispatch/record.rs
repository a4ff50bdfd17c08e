//! What an attempt came to: the changes to record, and the lines to log.
//!
//! Promises one change for each recipient that the attempt had, and that a failure owes a report
//! unless nobody is to be told (rfc5321bis 4.5.5, RFC 3461 4.1); so does a success of which the
//! sender wants to hear and the next hop does not tell.

use std::sync::Arc;

use angarium_queue::entry::Change;
use angarium_queue::schedule::{Assignment, Decision};

use crate::agent::Delivery;
use crate::delivery::outcome::Outcome;
use crate::event;
use crate::report::Action;
use crate::report::due::{self, Event};
use crate::route::Destination;

/// Longest reason kept, in octets; what a next hop says is not ours to bound otherwise.
const REASON_OCTETS_MAX: usize = 1000;

/// An attempt with what the scheduler decided.
pub(super) struct Record<'a> {
    pub(super) assignment: &'a Assignment,
    pub(super) delivery: &'a Delivery,
    pub(super) decision: Decision,
    pub(super) now_ms: u64,
}

impl Record<'_> {
    /// One change per recipient; none for what was deferred after the message was withdrawn.
    pub(super) fn changes(&self) -> Vec<(u32, Change)> {
        let change =
            |(index, outcome): &(u32, Outcome)| Some((*index, self.change(*index, outcome)?));
        self.delivery.outcomes.iter().filter_map(change).collect()
    }

    fn change(&self, index: u32, outcome: &Outcome) -> Option<Change> {
        let report_owed = self.owes_report(index);
        Some(match (outcome, self.decision) {
            (Outcome::Delivered(reply), _) => match self.success(index) {
                Some(action) => Change::Taken { reason: shorten(&taken(action, reply)) },
                None => Change::Delivered,
            },
            (Outcome::Failed(reason), _) => {
                Change::Failed { expired: false, reason: shorten(reason), report_owed }
            }
            (Outcome::Deferred(reason), Decision::Retry { attempts, due_ms }) => {
                Change::Deferred { attempts, due_ms, reason: shorten(reason) }
            }
            (Outcome::Deferred(reason), Decision::Expired) => {
                Change::Failed { expired: true, reason: shorten(reason), report_owed }
            }
            // What was not tried is not recorded: it waits as it did before.
            (Outcome::Deferred(_), Decision::Done | Decision::Back | Decision::Withdrawn) => {
                return None;
            }
        })
    }

    /// One line per recipient.
    pub(super) fn log(&self, destination: &Destination) {
        let id = self.assignment.id;
        for (index, outcome) in &self.delivery.outcomes {
            let recipient = self.address(*index);
            match (outcome, self.decision) {
                (Outcome::Delivered(reply), _) => {
                    let tls = self.delivery.tls.as_deref();
                    event::delivered(id, &recipient, destination, reply, tls);
                }
                (Outcome::Deferred(reason), Decision::Retry { attempts, due_ms }) => {
                    let retry_in_s = due_ms.saturating_sub(self.now_ms) / 1000;
                    event::deferred(id, &recipient, destination, reason, attempts, retry_in_s);
                }
                (Outcome::Deferred(reason), Decision::Back) => {
                    event::put_back(id, &recipient, destination, reason);
                }
                (Outcome::Deferred(reason) | Outcome::Failed(reason), decision) => {
                    let expired =
                        decision == Decision::Expired && matches!(outcome, Outcome::Deferred(_));
                    let owed = self.owes_report(*index);
                    event::failed(id, &recipient, destination, reason, expired, owed);
                }
            }
        }
    }

    /// A message that can't be read any more is not known to be from nobody.
    fn owes_report(&self, index: u32) -> bool {
        let envelope = self.delivery.envelope.as_ref();
        envelope.is_none_or(|envelope| due::is_wanted(envelope, index, Event::Failure))
    }

    /// What is to be told of a success, if anything is.
    fn success(&self, index: u32) -> Option<Action> {
        let envelope = self.delivery.envelope.as_ref()?;
        let unreported = self.delivery.unreported.iter().find(|(taken, _)| *taken == index);
        let unreported = unreported.map(|(_, action)| *action);
        let traced = self.delivery.traced.contains(&index) && due::may_be_told(envelope, index);
        unreported
            .filter(|_| due::is_wanted(envelope, index, Event::Success))
            .or(traced.then_some(Action::Relayed))
    }

    fn address(&self, index: u32) -> String {
        let envelope = self.delivery.envelope.as_ref();
        let recipient = envelope.and_then(|envelope| envelope.recipients.get(index as usize));
        recipient.map_or_else(|| format!("recipient {index}"), |known| known.address.to_string())
    }
}

/// The reason of what was taken: what is to be told, and the reply.
fn taken(action: Action, reply: &str) -> String {
    format!("{}: said {reply}", action.word())
}

/// What a reason of what was taken tells, and the reply as a reason of its own.
pub(super) fn told(reason: &str) -> (Action, &str) {
    match reason.split_once(": ") {
        Some((word, reply)) if word == Action::Delivered.word() => (Action::Delivered, reply),
        Some((_, reply)) => (Action::Relayed, reply),
        None => (Action::Relayed, reason),
    }
}

fn shorten(reason: &str) -> Arc<str> {
    let end = (0..=REASON_OCTETS_MAX.min(reason.len()))
        .rev()
        .find(|&at| reason.is_char_boundary(at))
        .unwrap_or(0);
    reason.get(..end).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use angarium_queue::id::MessageId;
    use angarium_queue::schedule::{
        Backoff, Band, Class, Job, Limits, Options, Pace, Pick, RouteId, Scheduler, SiteId,
        TenantLimits, Timing,
    };

    use super::*;
    use crate::envelope::{Envelope, Recipient};
    use crate::registry::parameter::Parameter;
    use crate::syntax::parameter::RcptParameters;
    use crate::syntax::path::parse_reverse_path;

    fn assignment() -> Assignment {
        let options = Options {
            backoff: Backoff { exchanger_ms: vec![1], next_hop_ms: vec![1] },
            lifetimes_ms: vec![1],
            warnings_ms: vec![],
            probe_delay_max_ms: 300_000,
            slots_max: 1,
            rate: None,
            site: Limits { concurrency_max: 1, recipients_max: 9, rate: None },
            tenant: TenantLimits::default(),
            paused: false,
        };
        let mut scheduler = Scheduler::new(options, 1);
        scheduler.set_route(RouteId(0), SiteId(0), None, 0);
        let job = Job {
            id: MessageId::from_u64(1),
            route: RouteId(0),
            tenant: scheduler.tenant("192.0.2.1"),
            class: Class::Inbound,
            band: Band::Normal,
            stream: 0,
            pace: Pace::NextHop,
            recipients: [0, 1, 2].into_iter().collect(),
            size: 0,
            attempts: 0,
            due_ms: 0,
            arrived_ms: 0,
            lifetime: 0,
            timing: Timing::default(),
            held: false,
            tag: 0,
        };
        scheduler.enqueue(job, 0);
        let Pick::Assignment(assignment) = scheduler.next(0) else { panic!("nothing picked") };
        assignment
    }

    fn changes(reverse_path: &str, decision: Decision) -> Vec<(u32, Change)> {
        changes_of(reverse_path, "", (vec![], vec![]), decision)
    }

    fn changes_of(
        reverse_path: &str,
        words: &str,
        (unreported, traced): (Vec<(u32, Action)>, Vec<u32>),
        decision: Decision,
    ) -> Vec<(u32, Change)> {
        let parameters = RcptParameters::parse(words, Parameter::named).unwrap();
        let one = Recipient { parameters, ..Recipient::new("r@b.example".parse().unwrap()) };
        let delivery = Delivery {
            envelope: Some(Envelope {
                reverse_path: parse_reverse_path(reverse_path).unwrap(),
                recipients: vec![one; 3],
                ..Envelope::default()
            }),
            outcomes: vec![
                (0, Outcome::Delivered("250 ok".into())),
                (1, Outcome::Failed("no".repeat(1000))),
                (2, Outcome::Deferred("later".into())),
            ],
            finding: Default::default(),
            unreported,
            traced,
            tls: None,
        };
        Record { assignment: &assignment(), delivery: &delivery, decision, now_ms: 5 }.changes()
    }

    #[test]
    fn each_recipient_gets_its_own_change() {
        let changes = changes("a@b.example", Decision::Retry { attempts: 1, due_ms: 9 });
        assert_eq!(changes[0], (0, Change::Delivered));
        let long = "no".repeat(500).into();
        assert_eq!(
            changes[1],
            (1, Change::Failed { expired: false, reason: long, report_owed: true })
        );
        let later = Change::Deferred { attempts: 1, due_ms: 9, reason: "later".into() };
        assert_eq!(changes[2], (2, later));
    }

    #[test]
    fn nobody_is_owed_a_report_for_a_null_reverse_path() {
        let changes = changes("", Decision::Expired);
        for (_, change) in &changes[1..] {
            let Change::Failed { report_owed, .. } = change else { panic!("{change:?}") };
            assert!(!report_owed);
        }
        assert!(matches!(changes[2].1, Change::Failed { expired: true, .. }));
    }

    #[test]
    fn a_success_is_told_where_it_was_asked_for_and_nobody_else_tells_it() {
        let first = |from: &str, words: &str, unreported: Vec<(u32, Action)>| {
            changes_of(from, words, (unreported, vec![]), Decision::Done).remove(0).1
        };
        let (from, asked) = ("a@b.example", "NOTIFY=SUCCESS");
        for action in [Action::Relayed, Action::Delivered] {
            let Change::Taken { reason } = first(from, asked, vec![(0, action)]) else { panic!() };
            assert_eq!(told(&reason), (action, "said 250 ok"));
            assert_eq!(first("", asked, vec![(0, action)]), Change::Delivered);
            assert_eq!(first(from, "NOTIFY=FAILURE", vec![(0, action)]), Change::Delivered);
            assert_eq!(first(from, "", vec![(0, action)]), Change::Delivered);
        }
        assert_eq!(first(from, asked, vec![(1, Action::Relayed)]), Change::Delivered);
        let failed = &changes_of(from, "NOTIFY=NEVER", (vec![], vec![]), Decision::Expired)[1..];
        let is_owed = |(_, change): &(u32, Change)| {
            matches!(change, Change::Failed { report_owed: true, .. })
        };
        assert!(failed.len() == 2 && !failed.iter().any(is_owed), "{failed:?}");
    }

    #[test]
    fn a_deadline_has_a_relay_told_unless_nothing_may_be() {
        let first = |from: &str, words: &str| {
            changes_of(from, words, (vec![], vec![0]), Decision::Done).remove(0).1
        };
        for words in ["", "NOTIFY=FAILURE"] {
            let Change::Taken { reason } = first("a@b.example", words) else { panic!("{words}") };
            assert_eq!(told(&reason), (Action::Relayed, "said 250 ok"));
        }
        assert_eq!(first("a@b.example", "NOTIFY=NEVER"), Change::Delivered);
        assert_eq!(first("", ""), Change::Delivered);
    }

    #[test]
    fn what_was_withdrawn_is_not_deferred_again() {
        assert_eq!(changes("a@b.example", Decision::Withdrawn).len(), 2);
        assert_eq!(changes("a@b.example", Decision::Back).len(), 2, "nor what was not tried");
    }
}
