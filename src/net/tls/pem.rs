//! The files of a certificate: its chain and its key, as PEM.
//!
//! Promises that a file's stamp is taken before it is read, so that a change is never missed, and
//! that no octet of a key gets into an error.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// No chain is as large; what is larger is another file.
const FILE_OCTETS_MAX: u64 = 1024 * 1024;

/// What tells one version of a file from the next. A symbolic link is followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stamp {
    file: (u64, u64),
    modified: (i64, i64),
    octets: u64,
}

impl Stamp {
    /// The stamp of a file now; `None` while there is none that can be seen.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        Some(Self {
            file: (found.dev(), found.ino()),
            modified: (found.mtime(), found.mtime_nsec()),
            octets: found.size(),
        })
    }
}

/// A chain as it was read: the certificate of the server first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chain {
    /// Where it is.
    pub path: PathBuf,
    pub(super) stamp: Option<Stamp>,
    pub(super) certificates: Arc<[CertificateDer<'static>]>,
}

impl Chain {
    /// Reads a chain.
    ///
    /// # Errors
    /// Why it can't be read, as a sentence without the path.
    pub fn read(path: &Path) -> Result<Self, String> {
        let (stamp, text) = read(path)?;
        let sections: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
        let certificates = sections.map_err(broken)?;
        if certificates.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        Ok(Self { path: path.to_owned(), stamp, certificates: certificates.into() })
    }
}

/// A private key as it was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// Where it is.
    pub path: PathBuf,
    pub(super) stamp: Option<Stamp>,
    pub(super) key: Arc<PrivateKeyDer<'static>>,
}

impl Key {
    /// Reads a key.
    ///
    /// # Errors
    /// Why it can't be read, as a sentence without the path.
    pub fn read(path: &Path) -> Result<Self, String> {
        let (stamp, text) = read(path)?;
        let key = PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
            pem::Error::NoItemsFound if memchr::memmem::find(&text, b" ENCRYPTED ").is_some() => {
                "it has a password, which nobody could give at a start".to_owned()
            }
            pem::Error::NoItemsFound => "there is no private key in it".to_owned(),
            error => broken(error),
        })?;
        Ok(Self { path: path.to_owned(), stamp, key: Arc::new(key) })
    }
}

fn read(path: &Path) -> Result<(Option<Stamp>, Vec<u8>), String> {
    let stamp = Stamp::of(path);
    let mut text = Vec::new();
    let result = File::open(path)
        .and_then(|file| file.take(FILE_OCTETS_MAX + 1).read_to_end(&mut text))
        .and_then(|octets| match octets as u64 > FILE_OCTETS_MAX {
            true => Err(io::Error::other("it is far too large")),
            false => Ok(()),
        });
    result.map_err(|error| error.to_string())?;
    Ok((stamp, text))
}

/// What is wrong with PEM, without a word of it.
fn broken(error: pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a section of it has no end".to_owned(),
        pem::Error::Base64Decode(_) => "a section of it is no base64".to_owned(),
        _ => "it is no PEM".to_owned(),
    }
}
