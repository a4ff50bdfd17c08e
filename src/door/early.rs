//! The time before the greeting, in which a client has nothing to say (rfc5321bis 4.3.1).
//!
//! Promises to read nothing from whoever waits its turn.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;
use tokio::time::timeout;

/// What a client did before its greeting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waited {
    /// It waited.
    Silently,
    /// It spoke.
    Speaking,
    /// It went away.
    Gone,
}

/// Holds the greeting back for `delay`, or until the client stirs or `stop` says so.
pub async fn wait<S: AsyncRead + Unpin>(
    stream: &mut S,
    delay: Duration,
    stop: &mut watch::Receiver<bool>,
) -> Waited {
    if delay.is_zero() {
        return Waited::Silently;
    }
    let mut octets = [0; 1024];
    tokio::select! {
        read = timeout(delay, stream.read(&mut octets)) => match read {
            Err(_) => Waited::Silently,
            Ok(Ok(1..)) => Waited::Speaking,
            Ok(Ok(0) | Err(_)) => Waited::Gone,
        },
        // The session ends at once then, with a reply of its own.
        _ = stop.wait_for(|stop| *stop) => Waited::Silently,
    }
}
