//! The daemon's side of the local socket: who calls, whether it may, and a session for it.
//!
//! Promises that a caller is who the kernel says, that one account can't take every place, and that
//! whoever gets no place is hung up on without a word: its letter then goes to the maildrop.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use nix::unistd::{Uid, User};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::event;
use crate::receive::{self, Bound, Caller, Rules, Services};
use crate::report;
use crate::submission;

/// Sessions at a time, and those of one account.
const SESSIONS_MAX: usize = 256;
const SESSIONS_OF_ONE_MAX: usize = 64;
/// Everyone may connect; who may send is judged by the account.
const SOCKET_MODE: u32 = 0o666;
/// Stands for every account in a list.
pub const EVERYONE: &str = "*";

/// What a reload may change.
#[derive(Debug)]
pub struct Current {
    /// What sessions go by; they let loopback relay.
    pub rules: Arc<Rules>,
    /// The accounts that may hand in mail.
    pub users: Vec<String>,
    /// Those among them that may use every reverse-path.
    pub any_sender: Vec<String>,
    /// What the others may send as.
    pub submission: Arc<submission::Rules>,
    /// How reports look that tell of refused letters.
    pub report: report::Settings,
}

/// What the socket and the pickup of the maildrop share.
pub struct Host {
    current: ArcSwap<Current>,
    services: Services,
    stop: watch::Receiver<bool>,
    next_session: fn() -> String,
    sessions: DashMap<u32, usize>,
}

fn lists(list: &[String], name: &str) -> bool {
    list.iter().any(|one| one == EVERYONE || one == name)
}

impl Host {
    /// A host whose sessions end when `stop` says so, and are named by `next_session`.
    pub fn new(
        current: Current,
        services: Services,
        stop: watch::Receiver<bool>,
        next_session: fn() -> String,
    ) -> Self {
        let current = ArcSwap::from_pointee(current);
        Self { current, services, stop, next_session, sessions: DashMap::new() }
    }

    /// Goes by these from now on.
    pub fn set(&self, current: Current) {
        self.current.store(Arc::new(current));
    }

    /// What holds now.
    pub fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// The account of this number, if it may hand in mail. The error is a sentence.
    pub async fn caller(&self, uid: u32) -> Result<Caller, String> {
        // It may ask a directory server.
        let found = spawn_blocking(move || User::from_uid(Uid::from_raw(uid))).await;
        let name = match found {
            Ok(Ok(Some(user))) => user.name,
            Ok(Ok(None)) => uid.to_string(),
            Ok(Err(error)) => return Err(format!("userid {uid} can't be looked up: {error}")),
            Err(error) => return Err(format!("userid {uid} can't be looked up: {error}")),
        };
        let current = self.current.load();
        if !lists(&current.users, &name) {
            return Err(format!("{name} may hand in no mail: [local] users does not list it"));
        }
        let bound = !lists(&current.any_sender, &name);
        let rules = &current.submission;
        let own = || {
            let own = rules.senders.own_address(&name);
            own.ok_or_else(|| format!("{name} is bound to an address, and can't be part of one"))
        };
        let bound_to =
            if bound { Some(Bound { own: own()?, rules: Arc::clone(rules) }) } else { None };
        Ok(Caller { uid, name: name.as_str().into(), bound_to })
    }

    /// One session with a caller, to its end.
    pub async fn serve<S>(&self, stream: S, caller: Caller)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (rules, services) = (Arc::clone(&self.current.load().rules), self.services.clone());
        let (session, stop) = ((self.next_session)(), self.stop.clone());
        receive::serve_caller(stream, caller, session, rules, services, stop).await;
    }

    /// Accepts callers for ever; each session holds a clone of `alive`.
    pub async fn listen<A: Clone + Send + 'static>(
        self: Arc<Self>,
        socket: UnixListener,
        alive: A,
    ) {
        loop {
            match socket.accept().await {
                Ok((stream, _)) => {
                    let (host, alive) = (Arc::clone(&self), alive.clone());
                    tokio::spawn(async move {
                        host.admit(stream).await;
                        drop(alive);
                    });
                }
                Err(error) => {
                    event::trouble("the local socket can't accept", error);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn admit(&self, stream: UnixStream) {
        let uid = match stream.peer_cred() {
            Ok(credentials) => credentials.uid(),
            Err(error) => return event::session_refused("a local program", &error.to_string()),
        };
        let Some(_place) = Place::take(&self.sessions, uid) else {
            return event::session_refused(format!("userid {uid}"), "too many local sessions");
        };
        match self.caller(uid).await {
            Ok(caller) => self.serve(stream, caller).await,
            Err(why) => {
                event::session_refused(format!("userid {uid}"), &why);
                let rules = Arc::clone(&self.current.load().rules);
                let refusal = crate::registry::reply::CALLER_MAY_NOT;
                receive::refuse(stream, &rules.settings, refusal).await;
            }
        }
    }
}

/// A session's place; given back when dropped.
struct Place<'a> {
    sessions: &'a DashMap<u32, usize>,
    uid: u32,
}

impl<'a> Place<'a> {
    fn take(sessions: &'a DashMap<u32, usize>, uid: u32) -> Option<Self> {
        let all: usize = sessions.iter().map(|entry| *entry.value()).sum();
        let mut own = sessions.entry(uid).or_insert(0);
        if all >= SESSIONS_MAX || *own >= SESSIONS_OF_ONE_MAX {
            return None;
        }
        *own += 1;
        Some(Self { sessions, uid })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(mut own) = self.sessions.get_mut(&self.uid) {
            *own = own.saturating_sub(1);
        }
        self.sessions.remove_if(&self.uid, |_, count| *count == 0);
    }
}

/// Opens the socket, replacing one that a dead daemon left behind. The caller owns the spool that
/// goes with it, so no living daemon can be behind it.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if path.exists() {
        std::fs::remove_file(path)?;
    }
    let socket = UnixListener::bind(path)?;
    std::fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_leaves_places_to_others() {
        let sessions = DashMap::new();
        let taken: Vec<_> =
            (0..SESSIONS_OF_ONE_MAX).map(|_| Place::take(&sessions, 1).unwrap()).collect();
        assert!(Place::take(&sessions, 1).is_none());
        assert!(Place::take(&sessions, 2).is_some());
        drop(taken);
        assert!(Place::take(&sessions, 1).is_some());
        assert!(sessions.is_empty());
    }

    #[test]
    fn a_list_names_accounts_or_everyone() {
        let list = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        assert!(lists(&list(&["joe", "ann"]), "ann") && lists(&list(&["*"]), "ann"));
        assert!(!lists(&list(&["joe"]), "ann") && !lists(&[], "ann"));
    }
}
