//! What the machine says beside the file: variables that override it, and the machine's name.
//!
//! `ANGARIUM__SECTION__KEY=value` overrides a key of a `[section]`, `ANGARIUM__KEY=value` one of
//! the top level. The value is read as TOML, and as a plain string if it is none, so that quotes
//! need not survive a shell. A variable of this form that names no option is a fault: it was
//! meant to do something. Sections in double brackets have no name to address one by, and cannot
//! be overridden.

use toml::Spanned;
use toml::de::{DeString, DeValue};

use super::declare::SECTIONS;
use super::fault::{Fault, nearest};
use super::option::{Described, Shape};
use super::value::Written;
use crate::syntax::domain::parse_name;

const PREFIX: &str = "ANGARIUM__";

/// The variables of the environment that concern the configuration, by name.
pub(super) fn ours(env: impl Iterator<Item = (String, String)>) -> Vec<(String, String)> {
    let mut ours: Vec<_> = env.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    ours
}

/// The values of variables, each with its option.
pub(super) struct Overrides<'a>(Vec<Override<'a>>);

struct Override<'a> {
    variable: &'a str,
    section: &'static str,
    key: &'static str,
    value: Written<'a>,
}

impl<'a> Overrides<'a> {
    /// Reads variables; what names no option is a fault.
    pub(super) fn read(variables: &'a [(String, String)], faults: &mut Vec<Fault>) -> Self {
        let mut overrides = Vec::new();
        for (variable, text) in variables {
            match option(variable) {
                Ok((section, key)) => {
                    let value = DeValue::parse(text).unwrap_or_else(|_| {
                        Spanned::new(0..0, DeValue::String(DeString::from(text.as_str())))
                    });
                    overrides.push(Override { variable, section, key, value });
                }
                Err(message) => {
                    faults.push(Fault { file: variable.clone(), line: 0, column: 0, message });
                }
            }
        }
        Self(overrides)
    }

    /// The variable for a key of a section (the top level: ""), and its value.
    pub(super) fn find(&self, section: &str, key: &str) -> Option<(&str, &Written<'a>)> {
        self.0
            .iter()
            .find(|given| given.section == section && given.key == key)
            .map(|given| (given.variable, &given.value))
    }
}

/// The section and key that a variable names.
fn option(variable: &str) -> Result<(&'static str, &'static str), String> {
    let path = variable.strip_prefix(PREFIX).unwrap_or(variable).to_ascii_lowercase();
    let (section, key) = path.split_once("__").unwrap_or(("", &path));
    let Some(described) = SECTIONS.iter().find(|described| described.name == section) else {
        return Err(no_option(&path));
    };
    if described.shape == Shape::Array {
        return Err(format!(
            "{} cannot be set from the environment; write it into the file",
            described.written()
        ));
    }
    match described.options.iter().find(|option| option.name == key) {
        Some(option) => Ok((described.name, option.name)),
        None => Err(no_option(&path)),
    }
}

fn no_option(path: &str) -> String {
    let known: Vec<String> = SECTIONS.iter().flat_map(variables).collect();
    let right = match nearest(path, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {PREFIX}{}?", near.to_ascii_uppercase()),
        None => "write ANGARIUM__KEY or ANGARIUM__SECTION__KEY".to_owned(),
    };
    format!("names no option; {right}")
}

fn variables(section: &Described) -> Vec<String> {
    section
        .options
        .iter()
        .filter_map(|option| match section.shape {
            Shape::Top => Some(option.name.to_owned()),
            Shape::Table => Some(format!("{}__{}", section.name, option.name)),
            Shape::Array => None,
        })
        .collect()
}

/// The name of this machine if it is a domain, or else `localhost`.
pub(super) fn machine_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .and_then(|name| parse_name(&name).ok())
        .unwrap_or_else(|| "localhost".to_owned())
}
