//! The certificates of the daemon: what the configuration names, or else one of its own.
//!
//! Promises that changed files are in use within seconds, without a reload and for every listener,
//! and that a certificate which clients will not trust is told at once and then each day.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use arc_swap::ArcSwap;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval, interval_at};

use crate::config::{Config, Listener, Tls};
use crate::event;
use crate::net::clock;
use crate::net::tls::{Kept, Limits, Resumption, Server, Unfit, self_signed};

/// How often the files are looked at; a change is taken at the second look.
const LOOK_TIME: Duration = Duration::from_secs(2);
/// How often doubts are repeated.
const DOUBT_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// All certificates of a daemon.
#[derive(Debug)]
pub(super) struct Certificates {
    current: ArcSwap<Vec<Entry>>,
    resumption: Resumption,
}

#[derive(Clone, Debug)]
struct Entry {
    kept: Arc<Kept>,
    /// Whether this server has made it itself.
    own: bool,
}

impl Certificates {
    /// Those of `config`. The error is a sentence for the operator.
    pub(super) fn new(config: &Config) -> Result<Self, String> {
        let certificates = Self { current: ArcSwap::default(), resumption: Resumption::new()? };
        certificates.take(config)?;
        Ok(certificates)
    }

    /// Takes over those of another configuration, or keeps all if there is an error: a sentence for
    /// the operator.
    pub(super) fn take(&self, config: &Config) -> Result<(), String> {
        let read = |certificate: &crate::config::Certificate| {
            let kept = Kept::new(&certificate.name, &certificate.chain, &certificate.key);
            let kept = kept.map_err(|unfit| match unfit {
                Unfit::Chain(why) | Unfit::Key(why) => {
                    format!("certificate {}: {why}", certificate.name)
                }
            })?;
            Ok(Entry { kept: Arc::new(kept), own: false })
        };
        let mut entries =
            config.certificates.iter().map(read).collect::<Result<Vec<_>, String>>()?;
        let secured = config.listeners.iter().any(|listener| listener.tls_mode() != Tls::Off);
        if entries.is_empty() && secured {
            let (kept, _) = self_signed::open(&config.spool, &config.hostname, now_s())?;
            entries.push(Entry { kept: Arc::new(kept), own: true });
        }
        let before = self.current.swap(Arc::new(entries.clone()));
        for entry in &entries {
            let fingerprint = &entry.kept.current().fingerprint;
            let same = |old: &Entry| {
                old.kept.name == entry.kept.name && old.kept.current().fingerprint == *fingerprint
            };
            if !before.iter().any(same) {
                entry.tell();
            }
        }
        Ok(())
    }

    /// The TLS of a listener, if it has any. The error is a sentence for the operator.
    pub(super) fn server(&self, listener: &Listener) -> Result<Option<Arc<Server>>, String> {
        if listener.tls_mode() == Tls::Off {
            return Ok(None);
        }
        let all = self.current.load();
        let kept = |entry: &Entry| Arc::clone(&entry.kept);
        let chosen = if listener.certificates.is_empty() {
            all.iter().map(kept).collect()
        } else {
            let named = |name: &String| all.iter().find(|entry| entry.kept.name == *name);
            listener.certificates.iter().filter_map(named).map(kept).collect()
        };
        let limits = Limits {
            total_max: listener.max_handshakes,
            per_client_max: listener.max_handshakes_per_client,
        };
        let server = Server::new(chosen, &self.resumption, limits, listener.handshake_timeout);
        server.map(|server| Some(Arc::new(server)))
    }

    /// The end of each certificate, in seconds since the epoch, by name.
    pub(super) fn ends(&self) -> Vec<(String, i64)> {
        let entries = self.current.load();
        let end = |entry: &Entry| (entry.kept.name.clone(), entry.kept.current().not_after_s);
        entries.iter().map(end).collect()
    }

    /// Follows the files for ever.
    pub(super) async fn watch(self: Arc<Self>) {
        let mut looks = interval(LOOK_TIME);
        let mut doubts = interval_at(Instant::now() + DOUBT_TIME, DOUBT_TIME);
        loop {
            tokio::select! {
                _ = looks.tick() => {
                    let certificates = Arc::clone(&self);
                    let _ = spawn_blocking(move || certificates.look()).await;
                }
                _ = doubts.tick() => {
                    self.current.load().iter().for_each(Entry::tell_doubt);
                }
            }
        }
    }

    fn look(&self) {
        for entry in self.current.load().iter() {
            match entry.kept.look() {
                None => {}
                Some(Ok(_)) => entry.tell(),
                Some(Err(why)) => event::certificate_refused(&entry.kept.name, &why),
            }
        }
    }
}

impl Entry {
    /// Tells what is in use from now on.
    fn tell(&self) {
        let certificate = self.kept.current();
        let end = UNIX_EPOCH + Duration::from_secs(certificate.not_after_s.max(0).unsigned_abs());
        let end = humantime::format_rfc3339_seconds(end);
        event::certificate_taken(&self.kept.name, &certificate.fingerprint, end);
        self.tell_doubt();
    }

    fn tell_doubt(&self) {
        if self.own {
            let why = "this server has signed it itself, so that no mail program trusts it; give \
                       it another one by [[certificate]]";
            event::certificate_doubtful(&self.kept.name, why);
        }
        if let Some(why) = self.kept.current().doubt(now_s()) {
            event::certificate_doubtful(&self.kept.name, &why);
        }
    }
}

fn now_s() -> i64 {
    i64::try_from(clock::now_ms() / 1000).unwrap_or(i64::MAX)
}
