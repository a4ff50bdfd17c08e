//! How next hops are reached: their TLS, whom to trust there, and as whom to log in.
//!
//! Files are read with the configuration. Promises that a password is never printed, neither in a
//! fault nor in any form of the configuration, and that a route which would show one to a stranger
//! is a fault.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::address::readable;
use super::check::once;
use super::declare::{Credential, Domain, Route};
use super::fault::nearest;
use super::read::{Item, Reading};
use super::value::{Kind, Site, Written, string};
use crate::route::next_hop::{NextHop, Place, Transport, Via};
use crate::route::security::{self, Authorities, Security, TlsPolicy};

/// What nobody may read.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A secret as it is.
pub(super) enum SecretText {}

impl Kind for SecretText {
    type Value = Secret;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Secret> {
        let secret = string(value, site, "a secret in quotes")?;
        secret_of(secret, value, site)
    }
}

/// A secret in a file, in one line.
pub(super) enum SecretFile {}

impl Kind for SecretFile {
    type Value = Secret;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Secret> {
        let path = readable(value, site)?;
        match std::fs::read_to_string(&path) {
            Ok(text) => secret_of(text.trim_end_matches(['\r', '\n']), value, site),
            Err(error) => {
                let path = path.display();
                let right = "it must be a file with one line, that this user can read";
                site.fault(value, &format!("cannot read {path} ({error}); {right}"));
                None
            }
        }
    }
}

/// SASL gives NUL a meaning of its own, and no password has several lines.
fn secret_of(secret: &str, value: &Written<'_>, site: &mut Site<'_>) -> Option<Secret> {
    let why = match secret {
        "" => "has no secret in it; it must be one line",
        _ if secret.contains(['\0', '\r', '\n']) => {
            "has a NUL or several lines; it must be one line"
        }
        _ => return Some(Secret(secret.to_owned())),
    };
    site.fault(value, why);
    None
}

/// A PEM file with certificates of authorities.
pub(super) enum AuthoritiesOf {}

impl Kind for AuthoritiesOf {
    type Value = Arc<Authorities>;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Arc<Authorities>> {
        let path = readable(value, site)?;
        match authorities(&path) {
            Ok(certificates) => Some(Arc::new(Authorities { path, certificates })),
            Err(why) => {
                let right = "it must be a PEM file with certificates of authorities";
                site.fault(value, &format!("cannot use {} ({why}); {right}", path.display()));
                None
            }
        }
    }
}

fn authorities(path: &Path) -> Result<Vec<Vec<u8>>, String> {
    let text = std::fs::read(path).map_err(|error| error.to_string())?;
    let mut roots = RootCertStore::empty();
    let mut certificates = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|_| "a section of it is no PEM".to_owned())?;
        certificates.push(certificate.to_vec());
        roots.add(certificate).map_err(|error| format!("a certificate in it: {error}"))?;
    }
    match certificates.is_empty() {
        true => Err("there is no certificate in it".to_owned()),
        false => Ok(certificates),
    }
}

/// How connections to a next hop are secured, by the options of its section.
pub(super) struct Options<'a> {
    tls: TlsPolicy,
    authorities: &'a Option<Arc<Authorities>>,
    credentials: Option<&'a str>,
}

impl Options<'_> {
    fn security(&self, known: &[Credential]) -> Security {
        let named = |credential: &&Credential| Some(credential.name.as_str()) == self.credentials;
        let credential = known.iter().find(named).map(Credential::of_route);
        Security { tls: self.tls, authorities: self.authorities.clone(), credential }
    }
}

impl Credential {
    fn of_route(&self) -> Arc<security::Credential> {
        let password = self.password.as_ref().or(self.password_file.as_ref());
        Arc::new(security::Credential {
            name: self.name.clone(),
            user: self.user.clone(),
            password: password.map_or_else(String::new, |secret| secret.reveal().to_owned()),
        })
    }
}

impl Domain {
    fn options(&self) -> Options<'_> {
        let credentials = self.credentials.as_deref();
        Options { tls: self.tls, authorities: &self.ca, credentials }
    }

    /// How connections to its next hop are secured, with one of the credentials `known`.
    #[must_use]
    pub fn security(&self, known: &[Credential]) -> Security {
        self.options().security(known)
    }
}

impl Route {
    fn options(&self) -> Options<'_> {
        let credentials = self.credentials.as_deref();
        Options { tls: self.tls, authorities: &self.ca, credentials }
    }

    /// How connections to its next hop are secured, with one of the credentials `known`.
    #[must_use]
    pub fn security(&self, known: &[Credential]) -> Security {
        self.options().security(known)
    }
}

/// Each credential is declared once with one password, what names one names one there is, and no
/// next hop is asked for what it can't do.
pub(super) fn check(
    reading: &mut Reading<'_>,
    credentials: &[Item<'_, Credential>],
    domains: &[Item<'_, Domain>],
    routes: &[Item<'_, Route>],
) {
    once(reading, credentials, ("credential", "name"), |credential| credential.name.clone());
    let mut known = Vec::new();
    for item in credentials {
        let Some(credential) = &item.read else { continue };
        known.push(credential.clone());
        let why = match (&credential.password, &credential.password_file) {
            (Some(_), Some(_)) => "two passwords; remove `password` or `password_file`",
            (None, None) => "no password; write `password_file`, or `password`",
            _ => continue,
        };
        let message = format!("the credential {} has {why}", credential.name);
        reading.report(item.span("name"), message);
    }
    let all = credentials.iter().all(|item| item.read.is_some());
    for item in domains {
        let Some(domain) = &item.read else { continue };
        let faults = faults(&domain.options(), Some(&domain.deliver), &known, all);
        report(reading, faults, |key| item.span(key));
    }
    for item in routes {
        let Some(route) = &item.read else { continue };
        let next_hop = match &route.via {
            Via::Hop(next_hop) => Some(next_hop),
            Via::Discard | Via::Reject => None,
        };
        let faults = faults(&route.options(), next_hop, &known, all);
        report(reading, faults, |key| item.span(key));
    }
}

fn report(
    reading: &mut Reading<'_>,
    faults: Vec<(&'static str, String)>,
    span: impl Fn(&str) -> Range<usize>,
) {
    for (key, message) in faults {
        reading.report(span(key), message);
    }
}

/// The faults of one section, each with the key it is about; `all` credentials could be read.
fn faults(
    options: &Options<'_>,
    next_hop: Option<&NextHop>,
    known: &[Credential],
    all: bool,
) -> Vec<(&'static str, String)> {
    let mut faults = Vec::new();
    let named = options.credentials.filter(|_| all);
    if let Some(name) = named
        && !known.iter().any(|credential| credential.name == name)
    {
        let right = match nearest(name, known.iter().map(|credential| credential.name.as_str())) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("declare it in a [[credential]] with name = \"{name}\""),
        };
        faults.push(("credentials", format!("there is no credential \"{name}\"; {right}")));
    }
    let Some(next_hop) = next_hop else {
        if let Some(name) = options.credentials {
            let message = format!("nobody asks for the credentials {name} there; remove them");
            faults.push(("credentials", message));
        }
        return faults;
    };
    let demanding = matches!(options.tls, TlsPolicy::Encrypt | TlsPolicy::Verify);
    if matches!(next_hop.place, Place::Unix(_)) && demanding {
        let message =
            "there is no TLS over a Unix socket, which stays on this machine; remove `tls`";
        faults.push(("tls", message.to_owned()));
    }
    if next_hop.transport == Transport::Smtps && options.tls == TlsPolicy::Off {
        let message = "smtps:// is TLS from the first octet; remove `tls`, or write smtp://";
        faults.push(("tls", message.to_owned()));
    }
    if let Some(why) = options.security(known).credential_fault(next_hop) {
        faults.push(("credentials", format!("`credentials` for {next_hop}: {why}")));
    }
    faults
}
