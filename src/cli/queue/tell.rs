//! The queue in words: why a message waits, and what the whole queue is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::control::client::{Message, Part, Reasons};

/// Reasons told apart in a summary.
const REASONS_MAX: usize = 20;
/// The age buckets of `qshape`, in minutes; what is older is in the last.
const AGES_MIN: [u64; 9] = [5, 10, 20, 40, 80, 160, 320, 640, 1280];

/// What a message waits for, since when, the last reply, and what happens next.
pub(super) fn why(reasons: &Reasons, now_ms: u64) -> String {
    let message = &reasons.message;
    let age = span(now_ms / 1000, message.arrival_time);
    let mut text =
        format!("{} from <{}> was accepted {age} ago\n", message.queue_id, message.sender);
    for part in &reasons.waiting {
        text.push_str(&why_part(part, now_ms / 1000));
    }
    for recipient in &message.recipients {
        match (&recipient.reason, recipient.state.as_str()) {
            (_, "delivered") => text.push_str(&format!("<{}> has it\n", recipient.address)),
            (Some(reason), "pending") => text.push_str(&format!(
                "<{}> was tried {} times; the last time it {reason}\n",
                recipient.address, recipient.attempts
            )),
            (None, "pending") => {
                text.push_str(&format!("<{}> was not tried yet\n", recipient.address));
            }
            (reason, _) => {
                let reason = reason.as_deref().unwrap_or("no reason was given");
                let owed = if recipient.report_owed { "; its report is owed" } else { "" };
                text.push_str(&format!("<{}> failed: {reason}{owed}\n", recipient.address));
            }
        }
    }
    text
}

fn why_part(part: &Part, now_s: u64) -> String {
    let next = match (part.waits_for.as_str(), part.due) {
        ("release", _) => "is held until `queue release`".to_owned(),
        ("pause", _) => "waits until the pause ends (`route resume`, or [queue] paused)".to_owned(),
        ("result", _) => "is being delivered".to_owned(),
        ("time", Some(due)) => {
            format!("is tried again in {} (`queue retry` makes it now)", span(due, now_s))
        }
        _ => "waits for its turn: others to the same place are before it".to_owned(),
    };
    let given_up = match part.deadline > now_s {
        true => {
            format!("given up after a failed attempt in {} or later", span(part.deadline, now_s))
        }
        false => "given up after the next failed attempt".to_owned(),
    };
    let who = part.recipients.join(", ");
    format!("to {} for {who}: {next}; {given_up}\n", part.destination)
}

fn span(later_s: u64, earlier_s: u64) -> String {
    humantime::format_duration(Duration::from_secs(later_s.saturating_sub(earlier_s))).to_string()
}

/// Counts of queued messages.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    messages: usize,
    octets: u64,
    oldest_s: u64,
    by_queue: BTreeMap<String, usize>,
    by_destination: BTreeMap<String, usize>,
    by_reason: Vec<(usize, String)>,
    /// Up to so many minutes old; the last, older than all.
    by_age_min: Vec<(Option<u64>, usize)>,
}

impl Summary {
    pub(super) fn of(messages: &[Message], now_ms: u64) -> Self {
        let mut summary = Self { messages: messages.len(), ..Self::default() };
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let mut ages = [0; AGES_MIN.len() + 1];
        for message in messages {
            let age_s = (now_ms / 1000).saturating_sub(message.arrival_time);
            summary.octets += message.message_size;
            summary.oldest_s = summary.oldest_s.max(age_s);
            *summary.by_queue.entry(message.queue_name.clone()).or_default() += 1;
            let bucket = AGES_MIN.partition_point(|minutes| age_s > minutes * 60);
            if let Some(count) = ages.get_mut(bucket) {
                *count += 1;
            }
            for recipient in message.recipients.iter().filter(|one| one.state != "delivered") {
                *summary.by_destination.entry(recipient.destination.clone()).or_default() += 1;
                if let Some(reason) = &recipient.reason {
                    *reasons.entry(alike(reason)).or_default() += 1;
                }
            }
        }
        let limits = AGES_MIN.iter().copied().map(Some).chain([None]);
        summary.by_age_min = limits.zip(ages).collect();
        summary.by_reason = reasons.into_iter().map(|(reason, count)| (count, reason)).collect();
        summary.by_reason.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        summary.by_reason.truncate(REASONS_MAX);
        summary
    }

    pub(super) fn text(&self) -> String {
        let oldest = humantime::format_duration(Duration::from_secs(self.oldest_s));
        let mut text = format!(
            "{} messages, {} octets, the oldest {oldest} old\n",
            self.messages, self.octets
        );
        for (title, counts) in [("queue", &self.by_queue), ("destination", &self.by_destination)] {
            text.push_str(&format!("\nby {title}\n"));
            for (name, count) in counts {
                text.push_str(&format!("{count:>8}  {name}\n"));
            }
        }
        text.push_str("\nby reason\n");
        for (count, reason) in &self.by_reason {
            text.push_str(&format!("{count:>8}  {reason}\n"));
        }
        text.push_str("\nby age in minutes\n");
        for (limit, count) in &self.by_age_min {
            let limit = limit.map_or_else(|| "older".to_owned(), |limit| format!("to {limit}"));
            text.push_str(&format!("{count:>8}  {limit}\n"));
        }
        text
    }
}

/// Reasons that differ only in ids, times and addresses count as one: what holds a digit, or is
/// an address, becomes `…`, except reply codes and enhanced status.
fn alike(reason: &str) -> String {
    let word = |word: &str| {
        let bare = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        let status = bare.len() <= 9 && bare.bytes().all(|o| o.is_ascii_digit() || o == b'.');
        let telling =
            status || !(bare.contains(|c: char| c.is_ascii_digit()) || bare.contains('@'));
        if telling { word.to_owned() } else { "…".to_owned() }
    };
    reason.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::client::Recipient;

    fn message(age_s: u64, reason: &str) -> Message {
        Message {
            queue_name: "deferred".into(),
            queue_id: "A".into(),
            arrival_time: 100_000 - age_s,
            message_size: 10,
            recipients: vec![Recipient {
                address: "a@d.example".into(),
                state: "pending".into(),
                destination: "smtp://relay.example:25".into(),
                attempts: 2,
                reason: Some(reason.into()),
                ..Recipient::default()
            }],
            ..Message::default()
        }
    }

    #[test]
    fn alike_reasons_are_counted_together() {
        let messages = [
            message(60, "said 450 4.2.0 greylisted, id q1a2b3 for <a@d.example>"),
            message(400, "said 450 4.2.0 greylisted, id q9z8 for <b@d.example>"),
            message(90_000, "can't connect to 192.0.2.1:25: refused"),
        ];
        let summary = Summary::of(&messages, 100_000_000);
        assert_eq!(summary.by_reason[0], (2, "said 450 4.2.0 greylisted, id … for …".into()));
        assert_eq!(summary.by_destination["smtp://relay.example:25"], 3);
        assert_eq!(summary.by_age_min[0], (Some(5), 1));
        assert_eq!(summary.by_age_min[1], (Some(10), 1));
        assert_eq!(summary.by_age_min[9], (None, 1));
        assert!(summary.text().starts_with("3 messages, 30 octets, the oldest 1day 1h old\n"));
    }

    #[test]
    fn tells_what_happens_next() {
        let part = |waits_for: &str, due| Part {
            destination: "smtp://relay.example:25".into(),
            recipients: vec!["a@d.example".into()],
            waits_for: waits_for.into(),
            due,
            deadline: 100_000 + 3600,
        };
        let mut reasons = Reasons {
            message: message(60, "said 450 later"),
            waiting: vec![part("time", Some(100_090))],
        };
        let text = why(&reasons, 100_000_000);
        assert!(text.contains("is tried again in 1m 30s"), "{text}");
        assert!(text.contains("given up after a failed attempt in 1h or later"), "{text}");
        assert!(text.contains("was tried 2 times; the last time it said 450 later"), "{text}");
        reasons.waiting = vec![part("release", None)];
        assert!(why(&reasons, 100_000_000).contains("held until `queue release`"));
    }
}
