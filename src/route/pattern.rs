//! Patterns of recipients: which addresses a configured route takes.
//!
//! There are four forms, from wide to narrow: `*`, `*@*.domain` (every subdomain, not the domain
//! itself), `*@domain`, and `local@domain`. Domains are compared without regard to case, local
//! parts octet by octet (rfc5321bis 2.4). A `*` anywhere else is refused rather than taken for
//! an octet, since whoever writes it means more than it would match.

use std::fmt;
use std::str::FromStr;

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
    /// Whether the recipient `local_part@domain` is one of these.
    #[must_use]
    pub fn matches(&self, local_part: &str, domain: &str) -> bool {
        match &self.0 {
            Form::Everything => true,
            Form::Domain(name) => name.eq_ignore_ascii_case(domain),
            Form::Subdomains(name) => is_below(domain, name),
            Form::Mailbox { local_part: local, domain: name } => {
                local == local_part && name.eq_ignore_ascii_case(domain)
            }
        }
    }
}

/// Whether `domain` is a subdomain of `name`, at any depth.
fn is_below(domain: &str, name: &str) -> bool {
    let Some(cut) = domain.len().checked_sub(name.len()) else {
        return false;
    };
    let (Some(front), Some(end)) = (domain.get(..cut), domain.get(cut..)) else {
        return false;
    };
    front.len() > 1 && front.ends_with('.') && end.eq_ignore_ascii_case(name)
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
        if let Some(why) = domain_fault(name) {
            return Err(fault(format!("the domain `{name}`: {why}")));
        }
        let domain = name.to_ascii_lowercase();
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
        && domain_fault(name).is_none()
    {
        return fault(format!("write *@{domain} for every subdomain of {name}"));
    }
    if domain.contains('.') && domain_fault(domain).is_none() {
        return fault(format!("write *@{domain}, or *@*.{domain} for its subdomains"));
    }
    fault("a recipient is *, *@domain, *@*.domain or local@domain")
}

/// What keeps `name` from being a domain (rfc5321bis 2.3.5, 4.1.2), if anything does.
///
/// A domain here is one or more labels of ASCII letters, digits and inner hyphens: a name in
/// another script is written as its A-labels, and an address is not a name.
#[must_use]
pub fn domain_fault(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("a domain cannot be empty".to_owned());
    }
    if name.len() > 253 {
        return Some(format!("a domain has at most 253 octets; this one has {}", name.len()));
    }
    if !name.is_ascii() {
        return Some("write it in ASCII: its A-label begins with `xn--`".to_owned());
    }
    if let Some(without) = name.strip_suffix('.')
        && !without.is_empty()
    {
        return Some(format!("leave out the final dot: {without}"));
    }
    name.split('.').find_map(label_fault).or_else(|| {
        // No top-level domain is all digits (RFC 3696 2): this is an address, or half of one.
        let last = name.rsplit('.').next().unwrap_or(name);
        let number = last.bytes().all(|byte| byte.is_ascii_digit());
        number.then(|| "it ends in a number, as an address does and a domain does not".to_owned())
    })
}

fn label_fault(label: &str) -> Option<String> {
    if label.is_empty() {
        return Some("it has an empty label: two dots in a row, or one in front".to_owned());
    }
    if label.len() > 63 {
        return Some(format!("a label has at most 63 octets; `{label}` has {}", label.len()));
    }
    if let Some(odd) = label.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-') {
        let odd = odd.escape_debug();
        return Some(format!("`{odd}` is no letter, digit, hyphen or dot"));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Some(format!("the label `{label}` begins or ends with a hyphen"));
    }
    None
}

/// What keeps `local` from being a local part that needs no quotes (rfc5321bis 4.1.2: a
/// dot-string, with the octets of RFC 6531 allowed), if anything does.
#[must_use]
pub fn local_part_fault(local: &str) -> Option<String> {
    if local.is_empty() {
        return Some("a local part cannot be empty".to_owned());
    }
    let plain =
        |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || !c.is_ascii();
    if let Some(odd) = local.chars().find(|c| !plain(*c)) {
        return Some(format!("`{}` cannot stand in it", odd.escape_debug()));
    }
    if local.split('.').any(str::is_empty) {
        return Some("a dot stands between two other characters".to_owned());
    }
    None
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
        assert!(pattern("*@Example.org").matches("Any.One", "eXample.ORG"));
        assert!(!pattern("*@example.org").matches("a", "sub.example.org"));
        assert!(pattern("*@*.example.org").matches("a", "Sub.example.org"));
        assert!(pattern("*@*.example.org").matches("a", "b.c.example.org"));
        assert!(!pattern("*@*.example.org").matches("a", "example.org"));
        assert!(!pattern("*@*.example.org").matches("a", "badexample.org"));
        assert!(!pattern("*@*.example.org").matches("a", ".example.org"));
        assert!(!pattern("*@*.example.org").matches("a", "é.org"));
        assert!(pattern("Joe@example.org").matches("Joe", "EXAMPLE.org"));
        assert!(!pattern("Joe@example.org").matches("joe", "example.org"));
    }

    #[test]
    fn what_is_printed_reads_back() {
        for text in ["*", "*@example.org", "*@*.example.org", "joe+x@example.org", "ü@x.example"] {
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
        assert!(says("*@exämple.org").contains("xn--"));
        assert!(says("*@example.org.").contains("final dot: example.org"));
        assert!(says("*@10.0.0.1").contains("ends in a number"));
        assert!(says("*@-a.example").contains("hyphen"));
        assert!(says("@example.org").contains("cannot be empty"));
        assert!(says("a b@example.org").contains("cannot stand"));
        assert!(says(".a@example.org").contains("a dot stands between"));
        assert!(says(&format!("*@{}.example", "a".repeat(64))).contains("at most 63"));
        assert!(says(&format!("*@{}org", "a.".repeat(130))).contains("at most 253"));
    }
}
