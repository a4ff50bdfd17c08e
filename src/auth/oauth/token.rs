//! One token judged by keys that are at hand: signature, issuer, audience, time, scope, user.
//!
//! Promises that a token which passes was signed by the issuer for us, for mail, for now, and names
//! its user. The reasons why one does not are for the log of whoever sets this up.

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header, Validation, dangerous, decode, decode_header};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::Issuer;
use super::keys::KeySet;

/// The longest token, in octets.
const TOKEN_OCTETS_MAX: usize = 16 * 1024;
/// The longest name of a user, in octets: a mailbox.
const USER_OCTETS_MAX: usize = 320;
/// What may sign. Never `none`, which the library does not know, nor a shared secret.
const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

/// What a token says of itself, before anything of it is believed.
pub(super) struct Opened<'a> {
    token: &'a str,
    /// The algorithm, one of ours.
    pub(super) algorithm: Algorithm,
    /// The key that signed it.
    pub(super) key: Option<String>,
    /// Who made it.
    pub(super) issuer: String,
}

impl<'a> Opened<'a> {
    /// Reads the head of a token. The error is a sentence.
    pub(super) fn open(token: &'a str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Named {
            iss: String,
        }
        if token.len() > TOKEN_OCTETS_MAX {
            return Err(format!("it has over {TOKEN_OCTETS_MAX} octets"));
        }
        let Header { typ, alg, kid, crit, .. } =
            decode_header(token).map_err(|why| format!("it is no JWT: {why}"))?;
        if !ALGORITHMS.contains(&alg) {
            return Err(format!("it is signed by {alg:?}"));
        }
        // What must be understood, and is not (RFC 7515 4.1.11).
        if crit.is_some() {
            return Err("its head has critical parameters".to_owned());
        }
        let typ = typ.unwrap_or_else(|| "JWT".to_owned()).to_ascii_lowercase();
        if !matches!(typ.trim_start_matches("application/"), "jwt" | "at+jwt") {
            return Err(format!("it is of the type {typ}, no access token"));
        }
        let named: Named = dangerous::insecure_decode_claims(token)
            .map_err(|why| format!("it names no issuer: {why}"))?;
        Ok(Self { token, algorithm: alg, key: kid, issuer: named.iss })
    }

    /// The user of a token that is good at `now_s`, in seconds since the epoch. The error is a
    /// sentence.
    pub(super) fn judge(
        &self,
        keys: &KeySet,
        issuer: &Issuer,
        now_s: u64,
    ) -> Result<String, String> {
        let mut rules = Validation::new(self.algorithm);
        rules.set_required_spec_claims(&["iss", "aud"]);
        rules.set_issuer(&[&issuer.issuer]);
        rules.set_audience(&issuer.audience);
        // The time is judged below, by the clock that is given.
        rules.validate_exp = false;
        let mut why = "no key fits".to_owned();
        for key in keys.find(self.key.as_deref(), self.algorithm) {
            match decode::<Map<String, Value>>(self.token, key, &rules) {
                Ok(good) => return admitted(&good.claims, issuer, now_s),
                Err(error) if *error.kind() == ErrorKind::InvalidSignature => {
                    why = "the signature is wrong".to_owned();
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(why)
    }
}

/// The user of claims whose signature, issuer and audience are right.
fn admitted(claims: &Map<String, Value>, issuer: &Issuer, now_s: u64) -> Result<String, String> {
    in_time(claims, issuer.clock_skew.as_secs(), now_s)?;
    // Bound to a key (RFC 9449, RFC 8705), which SASL gives no way to prove.
    if claims.contains_key("cnf") {
        return Err("it is bound to a key of its client, not a bearer token".to_owned());
    }
    if !issuer.scope.is_empty() && !has_scope(claims, &issuer.scope) {
        return Err(format!("it has not the scope {}", issuer.scope));
    }
    let name = issuer.user_claim.as_str();
    // Whoever may write any address into an account could else be anyone.
    if name == "email" && claims.get("email_verified").is_some_and(|is| !is_true(is)) {
        return Err("the issuer has not verified its email".to_owned());
    }
    let user = claims.get(name).and_then(Value::as_str);
    let user = user.ok_or_else(|| format!("it has no {name}"))?;
    let odd = |c: char| c.is_control() || c.is_whitespace();
    if user.is_empty() || user.len() > USER_OCTETS_MAX || user.contains(odd) {
        return Err(format!("its {name} is no login"));
    }
    if !speaks_for(issuer, user) {
        return Err(format!("the issuer may not speak for {user}"));
    }
    Ok(user.to_owned())
}

/// `exp` and `nbf` (RFC 7519 4.1.4, 4.1.5); numbers may have a fraction.
fn in_time(claims: &Map<String, Value>, skew_s: u64, now_s: u64) -> Result<(), String> {
    let (now, skew) = (now_s as f64, skew_s as f64);
    match claims.get("exp").map(Value::as_f64) {
        Some(Some(end)) if now < end + skew => {}
        Some(Some(_)) => return Err("it has expired".to_owned()),
        _ => return Err("it has no time of expiry".to_owned()),
    }
    match claims.get("nbf").map(Value::as_f64) {
        None => Ok(()),
        Some(Some(begin)) if begin <= now + skew => Ok(()),
        _ => Err("it is not valid yet".to_owned()),
    }
}

/// Whether a scope is among those of `scope` (RFC 9068 2.2.3) or, as some issuers call it, `scp`;
/// either is words in a string or a list.
fn has_scope(claims: &Map<String, Value>, wanted: &str) -> bool {
    ["scope", "scp"].into_iter().filter_map(|name| claims.get(name)).any(|scopes| match scopes {
        Value::String(words) => words.split(' ').any(|word| word == wanted),
        Value::Array(words) => words.iter().any(|word| word == wanted),
        _ => false,
    })
}

fn is_true(value: &Value) -> bool {
    *value == true || *value == "true"
}

fn speaks_for(issuer: &Issuer, user: &str) -> bool {
    let domain = user.rsplit_once('@').map_or("", |(_, domain)| domain);
    issuer.domains.is_empty()
        || issuer.domains.iter().any(|allowed| allowed.eq_ignore_ascii_case(domain))
}
