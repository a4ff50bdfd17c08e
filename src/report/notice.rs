//! The part for people: what happened, what the other side said, and what can be done.
//!
//! Promises plain words that depend on the kind of trouble and never on a guess: where a status says
//! nothing, the words of the other side speak for themselves. Lines are short, and what was said
//! stands indented, with control characters shown as `?`.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::template::{Placeholder, Template};
use super::{Action, Other, Recipient, Report, Settings, dsn};
use crate::registry::status::EnhancedStatus;
use crate::syntax::parameter::dsn::OriginalRecipient;

/// Lines of prose are filled up to here.
const COLUMNS: usize = 72;
/// A word without spaces is cut here.
const WORD_CHARACTERS_MAX: usize = 200;
/// So many recipients of one trouble are named; the part for machines has all of them.
const NAMED_MAX: usize = 100;
/// Other messages are named as long as there are fewer lines about them.
const OTHERS_LINES_MAX: usize = 200;

const BUILT_IN: &str = "\
This is the mail system at {hostname}.

{introduction}

{recipients}

Your message was taken here on {arrived},
under the queue id {queue_id}. If you need help, write to the
postmaster of your own provider, and add this report.
";

/// Kinds of trouble that call for different advice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Trouble {
    NoMailbox,
    MailboxFull,
    TooLarge,
    Policy,
    Content,
    Unreachable,
    Expired,
    Late,
    Other,
}

impl Trouble {
    fn of(recipient: &Recipient) -> Self {
        let reason = &recipient.reason;
        if dsn::given(reason) == Some(EnhancedStatus::new(5, 4, 7)) {
            return Self::Late;
        }
        if recipient.expired {
            return if dsn::reply(reason).is_some() { Self::Expired } else { Self::Unreachable };
        }
        match dsn::given(reason).filter(|status| status.class == 5) {
            Some(EnhancedStatus { subject, detail, .. }) => match (subject, detail) {
                (1, 7 | 8) | (7, _) => Self::Policy,
                (1, 1 | 2 | 3 | 6 | 10) | (2, 1) => Self::NoMailbox,
                (2, 2) | (3, 1) => Self::MailboxFull,
                (2 | 3, 3) | (3, 4) => Self::TooLarge,
                (6, _) => Self::Content,
                _ => Self::Other,
            },
            None if reason.ends_with("in reply to the content)") => Self::Content,
            None => Self::Other,
        }
    }

    /// What it means, and what the sender can do.
    fn advice(self) -> &'static str {
        match self {
            Self::NoMailbox => {
                "There is no such mailbox. Look for a typing error in the address; if there is \
                 none, ask the recipient for the present one."
            }
            Self::MailboxFull => {
                "The mailbox is full. Tell the recipient by other means, and send the message \
                 again later."
            }
            Self::TooLarge => {
                "The message is too large for the other side. Send it with smaller attachments, \
                 or share them in another way."
            }
            Self::Policy => {
                "The other side does not allow it. Ask the recipient or their postmaster to let \
                 your mail in; sending it again will not help."
            }
            Self::Content => {
                "The other side refused what the message holds. Change it, above all attachments \
                 and links, before you send it again."
            }
            Self::Unreachable => {
                "The mail server of the recipient could not be reached for too long. Look for a \
                 typing error after the @; if there is none, send the message again later."
            }
            Self::Expired => {
                "The other side put the message off again and again, until its time was over. \
                 Send it again later, or reach the recipient by other means."
            }
            Self::Late => {
                "The time that was set for the delivery was over before it could be made. Send it \
                 again with more time, or reach the recipient by other means."
            }
            Self::Other => {
                "The other side refused the message. What it said may tell more; if not, ask the \
                 recipient by other means."
            }
        }
    }
}

/// The text, in lines that end in CRLF.
pub(super) fn write(report: &Report<'_>, settings: &Settings) -> String {
    static WORDS: LazyLock<Option<Template>> = LazyLock::new(|| Template::parse(BUILT_IN).ok());
    let value = |placeholder: Placeholder| match placeholder {
        Placeholder::Hostname => settings.hostname.clone(),
        Placeholder::Sender => report.to.to_string(),
        Placeholder::Arrived => (report.date)(report.original.arrived_ms),
        Placeholder::QueueId => report.original.id.to_owned(),
        Placeholder::Introduction => introduction(report),
        Placeholder::Recipients => body(report),
    };
    // A test reads the built-in text.
    let template = settings.template.as_ref().or(WORDS.as_ref());
    let mut text = template.map_or_else(|| body(report), |template| template.fill(value));
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text.replace('\n', "\r\n")
}

fn introduction(report: &Report<'_>) -> String {
    let mut out = String::new();
    let text = match report.action {
        Action::Failed => {
            "Your message could not be delivered to the recipients named below. It will not be \
             tried again; whoever is not named here is not affected."
                .to_owned()
        }
        Action::Delayed { until_ms } => format!(
            "Your message has not yet reached the recipients named below. You need not do \
             anything: it is tried again until {}, and you will hear if that fails.",
            (report.date)(until_ms)
        ),
        Action::Relayed => {
            "Your message was passed on for the recipients named below, to a mail server that \
             does not tell whether they get it."
                .to_owned()
        }
        Action::Delivered => "Your message was delivered to the recipients named below.".to_owned(),
    };
    fill(&text, "", &mut out);
    out.trim_end().to_owned()
}

/// Whom and what the report tells of.
fn body(report: &Report<'_>) -> String {
    let mut out = recipients(report);
    if !report.others.is_empty() {
        out.push_str("\n\n");
        out.push_str(&others(report.others, report.date));
    }
    out
}

fn others(others: &[Other], date: fn(u64) -> String) -> String {
    let mut out = String::new();
    let text = match others.len() {
        1 => "Another message of yours waits too. It is tried until its own time is over.".into(),
        count => format!(
            "{count} other messages of yours wait too. Each is tried until its own time is over."
        ),
    };
    fill(&text, "", &mut out);
    out.push('\n');
    let (mut named, mut lines) = (0, 0);
    for other in others {
        if lines >= OTHERS_LINES_MAX {
            break;
        }
        out.push_str(&format!("{}, taken on {}\n", other.id, date(other.arrived_ms)));
        for recipient in &other.recipients {
            out.push_str(&format!("    <{}>\n", printable(recipient)));
        }
        if other.more > 0 {
            out.push_str(&format!("    and {} more\n", other.more));
        }
        named += 1;
        lines += 1 + other.recipients.len() + usize::from(other.more > 0);
    }
    match others.len() - named {
        0 => {}
        1 => out.push_str("and another message\n"),
        left => out.push_str(&format!("and {left} more messages\n")),
    }
    out.truncate(out.trim_end().len());
    out
}

/// Those with the same reason stand together, in the order of the envelope.
fn recipients(report: &Report<'_>) -> String {
    let mut groups: Vec<(&Recipient, Vec<&Recipient>)> = Vec::new();
    let mut known: HashMap<(&str, bool), usize> = HashMap::new();
    for recipient in report.recipients {
        let group = (recipient.reason.as_str(), recipient.expired);
        let place = *known.entry(group).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, alike)) => alike.push(recipient),
            None => groups.push((recipient, vec![recipient])),
        }
    }
    let mut out = String::new();
    for (first, alike) in groups.iter().take(NAMED_MAX) {
        for recipient in alike.iter().take(NAMED_MAX) {
            let original = recipient.original.as_ref().map(OriginalRecipient::address);
            let original = original.filter(|original| *original != recipient.address);
            let said =
                original.map_or_else(String::new, |said| format!(" (you wrote to <{said}>)"));
            out.push_str(&printable(&format!("<{}>{said}", recipient.address)));
            out.push('\n');
        }
        if let Some(more) = alike.len().checked_sub(NAMED_MAX).filter(|more| *more > 0) {
            out.push_str(&format!("and {more} more\n"));
        }
        if report.action == Action::Failed {
            fill(Trouble::of(first).advice(), "    ", &mut out);
        }
        write_said(first, &mut out);
        out.push('\n');
    }
    if groups.len() > NAMED_MAX {
        out.push_str("More recipients are named in the part of this report for programs.\n");
    }
    out.truncate(out.trim_end().len());
    out
}

fn write_said(recipient: &Recipient, out: &mut String) {
    let (who, what) = match (dsn::reply(&recipient.reason), &recipient.remote) {
        (Some(said), Some(remote)) => (format!("{remote} said:"), said),
        (Some(said), None) => ("The other side said:".to_owned(), said),
        (None, _) => {
            let reason = recipient.reason.as_str();
            let words = EnhancedStatus::parse_prefix(reason).map_or(reason, |(_, words)| words);
            ("What happened:".to_owned(), words)
        }
    };
    fill(&who, "    ", out);
    fill(what, "        ", out);
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// Appends text as lines of up to 72 columns, each with the indent.
fn fill(text: &str, indent: &str, out: &mut String) {
    let text = printable(text);
    let mut line = String::new();
    let mut columns = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let characters: Vec<char> = word.chars().collect();
        for piece in characters.chunks(WORD_CHARACTERS_MAX) {
            if columns > 0 && indent.len() + columns + 1 + piece.len() > COLUMNS {
                out.push_str(&format!("{indent}{line}\n"));
                (line, columns) = (String::new(), 0);
            }
            if columns > 0 {
                line.push(' ');
                columns += 1;
            }
            line.extend(piece);
            columns += piece.len();
        }
    }
    out.push_str(&format!("{indent}{line}\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(reason: &str, expired: bool) -> Trouble {
        Trouble::of(&Recipient {
            address: "a@b.example".into(),
            original: None,
            expired,
            reason: reason.into(),
            remote: None,
            attempted_ms: None,
        })
    }

    #[test]
    fn the_built_in_words_are_a_template() {
        assert!(Template::parse(BUILT_IN).is_ok());
    }

    #[test]
    fn each_kind_of_trouble_is_known() {
        for (reason, expected) in [
            ("said 550 5.1.1 no (in reply to RCPT)", Trouble::NoMailbox),
            ("said 552 5.2.2 full (in reply to RCPT)", Trouble::MailboxFull),
            ("5.3.4 the message has 9 octets, the next hop takes 8", Trouble::TooLarge),
            ("said 550 5.7.1 no (in reply to MAIL)", Trouble::Policy),
            ("5.7.1 a route refuses it", Trouble::Policy),
            ("said 554 5.6.0 no (in reply to the content)", Trouble::Content),
            ("said 554 no (in reply to the content)", Trouble::Content),
            ("said 550 no (in reply to RCPT)", Trouble::Other),
            ("5.4.7 the time that was set for it is over", Trouble::Late),
        ] {
            assert_eq!(trouble(reason, false), expected, "{reason}");
        }
        assert_eq!(trouble("said 450 4.2.1 busy (in reply to RCPT)", true), Trouble::Expired);
        assert_eq!(trouble("can't connect", true), Trouble::Unreachable);
    }

    #[test]
    fn lines_are_filled_and_long_words_cut() {
        let mut out = String::new();
        fill(&format!("a\r\nb {} {}", "word ".repeat(40), "x".repeat(900)), "  ", &mut out);
        assert!(out.starts_with("  a??b word"));
        assert!(out.lines().all(|line| line.starts_with("  ") && line.len() <= 202));
    }
}
