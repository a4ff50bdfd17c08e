//! The public keys of an issuer: read from its key set, and kept for a while.
//!
//! Promises that tokens with made-up keys do not make us ask the issuer more than once a minute, and
//! that the keys we have stay good for a day while it is down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

/// The most keys of a set; more are left out.
const KEYS_MAX: usize = 64;
/// How long keys are fresh where the issuer says nothing, at least and at most.
const FRESH: Duration = Duration::from_secs(3600);
const FRESH_MIN: Duration = Duration::from_secs(60);
const FRESH_MAX: Duration = Duration::from_secs(24 * 3600);
/// How long keys are good while no fresh ones are to be had.
const GOOD: Duration = Duration::from_secs(24 * 3600);

/// How long the issuer is left alone after it was asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pauses {
    /// Where keys are known.
    pub(super) known: Duration,
    /// As long as there are none.
    pub(super) none: Duration,
}

impl Default for Pauses {
    fn default() -> Self {
        Self { known: Duration::from_secs(60), none: Duration::from_secs(10) }
    }
}

/// One key that can verify.
#[derive(Debug)]
struct Key {
    id: Option<String>,
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// The keys of an issuer (RFC 7517 5).
#[derive(Default, Debug)]
pub(super) struct KeySet(Vec<Key>);

impl KeySet {
    /// Reads a set; keys of kinds that we do not use are left out. The error is a sentence.
    pub(super) fn parse(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(json).map_err(|why| format!("no key set: {why}"))?;
        let keys = set.keys.into_iter().filter_map(|key| serde_json::from_value(key).ok());
        Ok(Self(keys.filter_map(|key: Jwk| usable(&key)).take(KEYS_MAX).collect()))
    }

    /// The keys that a token names, or may mean if it names none.
    pub(super) fn find(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &DecodingKey> {
        self.0
            .iter()
            .filter(move |key| id.is_none() || key.id.as_deref() == id)
            .filter(move |key| key.algorithms.contains(&algorithm))
            .map(|key| &key.key)
    }
}

/// The key, if it is public, for signatures, and of an algorithm that we use. Its own kind decides
/// what it may verify, never the token.
fn usable(jwk: &Jwk) -> Option<Key> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let mut algorithms = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => vec![Algorithm::RS256, Algorithm::PS256],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => vec![Algorithm::ES256],
            EllipticCurve::P384 => vec![Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            vec![Algorithm::EdDSA]
        }
        _ => return None,
    };
    if let Some(only) = jwk.common.key_algorithm {
        algorithms.retain(|algorithm| KeyAlgorithm::from(*algorithm) == only);
    }
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(Key { id: jwk.common.key_id.clone(), algorithms, key })
}

/// What is known of an issuer's keys.
#[derive(Debug)]
pub(super) struct Memory {
    pauses: Pauses,
    set: Arc<KeySet>,
    /// When the set came, and for how long it is fresh.
    got: Option<(Instant, Duration)>,
    /// When the issuer was last asked, and why that failed if it did.
    asked: Option<(Instant, Option<String>)>,
}

/// What to do about the key of a token.
#[derive(Debug)]
pub(super) enum Lookup {
    /// It is in this set.
    Known(Arc<KeySet>),
    /// Ask the issuer first.
    Ask,
    /// The issuer has no such key.
    Unknown,
    /// Nobody can tell; a sentence.
    Unavailable(String),
}

impl Memory {
    pub(super) fn new(pauses: Pauses) -> Self {
        Self { pauses, set: Arc::default(), got: None, asked: None }
    }

    /// Looks for the key of a token.
    pub(super) fn look_up(&self, id: Option<&str>, algorithm: Algorithm, now: Instant) -> Lookup {
        let age = |since: Instant| now.saturating_duration_since(since);
        let known = self.set.find(id, algorithm).next().is_some();
        if known && self.got.is_some_and(|(at, fresh)| age(at) < fresh) {
            return Lookup::Known(Arc::clone(&self.set));
        }
        let pause = if self.got.is_some() { self.pauses.known } else { self.pauses.none };
        let Some((_, fault)) = self.asked.as_ref().filter(|(at, _)| age(*at) < pause) else {
            return Lookup::Ask;
        };
        match fault {
            _ if known && self.got.is_some_and(|(at, fresh)| age(at) < fresh.max(GOOD)) => {
                Lookup::Known(Arc::clone(&self.set))
            }
            Some(why) => Lookup::Unavailable(why.clone()),
            None => Lookup::Unknown,
        }
    }

    /// The issuer answered, and said for how long its keys are fresh.
    pub(super) fn take(&mut self, set: KeySet, max_age: Option<Duration>, now: Instant) {
        let fresh = max_age.map_or(FRESH, |age| age.clamp(FRESH_MIN, FRESH_MAX));
        self.set = Arc::new(set);
        self.got = Some((now, fresh));
        self.asked = Some((now, None));
    }

    /// The issuer could not be asked.
    pub(super) fn miss(&mut self, why: String, now: Instant) {
        self.asked = Some((now, Some(why)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::clock;

    /// A key of the P-256 curve that nobody has; only its coordinates are looked at.
    fn set(id: &str) -> KeySet {
        let key = serde_json::json!({
            "kty": "EC", "crv": "P-256", "kid": id, "use": "sig", "alg": "ES256",
            "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
            "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
        });
        KeySet::parse(serde_json::json!({ "keys": [key] }).to_string().as_bytes()).unwrap()
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn keys_of_no_use_are_left_out() {
        let json = serde_json::json!({ "keys": [
            { "kty": "oct", "k": "c2VjcmV0", "kid": "h", "alg": "HS256" },
            { "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "e", "use": "enc" },
            { "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "k" },
            { "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA" },
            "nonsense",
            { "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r", "alg": "PS256" },
        ]});
        let set = KeySet::parse(json.to_string().as_bytes()).unwrap();
        assert_eq!(set.0.len(), 1);
        assert_eq!(set.find(Some("r"), Algorithm::PS256).count(), 1);
        assert_eq!(set.find(None, Algorithm::PS256).count(), 1);
        assert_eq!(set.find(Some("r"), Algorithm::RS256).count(), 0);
        assert_eq!(set.find(Some("x"), Algorithm::PS256).count(), 0);
        assert!(KeySet::parse(b"<html>").unwrap_err().starts_with("no key set"));
    }

    #[test]
    fn a_strange_key_is_asked_for_once_a_minute() {
        let (start, mut memory) = (clock::instant(), Memory::new(Pauses::default()));
        let look = |memory: &Memory, id, after| {
            memory.look_up(Some(id), Algorithm::ES256, start + seconds(after))
        };
        assert!(matches!(look(&memory, "a", 0), Lookup::Ask));
        memory.take(set("a"), None, start);
        assert!(matches!(look(&memory, "a", 3599), Lookup::Known(_)));
        assert!(matches!(look(&memory, "b", 59), Lookup::Unknown));
        assert!(matches!(look(&memory, "b", 60), Lookup::Ask));
        assert!(matches!(look(&memory, "a", 60), Lookup::Known(_)));
        memory.take(set("b"), None, start + seconds(60));
        assert!(matches!(look(&memory, "b", 61), Lookup::Known(_)));
        assert!(matches!(look(&memory, "a", 61), Lookup::Unknown));
    }

    #[test]
    fn old_keys_are_good_for_a_day_while_the_issuer_is_down() {
        let (start, mut memory) = (clock::instant(), Memory::new(Pauses::default()));
        let look = |memory: &Memory, id, after| {
            memory.look_up(Some(id), Algorithm::ES256, start + seconds(after))
        };
        memory.miss("down".to_owned(), start);
        assert!(matches!(look(&memory, "a", 9), Lookup::Unavailable(_)));
        assert!(matches!(look(&memory, "a", 10), Lookup::Ask));
        memory.take(set("a"), Some(seconds(300)), start);
        assert!(matches!(look(&memory, "a", 300), Lookup::Ask));
        memory.miss("down".to_owned(), start + seconds(300));
        assert!(matches!(look(&memory, "a", 301), Lookup::Known(_)));
        assert!(matches!(look(&memory, "b", 301), Lookup::Unavailable(_)));
        memory.miss("down".to_owned(), start + GOOD);
        assert!(matches!(look(&memory, "a", GOOD.as_secs() + 1), Lookup::Unavailable(_)));
    }
}
