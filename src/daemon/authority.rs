//! Who judges logins, out of the configuration.

use std::sync::Arc;

use crate::auth::Backend;
use crate::auth::authority::Authority;
use crate::auth::dovecot::Dovecot;
use crate::auth::oauth::Oauth;
use crate::auth::sasl::Sasl;
use crate::auth::users::{Seen, Users};
use crate::config::{self, Config};

/// The file in the spool where it stands when logins were last used.
pub const SEEN: &str = "logins";

/// Whether a configuration names a store: whether anybody can log in.
#[must_use]
pub fn has_store(config: &Config) -> bool {
    config.auth.users.is_some() || config.auth.dovecot.is_some() || !config.oauth.is_empty()
}

/// The stores of a configuration; `None` where nobody can log in. The error is a sentence for the
/// operator.
pub(super) fn authority(config: &Config) -> Result<Option<Arc<Authority>>, String> {
    let mut backends: Vec<Arc<dyn Backend>> = Vec::new();
    if let Some(path) = &config.auth.users {
        let seen = Arc::new(Seen::open(&config.spool.join(SEEN)));
        let users = Users::open(path, config.auth.remember, seen)?;
        backends.push(Arc::new(Sasl::new(Arc::new(users))));
    }
    if let Some(place) = &config.auth.dovecot {
        backends.push(Arc::new(Dovecot::start(place.clone())));
    }
    if !config.oauth.is_empty() {
        let issuers = config.oauth.iter().map(config::Oauth::trusted).collect();
        backends.push(Arc::new(Sasl::new(Arc::new(Oauth::new(issuers)?))));
    }
    Ok((!backends.is_empty()).then(|| Arc::new(Authority::new(backends, &config.auth.mechanisms))))
}
