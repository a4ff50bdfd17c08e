//! The server's side of a handshake, for STARTTLS and implicit TLS alike.
//!
//! Offers TLS 1.2 and 1.3 with the post-quantum hybrid group first (X25519MLKEM768), and resumption
//! by tickets. Promises that a handshake ends in time, and that a client's certificate, ALPN and
//! early data are neither asked for nor taken: SMTP has no use for them.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::server::{
    ProducesTickets, ServerConfig, ServerSessionMemoryCache, StoresServerSessions,
};
use rustls::{AlertDescription, InvalidMessage};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::facts::Facts;
use super::handshakes::{Handshakes, Limits};
use super::link::Link;
use super::store::{Choice, Kept};
use crate::metric::{self, Handshake};

/// Sessions that clients of TLS 1.2 without tickets can come back to.
const SESSIONS: usize = 1024;

/// What lets clients come back without a whole handshake; shared by all listeners, and kept over
/// reloads.
#[derive(Debug, Clone)]
pub struct Resumption {
    tickets: Arc<dyn ProducesTickets>,
    sessions: Arc<dyn StoresServerSessions>,
}

impl Resumption {
    /// With new keys, which are renewed every six hours.
    ///
    /// # Errors
    /// There is no randomness to make them of, as a sentence.
    pub fn new() -> Result<Self, String> {
        let tickets = Ticketer::new().map_err(|error| format!("TLS tickets: {error}"))?;
        Ok(Self { tickets, sessions: ServerSessionMemoryCache::new(SESSIONS) })
    }
}

/// The TLS of a listener.
#[derive(Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    handshakes: Arc<Handshakes>,
    handshake_time: Duration,
}

impl Server {
    /// With these certificates, at least one, of which the first is for whoever asks for no name of
    /// theirs.
    ///
    /// # Errors
    /// What the library does not offer, as a sentence.
    pub fn new(
        certificates: Vec<Arc<Kept>>,
        resumption: &Resumption,
        limits: Limits,
        handshake_time: Duration,
    ) -> Result<Self, String> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Choice(certificates)));
        config.ticketer = Arc::clone(&resumption.tickets);
        config.session_storage = Arc::clone(&resumption.sessions);
        // Mail clients come back over one connection at a time, and each ticket costs.
        config.send_tls13_tickets = 1;
        let handshakes = Arc::new(Handshakes::new(limits));
        Ok(Self { config: Arc::new(config), handshakes, handshake_time })
    }
}

/// Why there is no TLS; the connection is lost.
#[derive(Debug)]
pub enum HandshakeFault {
    /// It took longer than this.
    Late(Duration),
    /// There were too many, and this was the oldest.
    GivenUp,
    /// It is under TLS already, or gone.
    Twice,
    /// Anything else.
    Failed(io::Error),
}

impl fmt::Display for HandshakeFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(limit) => {
                write!(
                    f,
                    "the handshake was not done within {}",
                    humantime::format_duration(*limit)
                )
            }
            Self::GivenUp => f.write_str("the handshake was the oldest of too many"),
            Self::Twice => f.write_str("the connection is in clear no more"),
            Self::Failed(error) => match cause(error) {
                Some(rustls::Error::AlertReceived(alert)) => f.write_str(&complaint(*alert)),
                Some(rustls::Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
                    f.write_str("the client does not speak TLS")
                }
                Some(error) => write!(f, "the handshake failed: {error}"),
                None if error.kind() == io::ErrorKind::UnexpectedEof => {
                    f.write_str("the client closed the connection in the handshake")
                }
                None => write!(f, "the connection failed in the handshake: {error}"),
            },
        }
    }
}

fn cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// What the client says against us.
fn complaint(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA | AlertDescription::BadCertificate => {
            format!("the client does not trust the certificate ({alert:?})")
        }
        alert => format!("the client broke off the handshake ({alert:?})"),
    }
}

impl HandshakeFault {
    fn label(&self) -> Handshake {
        match self {
            Self::Late(_) => Handshake::Late,
            Self::GivenUp => Handshake::GivenUp,
            Self::Twice | Self::Failed(_) => Handshake::Failed,
        }
    }
}

/// Secures a connection in clear, within the time and number that the listener allows. Nothing that
/// was read before may be held back by the caller: it would be taken for what comes under TLS.
///
/// # Errors
/// Why there is no TLS; the connection is gone.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    link: Link<S>,
    server: &Server,
    client: IpAddr,
) -> Result<(Link<S>, Facts), HandshakeFault> {
    let result = handshake(link, server, client).await;
    metric::TLS_HANDSHAKES.add(
        match &result {
            Ok((_, facts)) if facts.resumed => Handshake::Resumed,
            Ok(_) => Handshake::Full,
            Err(fault) => fault.label(),
        },
        1,
    );
    result
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    link: Link<S>,
    server: &Server,
    client: IpAddr,
) -> Result<(Link<S>, Facts), HandshakeFault> {
    let Link::Clear(stream) = link else { return Err(HandshakeFault::Twice) };
    let mut place = server.handshakes.begin(client);
    let accepting = TlsAcceptor::from(Arc::clone(&server.config)).accept(stream);
    let stream = tokio::select! {
        accepted = timeout(server.handshake_time, accepting) => match accepted {
            Ok(Ok(stream)) => TlsStream::Server(stream),
            Ok(Err(error)) => return Err(HandshakeFault::Failed(error)),
            Err(_) => return Err(HandshakeFault::Late(server.handshake_time)),
        },
        () = place.given_up() => return Err(HandshakeFault::GivenUp),
    };
    let facts = Facts::of(&stream);
    Ok((Link::Secured(Box::new(stream)), facts))
}
