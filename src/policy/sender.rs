//! May this login send as this address?
//!
//! Promises that a login sends as its own address, the tags of it, and what the operator's map
//! grants it, and as nobody else. Addresses are compared without regard to the case of letters and
//! to how a domain is spelt (A-labels, U-labels). The null reverse-path is everybody's: receipts
//! and notices of absence have it (RFC 8098 3, RFC 3834 3.3).

use std::collections::HashMap;

use crate::registry::reply::{self, Reply};
use crate::syntax::domain::parse_domain;
use crate::syntax::local_part::lookup_key;
use crate::syntax::path::{Mailbox, ReversePath};

/// Separates a local part from a tag where no domain says otherwise.
const SEPARATORS: &str = "+";

/// How the addresses of a message are bound to the login.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Check {
    /// Reverse-path and From must be the login's.
    #[default]
    Bind,
    /// The reverse-path must be; where From is not, a Sender field tells who sent it.
    AddSender,
    /// Nothing is checked.
    Off,
}

/// One thing that a login may send as.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Grant {
    /// One address, by its key.
    Mailbox(String),
    /// Every address of a domain.
    Domain(String),
    /// Every address of a domain's subdomains.
    Subdomains(String),
    /// Everything.
    Any,
}

/// The operator's map of logins to addresses.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SenderMap {
    grants: HashMap<String, Vec<Grant>>,
}

impl SenderMap {
    /// Lets `login` send as `address`: `user@domain`, `@domain`, `*@domain`, `*@*.domain` or
    /// `any`.
    ///
    /// # Errors
    /// What is none of them; the text says what would be right.
    pub fn grant(&mut self, login: &str, address: &str) -> Result<(), String> {
        let grant = parse_grant(address)?;
        self.grants.entry(login_key(login)).or_default().push(grant);
        Ok(())
    }
}

fn parse_grant(address: &str) -> Result<Grant, String> {
    if address == "any" {
        return Ok(Grant::Any);
    }
    let right = "write user@domain, *@domain, *@*.domain or any";
    let (local, domain) = address.rsplit_once('@').ok_or_else(|| right.to_owned())?;
    let form = |domain| parse_domain(domain).map_err(|why| format!("the domain: {why}; {right}"));
    match (local, domain.strip_prefix("*.")) {
        ("" | "*", Some(domain)) => Ok(Grant::Subdomains(form(domain)?)),
        ("" | "*", None) => Ok(Grant::Domain(form(domain)?)),
        (local, None) if !local.contains('*') => {
            form(domain)?;
            key(local, domain).map(Grant::Mailbox).ok_or_else(|| right.to_owned())
        }
        _ => Err(right.to_owned()),
    }
}

/// Who may send as whom.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Senders {
    /// How strictly.
    pub check: Check,
    /// Completes logins and addresses that have no domain.
    pub login_domain: Option<String>,
    /// The separators of tags, by domain, where they differ from "+".
    pub separators: HashMap<String, String>,
    /// What is granted beside the login's own address.
    pub map: SenderMap,
}

impl Senders {
    /// The login's own address, where it has one.
    pub fn own_address(&self, login: &str) -> Option<Mailbox> {
        let (local, domain) = self.parts(login)?;
        Mailbox::new(local, &parse_domain(domain).ok()?).ok()
    }

    /// Whether `login` may send as `local@domain`; the local part stands without quotes.
    pub fn allows(&self, login: &str, local: &str, domain: &str) -> bool {
        let mut grants = self
            .spellings(login)
            .into_iter()
            .flat_map(|login| self.map.grants.get(&login).map(Vec::as_slice).unwrap_or_default());
        let Some(wanted) = key(local, domain) else {
            return grants.any(|grant| *grant == Grant::Any);
        };
        let (local, domain) = wanted.rsplit_once('@').unwrap_or((&wanted, ""));
        self.is_own(login, local, domain)
            || grants.any(|grant| match grant {
                Grant::Any => true,
                Grant::Mailbox(mailbox) => *mailbox == wanted,
                Grant::Domain(granted) => granted == domain,
                Grant::Subdomains(parent) => {
                    domain.strip_suffix(parent.as_str()).is_some_and(|sub| sub.ends_with('.'))
                }
            })
    }

    /// Judges a reverse-path.
    ///
    /// # Errors
    /// The reply that names login and address.
    pub fn judge_path(&self, login: &str, path: &ReversePath) -> Result<(), Reply> {
        let ReversePath::Mailbox(mailbox) = path else { return Ok(()) };
        let (local, domain) = (mailbox.local_part(), mailbox.domain());
        if self.check == Check::Off || self.allows(login, local, domain) {
            return Ok(());
        }
        Err(refusal(login, &mailbox.to_string()))
    }

    /// Both in the form of keys.
    fn is_own(&self, login: &str, local: &str, domain: &str) -> bool {
        let Some((own, own_domain)) = self.parts(login) else { return false };
        if parse_domain(own_domain).as_deref() != Ok(domain) {
            return false;
        }
        let separators = self.separators.get(domain).map_or(SEPARATORS, String::as_str);
        let own = lookup_key(own);
        !own.is_empty()
            && local.strip_prefix(&*own).is_some_and(|tag| {
                tag.is_empty() || tag.starts_with(|first| separators.contains(first))
            })
    }

    fn parts<'a>(&'a self, login: &'a str) -> Option<(&'a str, &'a str)> {
        login.rsplit_once('@').or_else(|| Some((login, self.login_domain.as_deref()?)))
    }

    /// How a map may write a login: as it is, with its domain, and without the one of logins.
    fn spellings(&self, login: &str) -> Vec<String> {
        let mut spellings = vec![login_key(login)];
        if let Some((local, domain)) = self.parts(login) {
            spellings.extend(key(local, domain));
            let form = |domain: &str| parse_domain(domain).ok();
            let own = self.login_domain.as_deref().and_then(form);
            if own.is_some() && own == form(domain) {
                spellings.push(lookup_key(local).into_owned());
            }
        }
        spellings
    }
}

/// The refusal of an address that is not the login's.
pub fn refusal(login: &str, address: &str) -> Reply {
    reply::NOT_YOUR_ADDRESS.with_text(format!("{login} may not send as <{address}>"))
}

fn login_key(login: &str) -> String {
    match login.rsplit_once('@') {
        Some((local, domain)) => key(local, domain).unwrap_or_else(|| login.to_lowercase()),
        None => lookup_key(login).into_owned(),
    }
}

fn key(local: &str, domain: &str) -> Option<String> {
    let domain = parse_domain(domain).ok()?;
    (!local.is_empty()).then(|| format!("{}@{domain}", lookup_key(local)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn senders() -> Senders {
        let mut map = SenderMap::default();
        for (login, address) in [
            ("joe", "info@Example.org"),
            ("ann@example.org", "@shop.example"),
            ("ann@example.org", "*@*.wild.example"),
            ("app", "any"),
            ("BOB@bücher.example", "sales@bücher.example"),
        ] {
            map.grant(login, address).unwrap();
        }
        let separators = HashMap::from([("dash.example".to_owned(), "-".to_owned())]);
        let login_domain = Some("example.org".to_owned());
        Senders { check: Check::Bind, login_domain, separators, map }
    }

    fn allows(login: &str, address: &str) -> bool {
        let (local, domain) = address.rsplit_once('@').unwrap();
        senders().allows(login, local, domain)
    }

    #[test]
    fn a_login_sends_as_itself_and_what_is_granted() {
        for (login, address) in [
            ("joe", "joe@example.org"),
            ("joe", "JOE@EXAMPLE.org"),
            ("Joe@example.org", "joe@example.org"),
            ("joe", "joe+tag@example.org"),
            ("joe@dash.example", "joe-tag@dash.example"),
            ("joe", "info@example.org"),
            ("joe@example.org", "info@example.org"),
            ("ann", "x@shop.example"),
            ("ann", "x@a.b.wild.example"),
            ("app", "anyone@far.example"),
            ("bob@xn--bcher-kva.example", "bob@bücher.example"),
            ("bob@bücher.example", "Sales@xn--bcher-kva.example"),
        ] {
            assert!(allows(login, address), "{login} {address}");
        }
    }

    #[test]
    fn a_login_sends_as_nobody_else() {
        for (login, address) in [
            ("joe", "ann@example.org"),
            ("joe", "joe@far.example"),
            ("joe", "joey@example.org"),
            ("joe", "jo@example.org"),
            ("joe", "joe-tag@example.org"),
            ("joe", "joe+ann@far.example"),
            ("joe@dash.example", "joe+tag@dash.example"),
            ("joe", "info+tag@example.org"),
            ("joe", "joe@sub.example.org"),
            ("ann", "x@sub.shop.example"),
            ("ann", "x@wild.example"),
            ("ann", "x@notwild.example"),
            ("ann@far.example", "x@shop.example"),
            ("app@far.example", "x@shop.example"),
            ("joe", "joe@exam ple.org"),
            ("", "+x@example.org"),
            ("joe", "joe@"),
        ] {
            assert!(!allows(login, address), "{login} {address}");
        }
    }

    #[test]
    fn the_null_path_is_everybodys_and_a_refusal_names_both() {
        let senders = senders();
        assert_eq!(senders.judge_path("joe", &ReversePath::Null), Ok(()));
        let path = ReversePath::Mailbox("ann@example.org".parse().unwrap());
        let refusal = senders.judge_path("joe", &path).unwrap_err();
        assert_eq!(refusal.text(), "joe may not send as <ann@example.org>");
        let off = Senders { check: Check::Off, ..senders };
        assert_eq!(off.judge_path("joe", &path), Ok(()));
    }

    #[test]
    fn a_bad_grant_says_what_would_be_right() {
        for bad in ["joe", "*x@example.org", "joe@*.example.org", "@", "@ex ample", "ANY"] {
            let fault = SenderMap::default().grant("joe", bad).unwrap_err();
            assert!(fault.contains("write user@domain"), "{bad}: {fault}");
        }
    }
}
