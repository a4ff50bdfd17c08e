//! Keywords of SMTP extensions, as options name them.
//!
//! Promises that each is one of the registry's, in its spelling.

use super::value::{Kind, Site, Written, string};
use crate::registry::extension;

/// The keyword of a registered or bilateral extension.
pub(super) enum Keyword {}

impl Kind for Keyword {
    type Value = String;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<String> {
        let text = string(value, site, "a list of keywords in quotes")?;
        let Some(known) = extension::find(text) else {
            let right = "`angarium registry ls` shows all that there are";
            site.fault(value, &format!("has no keyword of an extension here: \"{text}\"; {right}"));
            return None;
        };
        Some(known.keyword.clone())
    }
}
