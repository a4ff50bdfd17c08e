//! The built-in store: a file of users, with the keys of their passwords.
//!
//! Promises that no password is kept, that an unknown user costs the same time and gets the same
//! answers as a wrong password, and that a changed file is in use within seconds. A file that
//! has a fault is told and not taken: the users before stay. One that is gone may be on its way back,
//! and is taken for empty when the next look finds it gone, too. Refuses a login whose user is
//! disabled.
//!
//! All of a user's passwords share one salt, so that whichever is shown costs one derivation.

mod edit;
mod file;
mod seen;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use aws_lc_rs::hmac;
use lru::LruCache;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::secret::Derived;
use super::{Denial, Login, Pending, Proof, Scram, Verifier};
use crate::event;
use crate::net::clock;

pub use edit::{EditError, Editor};
use file::Stamp;
pub use file::{Account, Accounts, ITERATIONS_MAX, ITERATIONS_MIN, Label};
pub use seen::Seen;

/// Verified passwords that are remembered.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
/// How long a password may wait for the derivations before it.
const DERIVATION_TIME: Duration = Duration::from_secs(10);
/// How often the file is looked at.
const LOOK_TIME: Duration = Duration::from_secs(2);

fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// The users of the file.
pub struct Users {
    path: PathBuf,
    current: ArcSwap<Accounts>,
    looked: Mutex<Looked>,
    remembered: Mutex<LruCache<[u8; 32], (Login, Instant)>>,
    remember: Duration,
    key: hmac::Key,
    /// Places of derivations, which take a processor each.
    derivations: Arc<Semaphore>,
    derivation_time: Duration,
    seen: Arc<Seen>,
    #[cfg(test)]
    derived: std::sync::atomic::AtomicUsize,
}

/// When the file was looked at, and what it looked like.
struct Looked {
    at: Instant,
    stamp: Option<Stamp>,
    /// The last look found it gone.
    gone: bool,
}

/// A file that is not as it was: what it looks like, and what it holds.
struct Change {
    stamp: Option<Stamp>,
    accounts: Result<Accounts, EditError>,
}

/// Looks whether a file has changed. Blocks on the disk.
fn look(path: &Path, known: Option<&Stamp>) -> Option<Change> {
    let stamp = Stamp::of(path);
    let changed = stamp.as_ref() != known;
    changed.then(|| Change { stamp, accounts: Accounts::read(path) })
}

impl std::fmt::Debug for Users {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Users").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Users {
    /// Reads the file; one that is not there has no users yet. A verified password is good for
    /// `remember` without being derived again.
    ///
    /// # Errors
    /// What is wrong with the file: a sentence for the operator.
    pub fn open(path: &Path, remember: Duration, seen: Arc<Seen>) -> Result<Self, String> {
        let stamp = Stamp::of(path);
        let accounts = Accounts::read(path).map_err(|error| error.to_string())?;
        let mut key = [0; 32];
        aws_lc_rs::rand::fill(&mut key).map_err(|_| "the system gives no random octets")?;
        Ok(Self {
            path: path.to_owned(),
            current: ArcSwap::from_pointee(accounts),
            looked: Mutex::new(Looked { at: clock::instant(), stamp, gone: false }),
            remembered: Mutex::new(LruCache::new(REMEMBERED_MAX)),
            remember,
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            derivations: Arc::new(Semaphore::new(processors())),
            derivation_time: DERIVATION_TIME,
            seen,
            #[cfg(test)]
            derived: std::sync::atomic::AtomicUsize::new(0),
        })
    }

    /// Whether these are the users of that file.
    pub fn are_of(&self, path: &Path) -> bool {
        self.path == path
    }

    /// Takes the file anew if it has changed.
    async fn refresh(&self) {
        let now = clock::instant();
        let known = {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if now.duration_since(looked.at) < LOOK_TIME {
                return;
            }
            looked.at = now;
            looked.stamp.clone()
        };
        let path = self.path.clone();
        // A panic of ours leaves the users as they are.
        if let Ok(found) = spawn_blocking(move || look(&path, known.as_ref())).await {
            self.take(found);
        }
    }

    fn take(&self, found: Option<Change>) {
        let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_gone = found.as_ref().is_some_and(|change| change.stamp.is_none());
        let was_gone = std::mem::replace(&mut looked.gone, is_gone);
        let Some(Change { stamp, accounts }) = found else { return };
        if is_gone && !was_gone {
            return event::trouble(
                "the file of users is gone: they stay for now",
                self.path.display(),
            );
        }
        looked.stamp = stamp;
        match accounts {
            Ok(accounts) => {
                if is_gone {
                    event::trouble("nobody of the built-in store can log in", "its file is gone");
                }
                self.current.store(Arc::new(accounts));
                self.remembered.lock().unwrap_or_else(PoisonError::into_inner).clear();
            }
            Err(why) => event::users_stay(why),
        }
    }

    async fn verify_password(&self, login: &str, password: &str) -> Result<Login, Denial> {
        self.refresh().await;
        let tag = hmac::sign(&self.key, [login, password].join("\0").as_bytes());
        let tag: [u8; 32] = tag.as_ref().try_into().map_err(|_| Denial::Malformed)?;
        let now = clock::instant();
        let known = {
            let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
            remembered.get(&tag).filter(|(_, until)| now < *until).map(|(login, _)| login.clone())
        };
        let login = match known {
            Some(login) => login,
            None => {
                let accounts = self.current.load_full();
                let found = self.derive(&accounts, login, password).await?;
                let kept = (found.clone(), now + self.remember);
                let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
                // A file that was taken meanwhile may not have it any more.
                if Arc::ptr_eq(&accounts, &self.current.load()) {
                    remembered.put(tag, kept);
                }
                found
            }
        };
        self.seen.note(&login, clock::now_ms());
        Ok(login)
    }

    /// Derives once, whoever it is, and looks for a kept password that fits.
    async fn derive(
        &self,
        accounts: &Accounts,
        login: &str,
        password: &str,
    ) -> Result<Login, Denial> {
        let found = accounts.find(login);
        let (salt, iterations) = match &found {
            Some((account, _)) => (Arc::clone(&account.salt), account.iterations),
            None => self.invented(accounts, login),
        };
        let unavailable = || Denial::Unavailable("logins are not judged any more".to_owned());
        let place = Arc::clone(&self.derivations).acquire_owned();
        let Ok(place) = timeout(self.derivation_time, place).await else {
            return Err(Denial::Unavailable("too many passwords wait to be checked".to_owned()));
        };
        let place = place.map_err(|_| unavailable())?;
        #[cfg(test)]
        self.derived.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let password = password.to_owned();
        let derived = spawn_blocking(move || {
            let _place = place;
            Derived::new(&password, &salt, iterations)
        });
        let derived = derived.await.map_err(|_| unavailable())?;
        let (Some(derived), Some((account, label))) = (derived, found) else {
            return Err(Denial::Credentials);
        };
        let label = account.fits(&derived, label).ok_or(Denial::Credentials)?;
        if account.disabled {
            return Err(Denial::Disabled);
        }
        Ok(Login { user: account.name.as_str().into(), label: label.map(Into::into) })
    }

    /// What SCRAM needs of a login.
    fn kept(&self, login: &str) -> Option<Scram> {
        let accounts = self.current.load();
        let found = accounts.find(login);
        let found = found.and_then(|(account, label)| Some((account, account.kept(label)?, label)));
        if let Some((account, kept, label)) = found {
            return Some(Scram {
                iterations: account.iterations,
                salt: Arc::clone(&account.salt),
                stored_key: kept.stored_key,
                server_key: kept.server_key,
                login: Login { user: account.name.as_str().into(), label: label.map(Into::into) },
                disabled: account.disabled,
            });
        }
        let (salt, iterations) = match accounts.find(login) {
            Some((account, _)) => (Arc::clone(&account.salt), account.iterations),
            None => self.invented(&accounts, login),
        };
        // Keys that no password gives.
        let mut keys = [0; 64];
        aws_lc_rs::rand::fill(&mut keys).ok()?;
        let (stored_key, server_key) = keys.split_first_chunk()?;
        Some(Scram {
            iterations,
            salt,
            stored_key: *stored_key,
            server_key: *server_key.first_chunk()?,
            login: Login { user: login.into(), label: None },
            disabled: false,
        })
    }

    /// What an unknown login has: the same each time, with any label, and like what others have.
    fn invented(&self, accounts: &Accounts, login: &str) -> (Arc<[u8]>, u32) {
        let name = login.rsplit_once('+').map_or(login, |(name, _)| name);
        let kept = accounts.seed().map(|seed| hmac::Key::new(hmac::HMAC_SHA256, seed));
        let salt = hmac::sign(kept.as_ref().unwrap_or(&self.key), file::key(name).as_bytes());
        let salt: Arc<[u8]> = salt.as_ref().iter().take(file::SALT_OCTETS).copied().collect();
        let number = salt.iter().fold(0usize, |sum, octet| sum * 31 % 65_521 + usize::from(*octet));
        (salt, accounts.iterations_like(number))
    }
}

impl Verifier for Users {
    fn takes_passwords(&self) -> bool {
        true
    }

    fn keeps_scram(&self) -> bool {
        true
    }

    fn verify<'a>(&'a self, proof: Proof<'a>) -> Pending<'a, Result<Login, Denial>> {
        Box::pin(async move {
            match proof {
                Proof::Password { login, password } => self.verify_password(login, password).await,
                Proof::Token { .. } => Err(Denial::Credentials),
            }
        })
    }

    fn scram<'a>(&'a self, login: &'a str) -> Pending<'a, Option<Scram>> {
        Box::pin(async move {
            self.refresh().await;
            self.kept(login)
        })
    }

    fn used(&self, login: &Login) {
        self.seen.note(login, clock::now_ms());
    }
}
