//! Passwords as the keys of SCRAM-SHA-256 (RFC 5802 3): all that is kept of one.
//!
//! Promises that equal passwords in any spelling that SASLprep makes one (RFC 4013) give equal keys.

use std::num::NonZeroU32;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::{digest, hmac, pbkdf2};

/// Longest password or token, in octets.
const OCTETS_MAX: usize = 8192;
/// What passwords are made of: nothing that looks like another.
const ALPHABET: &[u8; 32] = b"abcdefghjklmnpqrstuvwxyz23456789";

/// A password that nobody has: 120 random bits in six groups of four, and hyphens that are part of
/// it. `None` where the system gives no random octets.
#[must_use]
pub fn generate() -> Option<String> {
    let mut octets = [0; 24];
    aws_lc_rs::rand::fill(&mut octets).ok()?;
    let letter = |octet: &u8| ALPHABET.get(usize::from(octet % 32)).copied().map(char::from);
    let group = |group: &[u8]| group.iter().map(letter).collect::<Option<String>>();
    Some(octets.chunks(4).map(group).collect::<Option<Vec<_>>>()?.join("-"))
}

/// The keys that a password gives with a salt.
#[derive(Clone, Copy, Debug)]
pub struct Derived {
    /// Proves the client.
    pub stored_key: [u8; 32],
    /// Proves the server.
    pub server_key: [u8; 32],
}

impl Derived {
    /// Derives them, which is meant to take its time; `None` for a password that SASLprep forbids.
    #[must_use]
    pub fn new(password: &str, salt: &[u8], iterations: u32) -> Option<Self> {
        if password.len() > OCTETS_MAX {
            return None;
        }
        let password = stringprep::saslprep(password).ok()?;
        let iterations = NonZeroU32::new(iterations)?;
        let mut salted = [0; digest::SHA256_OUTPUT_LEN];
        let algorithm = pbkdf2::PBKDF2_HMAC_SHA256;
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut salted);
        let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        let client_key = hmac::sign(&key, b"Client Key");
        let stored_key = digest::digest(&digest::SHA256, client_key.as_ref());
        Some(Self {
            stored_key: stored_key.as_ref().try_into().ok()?,
            server_key: hmac::sign(&key, b"Server Key").as_ref().try_into().ok()?,
        })
    }

    /// Whether they are of the same password; in constant time.
    #[must_use]
    pub fn fits(&self, kept: &Self) -> bool {
        verify_slices_are_equal(&self.stored_key, &kept.stored_key).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_that_look_alike_are_one_password() {
        let derive = |password: &str| Derived::new(password, b"salt", 10);
        // U+00AA is a letter that NFKC makes an a, U+00AD is mapped to nothing.
        let kept = derive("Ia").unwrap();
        assert!(derive("I\u{ad}\u{aa}").unwrap().fits(&kept));
        assert!(!derive("ia").unwrap().fits(&kept));
        assert!(derive("\u{7}").is_none() && derive(&"x".repeat(OCTETS_MAX + 1)).is_none());
        assert!(Derived::new("x", b"salt", 0).is_none());
    }

    #[test]
    fn made_passwords_differ_and_can_be_typed() {
        let (one, other) = (generate().unwrap(), generate().unwrap());
        assert_ne!(one, other);
        let groups: Vec<&str> = one.split('-').collect();
        assert!(groups.len() == 6 && groups.iter().all(|group| group.len() == 4), "{one}");
        assert!(!(one + &other).contains(['0', '1', 'i', 'o']));
    }
}
