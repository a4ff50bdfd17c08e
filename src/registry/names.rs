//! The small registries beside that of extensions: trace fields, LIMITS, priorities, SASL.
//!
//! Promises the registered names with their documents, as `names.toml` has them.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

const TABLE: &str = include_str!("names.toml");

/// A registry of names.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// What it is called here.
    pub id: String,
    /// What it is called elsewhere.
    pub title: String,
    /// How a name gets into it (RFC 8126).
    pub procedure: String,
    /// The documents that made it.
    pub references: Vec<String>,
    /// Its names.
    #[serde(rename = "word")]
    pub words: Vec<Word>,
}

/// A registered name.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    /// The name.
    pub name: String,
    /// Its documents.
    #[serde(default)]
    pub references: Vec<String>,
    /// What else is to be known.
    #[serde(default)]
    pub note: String,
    /// Of a SASL mechanism: COMMON, LIMITED or OBSOLETE.
    #[serde(default)]
    pub usage: String,
}

#[derive(Deserialize)]
struct Table {
    registry: Vec<Registry>,
}

/// All of them.
pub fn all() -> &'static [Registry] {
    static READ: LazyLock<Vec<Registry>> = LazyLock::new(|| {
        // Not input: the table is ours, and a test reads it.
        toml::from_str::<Table>(TABLE).expect("the table of names can be read").registry
    });
    &READ
}

/// The words of a registry by its id; none if there is no such registry.
pub fn words(id: &str) -> &'static [Word] {
    all().iter().find(|registry| registry.id == id).map_or(&[], |registry| &registry.words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registries_are_whole() {
        let counts: Vec<_> =
            all().iter().map(|registry| (&*registry.id, registry.words.len())).collect();
        assert_eq!(
            counts,
            [
                ("via", 2),
                ("with", 18),
                ("clause", 4),
                ("state", 9),
                ("literal-tag", 1),
                ("limit", 3),
                ("priority-policy", 3),
                ("sasl", 12),
            ]
        );
        for registry in all() {
            for (index, word) in registry.words.iter().enumerate() {
                let same = |other: &Word| other.name.eq_ignore_ascii_case(&word.name);
                assert_eq!(registry.words.iter().position(same), Some(index), "{}", word.name);
            }
        }
    }

    #[test]
    fn each_mechanism_has_its_usage() {
        for mechanism in words("sasl") {
            let known = ["COMMON", "LIMITED", "OBSOLETE"].contains(&&*mechanism.usage);
            assert!(known, "{}", mechanism.name);
        }
    }
}
