//! How a connection to a next hop is secured, and as whom we log in there.
//!
//! Promises that a password is never printed, and that two values are equal only where a connection
//! that was opened for the one may serve the other.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use super::next_hop::{NextHop, Place, Transport};

/// What is asked of TLS towards a next hop (RFC 3207, RFC 8314).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub enum TlsPolicy {
    /// It is not used, even where it is offered.
    Off,
    /// It is used where it is offered; whoever answers is believed, and without it mail goes in clear.
    #[default]
    May,
    /// Nothing goes in clear; whoever answers is believed.
    Encrypt,
    /// The certificate must be of the next hop, and of an authority that is trusted.
    Verify,
}

impl TlsPolicy {
    /// As the configuration writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::May => "may",
            Self::Encrypt => "encrypt",
            Self::Verify => "verify",
        }
    }
}

/// A file with certificates of authorities, trusted beside those of the system.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Authorities {
    /// Where they were read.
    pub path: PathBuf,
    /// Each as DER.
    pub certificates: Vec<Vec<u8>>,
}

impl fmt::Debug for Authorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authorities({}, {})", self.path.display(), self.certificates.len())
    }
}

/// What a next hop asks for before it takes our mail (RFC 4954).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Credential {
    /// What the configuration calls it.
    pub name: String,
    /// As whom we log in.
    pub user: String,
    /// Never printed.
    pub password: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credential({}, {})", self.name, self.user)
    }
}

/// All that must be the same for a kept connection to be used again.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Debug)]
pub struct Security {
    /// What is asked of TLS.
    pub tls: TlsPolicy,
    /// Whom to trust beside the system's authorities.
    pub authorities: Option<Arc<Authorities>>,
    /// As whom we log in; none for not at all.
    pub credential: Option<Arc<Credential>>,
}

impl Security {
    /// What is asked of TLS towards `next_hop`: nothing over a Unix socket, and where it is spoken
    /// from the first octet there is no way back to clear.
    #[must_use]
    pub fn policy(&self, next_hop: &NextHop) -> TlsPolicy {
        match (&next_hop.place, next_hop.transport, self.tls) {
            (Place::Unix(_), ..) => TlsPolicy::Off,
            (_, Transport::Smtps, TlsPolicy::Off | TlsPolicy::May) => TlsPolicy::Encrypt,
            (.., policy) => policy,
        }
    }

    /// Whether what must travel by TLS with servers of proven name can go to `next_hop` (RFC 8689
    /// 4.2.1): it is a mailstore on this machine, or its certificate is verified.
    #[must_use]
    pub fn keeps_tls(&self, next_hop: &NextHop) -> bool {
        let is_final = next_hop.transport == Transport::Lmtp && is_local(&next_hop.place);
        is_final || self.policy(next_hop) == TlsPolicy::Verify
    }

    /// Why the credential must not be used towards `next_hop`, if anything forbids it: a password is
    /// for a verified server, or for this machine.
    #[must_use]
    pub fn credential_fault(&self, next_hop: &NextHop) -> Option<&'static str> {
        let safe = self.policy(next_hop) == TlsPolicy::Verify || is_local(&next_hop.place);
        let needless = next_hop.transport == Transport::Lmtp;
        match &self.credential {
            Some(_) if needless => Some("no mailstore asks for a login by LMTP; remove it"),
            Some(_) if !safe => Some(
                "a password goes only to a server whose certificate is verified; \
                 write tls = \"verify\" beside it",
            ),
            _ => None,
        }
    }

    /// What is asked of TLS, and whom it trusts beside the system's authorities.
    #[must_use]
    pub fn tls_words(&self, next_hop: &NextHop) -> String {
        let policy = self.policy(next_hop).name();
        match &self.authorities {
            Some(authorities) => format!("{policy}, ca {}", authorities.path.display()),
            None => policy.to_owned(),
        }
    }

    /// The same with the name of the credential.
    #[must_use]
    pub fn words(&self, next_hop: &NextHop) -> String {
        let tls = self.tls_words(next_hop);
        match &self.credential {
            Some(credential) => format!("tls {tls}, credentials {}", credential.name),
            None => format!("tls {tls}"),
        }
    }
}

/// Whether a place is on this machine, as it is written.
#[must_use]
pub fn is_local(place: &Place) -> bool {
    match place {
        Place::Unix(_) => true,
        Place::Tcp { host, .. } => {
            host == "localhost"
                || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn security(tls: TlsPolicy) -> Security {
        let credential =
            Credential { name: "relay".into(), user: "joe".into(), password: "Tr0ub4dor".into() };
        Security { tls, authorities: None, credential: Some(Arc::new(credential)) }
    }

    fn hop(text: &str) -> NextHop {
        text.parse().unwrap()
    }

    #[test]
    fn no_password_is_printed() {
        let security = security(TlsPolicy::Verify);
        let relay = hop("smtp://relay.example");
        for text in [format!("{security:?}"), format!("{security:#?}"), security.words(&relay)] {
            assert!(text.contains("relay") && !text.contains("Tr0ub"), "{text}");
        }
    }

    #[test]
    fn a_password_goes_to_a_verified_server_or_to_this_machine() {
        let refused = |tls, to: &str| security(tls).credential_fault(&hop(to)).is_some();
        for tls in [TlsPolicy::Off, TlsPolicy::May, TlsPolicy::Encrypt] {
            assert!(refused(tls, "smtp://relay.example"), "{tls:?}");
            assert!(refused(tls, "smtps://relay.example"), "{tls:?}");
            assert!(refused(tls, "smtp://192.0.2.1"), "{tls:?}");
            assert!(!refused(tls, "smtp://127.0.0.1:2525"), "{tls:?}");
            assert!(!refused(tls, "smtp://[::1]:2525"), "{tls:?}");
            assert!(!refused(tls, "smtp:unix:/run/relay"), "{tls:?}");
        }
        assert!(!refused(TlsPolicy::Verify, "smtp://relay.example"));
        assert!(!refused(TlsPolicy::Verify, "smtps://relay.example"));
        assert!(refused(TlsPolicy::Verify, "lmtp://store.example"));
        assert_eq!(Security::default().credential_fault(&hop("smtp://relay.example")), None);
    }

    #[test]
    fn tls_is_kept_by_verified_servers_and_to_the_end_of_the_way() {
        let keeps = |tls, to: &str| security(tls).keeps_tls(&hop(to));
        for to in ["smtp://relay.example", "smtps://relay.example", "lmtp://store.example"] {
            assert!(keeps(TlsPolicy::Verify, to), "{to}");
            assert!(!keeps(TlsPolicy::Encrypt, to) && !keeps(TlsPolicy::May, to), "{to}");
        }
        for to in ["lmtp:unix:/run/lmtp", "lmtp://127.0.0.1:24", "lmtp://[::1]:24"] {
            assert!(keeps(TlsPolicy::May, to), "{to}");
        }
        // It goes on from there.
        assert!(!keeps(TlsPolicy::May, "smtp://127.0.0.1:2525"));
        assert!(!keeps(TlsPolicy::Verify, "smtp:unix:/run/filter"));
    }

    #[test]
    fn implicit_tls_never_becomes_clear() {
        let may = Security::default();
        assert_eq!(may.policy(&hop("smtps://relay.example")), TlsPolicy::Encrypt);
        assert_eq!(may.policy(&hop("smtp://relay.example")), TlsPolicy::May);
        assert_eq!(may.policy(&hop("lmtp:unix:/run/lmtp")), TlsPolicy::Off);
    }
}
