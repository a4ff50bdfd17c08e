//! A chain with its key: what it is for, and until when.
//!
//! Promises that both belong together.

use std::cmp::Ordering;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use super::pem::{Chain, Key};

const DAY_S: i64 = 86_400;
/// From here on its end is told: whoever renews automatically has done so long before.
const SHORT_S: i64 = 7 * DAY_S;

/// A certificate that a server can show.
#[derive(Debug)]
pub struct Certificate {
    pub(super) certified: Arc<CertifiedKey>,
    /// Names in lower case, perhaps with `*` as the first label.
    names: Vec<String>,
    /// From when it is good, in seconds since the epoch.
    pub not_before_s: i64,
    /// Until when it is good, in seconds since the epoch.
    pub not_after_s: i64,
    /// SHA-256 of the server's certificate, in hex.
    pub fingerprint: String,
}

/// How well a certificate fits a name; the greater, the better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Fit {
    Other,
    Wildcard,
    Exact,
}

impl Certificate {
    /// Puts a chain and its key together.
    ///
    /// # Errors
    /// Which of the two is wrong, as a sentence.
    pub fn new(chain: &Chain, key: &Key) -> Result<Self, Unfit> {
        let certificates = chain.certificates.to_vec();
        let leaf = certificates.first().ok_or(Unfit::Chain("it is empty".to_owned()))?;
        let (names, not_before_s, not_after_s) = read(leaf).map_err(Unfit::Chain)?;
        let fingerprint = digest::digest(&digest::SHA256, leaf);
        let fingerprint = fingerprint.as_ref().iter().map(|octet| format!("{octet:02x}")).collect();
        let certified =
            CertifiedKey::from_der(certificates, key.key.clone_key(), &default_provider());
        let certified = certified.map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                Unfit::Key("it belongs to another certificate".to_owned())
            }
            Error::InvalidCertificate(_) => Unfit::Chain("it is no X.509 certificate".to_owned()),
            error => Unfit::Key(error.to_string()),
        })?;
        let certified = Arc::new(certified);
        Ok(Self { certified, names, not_before_s, not_after_s, fingerprint })
    }

    /// What its names say of a name that a client asks for (RFC 9525 6.3).
    pub(super) fn fit(&self, name: &str) -> Fit {
        let name = name.to_ascii_lowercase();
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let fit = |own: &String| match own.strip_prefix("*.") {
            Some(own) if parent == Some(own) => Fit::Wildcard,
            None if *own == name => Fit::Exact,
            _ => Fit::Other,
        };
        self.names.iter().map(fit).max().unwrap_or(Fit::Other)
    }

    /// Whether the client can check what its key signs.
    pub(super) fn suits(&self, schemes: &[SignatureScheme]) -> bool {
        self.certified.key.choose_scheme(schemes).is_some()
    }

    /// What is wrong with its time, as a sentence.
    #[must_use]
    pub fn doubt(&self, now_s: i64) -> Option<String> {
        if now_s < self.not_before_s {
            return Some("it is not valid yet; is the clock right?".to_owned());
        }
        let left_s = self.not_after_s.saturating_sub(now_s);
        match left_s.cmp(&0) {
            Ordering::Less | Ordering::Equal => {
                Some(format!("it has expired, {} days ago", -left_s / DAY_S))
            }
            Ordering::Greater if left_s < SHORT_S => {
                Some(format!("it expires in {} days", left_s / DAY_S))
            }
            Ordering::Greater => None,
        }
    }
}

/// Why a chain and a key make no certificate; each a sentence without the path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// The chain.
    Chain(String),
    /// The key.
    Key(String),
}

/// The names of a certificate, and from when until when it is good.
fn read(leaf: &CertificateDer<'_>) -> Result<(Vec<String>, i64, i64), String> {
    let (_, leaf) =
        parse_x509_certificate(leaf).map_err(|_| "it is no X.509 certificate".to_owned())?;
    let validity = leaf.validity();
    Ok((names(&leaf), validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// Its DNS names; of one without any, the common name.
fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = leaf.subject_alternative_name().ok().flatten();
    let given: Vec<String> = alternatives
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if !given.is_empty() {
        return given;
    }
    let common = leaf.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    common.map(str::to_ascii_lowercase).collect()
}
