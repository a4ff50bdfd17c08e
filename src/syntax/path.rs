//! The paths of MAIL and RCPT (rfc5321bis 4.1.2).
//!
//! Promises that a source route is read and dropped (appendix D), and that a `>` inside quotes ends
//! no path. Refuses paths over 512 octets, and what is no mailbox.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::domain::{DOMAIN_OCTETS_MAX, check_domain};
pub use super::mailbox::Mailbox;

/// Longest path accepted, brackets included. rfc5321bis 4.5.3.1.3 asks for at least 256.
pub const PATH_OCTETS_MAX: usize = 512;

/// Why a path could not be read, in words for the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PathError(pub &'static str);

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for PathError {}

/// The argument of MAIL FROM: where reports go; null on reports themselves (rfc5321bis 4.5.5).
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug, Serialize, Deserialize)]
pub enum ReversePath {
    /// `<>`
    #[default]
    Null,
    /// `<mailbox>`
    Mailbox(Mailbox),
}

impl ReversePath {
    /// Whether it is `<>`: nobody is told of a failure.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

/// The argument of RCPT TO.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain (rfc5321bis 4.1.1.3).
    Postmaster,
    /// `<mailbox>`
    Mailbox(Mailbox),
}

impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postmaster => f.write_str("postmaster"),
            Self::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

/// Reads the path that `text` begins with, in or (as old devices send it) without brackets; returns
/// what is between the brackets and the rest of the text.
pub fn take_path(text: &str) -> Result<(&str, &str), PathError> {
    let (path, rest) = match text.strip_prefix('<') {
        Some(inside) => {
            let end = find_unquoted(inside, b'>').ok_or(PathError("a path ends with `>`"))?;
            let (path, rest) = inside.split_at(end);
            (path, rest.strip_prefix('>').unwrap_or(rest))
        }
        None => text.split_at(text.find(' ').unwrap_or(text.len())),
    };
    if path.len() + 2 > PATH_OCTETS_MAX {
        return Err(PathError("the address is longer than 512 octets"));
    }
    Ok((drop_source_route(path), rest))
}

/// Reads the inside of a reverse-path.
pub fn parse_reverse_path(path: &str) -> Result<ReversePath, PathError> {
    if path.is_empty() { Ok(ReversePath::Null) } else { path.parse().map(ReversePath::Mailbox) }
}

/// Reads the inside of a forward-path.
pub fn parse_forward_path(path: &str) -> Result<ForwardPath, PathError> {
    if path.eq_ignore_ascii_case("postmaster") {
        return Ok(ForwardPath::Postmaster);
    }
    path.parse().map(ForwardPath::Mailbox)
}

/// Reads the inside of a path by `parse`; one without a domain gets this one, where there is one.
pub fn parse_qualified<T>(
    path: &str,
    domain: Option<&str>,
    parse: fn(&str) -> Result<T, PathError>,
) -> Result<T, PathError> {
    parse(path).or_else(|error| match domain {
        Some(domain) if find_unquoted(path, b'@').is_none() => parse(&format!("{path}@{domain}")),
        _ => Err(error),
    })
}

/// Where an octet first is that is not inside quotes.
fn find_unquoted(inside: &str, wanted: u8) -> Option<usize> {
    let mut quoted = false;
    let mut escaped = false;
    for (at, octet) in inside.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if octet == wanted && !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

fn drop_source_route(path: &str) -> &str {
    match path.split_once(':') {
        Some((route, rest)) if route.starts_with('@') => rest,
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn forward(text: &str) -> Result<ForwardPath, PathError> {
        let (path, rest) = take_path(text)?;
        assert_eq!(rest, "");
        parse_forward_path(path)
    }

    fn same(a: &str, b: &str) {
        assert_eq!(forward(a).unwrap(), forward(b).unwrap(), "{a} {b}");
    }

    #[test]
    fn equal_forms_are_equal() {
        same("<\"a\"@d.example>", "<a@D.Example>");
        same("<\"\\a\"@d.example>", "<a@d.example>");
        same("<@one,@two:u@c.example>", "<u@c.example>");
        same("u@c.example", "<u@c.example>");
        same("<POSTMASTER>", "<postmaster>");
        same("<a@[ipv6:2001:DB8:0:0:0:0:0:1]>", "<a@[IPv6:2001:db8::1]>");
        assert_ne!(forward("<A@d.example>"), forward("<a@d.example>"));
        assert_ne!(forward("<a@[IPv6:::ffff:192.0.2.1]>"), forward("<a@[192.0.2.1]>"));
    }

    #[test]
    fn a_path_without_a_domain_gets_one_where_there_is_one() {
        let reverse = |path| parse_qualified(path, Some("d.example"), parse_reverse_path);
        let forward = |path| parse_qualified(path, Some("d.example"), parse_forward_path);
        for (path, whole) in [
            ("joe", "joe@d.example"),
            ("\"a@b\"", "\"a@b\"@d.example"),
            ("joe@c.example", "joe@c.example"),
            ("postmaster", "postmaster@d.example"),
            ("", ""),
        ] {
            assert_eq!(reverse(path).unwrap().to_string(), whole);
        }
        assert_eq!(forward("joe").unwrap().to_string(), "joe@d.example");
        assert_eq!(forward("Postmaster"), Ok(ForwardPath::Postmaster));
        for path in ["joe doe", "joe@", "@", "joe@c d", ".joe", "\"joe"] {
            assert_eq!(reverse(path), parse_reverse_path(path), "{path}");
        }
        assert!(forward("").is_err() && parse_qualified("joe", None, parse_reverse_path).is_err());
    }

    #[test]
    fn quotes_where_it_must() {
        let path = forward("<\"a b\\\"\\\\>\"@d.example>").unwrap();
        assert_eq!(path.to_string(), "\"a b\\\"\\\\>\"@d.example");
        assert_eq!(forward(&format!("<{path}>")).unwrap(), path);
    }

    #[test]
    fn refuses_what_is_no_mailbox() {
        for bad in [
            "<a>",
            "<@d.example>",
            "<\"\"@d.example>",
            "<.a@d.example>",
            "<a.@d.example>",
            "<a..b@d.example>",
            "<a b@d.example>",
            "<a@>",
            "<a@-d.example>",
            "<a@d..example>",
            "<a@[1.2.3]>",
            "<a@[IPv6:zz]>",
            "<a@[XXX:1]>",
            "<a@d.example",
            "<\"a@d.example>",
            "<>",
        ] {
            let read = take_path(bad).and_then(|(path, _)| parse_forward_path(path));
            assert!(read.is_err(), "{bad}");
        }
    }

    #[test]
    fn accepts_the_limits() {
        let label = "d".repeat(63);
        let domain = format!("{label}.{label}.{label}.{}", "d".repeat(63));
        assert_eq!(domain.len(), 255);
        assert!(forward(&format!("<{}@{domain}>", "l".repeat(64))).is_ok());
        assert!(forward(&format!("<{}@d.example>", "l".repeat(200))).is_ok());
        assert!(forward(&format!("<{}@d.example>", "l".repeat(520))).is_err());
        for literal in ["[192.0.2.1]", "[IPv6:2001:db8::1]", "[ipv6:::ffff:192.0.2.1]"] {
            assert!(forward(&format!("<a@{literal}>")).is_ok(), "{literal}");
        }
    }

    #[test]
    fn the_null_path_is_a_reverse_path_only() {
        assert!(parse_reverse_path("").unwrap().is_null());
        assert!(parse_forward_path("").is_err());
    }

    proptest! {
        #[test]
        fn any_local_part_survives_printing(local_part in "[ -~]{1,64}") {
            let mailbox = Mailbox::new(&local_part, "d.example").unwrap();
            prop_assert_eq!(&mailbox.to_string().parse::<Mailbox>().unwrap(), &mailbox);
            let bracketed = format!("<{mailbox}> SIZE=1");
            let (path, rest) = take_path(&bracketed).unwrap();
            prop_assert_eq!(parse_reverse_path(path).unwrap(), ReversePath::Mailbox(mailbox));
            prop_assert_eq!(rest, " SIZE=1");
        }

        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = take_path(&text).and_then(|(path, _)| parse_forward_path(path));
        }
    }
}
