//! The file with the words of reports to senders, read whole with the configuration.
//!
//! Each fault in it is a fault of that file, with line and column; a file that can't be read is a
//! fault of the option that names it.

use std::path::Path;

use super::fault::{Fault, Source};
use super::value::{Kind, Site, Written};
use crate::report::template::Template;

/// More than that is no text for a report.
const OCTETS_MAX: usize = 64 * 1024;

/// `"/absolute/path"`, or empty for the built-in words.
pub(super) enum TemplateOf {}

impl Kind for TemplateOf {
    type Value = Option<Template>;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Option<Template>> {
        let Some(path) = value.get_ref().as_str() else {
            site.fault(value, "is no string in quotes; it must be an absolute path in quotes");
            return None;
        };
        if path.is_empty() {
            return Some(None);
        }
        if !Path::new(path).is_absolute() {
            site.fault(value, &format!("cannot be \"{path}\"; it must begin with `/`"));
            return None;
        }
        match std::fs::read_to_string(path) {
            Ok(text) if text.len() > OCTETS_MAX => {
                site.fault(value, &format!("cannot be {path}: it is longer than 64 KiB"));
                None
            }
            Ok(text) => parse(Source { name: path, text: &text }, site.faults).map(Some),
            Err(error) => {
                let right = "it must be a text in UTF-8 that this user can read";
                site.fault(value, &format!("cannot read {path} ({error}); {right}"));
                None
            }
        }
    }
}

fn parse(source: Source<'_>, faults: &mut Vec<Fault>) -> Option<Template> {
    match Template::parse(source.text) {
        Ok(template) => Some(template),
        Err(errors) => {
            let found = errors.into_iter().map(|error| source.fault(error.offset, error.message));
            faults.extend(found);
            None
        }
    }
}
