//! Listening sockets, TCP and Unix.
//!
//! Promises that binding and listening are two steps, so that nobody waits in a backlog behind a
//! start that takes its time; that an IPv6 socket is IPv6 alone, so that an address means what it
//! says; and that the file of a Unix socket replaces only one that nobody serves any more.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::stream::Stream;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Where a listener is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Bind {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Binds without listening. The file of a Unix socket gets these permissions.
pub fn bind(to: &Bind, mode: u32) -> io::Result<Socket> {
    match to {
        Bind::Tcp(address) => bind_tcp(*address),
        Bind::Unix(path) => bind_unix(path, mode),
    }
}

/// Binds a TCP address without listening.
pub fn bind_tcp(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_unix(path: &Path, mode: u32) -> io::Result<Socket> {
    let address = SockAddr::unix(path)?;
    let left_behind = std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_socket())
        && Socket::new(Domain::UNIX, Type::STREAM, None)?.connect(&address).is_err();
    if left_behind {
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&address)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(socket)
}

/// Listens on a bound TCP socket.
pub fn listen_tcp(socket: Socket) -> io::Result<TcpListener> {
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// A socket that listens.
#[derive(Debug)]
pub enum Listener {
    /// On TCP.
    Tcp(TcpListener),
    /// On a Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Listens on a socket that `bind` bound.
    pub fn new(to: &Bind, socket: Socket) -> io::Result<Self> {
        match to {
            Bind::Tcp(_) => listen_tcp(socket).map(Self::Tcp),
            Bind::Unix(_) => {
                socket.listen(BACKLOG)?;
                socket.set_nonblocking(true)?;
                UnixListener::from_std(socket.into()).map(Self::Unix)
            }
        }
    }

    /// Where it is now: a port 0 has become one that was free.
    pub fn place(&self, to: &Bind) -> Bind {
        match self {
            Self::Tcp(listener) => listener.local_addr().map_or_else(|_| to.clone(), Bind::Tcp),
            Self::Unix(_) => to.clone(),
        }
    }

    /// The next connection. The peer of a Unix socket is this machine: 127.0.0.1, port 0.
    pub async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // Small replies must not wait for each other's acknowledgements.
                let _ = stream.set_nodelay(true);
                Ok((Stream::Tcp(stream), peer))
            }
            Self::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok((Stream::Unix(stream), SocketAddr::from((Ipv4Addr::LOCALHOST, 0))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_left_behind_is_replaced_and_a_living_socket_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let to = Bind::Unix(folder.path().join("lmtp"));
        let first = Listener::new(&to, bind(&to, 0o600).unwrap()).unwrap();
        assert_eq!(bind(&to, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        let socket = bind(&to, 0o640).unwrap();
        let mode = std::fs::metadata(folder.path().join("lmtp")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let listener = Listener::new(&to, socket).unwrap();
        let client = tokio::net::UnixStream::connect(folder.path().join("lmtp"));
        let (accepted, connected) = tokio::join!(listener.accept(), client);
        assert!(connected.is_ok());
        assert!(accepted.unwrap().1.ip().is_loopback());

        let file = folder.path().join("file");
        std::fs::write(&file, b"mine").unwrap();
        assert!(bind(&Bind::Unix(file.clone()), 0o600).is_err());
        assert_eq!(std::fs::read(file).unwrap(), b"mine");
    }
}
