//! Patterns of recipients: which addresses a configured route takes.
//!
//! There are four forms, from wide to narrow: `*`, `*@*.domain` (every subdomain, not the domain
//! itself), `*@domain`, and `local@domain`. Domains are compared by their form (see
//! [`crate::syntax::domain`]), local parts without regard to case and in NFC. A `*` anywhere else is
//! refused rather than taken for an octet, since whoever writes it means more than it would match.

use std::fmt;
use std::str::FromStr;

use crate::syntax::domain::{parse_domain, parse_name};
use crate::syntax::local_part::{local_part_fault, lookup_key};

/// The recipients that a route takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Form);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Form {
    Everything,
    Domain(String),
    Subdomains(String),
    Mailbox { local_part: String, domain: String },
}

impl Pattern {
    /// Whether the recipient `local_part@domain` is one of these; the domain is in its form.
    #[must_use]
    pub fn matches(&self, local_part: &str, domain: &str) -> bool {
        match &self.0 {
            Form::Everything => true,
            Form::Domain(name) => name == domain,
            Form::Subdomains(name) => is_below(domain, name),
            Form::Mailbox { local_part: local, domain: name } => {
                name == domain && lookup_key(local) == lookup_key(local_part)
            }
        }
    }
}

/// Whether `domain` is a subdomain of `name`, at any depth.
fn is_below(domain: &str, name: &str) -> bool {
    let front = domain.strip_suffix(name).and_then(|front| front.strip_suffix('.'));
    front.is_some_and(|front| !front.is_empty())
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Form::Everything => f.write_str("*"),
            Form::Domain(domain) => write!(f, "*@{domain}"),
            Form::Subdomains(domain) => write!(f, "*@*.{domain}"),
            Form::Mailbox { local_part, domain } => write!(f, "{local_part}@{domain}"),
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self(Form::Everything));
        }
        let Some((local_part, domain)) = text.rsplit_once('@') else {
            return Err(no_at(text));
        };
        let below = domain.strip_prefix("*.");
        let name = below.unwrap_or(domain);
        if name.contains('*') {
            return Err(fault(format!(
                "`*` stands alone or begins the domain as `*.`; `{text}` has it elsewhere"
            )));
        }
        // Below an address literal is nothing.
        let parsed = if below.is_some() { parse_name(name) } else { parse_domain(name) };
        let domain = parsed.map_err(|why| fault(format!("the domain `{name}`: {why}")))?;
        match (local_part, below) {
            ("*", None) => Ok(Self(Form::Domain(domain))),
            ("*", Some(_)) => Ok(Self(Form::Subdomains(domain))),
            (_, Some(_)) => Err(fault(format!("before `@*.` only `*` can stand: *@*.{domain}"))),
            (local, None) => Ok(Self(mailbox(local, domain)?)),
        }
    }
}

fn mailbox(local_part: &str, domain: String) -> Result<Form, PatternError> {
    if local_part.contains('*') {
        return Err(fault(format!(
            "a part of a local part cannot be matched; write *@{domain} for the whole domain"
        )));
    }
    match local_part_fault(local_part) {
        Some(why) => Err(fault(format!("the local part `{local_part}`: {why}"))),
        None => Ok(Form::Mailbox { local_part: local_part.to_owned(), domain }),
    }
}

fn no_at(text: &str) -> PatternError {
    let domain = text.strip_prefix('.').unwrap_or(text);
    if let Some(name) = domain.strip_prefix("*.")
        && parse_name(name).is_ok()
    {
        return fault(format!("write *@{domain} for every subdomain of {name}"));
    }
    if domain.contains('.') && parse_name(domain).is_ok() {
        return fault(format!("write *@{domain}, or *@*.{domain} for its subdomains"));
    }
    fault("a recipient is *, *@domain, *@*.domain or local@domain")
}

/// Why a text is no pattern, as a sentence with what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternError(String);

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PatternError {}

fn fault(why: impl Into<String>) -> PatternError {
    PatternError(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        text.parse().unwrap()
    }

    fn says(text: &str) -> String {
        text.parse::<Pattern>().unwrap_err().to_string()
    }

    #[test]
    fn each_form_matches_what_it_names() {
        assert!(pattern("*").matches("any", "where.example"));
        assert!(pattern("*@Example.org").matches("Any.One", "example.org"));
        assert!(!pattern("*@example.org").matches("a", "sub.example.org"));
        assert!(pattern("*@*.Example.org").matches("a", "sub.example.org"));
        assert!(pattern("*@*.example.org").matches("a", "b.c.example.org"));
        assert!(!pattern("*@*.example.org").matches("a", "example.org"));
        assert!(!pattern("*@*.example.org").matches("a", "badexample.org"));
        assert!(!pattern("*@*.example.org").matches("a", ".example.org"));
        assert!(!pattern("*@*.example.org").matches("a", "é.org"));
        assert!(pattern("Joe@Example.org").matches("jOE", "example.org"));
        assert!(!pattern("joe@example.org").matches("joe+x", "example.org"));
        assert!(pattern("JOSÉ@example.org").matches("jose\u{301}", "example.org"));
        assert!(pattern("*@bücher.example").matches("a", "xn--bcher-kva.example"));
        assert!(pattern("*@*.bücher.example").matches("a", "b.xn--bcher-kva.example"));
        assert!(pattern("*@[IPv6:2001:DB8:0::1]").matches("a", "[IPv6:2001:db8::1]"));
        assert!(!pattern("*@*.example.org").matches("a", "[192.0.2.1]"));
    }

    #[test]
    fn what_is_printed_reads_back() {
        for text in [
            "*",
            "*@example.org",
            "*@*.example.org",
            "joe+x@example.org",
            "ü@x.example",
            "*@[192.0.2.1]",
        ] {
            assert_eq!(pattern(text).to_string(), text);
        }
        assert_eq!(pattern("Joe@Example.ORG").to_string(), "Joe@example.org");
    }

    #[test]
    fn faults_show_the_right_form() {
        assert!(says("example.org").contains("write *@example.org"));
        assert!(says(".example.org").contains("*@*.example.org"));
        assert!(says("*.example.org").contains("write *@*.example.org"));
        assert!(says("joe").contains("local@domain"));
        assert!(says("joe*@example.org").contains("write *@example.org"));
        assert!(says("joe@*.example.org").contains("only `*`"));
        assert!(says("*@ex*mple.org").contains("elsewhere"));
        assert!(says("*@*").contains("elsewhere"));
        assert!(says("*@example..org").contains("empty label"));
        assert!(says("*@10.0.0.1").contains("ends in a number"));
        assert!(says("*@[10.0.0]").contains("an address literal is"));
        assert!(says("*@*.[10.0.0.1]").contains("no letter"));
        assert!(says("@example.org").contains("cannot be empty"));
        assert!(says("a b@example.org").contains("cannot stand"));
        assert!(says(".a@example.org").contains("a dot stands between"));
    }
}
