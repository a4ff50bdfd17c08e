//! The file that says since when addresses have their owners, read whole with the configuration.
//!
//! Each bad line is a fault of that file.

use std::path::Path;
use std::sync::Arc;

use super::fault::{Fault, Source};
use super::value::{Kind, Site, Written, string};
use crate::route::owners::Owners;
use crate::syntax::parameter::hold::parse_date;

/// `"file:/absolute/path"`, or empty for none.
pub(super) enum OwnersOf {}

impl Kind for OwnersOf {
    type Value = Arc<Owners>;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Arc<Owners>> {
        if value.get_ref().as_str() == Some("") {
            return Some(Arc::default());
        }
        let text = string(value, site, "\"file:/absolute/path\"")?;
        let path = text.strip_prefix("file:").filter(|path| Path::new(path).is_absolute());
        let Some(path) = path else {
            let forms = "it must be \"file:/absolute/path\", or \"\" for none";
            site.fault(value, &format!("cannot be \"{text}\"; {forms}"));
            return None;
        };
        match std::fs::read_to_string(path) {
            Ok(lines) => parse(Source { name: path, text: &lines }, site.faults).map(Arc::new),
            Err(error) => {
                let right = "it must be a text in UTF-8, an address and a date a line, that this \
                             user can read";
                site.fault(value, &format!("cannot read {path} ({error}); {right}"));
                None
            }
        }
    }
}

fn parse(source: Source<'_>, faults: &mut Vec<Fault>) -> Option<Owners> {
    let before = faults.len();
    let mut owners = Owners::default();
    for (line, text) in (1..).zip(source.text.lines()) {
        let words = text.split_whitespace().take_while(|word| !word.starts_with('#'));
        let why = match *words.collect::<Vec<_>>().as_slice() {
            [] => continue,
            [entry, date] => match parse_date(date) {
                Some(since_s) => owners.add(entry, since_s).err(),
                None => Some(format!("`{date}` is no date such as 2020-12-24T18:00:00Z")),
            },
            _ => Some("write an address, a local part or @domain, and a date".to_owned()),
        };
        if let Some(why) = why {
            let column = text.chars().take_while(|c| c.is_whitespace()).count() + 1;
            let message = format!("`{}` is no date of an owner; {why}", text.trim());
            faults.push(Fault { file: source.name.to_owned(), line, column, message });
        }
    }
    (faults.len() == before).then_some(owners)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Option<Owners>, Vec<String>) {
        let mut faults = Vec::new();
        let owners = parse(Source { name: "owners", text }, &mut faults);
        (owners, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_line_has_an_address_and_a_date() {
        let (owners, _) =
            read("# who\n\n joe 1970-01-01T00:01:00Z # first\n@x.org 1970-01-01T01:00:00+01:00\n");
        let owners = owners.unwrap();
        assert_eq!(owners.of_mailbox("joe", "x.org"), Some(60));
        assert_eq!((owners.of_domain("x.org"), owners.of_domain("y.org")), (Some(0), None));
    }

    #[test]
    fn each_bad_line_is_a_fault_of_the_file() {
        let (owners, faults) = read("joe\n  ann 2020-01-01\nb@x_y 2020-01-01T00:00:00Z\n");
        assert_eq!(owners, None);
        assert_eq!(
            faults,
            [
                "owners:1:1: `joe` is no date of an owner; write an address, a local part or \
                 @domain, and a date",
                "owners:2:3: `ann 2020-01-01` is no date of an owner; `2020-01-01` is no date such \
                 as 2020-12-24T18:00:00Z",
                "owners:3:1: `b@x_y 2020-01-01T00:00:00Z` is no date of an owner; the domain `x_y`: \
                 `_` is no letter, digit, hyphen or dot",
            ]
        );
    }
}
