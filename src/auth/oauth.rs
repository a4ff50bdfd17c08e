//! Logins by bearer tokens: JWTs of issuers that the operator trusts (RFC 7519, RFC 9068).
//!
//! Promises that a token is good only if a listed issuer signed it for us, for mail and for now, that
//! nobody logs in as another than it names, and that an issuer which is down refuses nobody for good.
//! Keys come over verified HTTPS alone.

mod keys;
mod token;

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use tokio::sync::Mutex;

use self::keys::{KeySet, Lookup, Memory, Pauses};
use self::token::Opened;
use super::{Denial, Login, Pending, Proof, Verifier};
use crate::event;
use crate::net::clock;
use crate::net::https::{Answer, Client};

/// One whose tokens are taken.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its URL, as tokens have it in `iss`.
    pub issuer: String,
    /// Whom tokens may be for, as they have it in `aud`: one of these.
    pub audience: Vec<String>,
    /// The URL of its key set; without it, what its metadata names.
    pub jwks: Option<String>,
    /// The scope that a token must have; empty for none.
    pub scope: String,
    /// The claim that has the login.
    pub user_claim: String,
    /// The domains of the logins that it may speak for; none for any.
    pub domains: Vec<String>,
    /// How far its clock and ours may differ.
    pub clock_skew: Duration,
    /// Certificate authorities to trust for its HTTPS, beside those of the system.
    pub roots: Vec<CertificateDer<'static>>,
}

/// The verifier of tokens.
#[derive(Debug)]
pub struct Oauth {
    trusted: Vec<Trusted>,
    failure: String,
}

#[derive(Debug)]
struct Trusted {
    issuer: Issuer,
    client: Client,
    /// Locked while the issuer is asked, so that it is asked once.
    memory: Mutex<Memory>,
}

impl Oauth {
    /// Trusts these issuers; nobody is asked before the first token comes.
    ///
    /// # Errors
    /// A sentence: what can't be trusted.
    pub fn new(issuers: Vec<Issuer>) -> Result<Self, String> {
        Self::with_pauses(issuers, Pauses::default())
    }

    fn with_pauses(issuers: Vec<Issuer>, pauses: Pauses) -> Result<Self, String> {
        let failure = issuers.first().map_or_else(String::new, failure);
        let trusted = issuers.into_iter().map(|issuer| {
            let client = Client::new(&issuer.roots)?;
            Ok(Trusted { issuer, client, memory: Mutex::new(Memory::new(pauses)) })
        });
        Ok(Self { trusted: trusted.collect::<Result<_, String>>()?, failure })
    }

    async fn judge(&self, login: Option<&str>, token: &str) -> Result<Login, Denial> {
        let opened = Opened::open(token).map_err(|why| refused("", &why))?;
        let Some(trusted) = self.trusted.iter().find(|it| it.issuer.issuer == opened.issuer) else {
            return Err(refused(&opened.issuer, "no [[oauth]] trusts this issuer"));
        };
        let keys = trusted.keys(opened.key.as_deref(), opened.algorithm).await;
        let (keys, issuer) = (keys?, &trusted.issuer);
        let user = opened
            .judge(&keys, issuer, clock::now_ms() / 1000)
            .map_err(|why| refused(&issuer.issuer, &why))?;
        if login.is_some_and(|login| !login.eq_ignore_ascii_case(&user)) {
            return Err(refused(&issuer.issuer, "the client names another user than the token"));
        }
        Ok(Login { user: user.into(), label: None })
    }
}

fn refused(issuer: &str, why: &str) -> Denial {
    event::token_refused(issuer, why);
    Denial::Credentials
}

/// What a client is told that needs another token (RFC 7628 3.2.2): where to get one.
fn failure(issuer: &Issuer) -> String {
    let mut told = serde_json::Map::new();
    told.insert("status".to_owned(), "invalid_token".into());
    if !issuer.scope.is_empty() {
        told.insert("scope".to_owned(), issuer.scope.as_str().into());
    }
    told.insert("openid-configuration".to_owned(), metadata(&issuer.issuer).into());
    serde_json::Value::Object(told).to_string()
}

/// Where an issuer describes itself (OpenID Connect Discovery 1.0, 4).
fn metadata(issuer: &str) -> String {
    format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'))
}

impl Trusted {
    /// Keys among which is that of a token.
    async fn keys(&self, id: Option<&str>, algorithm: Algorithm) -> Result<Arc<KeySet>, Denial> {
        let mut memory = self.memory.lock().await;
        let mut found = memory.look_up(id, algorithm, clock::instant());
        if matches!(found, Lookup::Ask) {
            match self.fetch().await {
                Ok((set, max_age)) => memory.take(set, max_age, clock::instant()),
                Err(why) => {
                    event::trouble("the keys of an issuer of tokens can't be had", &why);
                    memory.miss(why, clock::instant());
                }
            }
            found = memory.look_up(id, algorithm, clock::instant());
        }
        match found {
            Lookup::Known(keys) => Ok(keys),
            Lookup::Unavailable(why) => Err(Denial::Unavailable(why)),
            Lookup::Ask | Lookup::Unknown => {
                Err(refused(&self.issuer.issuer, "the issuer has no such key"))
            }
        }
    }

    /// The key set, and for how long it is fresh. The error is a sentence.
    async fn fetch(&self) -> Result<(KeySet, Option<Duration>), String> {
        let url = match &self.issuer.jwks {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let Answer { body, max_age } = self.client.get(&url).await?;
        let set = KeySet::parse(&body).map_err(|why| format!("{url}: {why}"))?;
        Ok((set, max_age))
    }

    /// The URL of the key set. Metadata of another issuer is a fault (RFC 8414 3.3).
    async fn discover(&self) -> Result<String, String> {
        #[derive(Deserialize)]
        struct Metadata {
            issuer: String,
            jwks_uri: String,
        }
        let url = metadata(&self.issuer.issuer);
        let answer = self.client.get(&url).await?;
        let found: Metadata = serde_json::from_slice(&answer.body)
            .map_err(|why| format!("{url}: no metadata of an issuer: {why}"))?;
        if found.issuer != self.issuer.issuer {
            return Err(format!("{url}: it is of the issuer {}", found.issuer));
        }
        Ok(found.jwks_uri)
    }
}

impl Verifier for Oauth {
    fn takes_tokens(&self) -> bool {
        true
    }

    fn verify<'a>(&'a self, proof: Proof<'a>) -> Pending<'a, Result<Login, Denial>> {
        Box::pin(async move {
            match proof {
                Proof::Token { login, token } => self.judge(login, token).await,
                Proof::Password { .. } => Err(Denial::Credentials),
            }
        })
    }

    fn token_failure(&self) -> Option<&str> {
        Some(&self.failure)
    }
}

#[cfg(test)]
mod tests;
