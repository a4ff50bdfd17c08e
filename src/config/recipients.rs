//! Which recipients of a domain are accepted: asked of the mailstore, any, or listed in a file.
//!
//! A list is read whole with the configuration, so that a session never waits for a file, and a
//! list that cannot be read is a fault before a socket opens. It has one address or local part a
//! line; `#` begins a comment.

use std::path::Path;
use std::sync::Arc;

use super::fault::{Fault, Source};
use super::value::{Kind, Site, Written};
use crate::route::recipients::{Listed, Recipients};

/// Reads the lines of a list; a bad line is a fault of that file.
fn parse(source: Source<'_>, faults: &mut Vec<Fault>) -> Option<Listed> {
    let before = faults.len();
    let mut listed = Listed::new(source.name);
    for (number, line) in source.text.lines().enumerate() {
        let entry = without_comment(line).trim();
        if entry.is_empty() {
            continue;
        }
        if let Err(why) = listed.add(entry) {
            let column = line.chars().take_while(|c| c.is_whitespace()).count() + 1;
            let message = format!("`{entry}` is no recipient; {why}");
            let file = source.name.to_owned();
            faults.push(Fault { file, line: number + 1, column, message });
        }
    }
    (faults.len() == before).then_some(listed)
}

/// The line up to a `#` that begins it or follows a blank; inside a local part `#` is an octet
/// like others (rfc5321bis 4.1.2, atext).
fn without_comment(line: &str) -> &str {
    let mut blank = true;
    for (at, character) in line.char_indices() {
        if character == '#' && blank {
            return line.get(..at).unwrap_or(line);
        }
        blank = character.is_whitespace();
    }
    line
}

/// `"probe"`, `"any"` or `"file:/absolute/path"`.
pub(super) enum RecipientsOf {}

const FORMS: &str = "it must be \"probe\", \"any\" or \"file:/absolute/path\"";

impl Kind for RecipientsOf {
    type Value = Recipients;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Recipients> {
        let Some(text) = value.get_ref().as_str() else {
            site.fault(value, &format!("is no string in quotes; {FORMS}"));
            return None;
        };
        match text {
            "probe" => return Some(Recipients::Probe),
            "any" => return Some(Recipients::Any),
            _ => {}
        }
        let Some(path) = text.strip_prefix("file:") else {
            site.fault(value, &format!("cannot be \"{text}\"; {FORMS}"));
            return None;
        };
        if !Path::new(path).is_absolute() {
            let right = "the path after `file:` must be absolute: it begins with `/`";
            site.fault(value, &format!("cannot be \"{text}\"; {right}"));
            return None;
        }
        match std::fs::read_to_string(path) {
            Ok(lines) => parse(Source { name: path, text: &lines }, site.faults)
                .map(|listed| Recipients::Listed(Arc::new(listed))),
            Err(error) => {
                let right = "it must be a file of one address or local part a line that this \
                             user can read";
                site.fault(value, &format!("cannot read {path} ({error}); {right}"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_holds_local_parts_and_addresses() {
        let text = "# all of us\nInfo\n  joe@Example.ORG  # the boss\na#b\n";
        let mut faults = Vec::new();
        let listed = parse(Source { name: "list", text }, &mut faults).unwrap();
        assert_eq!(listed.len(), 3);
        assert!(listed.contains("info", "any.example"));
        assert!(listed.contains("a#b", "any.example"));
        assert!(listed.contains("JOE", "example.org"));
        assert!(!listed.contains("joe", "other.example"));
        assert!(faults.is_empty());
    }

    #[test]
    fn each_bad_line_is_a_fault_of_the_list() {
        let text = "fine\n  two words\njoe@ex_ample\n@example.org\n";
        let mut faults = Vec::new();
        assert_eq!(parse(Source { name: "list", text }, &mut faults), None);
        let lines: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            lines,
            [
                "list:2:3: `two words` is no recipient; the local part `two words`: ` ` cannot \
                 stand in it",
                "list:3:1: `joe@ex_ample` is no recipient; the domain `ex_ample`: `_` is no \
                 letter, digit, hyphen or dot",
                "list:4:1: `@example.org` is no recipient; the local part ``: a local part \
                 cannot be empty",
            ]
        );
    }
}
