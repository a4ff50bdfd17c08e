//! The rules of updates (rfc5321bis 8.1.1, RFC 8126 2.3 and 4.4), as a machine over entries.
//!
//! Promises for any change of an entry one ruling with its reason: it is free, it needs the consent
//! of somebody, or it never may be. IETF stays IETF, Legacy stays as it is, FCFS is changed by its
//! controller and becomes IETF only with the IETF's approval and its owner's consent, and what is
//! on the wire keeps its meaning. Who has consented is for the caller to know.

use serde::Serialize;

use super::extension::{Extension, RegMethod};
use super::rules;
use super::word::words;

words! {
    /// Whose consent a change needs.
    Consent {
        /// The IETF has approved a document that says so.
        Ietf = "the approval of the IETF",
        /// The change controller of the entry asks for it, or allows it.
        Controller = "the leave of the change controller",
        /// Whoever registered the entry agrees.
        Owner = "the consent of the owner",
    }
}

/// Fields that the registry does not have: they are this server's own.
const OWN: &[&str] = &["status", "submission_rfc", "support", "reason"];

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// A new entry.
    New(&'a Extension),
    /// An entry is taken out.
    Gone(&'a Extension),
    /// The first becomes the second.
    Changed(&'a Extension, &'a Extension),
}

/// What the rules say to a change, with the reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ruling {
    /// Whether it may ever be.
    pub possible: bool,
    /// Whose consent it needs then.
    pub needs: &'static [Consent],
    /// Why.
    pub why: String,
}

impl Ruling {
    fn with(needs: &'static [Consent], why: &str) -> Self {
        Self { possible: true, needs, why: why.to_owned() }
    }

    fn never(why: impl Into<String>) -> Self {
        Self { possible: false, needs: &[], why: why.into() }
    }

    /// Whether these consents are enough.
    pub fn allows(&self, given: &[Consent]) -> bool {
        self.possible && self.needs.iter().all(|need| given.contains(need))
    }
}

impl Change<'_> {
    /// The ruling, in a registry that has these entries before.
    pub fn judge(self, before: &[Extension]) -> Ruling {
        match self {
            Change::New(entry) if before.iter().any(|other| other.is(&entry.keyword)) => {
                Ruling::never("the keyword is there already, in whatever letter case")
            }
            Change::New(entry) => judge_new(entry),
            Change::Gone(entry) if entry.is_bilateral() => {
                Ruling::with(&[], "it is not registered: two servers agree on it")
            }
            Change::Gone(_) => {
                Ruling::never("an entry stays; what is out of use becomes historic or obsolete")
            }
            Change::Changed(old, new) => judge_changed(old, new),
        }
    }
}

fn judge_new(entry: &Extension) -> Ruling {
    if let Some(fault) = rules::faults_alone(entry).first() {
        return Ruling::never(format!("{} {}", fault.field, fault.why));
    }
    match entry.method {
        RegMethod::Ietf => Ruling::with(&[Consent::Ietf], "an entry of the IETF has its document"),
        RegMethod::Fcfs => Ruling::with(&[], "it is well formed and no duplicate: first come"),
        RegMethod::Legacy => Ruling::never("Legacy is for what was there before the two models"),
        RegMethod::Bilateral => Ruling::with(&[], "it is not registered: two servers agree on it"),
    }
}

fn judge_changed(old: &Extension, new: &Extension) -> Ruling {
    let fields = fields(old, new);
    if !old.is(&new.keyword) {
        return Ruling::never("a keyword is never renamed; register a new one");
    }
    if fields.iter().all(|field| OWN.contains(field)) {
        return Ruling::with(&[], "what this server does with it is its own matter");
    }
    if let (false, Some(fault)) = (frozen(old), rules::faults_alone(new).first()) {
        return Ruling::never(format!("{} {}", fault.field, fault.why));
    }
    match (old.method, new.method) {
        (RegMethod::Legacy, _) => Ruling::never("a Legacy entry stays as it is"),
        (RegMethod::Bilateral, RegMethod::Bilateral) => {
            Ruling::with(&[], "it is not registered: two servers agree on it")
        }
        (RegMethod::Bilateral, _) => judge_new(new),
        (_, RegMethod::Legacy) => Ruling::never("Legacy is for what was there before the models"),
        (_, RegMethod::Bilateral) => Ruling::never("what is registered stays registered"),
        (RegMethod::Ietf, RegMethod::Fcfs) => Ruling::never("an entry of the IETF stays with it"),
        (RegMethod::Ietf, RegMethod::Ietf) if fields == ["contact"] => {
            Ruling::with(&[Consent::Controller], "the contact needs no review")
        }
        (RegMethod::Ietf, RegMethod::Ietf) => {
            Ruling::with(&[Consent::Ietf], "an entry of the IETF is changed by its review")
        }
        (RegMethod::Fcfs, method) => match broken(old, new) {
            Some(why) => Ruling::never(why),
            None if method == RegMethod::Ietf => Ruling::with(
                &[Consent::Ietf, Consent::Owner],
                "a document takes it over, and whoever registered it agrees",
            ),
            None => Ruling::with(&[Consent::Controller], "its controller changes it"),
        },
    }
}

fn frozen(entry: &Extension) -> bool {
    entry.method == RegMethod::Legacy
}

/// What peers would no longer understand (RFC 8126 4.4): more may be added, nothing taken away.
fn broken(old: &Extension, new: &Extension) -> Option<String> {
    let lists = [
        (&old.verbs, &new.verbs),
        (&old.mail_parameters, &new.mail_parameters),
        (&old.rcpt_parameters, &new.rcpt_parameters),
    ];
    let gone = lists
        .into_iter()
        .flat_map(|(old, new)| old.iter().filter(|form| !new.contains(form)))
        .next();
    let parameters = &old.ehlo_parameters;
    let syntax =
        (!parameters.is_empty() && *parameters != new.ehlo_parameters).then_some(parameters);
    gone.or(syntax).map(|form| {
        format!("`{form}` is on the wire already and keeps its meaning; register another keyword")
    })
}

/// The names of the fields that differ.
pub fn fields(old: &Extension, new: &Extension) -> Vec<&'static str> {
    let differs = [
        ("keyword", old.keyword != new.keyword),
        ("description", old.description != new.description),
        ("status", old.status != new.status),
        ("references", old.references != new.references),
        ("reg_method", old.method != new.method),
        ("contact", old.contact != new.contact),
        ("change_controller", old.change_controller != new.change_controller),
        ("note", old.note != new.note),
        ("ehlo_parameters", old.ehlo_parameters != new.ehlo_parameters),
        ("verbs", old.verbs != new.verbs),
        ("mail_parameters", old.mail_parameters != new.mail_parameters),
        ("rcpt_parameters", old.rcpt_parameters != new.rcpt_parameters),
        ("length_added", old.length_added != new.length_added),
        ("iana_submission", old.iana_submission != new.iana_submission),
        ("submission_rfc", old.submission_rfc != new.submission_rfc),
        ("support", old.support != new.support),
        ("reason", old.reason != new.reason),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
}

/// One difference between two registries, with what the rules say to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// Whose.
    pub keyword: String,
    /// `new`, `gone` or `changed`.
    pub change: &'static str,
    /// The fields that changed.
    pub fields: Vec<&'static str>,
    /// Whether it may be, with the consents needed.
    pub possible: bool,
    /// The consents.
    pub needs: &'static [Consent],
    /// Why.
    pub why: String,
}

impl Difference {
    fn new(change: Change<'_>, before: &[Extension]) -> Self {
        let Ruling { possible, needs, why } = change.judge(before);
        let (entry, change, fields) = match change {
            Change::New(entry) => (entry, "new", Vec::new()),
            Change::Gone(entry) => (entry, "gone", Vec::new()),
            Change::Changed(old, new) => (new, "changed", fields(old, new)),
        };
        Self { keyword: entry.keyword.clone(), change, fields, possible, needs, why }
    }
}

/// What becomes of each entry between two registries: changed and gone ones first, then new ones.
pub fn diff(old: &[Extension], new: &[Extension]) -> Vec<Difference> {
    let mut found = Vec::new();
    for entry in old {
        match new.iter().find(|other| other.is(&entry.keyword)) {
            Some(other) if other == entry => {}
            Some(other) => found.push(Difference::new(Change::Changed(entry, other), old)),
            None => found.push(Difference::new(Change::Gone(entry), old)),
        }
    }
    let added = new.iter().filter(|entry| !old.iter().any(|other| other.is(&entry.keyword)));
    found.extend(added.map(|entry| Difference::new(Change::New(entry), old)));
    found
}

#[cfg(test)]
mod tests;
