//! Next hops: where a message goes next, and by which protocol.
//!
//! A next hop is written `smtp://host:port`, `smtps://host:port`, `lmtp://host:port` or
//! `lmtp:unix:/path`, and what is printed reads back as the same value. Hosts have their form (see [`crate::syntax::domain`]); an IPv6 address stands in brackets
//! and is printed in its canonical form, so that two spellings of one place share one route.
//! A transport that this version cannot speak is refused by name, with what can be used instead:
//! mail must never leave by another way than the one that was written.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::syntax::domain::parse_name;

/// The longest path that an address of a Unix socket can hold (`sun_path`, less its final NUL).
pub const SOCKET_PATH_OCTETS_MAX: usize = 107;

/// The protocol spoken to a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// SMTP (rfc5321bis): one reply to the content for all recipients.
    Smtp,
    /// The same under TLS from the first octet (RFC 8314 3.3).
    Smtps,
    /// LMTP (RFC 2033): one reply to the content for each recipient.
    Lmtp,
}

impl Transport {
    /// The port where none is written: 25 for SMTP, 465 under TLS, 24 for LMTP.
    #[must_use]
    pub fn default_port(self) -> u16 {
        match self {
            Self::Smtp => 25,
            Self::Smtps => 465,
            Self::Lmtp => 24,
        }
    }

    fn scheme(self) -> &'static str {
        match self {
            Self::Smtp => "smtp",
            Self::Smtps => "smtps",
            Self::Lmtp => "lmtp",
        }
    }
}

/// Where a next hop listens.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// A TCP port of a host.
    Tcp {
        /// A domain name or an IP address; IPv6 without its brackets.
        host: String,
        /// The port, never 0.
        port: u16,
    },
    /// A Unix socket, by its absolute path.
    Unix(PathBuf),
}

/// A place to hand mail to, and the protocol to do it by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHop {
    /// The protocol.
    pub transport: Transport,
    /// The place.
    pub place: Place,
}

impl fmt::Display for NextHop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.transport.scheme();
        match &self.place {
            Place::Tcp { host, port } if host.contains(':') => {
                write!(f, "{scheme}://[{host}]:{port}")
            }
            Place::Tcp { host, port } => write!(f, "{scheme}://{host}:{port}"),
            Place::Unix(path) => write!(f, "{scheme}:unix:{}", path.display()),
        }
    }
}

impl FromStr for NextHop {
    type Err = NextHopError;

    fn from_str(text: &str) -> Result<Self, NextHopError> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(no_scheme(text));
        };
        let transport = match scheme.to_ascii_lowercase().as_str() {
            "smtp" => Transport::Smtp,
            "lmtp" => Transport::Lmtp,
            "smtps" => Transport::Smtps,
            "unix" => return Err(fault(format!("write `lmtp:unix:{rest}`"))),
            _ => return Err(no_scheme(text)),
        };
        let place = if let Some(path) = rest.strip_prefix("unix:") {
            if transport == Transport::Smtps {
                return Err(fault(format!("a Unix socket needs no TLS: write smtp:unix:{path}")));
            }
            Place::Unix(socket_path(path)?)
        } else if let Some(place) = rest.strip_prefix("//") {
            tcp(place, transport)?
        } else {
            return Err(fault(format!(
                "after `{scheme}:` comes `//host:port`, or `unix:/path` for a Unix socket"
            )));
        };
        Ok(Self { transport, place })
    }
}

const MX: &str = "`mx` is not available in this version: name the next hop, as in \
                  smtp://relay.example:25";
const FORMS: &str = "a next hop is smtp://host:port, smtps://host:port, lmtp://host:port or \
                     lmtp:unix:/path";

fn no_scheme(text: &str) -> NextHopError {
    if text.eq_ignore_ascii_case("mx") {
        return fault(MX);
    }
    // "10.0.0.7:25" and "relay.example" are what hands write: show them the whole form.
    let bare = text.trim_start_matches('/');
    match tcp(bare, Transport::Smtp) {
        Ok(place) if bare.contains(['.', ':']) => {
            let hop = NextHop { transport: Transport::Smtp, place };
            fault(format!("the protocol is missing: write {hop}, or lmtp:// for a mailstore"))
        }
        _ if text.starts_with('/') => fault(format!("write lmtp:unix:{text} for a Unix socket")),
        _ => fault(FORMS),
    }
}

fn socket_path(path: &str) -> Result<PathBuf, NextHopError> {
    match socket_path_fault(Path::new(path)) {
        Some(why) => Err(fault(why)),
        None => Ok(PathBuf::from(path)),
    }
}

/// What forbids `path` as the place of a Unix socket, if anything does.
#[must_use]
pub fn socket_path_fault(path: &Path) -> Option<String> {
    let octets = path.as_os_str().len();
    if !path.is_absolute() {
        return Some("the path of a Unix socket must be absolute: it begins with `/`".to_owned());
    }
    if octets > SOCKET_PATH_OCTETS_MAX {
        return Some(format!(
            "the path of a Unix socket has at most {SOCKET_PATH_OCTETS_MAX} octets; \
             this one has {octets}"
        ));
    }
    None
}

fn tcp(text: &str, transport: Transport) -> Result<Place, NextHopError> {
    let (host, port) = split_port(text)?;
    let port = match port {
        None => transport.default_port(),
        Some(digits) => match digits.parse() {
            Ok(port) if port > 0 && digits.bytes().all(|b| b.is_ascii_digit()) => port,
            _ => return Err(fault(format!("`{digits}` is no port: it is 1 to 65535"))),
        },
    };
    Ok(Place::Tcp { host: host_name(host)?, port })
}

/// Splits `host:port`, `[v6]:port` and both without a port; brackets are kept.
fn split_port(text: &str) -> Result<(&str, Option<&str>), NextHopError> {
    if text.starts_with('[') {
        let Some((host, after)) = text.split_once(']') else {
            return Err(fault("the bracket `[` is not closed"));
        };
        let host = text.get(..host.len() + 1).unwrap_or(host);
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(fault(format!("`{after}` after the bracket: only `:port` may follow"))),
        };
    }
    if text.matches(':').count() > 1 {
        return Err(fault("an IPv6 address stands in brackets, as in [2001:db8::7]:25"));
    }
    match text.split_once(':') {
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn host_name(host: &str) -> Result<String, NextHopError> {
    if host.is_empty() {
        return Err(fault("the host is missing"));
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match inner.parse::<IpAddr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => Err(fault(format!("`{inner}` is no IP address"))),
        };
    }
    if host.contains(['/', '?', '#', '@']) {
        return Err(fault(format!("`{host}`: only host and port can be given here")));
    }
    if host.parse::<IpAddr>().is_ok() {
        return Ok(host.to_owned());
    }
    // Container networks name hosts with underscores; a resolver takes them.
    let ascii = host.is_ascii();
    let name = if ascii { parse_name(&host.replace('_', "-")) } else { parse_name(host) };
    match name {
        Err(why) => Err(fault(format!("the host `{host}`: {why}"))),
        Ok(_) if ascii => Ok(host.to_ascii_lowercase()),
        Ok(name) => Ok(name),
    }
}

/// What a configured route does with the mail that it takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Via {
    /// Handed to this next hop.
    Hop(NextHop),
    /// Accepted and thrown away.
    Discard,
    /// Refused in the session.
    Reject,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hop(hop) => hop.fmt(f),
            Self::Discard => f.write_str("discard"),
            Self::Reject => f.write_str("reject"),
        }
    }
}

impl FromStr for Via {
    type Err = NextHopError;

    fn from_str(text: &str) -> Result<Self, NextHopError> {
        match text {
            "discard" => Ok(Self::Discard),
            "reject" => Ok(Self::Reject),
            _ => match text.parse() {
                Ok(hop) => Ok(Self::Hop(hop)),
                Err(NextHopError(why)) if why == FORMS => {
                    Err(fault(format!("{FORMS}; or write `discard` or `reject`")))
                }
                Err(error) => Err(error),
            },
        }
    }
}

/// Why a text is no next hop, as a sentence with what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextHopError(String);

impl fmt::Display for NextHopError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NextHopError {}

fn fault(why: impl Into<String>) -> NextHopError {
    NextHopError(why.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> String {
        text.parse::<Via>().unwrap_err().to_string()
    }

    #[test]
    fn what_is_printed_reads_back() {
        for (written, printed) in [
            ("smtp://relay.example:25", "smtp://relay.example:25"),
            ("smtp://Relay.EXAMPLE", "smtp://relay.example:25"),
            ("smtp://Bücher.example", "smtp://xn--bcher-kva.example:25"),
            ("SMTP://10.0.0.7:2526", "smtp://10.0.0.7:2526"),
            ("smtps://relay.example", "smtps://relay.example:465"),
            ("smtps://[::1]:4650", "smtps://[::1]:4650"),
            ("lmtp://127.0.0.1", "lmtp://127.0.0.1:24"),
            ("lmtp://[::1]:2400", "lmtp://[::1]:2400"),
            ("smtp://[2001:DB8:0::7]", "smtp://[2001:db8::7]:25"),
            ("smtp://[10.0.0.7]", "smtp://10.0.0.7:25"),
            ("lmtp://mail_store:24", "lmtp://mail_store:24"),
            ("lmtp:unix:/run/dovecot/lmtp", "lmtp:unix:/run/dovecot/lmtp"),
            ("smtp:unix:/run/filter", "smtp:unix:/run/filter"),
            ("discard", "discard"),
            ("reject", "reject"),
        ] {
            let via: Via = written.parse().unwrap();
            assert_eq!(via.to_string(), printed);
            assert_eq!(printed.parse::<Via>().unwrap(), via);
        }
    }

    #[test]
    fn what_this_version_cannot_do_says_what_can_be_used() {
        assert!(says("mx").contains("not available in this version: name the next hop"));
    }

    #[test]
    fn faults_show_the_right_form() {
        assert!(says("10.0.0.7:2525").contains("write smtp://10.0.0.7:2525"));
        assert!(says("relay.example").contains("write smtp://relay.example:25"));
        assert!(says("/run/lmtp").contains("write lmtp:unix:/run/lmtp"));
        assert!(says("unix:/run/lmtp").contains("write `lmtp:unix:/run/lmtp`"));
        assert!(says("lmtp:unix:run/lmtp").contains("must be absolute"));
        assert!(says("smtps:unix:/run/relay").contains("write smtp:unix:/run/relay"));
        assert!(says("lmtp:/run/lmtp").contains("unix:/path"));
        assert!(says("smtp://::1:25").contains("brackets"));
        assert!(says("smtp://[::1").contains("not closed"));
        assert!(says("smtp://[::1]25").contains("only `:port`"));
        assert!(says("smtp://[::g]").contains("no IP address"));
        assert!(says("smtp://relay:0").contains("1 to 65535"));
        assert!(says("smtp://relay:+25").contains("1 to 65535"));
        assert!(says("smtp://relay:99999").contains("1 to 65535"));
        assert!(says("smtp://:25").contains("host is missing"));
        assert!(says("smtp://user@relay").contains("only host and port"));
        assert!(says("smtp://relay/").contains("only host and port"));
        assert!(says("smtp://re lay").contains("re lay"));
        assert!(says("drop").contains("or write `discard`"));
        assert!(says("").contains("`discard` or `reject`"));
        assert!(says(&format!("lmtp:unix:/{}", "a".repeat(107))).contains("at most 107"));
    }
}
