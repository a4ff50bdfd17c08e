//! What a line of a list asks for: `accept`, `reject`, `defer` or `hold`, and a text.
//!
//! Promises that a refusal has a code that may answer RCPT and a registered enhanced status of its
//! class, and that its text is what a reply may hold; all else is refused with what would be right.

use std::sync::Arc;

use super::Subject;
use crate::registry::reply::{self, Reply};
use crate::registry::status::EnhancedStatus;

/// What is done with whom a line matches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// The rules that come after are skipped.
    Accept,
    /// This is the reply.
    Refuse(Arc<Reply>),
    /// The message is taken, and kept for the operator; why, for the log.
    Hold(Arc<str>),
}

const FORMS: &str =
    "write `accept`, `reject`, `defer` or `hold`, and a text behind it if you want one";

/// Reads `accept`, `reject [550|553|554 [5.x.y]] [text]`, `defer [text]` or `hold [reason]`. The
/// error says what would be right.
pub fn parse_action(subject: Subject, text: &str) -> Result<Action, String> {
    let (word, rest) = split_word(text);
    match word.to_ascii_lowercase().as_str() {
        "accept" if rest.is_empty() => Ok(Action::Accept),
        "accept" => Err("`accept` says nothing to the client: remove the text behind it".into()),
        "reject" => {
            let (reply, text) = rejection(rest)?;
            refuse(&reply, text, &format!("{} is refused here", subject.meant()))
        }
        "defer" => {
            let usual = format!("{} is not taken now, try again later", subject.meant());
            refuse(&reply::ACCESS_DEFERRED, rest, &usual)
        }
        "hold" => Ok(Action::Hold(rest.into())),
        "" => Err(format!("it has no action; {FORMS}")),
        "ok" | "permit" | "relay" | "pass" => {
            Err("write `accept`; it never grants relaying".into())
        }
        code if code.len() == 3 && code.starts_with('5') => Err(format!("write `reject {text}`")),
        code if code.len() == 3 && code.starts_with('4') => Err(format!("write `defer {rest}`")),
        _ => Err(format!("`{word}` is no action; {FORMS}")),
    }
}

fn refuse(reply: &Reply, text: &str, usual: &str) -> Result<Action, String> {
    if let Some(odd) = text.chars().find(|character| !matches!(character, ' '..='~')) {
        return Err(format!("`{odd}` cannot stand in a reply: its text is ASCII"));
    }
    let text = if text.is_empty() { usual } else { text };
    Ok(Action::Refuse(Arc::new(reply.with_text(text.to_owned()))))
}

/// The reply of a rejection, by the code and status that it may begin with, and the rest.
fn rejection(text: &str) -> Result<(Reply, &str), String> {
    let (word, rest) = split_word(text);
    if word.len() != 3 || !word.bytes().all(|octet| octet.is_ascii_digit()) {
        return with_status(reply::ACCESS_DENIED, text);
    }
    let mut reply = reply::ACCESS_DENIED;
    reply.code = match word {
        "550" => 550,
        "553" => 553,
        "554" => 554,
        _ => return Err(format!("`{word}` can't refuse a recipient; write 550, 553 or 554")),
    };
    with_status(reply, rest)
}

/// The reply with the enhanced status that the text begins with, if it does.
fn with_status(mut reply: Reply, text: &str) -> Result<(Reply, &str), String> {
    let Some((status, rest)) = EnhancedStatus::parse_prefix(text) else { return Ok((reply, text)) };
    if status.class != 5 {
        return Err(format!("`{status}` is not of class 5: to refuse for now, write `defer`"));
    }
    if status.name().is_none() {
        return Err(format!("`{status}` is not registered; write 5.7.1, or leave it out"));
    }
    reply.status = Some(status);
    Ok((reply, rest.trim_start()))
}

/// The first word, and what is behind it.
pub(super) fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(char::is_whitespace).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    (word, rest.trim_start())
}
