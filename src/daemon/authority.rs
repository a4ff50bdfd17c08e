//! Who judges logins, out of the configuration.

use std::path::Path;
use std::sync::Arc;

use crate::auth::authority::Authority;
use crate::auth::dovecot::Dovecot;
use crate::auth::oauth::Oauth;
use crate::auth::sasl::Sasl;
use crate::auth::users::{Seen, Users};
use crate::auth::{Backend, Verifier};
use crate::config::{self, Config};
use crate::event;

/// The file in the spool where it stands when logins were last used.
pub const SEEN: &str = "logins";

/// Whether a configuration names a store: whether anybody can log in.
#[must_use]
pub fn has_store(config: &Config) -> bool {
    config.auth.users.is_some() || config.auth.dovecot.is_some() || !config.oauth.is_empty()
}

/// The stores of a configuration; `None` where nobody can log in. `users` are those before, and then
/// those that hold now. The error is a sentence for the operator.
pub(super) fn authority(
    config: &Config,
    users: &mut Option<Arc<Users>>,
) -> Result<Option<Arc<Authority>>, String> {
    let mut backends: Vec<Arc<dyn Backend>> = Vec::new();
    *users = match &config.auth.users {
        Some(path) => Some(open_users(config, path, users.take())?),
        None => None,
    };
    if let Some(users) = users {
        backends.push(Arc::new(Sasl::new(Arc::clone(users) as Arc<dyn Verifier>)));
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

/// The users of the file; where that is damaged, or away for a moment, those before, so that a reload
/// takes everything else.
fn open_users(
    config: &Config,
    path: &Path,
    before: Option<Arc<Users>>,
) -> Result<Arc<Users>, String> {
    let seen = Arc::new(Seen::open(&config.spool.join(SEEN)));
    match (Users::open(path, config.auth.remember, seen), before) {
        (Err(why), Some(before)) => {
            event::users_stay(why);
            Ok(before)
        }
        // Their next look tells whether it is gone for good.
        (Ok(_), Some(before)) if before.are_of(path) && !path.exists() => Ok(before),
        (opened, _) => Ok(Arc::new(opened?)),
    }
}
