//! STARTTLS and AUTH at the socket: handshakes, and exchanges with who judges logins.
//!
//! Promises that a client which fails a handshake is told nothing more, and that why a login is
//! refused stands in the log alone.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use super::{Ending, Receiver};
use crate::auth::{Denial, Login, Step};
use crate::door::Visit;
use crate::event;
use crate::metric;
use crate::net::clock;
use crate::net::tls;
use crate::registry::mechanism::Mechanism;
use crate::registry::reply::{self, Reply};
use crate::syntax::sasl::Response;

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    /// Whether there may be a handshake.
    pub(super) fn start_tls(&mut self) {
        let verdict = self.rules.tls.is_some().then_some(()).ok_or(reply::TLS_UNAVAILABLE);
        self.session.handle_start_tls(verdict, clock::instant());
    }

    /// Takes the handshake that the client was told to begin.
    pub(super) async fn handshake(&mut self) -> Result<(), Ending> {
        self.flush().await?;
        let Some(server) = self.rules.tls.clone() else { return Err("there is no TLS here") };
        let client = self.peer.address;
        match tls::accept(self.stream.take_out(), &server, client).await {
            Ok((stream, facts)) => {
                self.stream = stream;
                super::secured(&self.name, &facts);
                self.peer = self.peer.secured(facts, &self.rules);
                self.visit = Visit::new(&self.services.door, &self.rules.door, client);
                self.session.handle_secured(self.peer.settings(&self.rules), clock::instant());
                Ok(())
            }
            Err(fault) => {
                event::handshake_failed(&self.name, client.to_canonical(), fault);
                Err("there was no TLS handshake")
            }
        }
    }

    /// Begins an exchange.
    pub(super) async fn authenticate(
        &mut self,
        mechanism: Mechanism,
        initial: Option<Response>,
    ) -> Result<(), Ending> {
        if let Err(refusal) = self.services.limits.admit(self.peer.address, clock::now_ms()) {
            return Err(self.leave(&refusal, "too many logins failed from this address").await);
        }
        self.shown = 0;
        let channel = self.peer.channel(&self.rules);
        let begun = self.rules.authority.as_ref();
        match begun.and_then(|authority| authority.begin(mechanism, &channel)) {
            Some(exchange) => {
                self.exchange = Some((mechanism, exchange));
                self.respond(initial).await
            }
            None => {
                self.session.handle_login(Err(reply::UNKNOWN_MECHANISM), clock::instant());
                Ok(())
            }
        }
    }

    /// Goes on with the exchange.
    pub(super) async fn respond(&mut self, response: Option<Response>) -> Result<(), Ending> {
        self.flush().await?;
        let Some((mechanism, mut exchange)) = self.exchange.take() else {
            self.session.handle_login(Err(reply::LOCAL_ERROR), clock::instant());
            return Ok(());
        };
        let response = response.as_ref().map(|Response(octets)| octets.as_slice());
        let limits = Arc::clone(&self.services.limits);
        self.shown = limits.hash(self.shown, response.unwrap_or_default());
        match exchange.step(response).await {
            Step::Challenge(challenge) => {
                self.exchange = Some((mechanism, exchange));
                self.session.handle_challenge(&challenge, clock::instant());
            }
            Step::Granted(login) => {
                // By the name that the client uses: it is all that is known of a failure.
                limits.succeeded(self.peer.address, exchange.claimed().unwrap_or(&login.user));
                self.log_in(mechanism, login);
            }
            Step::Denied(denial) => {
                let claimed = exchange.claimed().unwrap_or_default();
                let client = self.peer.address.to_canonical();
                let by = (mechanism.name(), claimed);
                event::login_denied(&self.name, client, by, told(&denial));
                if denial == Denial::Credentials {
                    let now_ms = clock::now_ms();
                    sleep(limits.failed(&self.name, client, claimed, self.shown, now_ms)).await;
                }
                self.session.handle_login(Err(refusal(&denial)), clock::instant());
            }
        }
        Ok(())
    }

    fn log_in(&mut self, mechanism: Mechanism, login: Login) {
        event::logged_in(&self.name, mechanism.name(), &login.user, login.label.as_deref());
        self.visit.trust();
        self.peer.log_in(login);
        self.session.handle_login(Ok(self.peer.settings(&self.rules)), clock::instant());
    }
}

/// What the figures and the log are told of a denial.
fn told(denial: &Denial) -> (metric::Login, &str) {
    use metric::Login::{Credentials, Refused, Unavailable};
    match denial {
        Denial::Credentials => (Credentials, "wrong user or secret"),
        Denial::Disabled => (Refused, "the account is disabled"),
        Denial::TooWeak => (Refused, "the mechanism is too weak"),
        Denial::Transition => (Refused, "the password must be shown once"),
        Denial::Malformed => (Refused, "what the client sent is none of the mechanism"),
        Denial::Unavailable(why) => (Unavailable, why),
    }
}

/// What a client is told that is not let in.
fn refusal(denial: &Denial) -> Reply {
    match denial {
        Denial::Credentials => reply::BAD_CREDENTIALS,
        Denial::Disabled => reply::ACCOUNT_DISABLED,
        Denial::TooWeak => reply::TOO_WEAK,
        Denial::Transition => reply::NEEDS_TRANSITION,
        Denial::Malformed => reply::BAD_RESPONSE,
        Denial::Unavailable(_) => reply::AUTH_UNAVAILABLE,
    }
}
