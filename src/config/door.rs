//! Kinds of values of the front door: lists of clients, names and addresses, texts of refusals, and
//! servers of the DNS.
//!
//! A list is read whole with the configuration, so that a session never waits for a file; each bad
//! line is a fault of that file. It has a rule a line: a pattern, an action, and a text if the action
//! takes one. A line that begins with `#` is a comment; elsewhere `#` may be part of a text.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use super::fault::{Fault, Source};
use super::value::{Kind, Named, Site, Written, string};
use crate::policy::access::{List, Subject};
use crate::policy::blocklist::Action;

/// So many bad lines of one list are told: a file that is no list at all has millions.
const FAULTS_MAX: usize = 20;

/// `"file:/absolute/path"`, or empty for none. The option has the name of what the list is about.
pub(super) enum AccessOf {}

impl Kind for AccessOf {
    type Value = Option<Arc<List>>;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Self::Value> {
        if value.get_ref().as_str() == Some("") {
            return Some(None);
        }
        let text = string(value, site, "\"file:/absolute/path\"")?;
        let path = text.strip_prefix("file:").filter(|path| Path::new(path).is_absolute());
        let Some(path) = path else {
            let forms = "it must be \"file:/absolute/path\", or \"\" for no list";
            site.fault(value, &format!("cannot be \"{text}\"; {forms}"));
            return None;
        };
        let named = Subject::NAMES.iter().find(|(name, _)| *name == site.option.name);
        let (_, subject) = *named?;
        match std::fs::read_to_string(path) {
            Ok(lines) => parse(subject, Source { name: path, text: &lines }, site.faults)
                .map(|list| Some(Arc::new(list))),
            Err(error) => {
                let right = "it must be a text in UTF-8, a rule a line, that this user can read";
                site.fault(value, &format!("cannot read {path} ({error}); {right}"));
                None
            }
        }
    }
}

fn parse(subject: Subject, source: Source<'_>, faults: &mut Vec<Fault>) -> Option<List> {
    let before = faults.len();
    let mut list = List::new(subject, source.name);
    for (number, line) in (1..).zip(source.text.lines()) {
        let entry = line.trim();
        if entry.is_empty() || entry.starts_with('#') {
            continue;
        }
        let Err(why) = list.add(entry, number) else { continue };
        let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
        let mut message = format!("`{entry}` is no rule; {why}");
        let last = faults.len() + 1 - before == FAULTS_MAX;
        if last {
            message.push_str("; the lines after this one were not looked at");
        }
        let (file, line) = (source.name.to_owned(), number as usize);
        faults.push(Fault { file, line, column, message });
        if last {
            break;
        }
    }
    list.finish();
    (faults.len() == before).then_some(list)
}

impl Named for Action {
    const NAMES: &'static [(&'static str, Self)] =
        &[("reject", Self::Reject), ("defer", Self::Defer)];
}

/// The text of a reply, with placeholders.
pub(super) enum Refusal {}

const PLACEHOLDERS: [&str; 3] = ["{client}", "{zone}", "{reason}"];

impl Kind for Refusal {
    type Value = String;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<String> {
        let text = string(value, site, "a text in quotes")?;
        if let Some(odd) = text.chars().find(|character| !matches!(character, ' '..='~')) {
            let odd = odd.escape_debug();
            site.fault(value, &format!("has `{odd}`; the text of a reply is one line of ASCII"));
            return None;
        }
        let rest = PLACEHOLDERS.iter().fold(text.to_owned(), |rest, known| rest.replace(known, ""));
        if rest.contains(['{', '}']) {
            let right = "a brace can only be part of {client}, {zone} or {reason}";
            site.fault(value, &format!("cannot be \"{text}\"; {right}"));
            return None;
        }
        Some(text.to_owned())
    }
}

/// An IP address, perhaps with a port; without one, that of the DNS.
pub(super) enum NameServer {}

impl Kind for NameServer {
    type Value = SocketAddr;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<SocketAddr> {
        let text = string(value, site, "an IP address in quotes")?;
        let bare = || text.parse().ok().map(|address: IpAddr| SocketAddr::new(address, 53));
        let server = text.parse().ok().or_else(bare);
        if server.is_none() {
            let right = "write an IP address, as \"127.0.0.1\" or \"[::1]:5353\"";
            site.fault(value, &format!("has no server here: \"{text}\"; {right}"));
        }
        server
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_list_is_not_told_line_by_line() {
        let text = "192.0.2.1 reject\nnonsense\n".repeat(1000);
        let mut faults = Vec::new();
        let source = Source { name: "list", text: &text };
        assert_eq!(parse(Subject::Client, source, &mut faults), None);
        assert_eq!(faults.len(), FAULTS_MAX);
        let told = faults.pop().unwrap().to_string();
        assert!(told.starts_with("list:40:1: `nonsense` is no rule; it has no action"), "{told}");
        assert!(told.ends_with("; the lines after this one were not looked at"), "{told}");
    }

    #[test]
    fn a_hash_is_a_comment_only_where_a_line_begins() {
        let text = "  # ours\n\n  192.0.2.1   reject see ticket #12\n";
        let mut faults = Vec::new();
        let source = Source { name: "list", text };
        let list = parse(Subject::Client, source, &mut faults).unwrap();
        assert_eq!((list.len(), faults), (1, Vec::new()));
    }
}
