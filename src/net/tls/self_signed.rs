//! A certificate that this server signs itself, for as long as the operator has given none.
//!
//! Promises that it stays the same from start to start while it fits, and that nobody else can read
//! its key.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use rcgen::{
    CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, date_time_ymd,
};

use super::certificate::Fit;
use super::pem::{Chain, Key};
use super::store::Kept;

/// What it is called where others are called as the configuration does.
pub const NAME: &str = "self-signed";
/// Long: whoever pins it should not be surprised.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// For clocks that are behind.
const HEAD_START: Duration = Duration::from_secs(86_400);

/// The certificate for `hostname` in `folder`, and whether it was made just now.
///
/// # Errors
/// What could not be made or written, as a sentence.
pub fn open(folder: &Path, hostname: &str, now_s: i64) -> Result<(Kept, bool), String> {
    let (chain, key) = (folder.join("self-signed.pem"), folder.join("self-signed.key"));
    let read = || Kept::new(NAME, &Chain::read(&chain).ok()?, &Key::read(&key).ok()?).ok();
    let fits = |kept: &Kept| {
        let certificate = kept.current();
        certificate.fit(hostname) == Fit::Exact && certificate.doubt(now_s).is_none()
    };
    if let Some(kept) = read().filter(fits) {
        return Ok((kept, false));
    }
    let failed = |why: &dyn std::fmt::Display| format!("self-signed certificate: {why}");
    let (chain_text, key_text) = make(hostname, now_s).map_err(|error| failed(&error))?;
    write(&key, &key_text)
        .and_then(|()| write(&chain, &chain_text))
        .map_err(|error| failed(&error))?;
    let kept = read().ok_or_else(|| failed(&"what was written can't be read"))?;
    Ok((kept, true))
}

/// A new certificate and its key, as PEM.
fn make(hostname: &str, now_s: i64) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(vec![hostname.to_owned()])?;
    let now = date_time_ymd(1970, 1, 1) + Duration::from_secs(now_s.unsigned_abs());
    params.not_before = now - HEAD_START;
    params.not_after = now + LIFETIME;
    params.distinguished_name.push(DnType::CommonName, hostname);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::generate()?;
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// Replaces a file as a whole, readable by its owner alone.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    let _ = fs::remove_file(&new);
    let mut file: File = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}
