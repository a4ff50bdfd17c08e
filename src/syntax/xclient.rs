//! The argument of XCLIENT, by which a proxy tells whom it stands for.
//!
//! The extension is bilateral (Postfix documents it as XCLIENT_README): only clients that the
//! operator names may use it. Promises that each attribute is read at most once and is what its
//! name says. Refuses attributes that are not offered, and values that can't be read.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use crate::syntax::path::DOMAIN_OCTETS_MAX;
use crate::syntax::xtext;

/// The attributes, as they are offered.
pub const ATTRIBUTES: &[&str] = &["NAME", "ADDR", "PORT", "PROTO", "HELO", "DESTADDR", "DESTPORT"];

/// Whom a proxy says that it stands for. What is missing is as it was before.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Claim {
    /// Its host name, for the log.
    pub name: Option<Box<str>>,
    /// Its address.
    pub address: Option<IpAddr>,
    /// Its port, for the log.
    pub port: Option<u16>,
    /// The name that it gave in HELO or EHLO.
    pub hello: Option<Arc<str>>,
    /// Whether that was EHLO.
    pub extended: bool,
}

/// Reads `NAME=value …`; the error is for the client.
pub fn parse(argument: &str) -> Result<Claim, &'static str> {
    let mut claim = Claim { extended: true, ..Claim::default() };
    let mut seen = Vec::new();
    for word in argument.split_ascii_whitespace() {
        let (name, value) = word.split_once('=').ok_or("an attribute has a value, as in ADDR=…")?;
        let known = ATTRIBUTES.iter().find(|known| known.eq_ignore_ascii_case(name));
        let known = known.ok_or("this attribute is not offered")?;
        if seen.contains(&known) {
            return Err("an attribute comes twice");
        }
        seen.push(known);
        let value = xtext::decode(value).and_then(|octets| String::from_utf8(octets).ok());
        let value = value.ok_or("a value is no xtext")?;
        claim.take(known, Some(value.as_str()).filter(|value| !is_unavailable(value)))?;
    }
    if seen.is_empty() { Err("name an attribute") } else { Ok(claim) }
}

fn is_unavailable(value: &str) -> bool {
    value.eq_ignore_ascii_case("[UNAVAILABLE]") || value.eq_ignore_ascii_case("[TEMPUNAVAIL]")
}

impl Claim {
    fn take(&mut self, attribute: &str, value: Option<&str>) -> Result<(), &'static str> {
        let Some(value) = value else { return Ok(()) };
        match attribute {
            "NAME" => self.name = Some(value.into()),
            "ADDR" => self.address = Some(parse_address(value).ok_or("ADDR takes an address")?),
            "PORT" => self.port = Some(value.parse().map_err(|_| "PORT takes a port")?),
            // No longer than what HELO itself may bring: it goes into a line of the trace.
            "HELO" if is_name(value) => self.hello = Some(value.into()),
            "HELO" => return Err("HELO takes a host name"),
            "PROTO" if value.eq_ignore_ascii_case("ESMTP") => self.extended = true,
            "PROTO" if value.eq_ignore_ascii_case("SMTP") => self.extended = false,
            "PROTO" => return Err("PROTO takes SMTP or ESMTP"),
            // Where the client meant to go changes nothing here.
            _ => {}
        }
        Ok(())
    }
}

fn is_name(value: &str) -> bool {
    (1..=DOMAIN_OCTETS_MAX).contains(&value.len())
        && value.bytes().all(|octet| octet.is_ascii_graphic())
}

/// An IPv4 address, or an IPv6 address with or without its tag.
fn parse_address(text: &str) -> Option<IpAddr> {
    let tagged = text.split_at_checked(5).filter(|(tag, _)| tag.eq_ignore_ascii_case("IPV6:"));
    match tagged {
        Some((_, address)) => address.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whom_a_proxy_stands_for() {
        let claim =
            parse("name=far.example ADDR=192.0.2.9 PORT=[UNAVAILABLE] HELO=a+2Bb PROTO=SMTP");
        let expected = Claim {
            name: Some("far.example".into()),
            address: Some("192.0.2.9".parse().unwrap()),
            port: None,
            hello: Some("a+b".into()),
            extended: false,
        };
        assert_eq!(claim, Ok(expected));
        let address = |text: &str| parse(text).map(|claim| claim.address);
        assert_eq!(address("ADDR=IPV6:2001:db8::1"), Ok("2001:db8::1".parse().ok()));
        assert_eq!(address("ADDR=2001:db8::1"), Ok("2001:db8::1".parse().ok()));
        assert_eq!(address("DESTADDR=192.0.2.1 DESTPORT=25"), Ok(None));
    }

    #[test]
    fn refuses_what_it_does_not_offer_or_can_not_read() {
        for bad in [
            "",
            "ADDR",
            "ADDR=x",
            "ADDR=192.0.2.1 ADDR=192.0.2.2",
            "LOGIN=joe",
            "PORT=99999",
            "PROTO=LMTP",
            "HELO=a+20b",
            "NAME=+ZZ",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let hello = |octets: usize| parse(&format!("HELO={}", "x".repeat(octets)));
        assert!(hello(255).is_ok());
        assert!(hello(256).is_err() && hello(0).is_err());
    }
}
