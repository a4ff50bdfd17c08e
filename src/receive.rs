//! Floor 5: a session over a socket: the sockets' side of `session`.
//!
//! Promises that nothing is read before every answer to what came before is on its way, that a
//! client which stops reading is let go after the idle time, and that a lost connection leaves
//! nothing behind of what was not acknowledged.

use std::fmt::Display;
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use crate::backlog::Backlog;
use crate::door::{self, Door, Refusal, Visit, Waited};
use crate::envelope::Origin;
use crate::event;
use crate::intake::{Incoming, Intake, Trace};
use crate::metric::{self, DoorRule};
use crate::net::clock;
use crate::net::connection::Times;
use crate::policy::recipient::{self, Judgement};
use crate::policy::{client, tenant, verify};
use crate::probe::{Lifetimes, Prober};
use crate::registry::offer::Offer;
use crate::registry::reply::{self, Reply};
use crate::route::Table;
use crate::session::{self, Output, Session, Settings};
use crate::syntax::content::BareLineEnds;
use crate::syntax::path::{ForwardPath, Mailbox, ReversePath};
use crate::syntax::xclient::Claim;

/// What is read at a time; on the stack, so that an idle session holds no buffer.
const READ_OCTETS: usize = 16 * 1024;
/// Replies are sent at the latest when this much waits.
const SEND_OCTETS: usize = 16 * 1024;

/// What all sessions of a listener share; replaced as a whole by a reload.
#[derive(Debug)]
pub struct Rules {
    /// Name, limits, and what is offered to strangers.
    pub settings: Settings,
    /// What is offered to proxies that may speak for others.
    pub proxy_offer: Arc<Offer>,
    /// Those proxies.
    pub proxies: Vec<IpNet>,
    /// Clients whose bare line ends are normalised, beside those that may relay.
    pub bare_line_ends_from: Vec<IpNet>,
    /// Who may relay.
    pub relay_from: Vec<IpNet>,
    /// Whether VRFY answers them, if nobody else.
    pub verify_for_relay: bool,
    /// Whether the trace field names a lone recipient.
    pub received_for: bool,
    /// Domains and routes.
    pub table: Arc<Table>,
    /// Recipients that would be refused for good are refused for now.
    pub soft_bounce: bool,
    /// What a client must pass.
    pub door: Arc<door::Rules>,
    /// How long answers of mailstores are good.
    pub lifetimes: Lifetimes,
    /// How long a question's steps may take.
    pub times: Times,
}

/// What sessions hand messages and questions to.
#[derive(Clone, Debug)]
pub struct Services {
    /// The way into the queue.
    pub intake: Arc<Intake>,
    /// The verifier of recipients.
    pub prober: Arc<Prober>,
    /// What waits for each tenant.
    pub backlog: Arc<Backlog>,
    /// The front door.
    pub door: Arc<Door>,
}

/// Serves one client to its end.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    client: SocketAddr,
    session: String,
    rules: Arc<Rules>,
    services: Services,
    mut stop: watch::Receiver<bool>,
) {
    event::session_opened(&session, client.ip().to_canonical());
    let visit = Visit::new(&services.door, &rules.door, client.ip());
    match door::wait(&mut stream, visit.greet_delay(), &mut stop).await {
        Waited::Silently => {}
        Waited::Speaking => {
            let (refusal, rule) = (reply::SPOKE_TOO_EARLY, (DoorRule::Greeting, "greet_delay"));
            event::door_refused(&session, rule, "", "", "", &refusal);
            refuse(stream, &rules.settings, refusal).await;
            return event::session_closed(&session, 0, "the client spoke before the greeting");
        }
        Waited::Gone => {
            return event::session_closed(&session, 0, "the client closed the connection");
        }
    }
    let mut receiver = Receiver::new(stream, visit, client.ip(), session, rules, services);
    let why = receiver.run(stop).await;
    event::session_closed(&receiver.name, receiver.messages, why);
}

/// Tells a client that it gets no session now.
pub async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    settings: &Settings,
    refusal: Reply,
) {
    let now = clock::instant();
    let mut session = Session::refusing(Arc::new(settings.clone()), refusal, now);
    let mut octets = BytesMut::new();
    while let Some(Output::Reply(reply)) = session.poll_output(now) {
        reply.encode(&mut octets);
    }
    let _ = timeout(settings.limits.idle, stream.write_all(&octets)).await;
    let _ = stream.shutdown().await;
}

/// Why a session ended.
type Ending = &'static str;

/// Whom a session is with, and what follows from that.
struct Peer {
    address: IpAddr,
    /// Who the client's mail is charged to.
    tenant: Arc<str>,
    may_relay: bool,
}

impl Peer {
    fn new(address: IpAddr, rules: &Rules) -> Self {
        let may_relay = client::is_in(address, &rules.relay_from);
        Self { address, tenant: tenant::of_client(address).into(), may_relay }
    }

    fn settings(&self, rules: &Rules, proxy: bool) -> Arc<Settings> {
        let normalise = self.may_relay || client::is_in(self.address, &rules.bare_line_ends_from);
        let mut settings = rules.settings.clone();
        if normalise {
            settings.bare_line_ends = BareLineEnds::Normalise;
        }
        if proxy {
            settings.offer = Arc::clone(&rules.proxy_offer);
        }
        settings.verify |= self.may_relay && rules.verify_for_relay;
        Arc::new(settings)
    }
}

struct Receiver<S> {
    stream: S,
    visit: Visit,
    peer: Peer,
    /// Whether the connection is from a proxy that may speak for others.
    proxy: bool,
    name: String,
    rules: Arc<Rules>,
    services: Services,
    session: Session,
    unsent: BytesMut,
    incoming: Option<Result<Incoming, Reply>>,
    messages: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    fn new(
        stream: S,
        visit: Visit,
        client: IpAddr,
        name: String,
        rules: Arc<Rules>,
        services: Services,
    ) -> Self {
        let peer = Peer::new(client, &rules);
        let proxy = client::is_in(client, &rules.proxies);
        let session = Session::new(peer.settings(&rules, proxy), clock::instant());
        Self {
            stream,
            visit,
            peer,
            proxy,
            name,
            rules,
            services,
            session,
            unsent: BytesMut::new(),
            incoming: None,
            messages: 0,
        }
    }

    async fn run(&mut self, mut stop: watch::Receiver<bool>) -> Ending {
        loop {
            while let Some(output) = self.session.poll_output(clock::instant()) {
                if let Err(ending) = self.perform(output).await {
                    return ending;
                }
            }
            if let Err(ending) = self.flush().await {
                return ending;
            }
            let deadline = self.session.poll_timeout().unwrap_or_else(clock::instant);
            tokio::select! {
                read = read_into(&mut self.stream, &mut self.session) => match read {
                    Ok(0) => return "the client closed the connection",
                    Ok(_) => {}
                    Err(_) => return "the connection failed",
                },
                () = sleep_until(deadline.into()) => self.session.handle_timeout(),
                // Told once; a vanished teller means the same.
                _ = stop.wait_for(|stop| *stop), if !self.session.is_stopping() => {
                    self.session.handle_stop();
                }
            }
        }
    }

    /// Does what the session asks for, and answers it.
    async fn perform(&mut self, output: Output) -> Result<(), Ending> {
        match output {
            Output::Reply(reply) => {
                reply.encode(&mut self.unsent);
                if self.unsent.len() >= SEND_OCTETS {
                    self.flush().await?;
                }
                // One reply is one command.
                if let Err(refusal) = self.visit.take_command() {
                    return Err(self.shut_out(&refusal).await);
                }
            }
            Output::JudgeSender { hello, reverse_path, size } => {
                let verdict = match self.visit.judge_sender(&hello, &reverse_path) {
                    Ok(()) => self.judge_sender(reverse_path, size),
                    Err(refusal) => Err(self.turned_away(&refusal, "")),
                };
                self.session.handle_sender(verdict, clock::instant());
            }
            Output::JudgeRecipient(path) => {
                let verdict = self.judge_recipient(&path).await?;
                self.session.handle_recipient(verdict, clock::instant());
            }
            Output::Verify(text) => {
                let found = self.verify(&text).await?;
                self.session.handle_verification(found, clock::instant());
            }
            Output::Impersonate(claim) => self.impersonate(&claim),
            Output::Begin(accepted) => self.incoming = Some(self.begin(*accepted)),
            Output::Content(piece) => self.keep(piece).await,
            Output::Commit => self.commit().await?,
            Output::Discard => self.incoming = None,
            Output::Close => {
                self.flush().await?;
                let _ = self.stream.shutdown().await;
                return Err("closed");
            }
        }
        Ok(())
    }

    /// A trusted proxy names its client.
    fn impersonate(&mut self, claim: &Claim) {
        let address = claim.address.unwrap_or(self.peer.address);
        event::impersonated(&self.name, address.to_canonical(), claim.port, claim.name.as_deref());
        self.peer = Peer::new(address, &self.rules);
        self.visit = Visit::new(&self.services.door, &self.rules.door, address);
        let settings = self.peer.settings(&self.rules, self.proxy);
        self.session.handle_impersonation(settings, clock::instant());
    }

    /// What VRFY is answered.
    async fn verify(&mut self, text: &str) -> Result<Reply, Ending> {
        let path = match verify::resolve(&self.rules.table, text) {
            Ok(path) => path,
            Err(reply) => return Ok(reply),
        };
        Ok(match self.find_recipient(&path).await? {
            Ok(mailbox) => reply::VERIFIED.with_text(format!("<{mailbox}>")),
            Err(refusal) => refusal,
        })
    }

    /// Opens a place for content.
    fn begin(&self, mut accepted: session::Accepted) -> Result<Incoming, Reply> {
        if self.peer.may_relay {
            accepted.envelope.origin = Origin::Relay;
        }
        let trace = Trace {
            hello: &accepted.hello,
            client: self.peer.address,
            with: accepted.with,
            names_recipient: self.rules.received_for,
        };
        let tenant = Arc::clone(&self.peer.tenant);
        let begun = self.services.intake.begin(accepted.envelope, &trace, tenant, &self.name);
        begun.map(|incoming| incoming.held(self.visit.hold()))
    }

    /// Whether there is room for a message, and for one more of this tenant.
    fn judge_sender(&self, reverse_path: ReversePath, size: u64) -> Result<(), Reply> {
        let Services { intake, backlog, .. } = &self.services;
        let verdict = backlog.check(&self.peer.tenant).and_then(|()| intake.check_room(size));
        if let Err(refusal) = &verdict {
            event::sender_refused(&self.name, reverse_path, refusal);
        }
        verdict
    }

    /// What a client that the door refuses is told.
    fn turned_away(&self, refusal: &Refusal, recipient: impl Display) -> Reply {
        let Refusal { reply, rule, by } = refusal;
        let reply = if self.rules.soft_bounce { reply.softened() } else { reply.clone() };
        let (sender, hello) = self.visit.sender();
        event::door_refused(&self.name, (*rule, by), hello, sender, recipient, &reply);
        reply
    }

    /// Ends the session with a 421 behind the last reply.
    async fn shut_out(&mut self, refusal: &Refusal) -> Ending {
        self.turned_away(refusal, "").encode(&mut self.unsent);
        if let Err(ending) = self.flush().await {
            return ending;
        }
        let _ = self.stream.shutdown().await;
        "the client sent too many commands in a time"
    }

    async fn judge_recipient(
        &mut self,
        path: &ForwardPath,
    ) -> Result<Result<Mailbox, Reply>, Ending> {
        if self.visit.must_ask() {
            self.flush().await?;
        }
        if let Err(refusal) = self.visit.judge_recipient(path).await {
            return Ok(Err(self.turned_away(&refusal, path)));
        }
        self.find_recipient(path).await
    }

    /// Whether there is a way to a recipient, and a mailbox where it is known.
    async fn find_recipient(
        &mut self,
        path: &ForwardPath,
    ) -> Result<Result<Mailbox, Reply>, Ending> {
        let table = Arc::clone(&self.rules.table);
        let mut judgement = recipient::judge(&table, self.peer.may_relay, path);
        let verdict = loop {
            match judgement {
                Judgement::Accept(mailbox) => break Ok(mailbox),
                Judgement::Refuse(refusal) => break Err(refusal),
                Judgement::Verify { next_hop, mailbox } => {
                    self.flush().await?;
                    let (lifetimes, times) = (self.rules.lifetimes, self.rules.times);
                    let prober = &self.services.prober;
                    match prober.verify(&next_hop, &mailbox, lifetimes, times).await {
                        Ok(()) => break Ok(mailbox),
                        Err(refusal) => judgement = recipient::refused(&table, &mailbox, refusal),
                    }
                }
            }
        };
        let soft = self.rules.soft_bounce;
        let verdict = verdict.map_err(|refusal| if soft { refusal.softened() } else { refusal });
        if let Err(refusal) = &verdict {
            event::recipient_refused(&self.name, path, refusal);
        }
        Ok(verdict)
    }

    /// A piece that can't be kept costs the message; the client hears of it after its final dot.
    async fn keep(&mut self, piece: Vec<u8>) {
        if let Some(Ok(incoming)) = &mut self.incoming
            && let Err(refusal) = incoming.write(piece).await
        {
            self.incoming = Some(Err(refusal));
        }
    }

    async fn commit(&mut self) -> Result<(), Ending> {
        let began = clock::instant();
        self.flush().await?;
        let result = match self.incoming.take() {
            Some(Ok(incoming)) => incoming.commit().await.map(|id| id.to_string()),
            Some(Err(refusal)) => Err(refusal),
            None => Err(reply::LOCAL_ERROR),
        };
        metric::SMTPD_ACCEPT.observe_time((), clock::instant().duration_since(began));
        self.messages += u64::from(result.is_ok());
        self.session.handle_commit(result.as_deref().map_err(Reply::clone), clock::instant());
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let octets = self.unsent.split();
        match timeout(self.rules.settings.limits.idle, self.stream.write_all(&octets)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("the connection failed"),
            Err(_) => Err("the client read nothing for too long"),
        }
    }
}

/// Reads once, straight into the session; the octets read.
async fn read_into<S: AsyncRead + Unpin>(
    stream: &mut S,
    session: &mut Session,
) -> std::io::Result<usize> {
    poll_fn(|context| {
        let mut octets = [MaybeUninit::<u8>::uninit(); READ_OCTETS];
        let mut buffer = ReadBuf::uninit(&mut octets);
        Pin::new(&mut *stream).poll_read(context, &mut buffer).map_ok(|()| {
            let now: Instant = clock::instant();
            session.handle_input(buffer.filled(), now);
            buffer.filled().len()
        })
    })
    .await
}

#[cfg(test)]
mod tests;
