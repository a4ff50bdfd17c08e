//! Files of registry entries: the operator's own, read whole with the configuration, and those that
//! `angarium registry` is asked about.
//!
//! Each fault in one is a fault of that file, with line and column; a file that can't be read is a
//! fault of the option that names it.

use std::path::Path;

use toml::de::DeTable;

use super::fault::{Fault, Faults, Source};
use super::value::{Kind, Site, Written};
use crate::registry::extension::Extension;
use crate::registry::file::{self, File};

/// Reads a file of entries: with a `[registry]` a whole registry, without it local entries.
///
/// # Errors
/// Every fault, in the order of the file.
pub fn parse_registry(name: &str, text: &str) -> Result<File, Faults> {
    parse(Source { name, text }).map_err(Faults)
}

fn parse(source: Source<'_>) -> Result<File, Vec<Fault>> {
    let (root, errors) = DeTable::parse_recoverable(source.text);
    if !errors.is_empty() {
        return Err(source.syntax(&errors));
    }
    file::read(root.get_ref()).map_err(|faults| {
        faults.into_iter().map(|fault| source.fault(fault.offset, fault.message)).collect()
    })
}

/// `"/absolute/path"` of a file of local entries, or empty for none.
pub(super) enum LocalEntries {}

impl Kind for LocalEntries {
    type Value = Vec<Extension>;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Vec<Extension>> {
        let Some(path) = value.get_ref().as_str() else {
            site.fault(value, "is no string in quotes; it must be an absolute path in quotes");
            return None;
        };
        if path.is_empty() {
            return Some(Vec::new());
        }
        if !Path::new(path).is_absolute() {
            site.fault(value, &format!("cannot be \"{path}\"; it must begin with `/`"));
            return None;
        }
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let right = "it must be a file in TOML that this user can read";
                site.fault(value, &format!("cannot read {path} ({error}); {right}"));
                return None;
            }
        };
        match parse(Source { name: path, text: &text }) {
            Ok(file) if file.about.is_some() => {
                let right = "without [registry], which is for whole registries";
                site.fault(value, &format!("cannot be {path}; it must be a file {right}"));
                None
            }
            Ok(file) => Some(file.extensions),
            Err(faults) => {
                site.faults.extend(faults);
                None
            }
        }
    }
}
