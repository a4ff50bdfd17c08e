//! What the clients of a listener are offered: by whether they are trusted, and by their channel.

use std::sync::Arc;

use crate::net::clock;
use crate::registry::extension::Extension;
use crate::registry::mechanism::Mechanism;
use crate::registry::offer::{Listener, Offer, Protocol, StartTls, Terms};
use crate::syntax::parameter::hold;

/// What of a client its offer depends on.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Client {
    /// It is a proxy that may speak for others.
    pub trusted: bool,
    /// It is a user, or of a network that may relay.
    pub known: bool,
    /// It is under TLS.
    pub tls: bool,
}

/// The offers of a listener. Those without AUTH are made once.
#[derive(Clone, Debug)]
pub struct Offers {
    protocol: Protocol,
    message_octets_max: u64,
    /// What a connection in clear can do.
    start_tls: StartTls,
    local: Arc<[Extension]>,
    listener: Arc<Listener>,
    /// The longest time that users may have a message held, in seconds; 0 for none.
    hold_max_s: u64,
    /// By [trusted][known][under TLS].
    plain: [[[Arc<Offer>; 2]; 2]; 2],
}

impl Offers {
    /// The offers of a listener that takes messages of at most `message_octets_max`, where the
    /// operator knows the extensions in `local`.
    pub fn new(
        protocol: Protocol,
        message_octets_max: u64,
        start_tls: bool,
        local: &[Extension],
        listener: Listener,
    ) -> Self {
        let start_tls = if start_tls { StartTls::Offered } else { StartTls::Absent };
        let both = [false, true];
        let plain = both.map(|trusted| {
            both.map(|known| {
                [start_tls, StartTls::Done].map(|start_tls| {
                    let terms = Terms::new(protocol, message_octets_max);
                    let terms = Terms { trusted, known, start_tls, listener: &listener, ..terms };
                    Arc::new(Offer::new(&terms).with_local(local))
                })
            })
        });
        let (local, listener) = (local.into(), Arc::new(listener));
        Self { protocol, message_octets_max, start_tls, local, listener, hold_max_s: 0, plain }
    }

    /// The same, where users may have a message held for so many seconds.
    #[must_use]
    pub fn with_hold(self, hold_max_s: u64) -> Self {
        Self { hold_max_s, ..self }
    }

    /// The offer to a client that may send messages of so many octets.
    pub fn of(
        &self,
        client: Client,
        message_octets_max: u64,
        mechanisms: Option<&[Mechanism]>,
    ) -> Arc<Offer> {
        let Client { trusted, known, tls } = client;
        if mechanisms.is_none() && message_octets_max == self.message_octets_max {
            let [strangers, proxies] = &self.plain;
            let [unknown, relays] = if trusted { proxies } else { strangers };
            let [clear, secured] = if known { relays } else { unknown };
            return Arc::clone(if tls { secured } else { clear });
        }
        let start_tls = if tls { StartTls::Done } else { self.start_tls };
        let terms = Terms::new(self.protocol, message_octets_max);
        let dated = (known && self.hold_max_s > 0).then(|| self.dated());
        let listener = dated.as_ref().unwrap_or(&self.listener);
        let terms = Terms { trusted, known, start_tls, mechanisms, listener, ..terms };
        Arc::new(Offer::new(&terms).with_local(&self.local))
    }

    /// With how long and until when messages can be held (RFC 4865 4.1).
    fn dated(&self) -> Listener {
        let mut listener = Listener::clone(&self.listener);
        let last_ms = clock::now_ms().saturating_add(self.hold_max_s.saturating_mul(1000));
        let value = format!("{} {}", self.hold_max_s, hold::date_ms(last_ms));
        listener.values.push(("FUTURERELEASE", value));
        listener
    }
}
