//! The way to a connection that may carry a transaction: address, TLS, hello, login.
//!
//! Promises that each address is tried until one serves; that a handshake which fails is tried
//! again without the hybrid key share and then, where nothing forbids it, in clear; and that what
//! worked is remembered, so that only the first connection pays for it.

use bytes::Bytes;
use rustls::pki_types::ServerName;

use super::{Connection, NoContent, Progress, Times};
use crate::delivery::dialog::{Channel, Dialog, Protocol, StartTls, Wishes};
use crate::delivery::features::limits::Spent;
use crate::delivery::finding::NoConnection;
use crate::event;
use crate::net::stream::{self, Address, Stream};
use crate::net::tls::Link;
use crate::net::tls::client::{Client, Fallback, Fault, Secured};
use crate::route::next_hop::{NextHop, Place, Transport};
use crate::route::security::{Security, TlsPolicy};

/// What a connection is opened by.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// Where to.
    pub next_hop: &'a NextHop,
    /// How it is secured.
    pub security: &'a Security,
    /// The name that is said in the hello.
    pub hostname: &'a str,
    /// How long each step may take.
    pub times: Times,
    /// The client of TLS.
    pub tls: &'a Client,
}

/// Why a try at one address came to nothing.
enum Failed {
    Handshake(Fault),
    Otherwise(NoConnection),
}

impl Opening<'_> {
    /// Connects to the first address that answers. The error has the outcome for every recipient: a
    /// host that takes no mail at all (521) fails them only if no other address of the next hop
    /// does better (rfc5321bis 5.1). A site is unreachable only if none of its addresses answered.
    pub async fn open(&self) -> Result<Connection, NoConnection> {
        let addresses = stream::addresses(&self.next_hop.place, self.times.connect).await;
        let mut worst: Option<NoConnection> = None;
        for address in addresses.map_err(NoConnection::unreachable)? {
            match self.open_address(&address).await {
                Ok(connection) => return Ok(connection),
                Err(failed) => {
                    worst = Some(match worst {
                        Some(was) => was.or(failed),
                        None => failed,
                    });
                }
            }
        }
        Err(worst.unwrap_or_else(|| NoConnection::unreachable("it has no address".to_owned())))
    }

    fn policy(&self) -> TlsPolicy {
        self.security.policy(self.next_hop)
    }

    async fn open_address(&self, address: &Address) -> Result<Connection, NoConnection> {
        let mut fallback = self.tls.fallback(self.next_hop, self.policy());
        let mut fell_back: Option<String> = None;
        loop {
            let fault = match self.try_address(address, fallback).await {
                Ok(connection) => {
                    if let Some(why) = fell_back {
                        self.tls.remember(self.next_hop, fallback);
                        let in_clear = fallback == Fallback::InClear;
                        event::tls_fell_back(self.next_hop, in_clear, &why);
                    }
                    return Ok(connection);
                }
                Err(Failed::Otherwise(failed)) => return Err(failed),
                Err(Failed::Handshake(fault)) => fault,
            };
            match fallback.next(self.policy()).filter(|_| !fault.is_final) {
                Some(next) => fallback = next,
                None => return Err(NoConnection::unreachable(self.remedy(&fault.why))),
            }
            fell_back.get_or_insert(fault.why);
        }
    }

    /// What is wrong, and what the operator can do.
    fn remedy(&self, why: &str) -> String {
        let right = match self.policy() {
            TlsPolicy::Verify => {
                "have its certificate mended, name its authority in `ca`, or write tls = \
                 \"encrypt\" to trust whoever answers"
            }
            _ => "have its TLS mended, or write tls = \"may\" to let mail go there in clear",
        };
        match self.next_hop.transport {
            Transport::Smtps if self.policy() != TlsPolicy::Verify => {
                format!("4.7.10 {why}; have its TLS mended, or use smtp:// with its port")
            }
            _ => format!("4.7.10 {why}; {right}"),
        }
    }

    async fn try_address(
        &self,
        address: &Address,
        fallback: Fallback,
    ) -> Result<Connection, Failed> {
        let unreachable = |why| Failed::Otherwise(NoConnection::unreachable(why));
        let stream = stream::connect(address, self.times.connect).await.map_err(unreachable)?;
        let mut connection = Connection {
            stream: Link::Clear(stream),
            dialog: self.dialog(address, fallback),
            times: self.times,
            messages: 0,
            spent: Spent::default(),
            secured: None,
            rest: Bytes::new(),
        };
        if self.next_hop.transport == Transport::Smtps {
            self.secure(&mut connection, address, fallback).await?;
        }
        loop {
            match connection.advance(&mut NoContent).await {
                Progress::Ready => return Ok(connection),
                Progress::StartTls => self.secure(&mut connection, address, fallback).await?,
                // The dialogue is broken and answers any transaction with the reason.
                Progress::Finished(_) | Progress::Closed => break,
            }
        }
        if let (true, Some(credential)) =
            (connection.dialog.was_login_refused(), &self.security.credential)
        {
            let outcome = connection.refusal().await;
            event::login_refused(self.next_hop, &credential.name, outcome.reason());
        }
        let (outcome, finding) = (connection.refusal().await, connection.finding());
        Err(Failed::Otherwise(NoConnection { outcome, finding }))
    }

    fn dialog(&self, address: &Address, fallback: Fallback) -> Dialog {
        let protocol = match self.next_hop.transport {
            Transport::Smtp | Transport::Smtps => Protocol::Smtp,
            Transport::Lmtp => Protocol::Lmtp,
        };
        let starttls = match self.policy() {
            _ if fallback == Fallback::InClear => StartTls::Never,
            TlsPolicy::Off => StartTls::Never,
            TlsPolicy::May => StartTls::Offered,
            TlsPolicy::Encrypt | TlsPolicy::Verify => StartTls::Required,
        };
        let is_local = match address {
            Address::Unix(_) => true,
            Address::Tcp(address) => address.ip().is_loopback(),
        };
        let credential = self.security.credential.clone();
        Dialog::new(protocol, self.hostname).with_wishes(Wishes { starttls, credential, is_local })
    }

    /// Brings a connection under TLS.
    async fn secure(
        &self,
        connection: &mut Connection,
        address: &Address,
        fallback: Fallback,
    ) -> Result<(), Failed> {
        let name = self.server_name(address).map_err(Failed::Handshake)?;
        let link: Link<Stream> = connection.stream.take_out();
        let authorities = self.security.authorities.as_ref();
        let agreed = (self.policy(), fallback);
        let connecting = self.tls.connect(link, name, agreed, authorities, self.times.connect);
        let (link, secured) = connecting.await.map_err(Failed::Handshake)?;
        let Secured { facts, doubt } = &secured;
        let channel = Channel { verified: doubt.is_none(), exporter: facts.exporter };
        connection.stream = link;
        connection.dialog.handle_secured(channel);
        connection.secured = Some(secured);
        Ok(())
    }

    /// Whom the certificate must name. A name that can be in none matters only where it counts.
    fn server_name(&self, address: &Address) -> Result<ServerName<'static>, Fault> {
        let written = match &self.next_hop.place {
            Place::Tcp { host, .. } => ServerName::try_from(host.clone()).ok(),
            Place::Unix(_) => None,
        };
        match (written, address) {
            (Some(name), _) => Ok(name),
            (None, Address::Tcp(address)) if self.policy() != TlsPolicy::Verify => {
                Ok(ServerName::IpAddress(address.ip().into()))
            }
            _ => {
                let why = "its host is no name that a certificate can have".to_owned();
                Err(Fault { why, is_final: true })
            }
        }
    }
}
