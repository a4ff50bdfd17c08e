//! Which messages an operator means.
//!
//! Promises that every condition given must hold, and that a filter without any names nothing unless
//! it says so.

use serde::{Deserialize, Serialize};

use super::listing::Message;

/// Conditions on queued messages; texts match anywhere, whatever their case.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// These, and no others.
    pub ids: Vec<String>,
    /// In the reverse-path; `<>` is the null one.
    pub from: Option<String>,
    /// In a recipient that waits.
    pub to: Option<String>,
    /// In the destination of a recipient that waits.
    pub route: Option<String>,
    /// In the last reason of a recipient.
    pub reason: Option<String>,
    /// At least that old, in seconds.
    pub older_s: Option<u64>,
    /// At least that large, in octets.
    pub larger: Option<u64>,
}

impl Filter {
    /// Whether a message meets every condition.
    pub fn matches(&self, message: &Message, now_ms: u64) -> bool {
        let age_s = (now_ms / 1000).saturating_sub(message.arrival_time);
        let waiting =
            || message.recipients.iter().filter(|recipient| recipient.state != "delivered");
        let ids = &self.ids;
        (ids.is_empty() || ids.contains(&message.queue_id))
            && self.older_s.is_none_or(|older_s| age_s >= older_s)
            && self.larger.is_none_or(|larger| message.message_size >= larger)
            && self.from.as_ref().is_none_or(|from| match from.as_str() {
                "<>" => message.sender.is_empty(),
                _ => holds(&message.sender, from),
            })
            && self.to.as_ref().is_none_or(|to| waiting().any(|one| holds(&one.address, to)))
            && self
                .route
                .as_ref()
                .is_none_or(|route| waiting().any(|one| holds(&one.destination, route)))
            && self.reason.as_ref().is_none_or(|reason| {
                waiting().any(|one| one.reason.as_ref().is_some_and(|said| holds(said, reason)))
            })
    }
}

fn holds(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(&part.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::listing::Recipient;

    #[test]
    fn every_condition_must_hold() {
        let recipient = |address: &str, state: &str| Recipient {
            address: address.into(),
            state: state.into(),
            destination: "smtp://relay.example:25".into(),
            reason: Some("said 450 4.2.0 Greylisted".into()),
            ..Recipient::default()
        };
        let message = Message {
            queue_id: "A".into(),
            arrival_time: 1_000,
            message_size: 500,
            sender: "S@c.example".into(),
            recipients: vec![
                recipient("a@d.example", "pending"),
                recipient("b@d.example", "delivered"),
            ],
            ..Message::default()
        };
        let yes = |filter: Filter| filter.matches(&message, 1_600_000);
        let some = |text: &str| Some(text.to_owned());
        assert!(yes(Filter::default()));
        assert!(yes(Filter { from: some("@C.example"), to: some("a@"), ..Filter::default() }));
        assert!(!yes(Filter { from: some("@C.example"), to: some("b@"), ..Filter::default() }));
        assert!(!yes(Filter { from: some("<>"), ..Filter::default() }));
        assert!(yes(Filter { older_s: Some(600), larger: Some(500), ..Filter::default() }));
        assert!(!yes(Filter { older_s: Some(601), ..Filter::default() }));
        assert!(!yes(Filter { larger: Some(501), ..Filter::default() }));
        assert!(yes(Filter {
            reason: some("greylisted"),
            route: some("relay"),
            ..Filter::default()
        }));
        assert!(!yes(Filter { ids: vec!["B".into()], ..Filter::default() }));
    }
}
