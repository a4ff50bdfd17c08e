//! SASL exchanges over any store that judges one proof at a time.
//!
//! Promises that each response leads to a challenge, a login or a denial, that an exchange which is
//! over stays over, and that whoever may act for itself acts for nobody else.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use super::scram::{Binding, Challenged, ClientFirst, unescape};
use super::{Backend, Channel, Denial, Exchange, Login, Pending, Proof, Step, Verifier};
use crate::registry::mechanism::Mechanism;

/// The mechanisms over a store.
#[derive(Debug)]
pub struct Sasl {
    verifier: Arc<dyn Verifier>,
    mechanisms: Vec<Mechanism>,
}

impl Sasl {
    /// All mechanisms that a store is enough for.
    pub fn new(verifier: Arc<dyn Verifier>) -> Self {
        let serves = |mechanism: &Mechanism| match mechanism {
            Mechanism::ScramSha256Plus | Mechanism::ScramSha256 => verifier.keeps_scram(),
            Mechanism::OauthBearer | Mechanism::Xoauth2 => verifier.takes_tokens(),
            Mechanism::Plain | Mechanism::Login => verifier.takes_passwords(),
        };
        let mechanisms = Mechanism::ALL.into_iter().filter(serves).collect();
        Self { verifier, mechanisms }
    }
}

impl Backend for Sasl {
    fn mechanisms(&self) -> &[Mechanism] {
        &self.mechanisms
    }

    fn begin(&self, mechanism: Mechanism, channel: &Channel) -> Box<dyn Exchange> {
        let verifier = Arc::clone(&self.verifier);
        let exporter = channel.binding.filter(|_| self.verifier.keeps_scram());
        let binding = Binding { plus: mechanism == Mechanism::ScramSha256Plus, exporter };
        Box::new(Ongoing { verifier, mechanism, binding, state: State::Initial, claimed: None })
    }
}

struct Ongoing {
    verifier: Arc<dyn Verifier>,
    mechanism: Mechanism,
    binding: Binding,
    state: State,
    claimed: Option<String>,
}

/// What the next response is.
enum State {
    /// The first one.
    Initial,
    /// The password, by LOGIN.
    Password(String),
    /// The proof, by SCRAM.
    Proof(Box<Challenged>),
    /// An empty one, to our own proof.
    Proved(Login),
    /// The answer to why a token is refused (RFC 7628 3.2.3).
    Told(Denial),
    /// None.
    Over,
}

impl Exchange for Ongoing {
    fn step<'a>(&'a mut self, response: Option<&'a [u8]>) -> Pending<'a, Step> {
        Box::pin(async move {
            let stepped = match response {
                None => self.prompt(),
                Some(response) => self.respond(response).await,
            };
            stepped.unwrap_or_else(|denial| {
                self.state = State::Over;
                Step::Denied(denial)
            })
        })
    }

    fn claimed(&self) -> Option<&str> {
        self.claimed.as_deref()
    }
}

impl Ongoing {
    /// Asks for the first response.
    fn prompt(&self) -> Result<Step, Denial> {
        match (&self.state, self.mechanism) {
            (State::Initial, Mechanism::Login) => Ok(Step::Challenge(b"Username:".to_vec())),
            (State::Initial, _) => Ok(Step::Challenge(Vec::new())),
            _ => Err(Denial::Malformed),
        }
    }

    async fn respond(&mut self, response: &[u8]) -> Result<Step, Denial> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Initial => self.first(response).await,
            State::Password(login) => self.password(&login, text(response)?).await,
            State::Proof(challenged) => {
                let (login, ours) = challenged.finish(response)?;
                self.state = State::Proved(login);
                Ok(Step::Challenge(ours.into_bytes()))
            }
            State::Proved(login) if response.is_empty() => {
                self.verifier.used(&login);
                Ok(Step::Granted(login))
            }
            State::Told(denial) => Err(denial),
            State::Proved(_) | State::Over => Err(Denial::Malformed),
        }
    }

    async fn first(&mut self, response: &[u8]) -> Result<Step, Denial> {
        match self.mechanism {
            Mechanism::ScramSha256Plus | Mechanism::ScramSha256 => self.scram(response).await,
            Mechanism::OauthBearer => {
                let (login, token) = bearer(response)?;
                self.token(login.as_deref(), token).await
            }
            Mechanism::Xoauth2 => {
                let (login, token) = xoauth2(response)?;
                self.token(Some(login), token).await
            }
            Mechanism::Plain => {
                let (login, password) = plain(response)?;
                self.password(login, password).await
            }
            Mechanism::Login => {
                let login = text(response)?.to_owned();
                self.claimed = Some(login.clone());
                self.state = State::Password(login);
                Ok(Step::Challenge(b"Password:".to_vec()))
            }
        }
    }

    async fn scram(&mut self, response: &[u8]) -> Result<Step, Denial> {
        let first = ClientFirst::read(response, self.binding)?;
        self.claimed = Some(first.login.clone());
        let kept = self.verifier.scram(&first.login).await.ok_or(Denial::Credentials)?;
        let challenged = first.answer(&nonce()?, kept);
        let message = challenged.message().as_bytes().to_vec();
        self.state = State::Proof(Box::new(challenged));
        Ok(Step::Challenge(message))
    }

    async fn password(&mut self, login: &str, password: &str) -> Result<Step, Denial> {
        self.claimed = Some(login.to_owned());
        self.verifier.verify(Proof::Password { login, password }).await.map(Step::Granted)
    }

    async fn token(&mut self, login: Option<&str>, token: &str) -> Result<Step, Denial> {
        self.claimed = login.map(str::to_owned);
        match self.verifier.verify(Proof::Token { login, token }).await {
            Ok(login) => Ok(Step::Granted(login)),
            Err(denial @ Denial::Credentials) => match self.verifier.token_failure() {
                Some(why) => {
                    let told = why.as_bytes().to_vec();
                    self.state = State::Told(denial);
                    Ok(Step::Challenge(told))
                }
                None => Err(denial),
            },
            Err(denial) => Err(denial),
        }
    }
}

/// Fresh octets in printable ones.
fn nonce() -> Result<String, Denial> {
    use base64::Engine;
    let mut octets = [0; 18];
    aws_lc_rs::rand::fill(&mut octets)
        .map_err(|_| Denial::Unavailable("the system gives no random octets".to_owned()))?;
    Ok(base64::engine::general_purpose::STANDARD.encode(octets))
}

fn text(octets: &[u8]) -> Result<&str, Denial> {
    str::from_utf8(octets).ok().filter(|text| !text.contains('\0')).ok_or(Denial::Malformed)
}

/// Login and password (RFC 4616 2). A client may name itself once more, and nobody else.
fn plain(response: &[u8]) -> Result<(&str, &str), Denial> {
    let mut parts = response.split(|octet| *octet == 0).map(text);
    let mut part = || parts.next().unwrap_or(Err(Denial::Malformed));
    let (acts_for, login, password) = (part()?, part()?, part()?);
    if parts.next().is_some() || login.is_empty() || password.is_empty() {
        return Err(Denial::Malformed);
    }
    if acts_for.is_empty() || acts_for == login {
        Ok((login, password))
    } else {
        Err(Denial::Credentials)
    }
}

/// Login, if named, and token (RFC 7628 3.1).
fn bearer(response: &[u8]) -> Result<(Option<String>, &str), Denial> {
    let (header, pairs) = text(response)?.split_once('\x01').ok_or(Denial::Malformed)?;
    let mut parts = header.split(',');
    let (flag, name) = (parts.next(), parts.next().ok_or(Denial::Malformed)?);
    if !matches!(flag, Some("n" | "y")) || parts.next() != Some("") || parts.next().is_some() {
        return Err(Denial::Malformed);
    }
    let login = match name {
        "" => None,
        name => Some(name.strip_prefix("a=").and_then(unescape).ok_or(Denial::Malformed)?),
    };
    Ok((login, authorization(pairs)?))
}

/// Login and token, as Google and Microsoft speak it.
fn xoauth2(response: &[u8]) -> Result<(&str, &str), Denial> {
    let (login, pairs) = text(response)?
        .strip_prefix("user=")
        .and_then(|rest| rest.split_once('\x01'))
        .ok_or(Denial::Malformed)?;
    Ok((login, authorization(pairs)?))
}

/// The bearer token of `key=value` pairs, each ended by 0x01, and one more at their end.
fn authorization(pairs: &str) -> Result<&str, Denial> {
    let pairs = pairs.strip_suffix("\x01\x01").ok_or(Denial::Malformed)?;
    let value = pairs.split('\x01').find_map(|pair| pair.strip_prefix("auth="));
    let (scheme, token) = value.and_then(|value| value.split_once(' ')).ok_or(Denial::Malformed)?;
    let token = token.trim();
    if scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() {
        Ok(token)
    } else {
        Err(Denial::Malformed)
    }
}
