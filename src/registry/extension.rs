//! The SMTP service extensions: IANA's registry, and what this server does with each entry.
//!
//! Promises that all that is known of an extension stands in one row of `smtp-extensions.toml`,
//! and that a keyword can be offered only if it has a whole row there whose behaviour is built: an
//! [`Offered`] is made in no other way. Entries of an operator's own file are known, never offered.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Serialize;

use super::file::{self, File};
use super::parameter::Parameter;
use super::rules;
use super::verb::Verb;
use super::word::words;

/// The table.
pub const TABLE: &str = include_str!("smtp-extensions.toml");

words! {
    /// How an entry came into the registry (rfc5321bis 8.1.1.1).
    RegMethod {
        /// Model 1: IETF review and approval.
        Ietf = "IETF",
        /// Model 2: first come, first served.
        Fcfs = "FCFS",
        /// Registered before either model, and immutable.
        Legacy = "Legacy",
        /// Not registered: two servers agree on it.
        Bilateral = "Bilateral",
    }
}

words! {
    /// What has become of an extension.
    Status {
        /// In use.
        Active = "active",
        /// In use in few places.
        Rare = "rare",
        /// Nobody is known to use it.
        Unused = "unused",
        /// Not to be used any more.
        Deprecated = "deprecated",
        /// Its document is historic.
        Historic = "historic",
        /// Another one replaces it.
        Obsolete = "obsolete",
    }
}

words! {
    /// What this server does with an extension.
    Support {
        /// Its keyword is in the EHLO reply, and its promise is kept.
        Offered = "offered",
        /// It is served to whoever uses it, but not listed.
        Accepted = "accepted",
        /// It is used towards servers that offer it, and served to nobody.
        Relayed = "relayed",
        /// It is known, and refused.
        Refused = "refused",
    }
}

/// One entry, with the fields of the registration template (rfc5321bis 8.1.1.3) and our own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Extension {
    /// The EHLO keyword.
    pub keyword: String,
    /// What it does, how both sides behave, and its impact.
    pub description: String,
    /// What has become of it.
    pub status: Status,
    /// The defining documents; `rfc5321bis` stands for whatever that is called now.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// How it was registered.
    #[serde(rename = "reg_method")]
    pub method: RegMethod,
    /// Whom to ask.
    pub contact: String,
    /// Who may change the entry.
    pub change_controller: String,
    /// What else is to be known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// The syntax of what follows the keyword.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ehlo_parameters: String,
    /// The forms of the verbs that it adds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub verbs: Vec<String>,
    /// The parameters that it adds to MAIL, with the syntax of their values.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mail_parameters: Vec<String>,
    /// The parameters that it adds to RCPT.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rcpt_parameters: Vec<String>,
    /// The octets by which it makes the line of a verb longer.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub length_added: BTreeMap<String, usize>,
    /// Its use on message submission, as IANA publishes it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub iana_submission: String,
    /// The same as its document says.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub submission_rfc: String,
    /// What this server does with it.
    pub support: Support,
    /// Why.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// The name that a form of a verb or of a parameter begins with.
pub fn head(form: &str) -> &str {
    form.split([' ', '=']).next().unwrap_or(form)
}

impl Extension {
    /// The names of its verbs.
    pub fn verb_names(&self) -> impl Iterator<Item = &str> {
        self.verbs.iter().map(|form| head(form))
    }

    /// Whether it is known by this keyword, in any letter case.
    pub fn is(&self, keyword: &str) -> bool {
        self.keyword.eq_ignore_ascii_case(keyword)
    }

    /// Whether only two servers agree on it.
    pub fn is_bilateral(&self) -> bool {
        self.method == RegMethod::Bilateral
    }

    /// The entry as one that may be offered.
    ///
    /// # Errors
    /// What keeps it from being offered.
    pub fn offer(&'static self) -> Result<Offered, String> {
        if !find(&self.keyword).is_some_and(|known| std::ptr::eq(known, self)) {
            return Err(format!("{} is neither registered nor bilateral", self.keyword));
        }
        if self.support != Support::Offered {
            return Err(format!("{} is {}, not offered", self.keyword, self.support));
        }
        if let Some(fault) = rules::faults_alone(self).into_iter().next() {
            return Err(format!("{}: {}: {}", self.keyword, fault.field, fault.why));
        }
        match self.not_built().next() {
            Some(form) => Err(format!("{}: nothing here reads `{form}`", self.keyword)),
            None => Ok(Offered(self)),
        }
    }

    /// The forms of verbs and parameters without behaviour.
    fn not_built(&self) -> impl Iterator<Item = &str> {
        let verbs = self.verbs.iter().filter(|form| Verb::named(head(form)).is_none());
        let parameters = self.mail_parameters.iter().chain(&self.rcpt_parameters);
        let parameters = parameters.filter(|form| Parameter::named(head(form)).is_none());
        verbs.chain(parameters).map(String::as_str)
    }
}

/// An entry that may be offered: of the table, whole, and with all of its behaviour built.
#[derive(Clone, Copy, Debug)]
pub struct Offered(&'static Extension);

impl Offered {
    /// The entry.
    pub fn extension(self) -> &'static Extension {
        self.0
    }
}

/// The table as it was read.
pub fn table() -> &'static File {
    static READ: LazyLock<File> = LazyLock::new(|| {
        // Not input: the table is ours, and a test reads it.
        file::parse_table(TABLE).expect("the table of extensions has no fault")
    });
    &READ
}

/// Every entry: the registered ones in IANA's order, then the bilateral ones.
pub fn all() -> &'static [Extension] {
    &table().extensions
}

/// The entry of a keyword, in any letter case.
pub fn find(keyword: &str) -> Option<&'static Extension> {
    all().iter().find(|extension| extension.is(keyword))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_is_whole() {
        let of = |method| all().iter().filter(|row| row.method == method).count();
        assert_eq!(
            [RegMethod::Ietf, RegMethod::Legacy, RegMethod::Fcfs, RegMethod::Bilateral].map(of),
            [33, 2, 0, 2]
        );
        assert_eq!(all().iter().rposition(|row| !row.is_bilateral()), Some(34));
        for row in all() {
            assert!(!row.reason.is_empty(), "{} has no reason", row.keyword);
            assert!(!row.iana_submission.is_empty() && !row.submission_rfc.is_empty());
            let offered = row.support == Support::Offered;
            assert_eq!(row.offer().is_ok(), offered, "{}", row.keyword);
        }
        assert_eq!(find("size").unwrap().length_added["MAIL"], 26);
        assert!(find("SIZES").is_none());
    }

    #[test]
    fn what_is_made_up_cannot_be_offered() {
        let made_up = |change: fn(&mut Extension)| {
            let mut row = find("SIZE").unwrap().clone();
            change(&mut row);
            let row: &'static Extension = Box::leak(Box::new(row));
            row.offer().unwrap_err()
        };
        let unknown = made_up(|row| row.keyword = "MADE-UP".to_owned());
        assert_eq!(unknown, "MADE-UP is neither registered nor bilateral");
        let copy = made_up(|_| {});
        assert_eq!(copy, "SIZE is neither registered nor bilateral", "only the table's own row is");
        assert_eq!(find("EXPN").unwrap().offer().unwrap_err(), "EXPN is refused, not offered");
    }
}
