//! LIMITS of a next hop (RFC 9422): what it says that it takes, and what of that is used up.
//!
//! Promises that a line which is malformed anywhere counts for nothing, that names which are not
//! known here are passed over, and that a limit holds for its connection alone: each hello says
//! anew what is valid from then on.

use std::collections::HashSet;

use crate::delivery::dialog::Addressee;

/// The limits that a next hop states.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ServerLimits {
    /// MAILMAX: the transactions of one connection.
    pub transactions: Option<u32>,
    /// RCPTMAX: the recipients of one transaction.
    pub recipients: Option<u32>,
    /// RCPTDOMAINMAX: the domains that the recipients of one connection may have.
    pub domains: Option<u32>,
}

impl ServerLimits {
    /// The limits in what stands behind the keyword; none if anything of it is malformed.
    pub(super) fn parse<'a>(words: impl Iterator<Item = &'a str>) -> Self {
        Self::read(words).unwrap_or_default()
    }

    fn read<'a>(words: impl Iterator<Item = &'a str>) -> Option<Self> {
        let mut limits = Self::default();
        for word in words {
            let (name, value) = word.split_once('=').map_or((word, None), |(n, v)| (n, Some(v)));
            let limit = match name.to_ascii_uppercase().as_str() {
                "MAILMAX" => &mut limits.transactions,
                "RCPTMAX" => &mut limits.recipients,
                "RCPTDOMAINMAX" => &mut limits.domains,
                _ if is_name(name) && value != Some("") => continue,
                _ => return None,
            };
            if limit.replace(number(value?)?).is_some() {
                return None;
            }
        }
        Some(limits)
    }
}

/// `limit-name` of RFC 9422 4.1.
fn is_name(name: &str) -> bool {
    let octet = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    !name.is_empty() && name.bytes().all(octet)
}

/// A limit is 1 to 999999, without zeros in front.
fn number(digits: &str) -> Option<u32> {
    let plain = digits.len() <= 6 && digits.bytes().all(|octet| octet.is_ascii_digit());
    digits.parse().ok().filter(|_| plain && !digits.starts_with('0'))
}

/// What a connection has carried, as far as limits ask for it.
#[derive(Clone, Default, Debug)]
pub struct Spent {
    transactions: u32,
    /// In lower case; kept only where they are limited.
    domains: HashSet<String>,
}

impl Spent {
    /// Counts a transaction for these.
    pub fn add(&mut self, recipients: &[Addressee], limits: ServerLimits) {
        self.transactions += 1;
        if limits.domains.is_some() {
            self.domains.extend(recipients.iter().map(|one| domain(&one.path)));
        }
    }

    /// Whether the connection may carry another transaction.
    pub fn leaves_a_transaction(&self, limits: ServerLimits) -> bool {
        limits.transactions.is_none_or(|limit| self.transactions < limit)
    }

    /// Whether a recipient may come over it.
    pub fn takes(&self, domain: &str, limits: ServerLimits) -> bool {
        let known = || self.domains.contains(&domain.to_ascii_lowercase());
        limits.domains.is_none_or(|limit| self.domains.len() < limit as usize || known())
    }

    /// The same, when that recipient is counted from now on.
    pub fn take(&mut self, domain: &str, limits: ServerLimits) -> bool {
        let takes = self.takes(domain, limits);
        if takes && limits.domains.is_some() {
            self.domains.insert(domain.to_ascii_lowercase());
        }
        takes
    }
}

fn domain(path: &str) -> String {
    path.rsplit_once('@').map_or("", |(_, domain)| domain).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> [Option<u32>; 3] {
        let limits = ServerLimits::parse(text.split_ascii_whitespace());
        [limits.transactions, limits.recipients, limits.domains]
    }

    #[test]
    fn a_line_counts_whole_or_not_at_all() {
        assert_eq!(read("MAILMAX=2 rcptmax=100 RcptDomainMax=999999"), {
            [Some(2), Some(100), Some(999_999)]
        });
        assert_eq!(read("RCPTMAX=1"), [None, Some(1), None]);
        assert_eq!(read("FUTURE RCPTMAX=7 X-OTHER=a=b"), [None, Some(7), None]);
        assert_eq!(read(""), [None; 3]);
        for malformed in [
            "RCPTMAX=0",
            "RCPTMAX=01",
            "RCPTMAX=1000000",
            "RCPTMAX=-1",
            "RCPTMAX=+1",
            "RCPTMAX=",
            "RCPTMAX",
            "RCPTMAX=1;",
            "RCPTMAX=1 RCPTMAX=1",
            "=3",
            "A,B=3",
            "FUTURE=",
        ] {
            assert_eq!(read(&format!("MAILMAX=5 {malformed}")), [None; 3], "{malformed}");
        }
    }

    #[test]
    fn what_is_used_up_is_counted() {
        let limits = ServerLimits::parse("MAILMAX=2 RCPTDOMAINMAX=2".split(' '));
        let mut spent = Spent::default();
        assert!(spent.leaves_a_transaction(limits));
        spent.add(&[Addressee::new("a@One.example"), Addressee::new("b@one.example")], limits);
        assert!(spent.leaves_a_transaction(limits) && spent.take("two.example", limits));
        assert!(spent.takes("ONE.example", limits) && !spent.takes("three.example", limits));
        spent.add(&[Addressee::new("a@two.example")], limits);
        assert!(!spent.leaves_a_transaction(limits));
        let none = ServerLimits::default();
        assert!(spent.leaves_a_transaction(none) && spent.takes("three.example", none));
    }
}
