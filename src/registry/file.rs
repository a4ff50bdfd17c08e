//! A file of entries: the table itself, another one like it, or an operator's own entries.
//!
//! Promises every fault with its place, and entries only of a file without any. Unknown keys are
//! refused: a misspelt `change_controller` would be one that nobody has.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::extension::{self, Extension, RegMethod, Status, Support, head};
use super::rules;
use super::verb::Verb;

/// What a file says of itself and its registry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct About {
    /// The name of the registry.
    pub name: String,
    /// Where it is published.
    pub location: String,
    /// Of which day it is.
    pub updated: String,
    /// What the reference `rfc5321bis` is called now.
    pub rfc5321bis: String,
}

/// A file of entries.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct File {
    /// None in a file of local entries.
    #[serde(rename = "registry", skip_serializing_if = "Option::is_none")]
    pub about: Option<About>,
    /// The entries, in order.
    #[serde(rename = "extension")]
    pub extensions: Vec<Extension>,
}

/// What is wrong in a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// Where, in octets from the beginning.
    pub offset: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

const ABOUT_KEYS: &[&str] = &["name", "location", "updated", "rfc5321bis"];

/// The keys of an entry.
pub(super) const KEYS: &[&str] = &[
    "keyword",
    "description",
    "status",
    "references",
    "reg_method",
    "contact",
    "change_controller",
    "note",
    "ehlo_parameters",
    "verbs",
    "mail_parameters",
    "rcpt_parameters",
    "length_added",
    "iana_submission",
    "submission_rfc",
    "support",
    "reason",
];

/// Reads a whole registry from its text.
///
/// # Errors
/// Every fault; of one that is no TOML the first.
pub fn parse_table(text: &str) -> Result<File, Vec<Fault>> {
    match DeTable::parse(text) {
        Ok(root) => read(root.get_ref()),
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            Err(vec![Fault { offset, message: format!("this is not TOML: {}", error.message()) }])
        }
    }
}

/// Reads a file: with a `[registry]` a whole one, without it an operator's own entries, which are
/// judged beside the built-in ones.
///
/// # Errors
/// Every fault.
pub fn read(root: &DeTable<'_>) -> Result<File, Vec<Fault>> {
    let mut reading = Reading { faults: Vec::new() };
    let about = root.get("registry").map(|value| reading.about(value));
    let local = about.is_none();
    for key in root.keys().filter(|key| !["registry", "extension"].contains(&&**key.get_ref())) {
        let message =
            format!("unknown key `{}`; there are [[extension]] and [registry]", key.get_ref());
        reading.fault(key.span().start, message);
    }
    let mut extensions = Vec::new();
    let listed = root.get("extension");
    for value in
        listed.and_then(|value| value.get_ref().as_array()).into_iter().flat_map(|a| a.iter())
    {
        let entry = reading.entry(value, local, &extensions);
        extensions.extend(entry);
    }
    if let Some(value) = listed.filter(|value| value.get_ref().as_array().is_none()) {
        reading.fault(value.span().start, "there can be several; write [[extension]]".to_owned());
    }
    reading.faults.sort_by_key(|fault| fault.offset);
    let file = File { about, extensions };
    if reading.faults.is_empty() { Ok(file) } else { Err(reading.faults) }
}

struct Reading {
    faults: Vec<Fault>,
}

impl Reading {
    fn fault(&mut self, offset: usize, message: String) {
        self.faults.push(Fault { offset, message });
    }

    fn about(&mut self, value: &Spanned<DeValue<'_>>) -> About {
        let mut row = self.row(value, "[registry]", ABOUT_KEYS);
        About {
            name: row.needed("name"),
            location: row.needed("location"),
            updated: row.needed("updated"),
            rfc5321bis: row.needed("rfc5321bis"),
        }
    }

    fn entry(
        &mut self,
        value: &Spanned<DeValue<'_>>,
        local: bool,
        before: &[Extension],
    ) -> Option<Extension> {
        let mut row = self.row(value, "[[extension]]", KEYS);
        let entry = row.extension(local)?;
        for fault in rules::faults_alone(&entry) {
            row.add(fault);
        }
        row.judge_place(&entry, local, before);
        Some(entry)
    }

    fn row<'a>(
        &'a mut self,
        value: &'a Spanned<DeValue<'a>>,
        header: &str,
        keys: &[&str],
    ) -> Row<'a> {
        let start = value.span().start;
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.fault(start, format!("it is a section; write {header} and its keys below"));
        }
        for key in table.into_iter().flat_map(|table| table.keys()) {
            if !keys.contains(&&**key.get_ref()) {
                let known = keys.join(", ");
                let message = format!("unknown key `{}`; its keys are {known}", key.get_ref());
                self.fault(key.span().start, message);
            }
        }
        Row { table, start, reading: self }
    }
}

/// One table while it is read.
struct Row<'a> {
    table: Option<&'a DeTable<'a>>,
    start: usize,
    reading: &'a mut Reading,
}

impl<'a> Row<'a> {
    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.and_then(|table| table.get(key))
    }

    /// Reports a fault of a key, or of the whole table where it is not there.
    fn fault(&mut self, key: &str, message: String) {
        let offset = self.get(key).map_or(self.start, |value| value.span().start);
        self.reading.fault(offset, message);
    }

    /// Reports a broken rule, unless the value could not even be read.
    fn add(&mut self, fault: rules::Fault) {
        let offset = self.get(fault.field).map(|value| value.span().start);
        if !self.reading.faults.iter().any(|known| Some(known.offset) == offset) {
            self.fault(fault.field, format!("`{}` {}", fault.field, fault.why));
        }
    }

    /// A string; empty if it is not there.
    fn text(&mut self, key: &str) -> String {
        let Some(value) = self.get(key) else { return String::new() };
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.fault(key, format!("`{key}` is no string in quotes"));
        }
        text.unwrap_or_default().to_owned()
    }

    /// A string that must be there.
    fn needed(&mut self, key: &str) -> String {
        let text = self.text(key);
        if text.trim().is_empty() {
            self.fault(key, format!("`{key}` must be there"));
        }
        text
    }

    /// One of a few words.
    fn word<T: Copy + std::fmt::Display>(&mut self, key: &str, known: &[T]) -> Option<T> {
        let text = self.needed(key);
        let found = known.iter().copied().find(|word| word.to_string() == text);
        if found.is_none() && !text.is_empty() {
            let words: Vec<String> = known.iter().map(|word| format!("\"{word}\"")).collect();
            self.fault(key, format!("`{key}` cannot be \"{text}\"; it is {}", words.join(", ")));
        }
        found
    }

    /// A list of strings.
    fn list(&mut self, key: &str) -> Vec<String> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let list = value.get_ref().as_array().map(|array| {
            array.iter().map(|value| value.get_ref().as_str().map(str::to_owned)).collect()
        });
        let strings: Option<Vec<String>> = list.flatten();
        if strings.is_none() {
            self.fault(key, format!("`{key}` is no list of strings, as in [\"RFC1870\"]"));
        }
        strings.unwrap_or_default()
    }

    /// Octets by verb.
    fn lengths(&mut self, key: &str) -> BTreeMap<String, usize> {
        let Some(value) = self.get(key) else { return BTreeMap::new() };
        let lengths = value.get_ref().as_table().map(|table| {
            table
                .iter()
                .map(|(verb, value)| {
                    let octets = value.get_ref().as_integer()?.as_str().parse().ok()?;
                    Some((verb.get_ref().to_string(), octets))
                })
                .collect()
        });
        let lengths: Option<BTreeMap<String, usize>> = lengths.flatten();
        if lengths.is_none() {
            self.fault(
                key,
                format!("`{key}` is no table of octets by verb, as in {{ MAIL = 26 }}"),
            );
        }
        lengths.unwrap_or_default()
    }

    /// The entry, unless one of its words can't be read.
    fn extension(&mut self, local: bool) -> Option<Extension> {
        let status = if local && self.get("status").is_none() {
            Some(Status::Active)
        } else {
            self.word("status", Status::ALL)
        };
        let support = if local && self.get("support").is_none() {
            Some(Support::Refused)
        } else {
            self.word("support", Support::ALL)
        };
        let method = self.word("reg_method", RegMethod::ALL);
        Some(Extension {
            keyword: self.text("keyword"),
            description: self.text("description"),
            references: self.list("references"),
            contact: self.text("contact"),
            change_controller: self.text("change_controller"),
            note: self.text("note"),
            ehlo_parameters: self.text("ehlo_parameters"),
            verbs: self.list("verbs"),
            mail_parameters: self.list("mail_parameters"),
            rcpt_parameters: self.list("rcpt_parameters"),
            length_added: self.lengths("length_added"),
            iana_submission: self.text("iana_submission"),
            submission_rfc: self.text("submission_rfc"),
            reason: self.text("reason"),
            status: status?,
            support: support?,
            method: method?,
        })
    }

    /// Judges an entry in its file: no keyword comes twice, and a local one claims nothing that is
    /// not its own.
    fn judge_place(&mut self, entry: &Extension, local: bool, before: &[Extension]) {
        let keyword = &entry.keyword;
        if before.iter().any(|other| other.is(keyword)) {
            self.fault("keyword", format!("`{keyword}` is there already; a keyword is one entry"));
        }
        if !local {
            for key in ["iana_submission", "submission_rfc", "reason"] {
                self.needed(key);
            }
            return;
        }
        if let Some(known) = extension::find(keyword) {
            let what = if known.is_bilateral() { "known" } else { "registered" };
            self.fault("keyword", format!("`{keyword}` is {what} already; take another keyword"));
        }
        if entry.method != RegMethod::Fcfs {
            self.fault("reg_method", "`reg_method` of a local entry must be \"FCFS\"".to_owned());
        }
        if entry.support != Support::Refused {
            let why = "`support` of a local entry must be \"refused\": nothing here serves it";
            self.fault("support", why.to_owned());
        }
        for form in entry.verbs.iter().filter(|form| taken(head(form), before)) {
            let verb = head(form);
            self.fault("verbs", format!("the verb `{verb}` belongs to something else already"));
        }
    }
}

/// Whether a verb is of the base protocol, of the table or of one of these entries.
fn taken(verb: &str, before: &[Extension]) -> bool {
    let has = |row: &Extension| row.verb_names().any(|name| name.eq_ignore_ascii_case(verb));
    Verb::named(verb).is_some() || extension::all().iter().chain(before).any(has)
}
