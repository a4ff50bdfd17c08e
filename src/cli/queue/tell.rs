//! The queue in words: why a message waits, and what the whole queue is made of.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::cli::span;
use crate::control::client::{DeliverBy, Message, Part, Reasons, Route};

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
    if let Some(DeliverBy { time, late }) = &message.deliver_by {
        let left = match *time > now_ms / 1000 {
            true => format!("is to be delivered within {}", span(*time, now_ms / 1000)),
            false => format!("was to be delivered {} ago", span(now_ms / 1000, *time)),
        };
        let late = if late == "returned" { "it is returned" } else { "its sender is told" };
        text.push_str(&format!("it {left}; when late, {late}\n"));
    }
    if let Some(level) = message.priority {
        text.push_str(&format!("its priority is {level}\n"));
    }
    for part in &reasons.waiting {
        text.push_str(&why_part(part, now_ms / 1000));
    }
    for recipient in &message.recipients {
        match (&recipient.reason, recipient.state.as_str()) {
            (_, "delivered") => text.push_str(&format!("<{}> has it\n", recipient.address)),
            (Some(reason), "pending") if recipient.attempts > 0 => text.push_str(&format!(
                "<{}> was tried {} times; the last time it {reason}\n",
                recipient.address, recipient.attempts
            )),
            (_, "pending") => {
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
    let given_up = match part.deadline > now_s {
        true => {
            format!("given up after a failed attempt in {} or later", span(part.deadline, now_s))
        }
        false => "given up after the next failed attempt".to_owned(),
    };
    let (who, next) = (part.recipients.join(", "), next(part, now_s));
    format!("to {} for {who}: {next}; {given_up}\n", part.destination)
}

/// What a part waits for.
fn next(part: &Part, now_s: u64) -> String {
    let due = part.due.map(|due| span(due, now_s));
    let reason = part.reason.as_deref();
    match (part.waits_for.as_str(), due) {
        ("release", _) => "is held until `queue release`".to_owned(),
        ("pause", _) => "waits until the pause ends (`route resume`, or [queue] paused)".to_owned(),
        ("result", _) => "is being delivered".to_owned(),
        ("future-release", Some(due)) => {
            format!("is released in {due}, as its sender wants (`queue release` sends it now)")
        }
        ("time", Some(due)) => format!("is tried again in {due} (`queue retry` makes it now)"),
        ("outage", due) => {
            let lasts = part.since.map_or_else(String::new, |since| span(now_s, since));
            let look = match due {
                Some(due) => format!("is in {due} (`queue retry` makes it now)"),
                None => "is under way".to_owned(),
            };
            let reason = reason.unwrap_or("no reason was given");
            format!("can't be reached for {lasts}: {reason}; the next look {look}")
        }
        ("window", _) => {
            let count = part.under_way.unwrap_or(0);
            format!("waits until one of the {count} deliveries there ends: it bears no more by now")
        }
        ("rate", Some(due)) => match reason {
            Some(reason) => {
                format!("may go in {due}: its next hop takes no more before, as it said {reason}")
            }
            None => format!("may go in {due}, by the rate set for its next hop"),
        },
        (of @ ("route" | "tenant"), Some(due)) => {
            format!("may go in {due}, by the rate set for its {of}")
        }
        (of @ ("route" | "tenant"), None) => {
            format!("waits until a delivery of its {of} ends: it may have no more at a time")
        }
        _ => "waits for its turn: others to the same place are before it".to_owned(),
    }
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
    /// Recipients that wait where a next hop can't be reached.
    behind_outage: Vec<Behind>,
    /// Recipients that wait where a next hop taught a rate.
    behind_rate: Vec<Behind>,
    /// Up to so many minutes old; the last, older than all.
    by_age_min: Vec<(Option<u64>, usize)>,
}

/// What waits at a next hop that something is wrong with.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Behind {
    recipients: usize,
    destination: String,
    reason: String,
}

impl Summary {
    /// Counts messages; what is wrong at next hops, from `routes`.
    pub(super) fn of(messages: &[Message], routes: &[Route], now_ms: u64) -> Self {
        let mut summary = Self { messages: messages.len(), ..Self::default() };
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        let mut ages = [0; AGES_MIN.len() + 1];
        let mut waiting: BTreeMap<&str, usize> = BTreeMap::new();
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
                if message.queue_name != "hold" && recipient.state == "pending" {
                    *waiting.entry(&recipient.destination).or_default() += 1;
                }
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
        let outage = |route: &Route| route.outage.as_ref().map(|outage| outage.reply.clone());
        let rate = |route: &Route| route.rate.as_ref().map(|rate| rate.reply.clone());
        summary.behind_outage = behind(&waiting, routes, outage);
        summary.behind_rate = behind(&waiting, routes, rate);
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
        for (title, behind) in [
            ("where the next hop can't be reached", &self.behind_outage),
            ("where the next hop taught a rate", &self.behind_rate),
        ] {
            if !behind.is_empty() {
                text.push_str(&format!("\n{title}\n"));
            }
            for Behind { recipients, destination, reason } in behind {
                text.push_str(&format!("{recipients:>8}  {destination}: {reason}\n"));
            }
        }
        text.push_str("\nby age in minutes\n");
        for (limit, count) in &self.by_age_min {
            let limit = limit.map_or_else(|| "older".to_owned(), |limit| format!("to {limit}"));
            text.push_str(&format!("{count:>8}  {limit}\n"));
        }
        text
    }
}

/// What waits for the routes that `reason` names one of, those with the most first. Routes that
/// differ in the handling of mail alone have one next hop.
fn behind(
    waiting: &BTreeMap<&str, usize>,
    routes: &[Route],
    reason: impl Fn(&Route) -> Option<String>,
) -> Vec<Behind> {
    let reasons: BTreeMap<&str, String> = routes
        .iter()
        .filter_map(|route| Some((route.destination.as_str(), reason(route)?)))
        .collect();
    let behind = |(destination, reason): (&str, String)| {
        let recipients = *waiting.get(destination)?;
        Some(Behind { recipients, destination: destination.to_owned(), reason })
    };
    let mut behind: Vec<Behind> = reasons.into_iter().filter_map(behind).collect();
    behind.sort_by_key(|one| Reverse(one.recipients));
    behind
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
    use crate::control::client::{Learned, Outage, Recipient};

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
        let summary = Summary::of(&messages, &[], 100_000_000);
        assert_eq!(summary.by_reason[0], (2, "said 450 4.2.0 greylisted, id … for …".into()));
        assert_eq!(summary.by_destination["smtp://relay.example:25"], 3);
        assert_eq!(summary.by_age_min[0], (Some(5), 1));
        assert_eq!(summary.by_age_min[1], (Some(10), 1));
        assert_eq!(summary.by_age_min[9], (None, 1));
        assert!(summary.text().starts_with("3 messages, 30 octets, the oldest 1day 1h old\n"));
    }

    #[test]
    fn what_waits_where_something_is_wrong_is_told_with_the_reason() {
        let to = |destination: &str, queue_name: &str| {
            let mut message = message(60, "said 450 later");
            message.recipients[0].destination = destination.into();
            Message { queue_name: queue_name.into(), ..message }
        };
        let route = |destination: &str, outage: Option<&str>, rate: Option<&str>| Route {
            destination: destination.into(),
            outage: outage.map(|reply| Outage { reply: reply.into(), ..Outage::default() }),
            rate: rate.map(|reply| Learned { reply: reply.into(), ..Learned::default() }),
            ..Route::default()
        };
        let messages = [to("a", "active"), to("b", "deferred"), to("b", "active"), to("c", "hold")];
        let routes = [
            route("a", Some("refused"), Some("450 slow")),
            route("b", Some("timed out"), None),
            route("b", Some("timed out"), None),
            route("c", Some("only a held one"), None),
            route("d", Some("nothing waits"), None),
        ];
        let summary = Summary::of(&messages, &routes, 100_000_000);
        let text = summary.text();
        let outages = "\nwhere the next hop can't be reached\n       2  b: timed out\n       1  a: \
                       refused\n\nwhere the next hop taught a rate\n       1  a: 450 slow\n\nby age";
        assert!(text.contains(outages), "{text}");
        let none = Summary::of(&messages, &[], 100_000_000).text();
        assert!(!none.contains("next hop"), "{none}");
    }

    fn told(part: Part) -> String {
        let part = Part {
            destination: "smtp://relay.example:25".into(),
            recipients: vec!["a@d.example".into()],
            deadline: 100_000 + 3600,
            ..part
        };
        let message = message(60, "said 450 later");
        why(&Reasons { message, waiting: vec![part] }, 100_000_000)
    }

    fn part(waits_for: &str) -> Part {
        Part { waits_for: waits_for.into(), ..Part::default() }
    }

    #[test]
    fn tells_what_happens_next() {
        let text = told(Part { due: Some(100_090), ..part("time") });
        assert!(text.contains("is tried again in 1m 30s"), "{text}");
        assert!(text.contains("given up after a failed attempt in 1h or later"), "{text}");
        assert!(text.contains("was tried 2 times; the last time it said 450 later"), "{text}");
        assert!(told(part("release")).contains("held until `queue release`"));
    }

    #[test]
    fn tells_what_is_wrong_at_the_next_hop() {
        let reason = Some("450 wait".to_owned());
        let outage = Part { since: Some(99_700), reason: reason.clone(), ..part("outage") };
        let text = told(Part { due: Some(100_030), ..outage.clone() });
        assert!(text.contains("can't be reached for 5m: 450 wait; the next look is in 30s (`queue retry` makes it now);"));
        assert!(told(outage).contains("; the next look is under way;"));
        let text = told(Part { due: Some(100_003), reason, ..part("rate") });
        assert!(
            text.contains("may go in 3s: its next hop takes no more before, as it said 450 wait;")
        );
    }

    #[test]
    fn tells_which_limit_holds_it() {
        let after_3s = |waits_for| told(Part { due: Some(100_003), ..part(waits_for) });
        for (text, says) in [
            (after_3s("rate"), "may go in 3s, by the rate set for its next hop;"),
            (after_3s("route"), "may go in 3s, by the rate set for its route;"),
            (after_3s("tenant"), "may go in 3s, by the rate set for its tenant;"),
            (told(part("route")), "waits until a delivery of its route ends"),
            (told(part("tenant")), "waits until a delivery of its tenant ends"),
            (told(Part { under_way: Some(7), ..part("window") }), "one of the 7 deliveries there"),
            (told(part("turn")), "waits for its turn"),
        ] {
            assert!(text.contains(says), "{says:?} is not in {text}");
        }
    }
}
