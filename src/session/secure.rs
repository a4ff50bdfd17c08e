//! The session's side of STARTTLS and AUTH: what the driver answers.

use std::sync::Arc;
use std::time::Instant;

use super::{Session, Settings, State, command};
use crate::registry::reply::{self, Reply};

impl Session {
    /// Answers `StartTls`: may there be a handshake now?
    pub fn handle_start_tls(&mut self, verdict: Result<(), Reply>, now: Instant) {
        if let State::Preparing(hello) = self.take_state(now) {
            self.state = command::starttls::judged(hello, verdict, &mut self.turn());
        }
    }

    /// Answers `Handshake` with what holds under TLS. The session begins anew, without a greeting.
    pub fn handle_secured(&mut self, settings: Arc<Settings>, now: Instant) {
        if let State::Securing = self.take_state(now) {
            self.settings = settings;
            self.state = State::Greeted;
            self.close_if_stopping();
        }
    }

    /// Answers `Authenticate` and `Respond` with a challenge.
    pub fn handle_challenge(&mut self, challenge: &[u8], now: Instant) {
        if let State::Authenticating(hello) = self.take_state(now) {
            self.state = command::auth::challenged(hello, challenge, &mut self.turn());
            self.close_if_stopping();
        }
    }

    /// Answers `Authenticate` and `Respond` with what holds for the user, or with a refusal.
    pub fn handle_login(&mut self, verdict: Result<Arc<Settings>, Reply>, now: Instant) {
        if let State::Authenticating(hello) = self.take_state(now) {
            let verdict = verdict.map(|settings| self.settings = settings);
            self.state = command::auth::judged(hello, verdict, &mut self.turn());
            self.close_if_stopping();
        }
    }

    /// Takes a line of an exchange, if it has come.
    pub(super) fn read_response(&mut self, now: Instant) -> bool {
        let octets_max = self.line_octets_max();
        let Some(response) = self.lines.take(octets_max, command::auth::read) else { return false };
        if let State::Responding(hello) = self.take_state(now) {
            self.state = command::auth::responded(hello, response, &mut self.turn());
        }
        true
    }

    fn close_if_stopping(&mut self) {
        if self.stopping {
            self.close_with(reply::SHUTTING_DOWN);
        }
    }
}
