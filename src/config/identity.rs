//! Kinds of values that name who checks logins: Dovecot's socket, and issuers of tokens.
//!
//! What could only fail at the first login is a fault before a socket opens.

use rustls::pki_types::CertificateDer;

use toml::de::DeTable;

use super::declare::Oauth;
use super::read::Reading;
use super::value::{Kind, Site, Written, string};
use crate::auth::oauth::Issuer;
use crate::net::https::parse_url;
use crate::route::next_hop::{NextHop, Place};

/// The socket of Dovecot's authentication service.
pub(super) enum DovecotAt {}

impl Kind for DovecotAt {
    type Value = Place;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Place> {
        let forms = "write \"unix:/run/dovecot/auth-client\" or \"host:port\"";
        let text = string(value, site, "unix:/path or host:port in quotes")?;
        let has_port = || {
            let port = text.rsplit_once(':').map_or("", |(_, port)| port);
            !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit())
        };
        let written = match text.starts_with("unix:") {
            true => format!("lmtp:{text}"),
            false if has_port() => format!("lmtp://{text}"),
            false => {
                site.fault(value, &format!("cannot be \"{text}\"; {forms}"));
                return None;
            }
        };
        match written.parse::<NextHop>() {
            Ok(there) => Some(there.place),
            Err(why) => {
                site.fault(value, &format!("cannot be \"{text}\"; {why}; {forms}"));
                None
            }
        }
    }
}

/// An HTTPS URL, as it is written.
pub(super) enum HttpsUrl {}

impl Kind for HttpsUrl {
    type Value = String;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<String> {
        let text = string(value, site, "a URL in quotes")?;
        match parse_url(text) {
            Ok(_) => Some(text.to_owned()),
            Err(why) => {
                let right = "write it as in \"https://id.example.org\"";
                site.fault(value, &format!("cannot be \"{text}\": {why}; {right}"));
                None
            }
        }
    }
}

/// A scope, or nothing for none.
pub(super) enum ScopeOrNone {}

impl Kind for ScopeOrNone {
    type Value = String;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<String> {
        if value.get_ref().as_str() == Some("") {
            return Some(String::new());
        }
        let text = string(value, site, "a scope in quotes")?;
        if text.contains(char::is_whitespace) {
            site.fault(value, &format!("is more than one scope: \"{text}\"; name one"));
            return None;
        }
        Some(text.to_owned())
    }
}

/// Dovecot and a file of users would both take all passwords: one of them would never be asked.
pub(super) fn check(reading: &mut Reading<'_>, root: &DeTable<'_>) {
    if reading.gives(root, "auth", "users") && reading.gives(root, "auth", "dovecot") {
        let message = "`dovecot` and `users` cannot both check passwords; remove one of the two";
        reading.report_key(root, "auth", "dovecot", message.to_owned());
    }
}

impl Oauth {
    /// It in the words of the verifier.
    #[must_use]
    pub fn trusted(&self) -> Issuer {
        let authorities = self.ca.iter().flat_map(|authorities| &authorities.certificates);
        let roots = authorities.map(|octets| CertificateDer::from(octets.clone())).collect();
        Issuer {
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            jwks: self.jwks.clone(),
            scope: self.scope.clone(),
            user_claim: self.user_claim.clone(),
            domains: self.domains.clone(),
            clock_skew: self.clock_skew,
            roots,
        }
    }
}
