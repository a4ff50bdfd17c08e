//! Certificates: files that are read whole with the configuration, and what a listener makes of TLS.
//!
//! A file that can't be read, or a key that belongs to another certificate, is a fault before a
//! socket opens.

use std::collections::HashSet;
use std::path::Path;

use super::address::readable;
use super::declare::{Certificate, Listener, Role};
use super::fault::nearest;
use super::read::{Item, Reading};
use super::value::{Kind, Site, Written};
use super::word::Tls;
use crate::net::socket::Bind;
use crate::net::tls::{self, Chain, Key, Unfit};

impl Listener {
    /// Its TLS: what is written, else what the place asks for.
    #[must_use]
    pub fn tls_mode(&self) -> Tls {
        let local = match &self.bind {
            Bind::Unix(_) => true,
            Bind::Tcp(address) => address.ip().is_loopback() && self.role != Role::Submission,
        };
        self.tls.unwrap_or(if local { Tls::Off } else { Tls::StartTls })
    }
}

/// A chain of certificates.
pub(super) enum ChainOf {}

impl Kind for ChainOf {
    type Value = Chain;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Chain> {
        let right = "a PEM file with the certificate of this server first, that this user can read";
        read(value, site, Chain::read, right)
    }
}

/// A private key.
pub(super) enum KeyOf {}

impl Kind for KeyOf {
    type Value = Key;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Key> {
        let right = "a PEM file with a private key that has no password, that this user can read";
        read(value, site, Key::read, right)
    }
}

fn read<T>(
    value: &Written<'_>,
    site: &mut Site<'_>,
    read: fn(&Path) -> Result<T, String>,
    right: &str,
) -> Option<T> {
    let path = readable(value, site)?;
    let read = read(&path);
    read.map_err(|why| {
        let path = path.display();
        site.fault(value, &format!("cannot read {path} ({why}); it must be {right}"))
    })
    .ok()
}

/// Each certificate is declared once and belongs to its key, and listeners name only those there are.
pub(super) fn check(
    reading: &mut Reading<'_>,
    certificates: &[Item<'_, Certificate>],
    listeners: &[Item<'_, Listener>],
) {
    for item in certificates {
        let Some(certificate) = &item.read else { continue };
        let (key, message) = match tls::Certificate::new(&certificate.chain, &certificate.key) {
            Ok(_) => continue,
            Err(Unfit::Chain(why)) => {
                let path = certificate.chain.path.display();
                let right = "name a PEM file with the certificate of this server first";
                ("chain", format!("{path} can't be used: {why}; {right}"))
            }
            Err(Unfit::Key(why)) => {
                let path = certificate.key.path.display();
                let chain = certificate.chain.path.display();
                let right = format!("name the key that the certificate in {chain} was made for");
                ("key", format!("{path} can't be used: {why}; {right}"))
            }
        };
        reading.report(item.span(key), message);
    }
    if certificates.iter().any(|item| item.read.is_none()) {
        // One that can't be read may be the one that is named.
        return;
    }
    let names: HashSet<&str> = certificates
        .iter()
        .filter_map(|item| item.read.as_ref())
        .map(|certificate| certificate.name.as_str())
        .collect();
    for item in listeners {
        for name in item.read.iter().flat_map(|listener| &listener.certificates) {
            if names.contains(name.as_str()) {
                continue;
            }
            let right = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean \"{near}\"?"),
                None => "declare it, or leave `certificates` out for all there are".to_owned(),
            };
            let message = format!("there is no [[certificate]] with the name \"{name}\"; {right}");
            reading.report(item.span("certificates"), message);
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::generate_simple_self_signed;

    use super::super::Config;
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        let parsed = Config::parse("a.toml", text, std::iter::empty());
        parsed.map_err(|faults| faults.to_string().trim_end().to_owned())
    }

    #[test]
    fn a_pair_is_taken_and_a_foreign_key_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        for name in ["a", "b"] {
            let made = generate_simple_self_signed([format!("{name}.example")]).unwrap();
            std::fs::write(path(&format!("{name}.pem")), made.cert.pem()).unwrap();
            std::fs::write(path(&format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
        }
        let pair = |name: &str, key: &str| {
            let (chain, key) = (path(&format!("{name}.pem")), path(&format!("{key}.key")));
            format!("[[certificate]]\nname = \"{name}\"\nchain = \"{chain}\"\nkey = \"{key}\"\n")
        };
        let listener = "[[listener]]\ncertificates = [\"a\", \"bb\"]\n";
        let config = parse(&pair("a", "a")).unwrap();
        assert_eq!((config.certificates[0].name.as_str(), config.certificates[0].line), ("a", 1));
        let foreign = parse(&pair("a", "b")).unwrap_err();
        let expected = format!(
            "a.toml:4:7: {} can't be used: it belongs to another certificate; name the key that \
             the certificate in {} was made for",
            path("b.key"),
            path("a.pem")
        );
        assert_eq!(foreign, expected);
        let all = pair("a", "a") + &pair("b", "b") + &pair("a", "a") + listener;
        assert_eq!(
            parse(&all).unwrap_err(),
            "a.toml:10:8: the certificate a is already declared at line 1; remove one of the two\n\
             a.toml:14:16: there is no [[certificate]] with the name \"bb\"; did you mean \"b\"?"
        );
    }

    #[test]
    fn tls_is_on_where_others_come_from() {
        let mode =
            |text: &str| parse(&format!("[[listener]]\n{text}")).unwrap().listeners[0].tls_mode();
        assert_eq!(mode(""), Tls::Off);
        assert_eq!(mode("bind = \"0.0.0.0:25\""), Tls::StartTls);
        assert_eq!(mode("bind = \"[::1]:25\""), Tls::Off);
        assert_eq!(mode("bind = \"[::1]:587\"\nrole = \"submission\""), Tls::StartTls);
        assert_eq!(mode("bind = \"unix:/run/lmtp\"\nrole = \"lmtp\""), Tls::Off);
        assert_eq!(mode("tls = \"implicit\""), Tls::Implicit);
        assert_eq!(mode("bind = \"0.0.0.0:25\"\ntls = \"off\""), Tls::Off);
    }
}
