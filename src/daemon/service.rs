//! The service manager that runs the daemon: sockets that it has opened for it, and how far it is.
//!
//! Promises that without one nothing is different, that every socket handed over is served or the
//! start fails, since clients would wait there for ever, and that the watchdog is fed only while the
//! dispatcher answers.

use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;
use socket2::Socket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{interval, timeout};

use crate::config::Config;
use crate::dispatch;
use crate::event;
use crate::net::socket::Bind;

/// What a stop may take beyond the grace time: the spool is closed last.
const CLOSING_TIME: Duration = Duration::from_secs(30);

/// Sockets that are open already (sd_listen_fds(3)), by the address they are bound to.
#[derive(Debug, Default)]
pub(super) struct Inherited(BTreeMap<Bind, Socket>);

impl Inherited {
    /// Takes them over, once. The error is a sentence for the operator.
    pub(super) fn take() -> Result<Self, String> {
        let mut given = ListenFd::from_env();
        let mut sockets = BTreeMap::new();
        for index in 0..given.len() {
            let (bind, socket) = take_one(&mut given, index).map_err(|error| {
                format!("socket {index} from the service manager can't be used: {error}")
            })?;
            if sockets.contains_key(&bind) {
                return Err(format!("the service manager gives {bind} twice"));
            }
            sockets.insert(bind, socket);
        }
        Ok(Self(sockets))
    }

    /// The one at this address.
    pub(super) fn remove(&mut self, bind: &Bind) -> Option<Socket> {
        self.0.remove(bind)
    }

    /// Nothing may be left over.
    pub(super) fn finish(self) -> Result<(), String> {
        match self.0.into_keys().next() {
            Some(bind) => Err(format!(
                "the service manager listens at {bind}, which is the `bind` of no [[listener]]; \
                 add one, or take it out of the socket unit"
            )),
            None => Ok(()),
        }
    }
}

fn take_one(given: &mut ListenFd, index: usize) -> io::Result<(Bind, Socket)> {
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    if let Ok(socket) = given.take_unix_listener(index) {
        let socket: UnixListener = socket.ok_or_else(missing)?;
        let address = socket.local_addr()?;
        let path = address.as_pathname().ok_or_else(|| io::Error::other("it has no path"))?;
        return Ok((Bind::Unix(path.to_owned()), socket.into()));
    }
    let socket: TcpListener = given.take_tcp_listener(index)?.ok_or_else(missing)?;
    Ok((Bind::Tcp(socket.local_addr()?), socket.into()))
}

/// Mail is taken.
pub(super) fn tell_ready(config: &Config) {
    tell(&[NotifyState::Ready, NotifyState::Status(&serving(config))]);
}

/// A reload has begun.
pub(super) fn tell_reloading() {
    // Without the moment a manager could not tell this from an earlier reload.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => event::trouble("there is no clock for the service manager", error),
    }
}

/// A reload is over; `refused` says why nothing has changed.
pub(super) fn tell_reloaded(config: &Config, refused: Option<&str>) {
    match refused {
        None => tell_ready(config),
        Some(why) => {
            let status = format!("{}; a new configuration was refused: {why}", serving(config));
            tell(&[NotifyState::Ready, NotifyState::Status(&one_line(&status))]);
        }
    }
}

/// A stop has begun, and takes as long as it may.
pub(super) fn tell_stopping(grace: Duration) {
    let longest = grace.saturating_add(CLOSING_TIME).as_micros();
    let longest = u32::try_from(longest).unwrap_or(u32::MAX);
    tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(longest)]);
}

fn serving(config: &Config) -> String {
    let places: Vec<String> =
        config.listeners.iter().map(|listener| listener.bind.to_string()).collect();
    one_line(&format!("taking mail at {}", places.join(", ")))
}

/// A line end would begin another assignment (sd_notify(3)).
fn one_line(text: &str) -> String {
    text.lines().collect::<Vec<_>>().join("; ")
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        event::trouble("the service manager can't be told", error);
    }
}

/// Feeds the watchdog of the service manager, if it has one.
pub(super) async fn feed_watchdog(dispatcher: mpsc::Sender<dispatch::Request>) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return;
    };
    // Twice within the limit, and an answer that comes late is still in time.
    let part = limit / 3;
    let mut ticks = interval(part);
    loop {
        ticks.tick().await;
        if answers(&dispatcher, part).await {
            tell(&[NotifyState::Watchdog]);
        } else {
            event::trouble("the watchdog is not fed", "the dispatcher does not answer");
        }
    }
}

async fn answers(dispatcher: &mpsc::Sender<dispatch::Request>, limit: Duration) -> bool {
    let (answer, answered) = oneshot::channel();
    let ask = async {
        dispatcher.send(dispatch::Request::Destinations(0, answer)).await.ok()?;
        answered.await.ok()
    };
    matches!(timeout(limit, ask).await, Ok(Some(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_nobody_serves_is_a_fault() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let bind = Bind::Tcp(socket.local_addr().unwrap());
        let mut inherited = Inherited(BTreeMap::from([(bind.clone(), socket.into())]));
        assert!(inherited.remove(&Bind::Unix("/run/lmtp".into())).is_none());
        assert!(inherited.remove(&bind).is_some());
        assert_eq!(inherited.finish(), Ok(()));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let left = Inherited(BTreeMap::from([(bind.clone(), socket.into())])).finish();
        assert!(left.unwrap_err().contains(&bind.to_string()));
    }

    #[test]
    fn a_status_is_one_line() {
        assert_eq!(one_line("a:1: x\nMAINPID=1\r\nb"), "a:1: x; MAINPID=1; b");
        assert_eq!(serving(&Config::default()), "taking mail at 127.0.0.1:2525");
    }

    #[tokio::test]
    async fn a_dispatcher_that_is_stuck_or_gone_does_not_answer() {
        let (requests, mut asked) = mpsc::channel(1);
        let limit = Duration::from_millis(20);
        let answering = async {
            if let Some(dispatch::Request::Destinations(0, answer)) = asked.recv().await {
                answer.send(dispatch::Destinations::default()).unwrap();
            }
        };
        assert!(tokio::join!(answers(&requests, Duration::from_secs(20)), answering).0);
        assert!(!answers(&requests, limit).await);
        drop(asked);
        assert!(!answers(&requests, limit).await);
    }
}
