//! The verbs of SMTP that this server knows, with what HELP says of each.
//!
//! Promises one row a verb: whether it is served, and its form. A verb that is registered but not
//! served is answered 502, anything else 500 (rfc5321bis 4.2.4).

/// A command verb.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Verb {
    /// HELO, the hello without extensions.
    Helo,
    /// EHLO.
    Ehlo,
    /// MAIL opens a transaction.
    Mail,
    /// RCPT adds a recipient.
    Rcpt,
    /// DATA brings the content.
    Data,
    /// RSET ends a transaction without a trace.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT ends the session.
    Quit,
    /// VRFY asks for a mailbox.
    Vrfy,
    /// HELP.
    Help,
}

/// A row of the table: the verb, how it is spelt, and its form for HELP.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The verb; `None` where it is registered and refused.
    pub verb: Option<Verb>,
    /// Its name in upper case.
    pub name: &'static str,
    /// Its form, after the name.
    pub form: &'static str,
}

/// All verbs, served ones first.
pub const TABLE: &[Row] = &[
    served(Verb::Helo, "HELO", " host"),
    served(Verb::Ehlo, "EHLO", " host"),
    served(Verb::Mail, "MAIL", " FROM:<reverse-path> [parameters]"),
    served(Verb::Rcpt, "RCPT", " TO:<forward-path> [parameters]"),
    served(Verb::Data, "DATA", ""),
    served(Verb::Rset, "RSET", ""),
    served(Verb::Noop, "NOOP", ""),
    served(Verb::Quit, "QUIT", ""),
    served(Verb::Vrfy, "VRFY", " mailbox"),
    served(Verb::Help, "HELP", " [verb]"),
    refused("EXPN"),
    refused("SEND"),
    refused("SOML"),
    refused("SAML"),
    refused("TURN"),
    refused("ETRN"),
    refused("ATRN"),
    refused("BDAT"),
    refused("BURL"),
    refused("STARTTLS"),
    refused("AUTH"),
];

const fn served(verb: Verb, name: &'static str, form: &'static str) -> Row {
    Row { verb: Some(verb), name, form }
}

const fn refused(name: &'static str) -> Row {
    Row { verb: None, name, form: "" }
}

/// The row of `name`, in any letter case.
pub fn find(name: &[u8]) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name.as_bytes().eq_ignore_ascii_case(name))
}

/// What HELP says: the form of the verb named, or of all that are served.
pub fn help(topic: &[u8]) -> String {
    let known = TABLE.iter().filter(|row| row.verb.is_some());
    match find(topic).filter(|row| row.verb.is_some()) {
        Some(row) => format!("{}{}", row.name, row.form),
        None => known.map(|row| format!("{}{}", row.name, row.form)).collect::<Vec<_>>().join("\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_verbs_in_any_case_and_knows_the_refused() {
        assert_eq!(find(b"mAiL").and_then(|row| row.verb), Some(Verb::Mail));
        assert!(find(b"turn").is_some_and(|row| row.verb.is_none()));
        assert!(find(b"MAILX").is_none());
    }

    #[test]
    fn help_is_made_of_the_table() {
        assert_eq!(help(b"data"), "DATA");
        assert_eq!(help(b"").lines().count(), 10);
        assert!(!help(b"").contains("TURN"));
    }
}
