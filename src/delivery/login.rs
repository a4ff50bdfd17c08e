//! Logging in at a next hop: the client's side of AUTH, by SASL (RFC 4954 4).
//!
//! Chooses the strongest of what is offered: SCRAM-SHA-256 bound to the TLS channel, SCRAM-SHA-256,
//! PLAIN, LOGIN. Promises that the password appears in nothing but the exchange; that where SCRAM is
//! spoken a server which does not know the password is found out; and that no challenge makes
//! us work for long.

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rsasl::callback::{Context, Request, SessionCallback, SessionData};
use rsasl::config::SASLConfig;
use rsasl::mechanisms::login::LOGIN;
use rsasl::mechanisms::plain::PLAIN;
use rsasl::mechanisms::scram::{SCRAM_SHA256, SCRAM_SHA256_PLUS};
use rsasl::mechname::Mechname;
use rsasl::prelude::{
    ChannelBindingCallback, Mechanism as Known, Registry, SASLClient, Session, SessionError, State,
};
use rsasl::property::{AuthId, Password};
use rsasl::validate::NoValidation;

use crate::registry::mechanism::Mechanism;
use crate::route::security::Credential;

/// What the library may choose from; it prefers the strongest.
static KNOWN: [Known; 4] = [SCRAM_SHA256_PLUS, SCRAM_SHA256, PLAIN, LOGIN];

/// The most rounds of hashing that a server may ask for: a fifth of a second of work.
const ITERATIONS_MAX: u32 = 500_000;
/// The longest line of a command (rfc5321bis 4.5.3.1.4), without its end.
const LINE_OCTETS_MAX: usize = 510;

/// The value of `tls-exporter` (RFC 9266), where there is one.
#[derive(Clone, Copy)]
struct Binding(Option<[u8; 32]>);

impl ChannelBindingCallback for Binding {
    fn get_cb_data(&self, name: &str) -> Option<&[u8]> {
        self.0.as_ref().filter(|_| name == "tls-exporter").map(<[u8; 32]>::as_slice)
    }
}

/// What the library asks for.
struct Asked {
    credential: Arc<Credential>,
    bound: bool,
}

impl SessionCallback for Asked {
    fn callback(
        &self,
        session: &SessionData,
        _: &Context<'_>,
        request: &mut Request<'_>,
    ) -> Result<(), SessionError> {
        let Credential { user, password, .. } = &*self.credential;
        let hashed = session.mechanism().mechanism.as_str().starts_with("SCRAM");
        // Only what is hashed must be in one form on both sides (RFC 5802 2.2).
        let form = |text: &str| match stringprep::saslprep(text) {
            Ok(prepared) if hashed => prepared.into_owned(),
            _ => text.to_owned(),
        };
        request.satisfy::<AuthId>(&form(user))?.satisfy::<Password>(form(password).as_bytes())?;
        Ok(())
    }

    fn enable_channel_binding(&self) -> bool {
        self.bound
    }
}

/// An exchange under way.
pub(super) struct Login {
    session: Session<NoValidation, Binding>,
    mechanism: Mechanism,
    /// What goes with the first challenge, which is empty, where it did not go with the command.
    held_back: Option<Vec<u8>>,
    /// Nothing more is to be said, and nothing to be heard but the verdict.
    finished: bool,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.mechanism.name())
    }
}

impl Login {
    /// Begins, by one of the mechanisms `offered`, and gives the command to send. The error says
    /// what is wrong.
    pub(super) fn begin(
        credential: &Arc<Credential>,
        offered: &[Mechanism],
        exporter: Option<[u8; 32]>,
    ) -> Result<(Self, String), String> {
        let bound = exporter.is_some();
        let asked = Asked { credential: Arc::clone(credential), bound };
        let config = SASLConfig::builder()
            .with_registry(Registry::with_mechanisms(&KNOWN))
            .with_callback(asked)
            .map_err(|error| error.to_string())?;
        let client = SASLClient::with_cb(config, Binding(exporter));
        let names: Vec<&Mechname> = offered
            .iter()
            .filter_map(|mechanism| Mechname::parse(mechanism.name().as_bytes()).ok())
            .collect();
        let session = client
            .start_suggested_iter(names)
            .map_err(|_| "it offers no mechanism that this program speaks".to_owned())?;
        let mechanism = Mechanism::named(session.get_mechname().as_str())
            .ok_or("the SASL library chose an unknown mechanism")?;
        let mut login = Self { session, mechanism, held_back: None, finished: false };
        let mut command = format!("AUTH {}", mechanism.name());
        // LOGIN has prompts first, and takes no initial response.
        if mechanism != Mechanism::Login {
            let first = login.step(None)?;
            let encoded = STANDARD.encode(&first);
            if command.len() + 1 + encoded.len() <= LINE_OCTETS_MAX {
                command = format!("{command} {encoded}");
            } else {
                login.held_back = Some(first);
            }
        }
        Ok((login, command))
    }

    /// The line that answers a challenge; the error says what is wrong with it.
    pub(super) fn answer(&mut self, challenge: &str) -> Result<String, String> {
        let unreadable = |_| "its challenge is no base64".to_owned();
        let challenge = STANDARD.decode(challenge.trim()).map_err(unreadable)?;
        if let Some(first) = self.held_back.take() {
            return Ok(STANDARD.encode(first));
        }
        if self.finished {
            return Err("it challenges once too often".to_owned());
        }
        if iterations(&challenge).is_some_and(|count| count > ITERATIONS_MAX) {
            return Err(format!("it asks for more than {ITERATIONS_MAX} rounds of hashing"));
        }
        let said = self.step(Some(&challenge))?;
        Ok(STANDARD.encode(said))
    }

    /// Whether the exchange is at its end, so that the verdict of the server may be believed.
    pub(super) fn is_finished(&self) -> bool {
        self.finished
    }

    /// How we logged in.
    pub(super) fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    fn step(&mut self, challenge: Option<&[u8]>) -> Result<Vec<u8>, String> {
        let mut said = Vec::new();
        let state = self.session.step(challenge, &mut said);
        self.finished = !matches!(state, Ok(State::Running));
        match state {
            Ok(_) => Ok(said),
            Err(SessionError::MutualAuthenticationFailed) => {
                Err("it does not know the password itself: another server may have taken its \
                     place"
                    .to_owned())
            }
            Err(error) => Err(format!("its challenge makes no sense: {error}")),
        }
    }
}

/// The rounds of hashing that a first challenge of SCRAM asks for.
fn iterations(challenge: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(challenge).ok()?;
    let count = text.split(',').find_map(|attribute| attribute.strip_prefix("i="))?;
    Some(count.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests;
