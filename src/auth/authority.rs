//! Who judges logins: all stores of the configuration behind one door.
//!
//! Promises that a mechanism which shows the secret is begun only where nobody else can read it, and
//! a bound one only where there is something to bind.

use std::sync::Arc;

use super::{Backend, Channel, Exchange};
use crate::registry::mechanism::Mechanism;

/// The stores; of two that carry out a mechanism the first does.
#[derive(Debug)]
pub struct Authority {
    backends: Vec<Arc<dyn Backend>>,
    /// What is offered of all that they can.
    allowed: Vec<Mechanism>,
}

impl Authority {
    /// An authority over these stores, which offers the mechanisms that are `allowed`.
    pub fn new(backends: Vec<Arc<dyn Backend>>, allowed: &[Mechanism]) -> Self {
        Self { backends, allowed: allowed.to_vec() }
    }

    /// What can be begun on a channel, the strongest first.
    pub fn mechanisms(&self, channel: &Channel) -> Vec<Mechanism> {
        let can = |mechanism: &Mechanism| self.backend(*mechanism, channel).is_some();
        Mechanism::ALL.into_iter().filter(can).collect()
    }

    /// Begins an exchange, if the channel allows it.
    pub fn begin(&self, mechanism: Mechanism, channel: &Channel) -> Option<Box<dyn Exchange>> {
        let mut channel = channel.clone();
        if !self.allowed.contains(&Mechanism::ScramSha256Plus) {
            // A client that could bind, and was not offered it, is not being deceived.
            channel.binding = None;
        }
        Some(self.backend(mechanism, &channel)?.begin(mechanism, &channel))
    }

    fn backend(&self, mechanism: Mechanism, channel: &Channel) -> Option<&Arc<dyn Backend>> {
        let hidden = channel.tls || channel.clear_allowed;
        let bound = mechanism == Mechanism::ScramSha256Plus;
        if mechanism.shows_secret() && !hidden || bound && channel.binding.is_none() {
            return None;
        }
        if !self.allowed.contains(&mechanism) {
            return None;
        }
        self.backends.iter().find(|backend| backend.mechanisms().contains(&mechanism))
    }
}
