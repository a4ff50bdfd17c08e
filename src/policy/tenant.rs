//! Tenants: who mail is charged to, and how much one may ask for.
//!
//! A tenant is the login of a user, or else the address of the client; an IPv6 client is its /64,
//! since that is what one host owns. Promises one name for each, however it was written.

use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::route::limit::Rate;

/// The limits of one tenant; none where nothing is set.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits {
    /// Deliveries at a time, beside the fair share of what there is.
    pub concurrency: Option<u32>,
    /// Messages in a time.
    pub rate: Option<Rate>,
    /// Jobs, a message for one destination each, that may wait before new mail is refused.
    pub backlog: Option<u32>,
}

/// The limits of all tenants.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tenants {
    each: Limits,
    named: HashMap<String, Limits>,
}

impl Tenants {
    /// `each` holds for every tenant as far as `named`, by its name, says nothing else.
    pub fn new(each: Limits, named: impl IntoIterator<Item = (String, Limits)>) -> Self {
        Self { each, named: named.into_iter().collect() }
    }

    /// What holds for one tenant.
    pub fn limits(&self, name: &str) -> Limits {
        let own = self.named.get(name).copied().unwrap_or_default();
        Limits {
            concurrency: own.concurrency.or(self.each.concurrency),
            rate: own.rate.or(self.each.rate),
            backlog: own.backlog.or(self.each.backlog),
        }
    }

    /// What holds for every tenant that has no limits of its own.
    pub fn each(&self) -> Limits {
        self.each
    }

    /// Those that have limits of their own, in no order.
    pub fn named(&self) -> impl Iterator<Item = &str> {
        self.named.keys().map(String::as_str)
    }
}

/// The tenant that a client without a login is.
pub fn of_client(client: IpAddr) -> String {
    match client.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// The name of the tenant that is written as a client's address, an IPv6 /64 or a login. The error
/// says what would be right.
pub fn parse_name(text: &str) -> Result<String, String> {
    if let Ok(client) = text.parse::<IpAddr>() {
        return Ok(of_client(client));
    }
    let Ok(network) = text.parse::<IpNet>() else { return parse_login(text) };
    let one = match network {
        IpNet::V4(_) => 32,
        IpNet::V6(_) => 64,
    };
    if network.prefix_len() != one || network.trunc() != network {
        let right = of_client(network.addr());
        return Err(format!(
            "a tenant is one IPv4 address, an IPv6 /64 or a login; write \"{right}\""
        ));
    }
    Ok(of_client(network.addr()))
}

fn parse_login(text: &str) -> Result<String, String> {
    let address = |octet: u8| octet.is_ascii_digit() || b".:/".contains(&octet);
    if text.bytes().all(address) && text.contains(['.', ':', '/']) {
        return Err("that is no address; write \"192.0.2.7\" or \"2001:db8:1:2::/64\"".to_owned());
    }
    if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
        return Err("a login has no spaces".to_owned());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_has_one_name() {
        for (text, name) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("2001:DB8::1", "2001:db8:0:0::/64"),
            ("2001:db8:0:0::/64", "2001:db8:0:0::/64"),
            ("2001:db8::/64", "2001:db8:0:0::/64"),
            ("joe@far.example", "joe@far.example"),
            ("Joe", "Joe"),
        ] {
            assert_eq!(parse_name(text).as_deref(), Ok(name));
        }
        assert_eq!(of_client("2001:db8::9".parse().unwrap()), "2001:db8:0:0::/64");
        for (text, right) in [
            ("192.0.2.0/24", "\"192.0.2.0\""),
            ("2001:db8::/32", "\"2001:db8:0:0::/64\""),
            ("2001:db8::1/64", "\"2001:db8:0:0::/64\""),
            ("joe smith", "no spaces"),
            ("192.0.2.0/99", "no address"),
            ("192.0.2", "no address"),
        ] {
            let fault = parse_name(text).unwrap_err();
            assert!(fault.contains(right), "{text}: {fault}");
        }
    }

    #[test]
    fn what_a_tenant_has_of_its_own_comes_first() {
        let each = Limits { concurrency: Some(5), backlog: Some(100), rate: None };
        let own = Limits { backlog: Some(7), ..Limits::default() };
        let tenants = Tenants::new(each, [("joe".to_owned(), own)]);
        assert_eq!(tenants.limits("joe"), Limits { backlog: Some(7), ..each });
        assert_eq!(tenants.limits("ann"), each);
        assert_eq!((tenants.each(), tenants.named().collect::<Vec<_>>()), (each, vec!["joe"]));
    }
}
