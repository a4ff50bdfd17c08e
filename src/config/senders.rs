//! The file that says as whom users may send, read whole with the configuration.
//!
//! Each bad line is a fault of that file.

use std::path::Path;

use super::fault::{Fault, Source};
use super::value::{Kind, Site, Written, string};
use crate::policy::sender::SenderMap;

/// `"file:/absolute/path"`, or empty for none.
pub(super) enum SenderMapOf {}

impl Kind for SenderMapOf {
    type Value = SenderMap;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<SenderMap> {
        if value.get_ref().as_str() == Some("") {
            return Some(SenderMap::default());
        }
        let text = string(value, site, "\"file:/absolute/path\"")?;
        let path = text.strip_prefix("file:").filter(|path| Path::new(path).is_absolute());
        let Some(path) = path else {
            let forms = "it must be \"file:/absolute/path\", or \"\" for nothing";
            site.fault(value, &format!("cannot be \"{text}\"; {forms}"));
            return None;
        };
        match std::fs::read_to_string(path) {
            Ok(lines) => parse(Source { name: path, text: &lines }, site.faults),
            Err(error) => {
                let right = "it must be a text in UTF-8, a login and its addresses a line, that \
                             this user can read";
                site.fault(value, &format!("cannot read {path} ({error}); {right}"));
                None
            }
        }
    }
}

fn parse(source: Source<'_>, faults: &mut Vec<Fault>) -> Option<SenderMap> {
    let before = faults.len();
    let mut map = SenderMap::default();
    for (line, text) in (1..).zip(source.text.lines()) {
        let mut words = text.split_whitespace().take_while(|word| !word.starts_with('#'));
        let Some(login) = words.next() else { continue };
        let mut fault = |word: &str, message: String| {
            let at = word.as_ptr() as usize - text.as_ptr() as usize;
            let column = text.get(..at).map_or(1, |before| before.chars().count() + 1);
            faults.push(Fault { file: source.name.to_owned(), line, column, message });
        };
        let mut granted = false;
        for address in words {
            granted = true;
            if let Err(why) = map.grant(login, address) {
                fault(address, format!("`{address}` is nothing to send as; {why}"));
            }
        }
        if !granted {
            fault(login, format!("`{login}` has no address; write it behind the login"));
        }
    }
    (faults.len() == before).then_some(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::sender::Senders;

    fn read(text: &str) -> (Option<SenderMap>, Vec<String>) {
        let mut faults = Vec::new();
        let map = parse(Source { name: "map", text }, &mut faults);
        (map, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_line_grants_a_login_its_addresses() {
        let (map, _) = read("# who\n\njoe@x.org  info@x.org *@y.org # both\napp any\n");
        let senders = Senders { map: map.unwrap(), ..Senders::default() };
        assert!(senders.allows("joe@x.org", "info", "x.org"));
        assert!(senders.allows("joe@x.org", "a", "y.org"));
        assert!(!senders.allows("joe@x.org", "both", "x.org"));
        assert!(senders.allows("app", "a", "z.org"));
    }

    #[test]
    fn each_bad_word_is_a_fault_of_the_file() {
        let (map, faults) = read("joe\n  ann a@x.org all\n");
        assert_eq!(map, None);
        assert_eq!(
            faults,
            [
                "map:1:1: `joe` has no address; write it behind the login",
                "map:2:15: `all` is nothing to send as; write user@domain, *@domain, *@*.domain \
                 or any",
            ]
        );
    }
}
