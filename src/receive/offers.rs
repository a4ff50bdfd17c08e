//! What the clients of a listener are offered: by whether they are trusted, and by their channel.

use std::sync::Arc;

use crate::registry::extension::Extension;
use crate::registry::mechanism::Mechanism;
use crate::registry::offer::{Offer, Protocol, StartTls, Terms};

/// The offers of a listener. Those without AUTH are made once.
#[derive(Clone, Debug)]
pub struct Offers {
    protocol: Protocol,
    message_octets_max: u64,
    /// What a connection in clear can do.
    start_tls: StartTls,
    local: Arc<[Extension]>,
    /// By [trusted][under TLS].
    plain: [[Arc<Offer>; 2]; 2],
}

impl Offers {
    /// The offers of a listener that takes messages of at most `message_octets_max`, where the
    /// operator knows the extensions in `local`.
    pub fn new(
        protocol: Protocol,
        message_octets_max: u64,
        start_tls: bool,
        local: &[Extension],
    ) -> Self {
        let start_tls = if start_tls { StartTls::Offered } else { StartTls::Absent };
        let plain = [false, true].map(|trusted| {
            [start_tls, StartTls::Done].map(|start_tls| {
                let terms = Terms::new(protocol, message_octets_max);
                let offer = Offer::new(&Terms { trusted, start_tls, ..terms });
                Arc::new(offer.with_local(local))
            })
        });
        Self { protocol, message_octets_max, start_tls, local: local.into(), plain }
    }

    /// The offer to a client.
    pub fn of(&self, trusted: bool, tls: bool, mechanisms: Option<&[Mechanism]>) -> Arc<Offer> {
        if mechanisms.is_none() {
            let [strangers, proxies] = &self.plain;
            let [clear, secured] = if trusted { proxies } else { strangers };
            return Arc::clone(if tls { secured } else { clear });
        }
        let start_tls = if tls { StartTls::Done } else { self.start_tls };
        let terms = Terms::new(self.protocol, self.message_octets_max);
        let offer = Offer::new(&Terms { trusted, start_tls, mechanisms, ..terms });
        Arc::new(offer.with_local(&self.local))
    }
}
