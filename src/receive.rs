//! Floor 5: a session over a socket: the sockets' side of `session`.
//!
//! Promises that nothing is read before every answer to what came before is on its way, that a
//! client which stops reading is let go after the idle time, and that a lost connection leaves
//! nothing behind of what was not acknowledged.

mod caller;
mod judge;
mod offers;
mod peer;
mod secure;

use std::collections::HashMap;
use std::fmt::Display;
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use crate::auth::Exchange;
use crate::auth::authority::Authority;
use crate::backlog::Backlog;
use crate::delivery::relay;
use crate::door::{self, Door, Refusal, Visit, Waited};
use crate::envelope::Origin;
use crate::event;
use crate::intake::{Incoming, Intake, Trace};
use crate::limits::{Limits, Reserved};
use crate::metric::{self, DoorRule};
use crate::net::clock;
use crate::net::connection::Times;
use crate::net::tls::{self, Facts, Link};
use crate::policy::owner;
use crate::policy::timing;
use crate::policy::verify;
use crate::probe::{Lifetimes, Prober};
use crate::registry::mechanism::Mechanism;
use crate::registry::reply::{self, Reply};
use crate::route::Table;
use crate::session::{self, Output, Session, Settings};
use crate::submission::{self, Filter, Stamp};
use crate::syntax::xclient::Claim;

pub use caller::{Bound, Caller};
pub use offers::{Client, Offers};
use peer::Peer;

/// What is read at a time; on the stack, so that an idle session holds no buffer.
const READ_OCTETS: usize = 16 * 1024;
/// Replies are sent at the latest when this much waits.
const SEND_OCTETS: usize = 16 * 1024;

/// How long the end of a connection may take.
const FAREWELL_TIME: Duration = Duration::from_secs(5);

/// What all sessions of a listener share; replaced as a whole by a reload.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Name, limits, and what is offered to strangers.
    pub settings: Settings,
    /// What is offered to whom.
    pub offers: Offers,
    /// Proxies that may speak for others.
    pub proxies: Vec<IpNet>,
    /// Clients whose bare line ends are normalised, beside those that may relay.
    pub bare_line_ends_from: Vec<IpNet>,
    /// Who may relay.
    pub relay_from: Vec<IpNet>,
    /// Whether VRFY answers them, if nobody else.
    pub verify_for_relay: bool,
    /// Whether the trace field names a lone recipient.
    pub received_for: bool,
    /// Whether it keeps silent on where users are.
    pub hide_client_address: bool,
    /// What holds for what users submit here; none where no users are served.
    pub submission: Option<Arc<submission::Rules>>,
    /// What senders may ask of time.
    pub timing: timing::Rules,
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
    /// The TLS of the listener, if it has any.
    pub tls: Option<Arc<tls::Server>>,
    /// Who judges logins here; none where nobody can log in.
    pub authority: Option<Arc<Authority>>,
    /// Whether clients of this machine may show secrets without TLS.
    pub clear_passwords: bool,
    /// How large a message of a tenant may be, in octets, where that differs from the listener's.
    pub message_octets_max: Arc<HashMap<String, u64>>,
}

impl Rules {
    /// The same for a client whose address is not its own: nothing that follows from one.
    pub fn without_trust(&self) -> Self {
        Self {
            proxies: Vec::new(),
            bare_line_ends_from: Vec::new(),
            relay_from: Vec::new(),
            clear_passwords: false,
            ..self.clone()
        }
    }
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
    /// What users may send.
    pub limits: Arc<Limits>,
}

/// Serves one client to its end.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: Link<S>,
    client: SocketAddr,
    session: String,
    rules: Arc<Rules>,
    services: Services,
    mut stop: watch::Receiver<bool>,
) {
    event::session_opened(&session, client.ip().to_canonical());
    let facts = stream.facts();
    if let Some(facts) = &facts {
        secured(&session, facts);
    }
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
    let stream = (stream, facts);
    let mut receiver = Receiver::new(stream, visit, client.ip(), session, rules, services);
    let why = receiver.run(stop).await;
    event::session_closed(&receiver.name, receiver.messages, why);
}

/// Tells the log that a session is under TLS.
fn secured(session: &str, facts: &Facts) {
    let Facts { protocol, cipher, group, sni, resumed, .. } = facts;
    let agreed = (*protocol, cipher.as_str());
    event::secured(session, agreed, group.as_deref(), sni.as_deref(), *resumed);
}

/// Serves a program of this machine to its end. `rules` let loopback relay.
pub async fn serve_caller<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    caller: Caller,
    session: String,
    rules: Arc<Rules>,
    services: Services,
    stop: watch::Receiver<bool>,
) {
    event::session_opened(&session, &caller);
    let here = IpAddr::from(Ipv4Addr::LOCALHOST);
    let visit = Visit::new(&services.door, &rules.door, here);
    let stream = (Link::Clear(stream), None);
    let mut receiver = Receiver::new(stream, visit, here, session, rules, services);
    receiver.peer.log_in(caller.login());
    receiver.caller = Some(caller);
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
        reply.into_ascii().encode(&mut octets);
    }
    let _ = timeout(settings.limits.idle, write(&mut stream, &octets)).await;
    end(&mut stream).await;
}

/// Sends octets to their end: TLS holds back what is not flushed.
async fn write<S: AsyncWrite + Unpin>(stream: &mut S, octets: &[u8]) -> std::io::Result<()> {
    stream.write_all(octets).await?;
    stream.flush().await
}

/// Closes a connection. Under TLS that is said to the client, who may read nothing any more.
async fn end<S: AsyncWrite + Unpin>(stream: &mut S) {
    let _ = timeout(FAREWELL_TIME, stream.shutdown()).await;
}

/// Why a session ended.
type Ending = &'static str;

struct Receiver<S> {
    stream: Link<S>,
    visit: Visit,
    peer: Peer,
    /// The program of this machine that the session is with, where it is one.
    caller: Option<Caller>,
    /// The SASL exchange under way.
    exchange: Option<(Mechanism, Box<dyn Exchange>)>,
    /// A hash of what the client has shown in it.
    shown: u64,
    name: String,
    rules: Arc<Rules>,
    services: Services,
    session: Session,
    unsent: BytesMut,
    incoming: Option<Result<Incoming, Reply>>,
    /// What repairs and judges the content of a user.
    filter: Option<Filter>,
    /// What the transaction counts against its user's limits; given back where it is abandoned.
    reserved: Option<Reserved>,
    messages: u64,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    fn new(
        (stream, facts): (Link<S>, Option<Facts>),
        visit: Visit,
        client: IpAddr,
        name: String,
        rules: Arc<Rules>,
        services: Services,
    ) -> Self {
        let peer = Peer::new(client, facts, &rules);
        let session = Session::new(peer.settings(&rules), clock::instant());
        Self {
            stream,
            visit,
            peer,
            exchange: None,
            shown: 0,
            caller: None,
            name,
            rules,
            services,
            session,
            unsent: BytesMut::new(),
            incoming: None,
            filter: None,
            reserved: None,
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
            Output::JudgeSender { hello, reverse_path, size, hold, deadline } => {
                let timely = || self.rules.timing.judge(hold, deadline, clock::now_ms());
                let verdict = match self.visit.judge_sender(&hello, &reverse_path) {
                    Ok(()) => timely().and_then(|()| self.judge_sender(reverse_path, size)),
                    Err(refusal) => Err(self.turned_away(&refusal, "")),
                };
                self.session.handle_sender(verdict, clock::instant());
            }
            Output::JudgeRecipient(path, validity) => {
                let verdict = self.judge_recipient(&path, validity).await?;
                self.session.handle_recipient(verdict, clock::instant());
            }
            Output::Verify(text) => {
                let found = self.verify(&text).await?;
                self.session.handle_verification(found, clock::instant());
            }
            Output::Impersonate(claim) => self.impersonate(&claim),
            Output::StartTls => self.start_tls(),
            Output::Handshake => self.handshake().await?,
            Output::Authenticate { mechanism, initial } => {
                self.authenticate(mechanism, initial).await?;
            }
            Output::Respond(response) => self.respond(Some(response)).await?,
            Output::CancelExchange => self.exchange = None,
            Output::Begin(accepted) => {
                self.filter = self.new_filter();
                self.incoming = Some(self.begin(*accepted));
            }
            Output::Content(piece) => self.keep(piece).await,
            Output::Commit => self.commit().await?,
            Output::Discard => (self.incoming, self.reserved) = (None, None),
            Output::Close => {
                self.flush().await?;
                end(&mut self.stream).await;
                return Err("closed");
            }
        }
        Ok(())
    }

    /// A trusted proxy names its client.
    fn impersonate(&mut self, claim: &Claim) {
        let address = claim.address.unwrap_or(self.peer.address);
        event::impersonated(&self.name, address.to_canonical(), claim.port, claim.name.as_deref());
        self.peer = self.peer.stands_for(address, &self.rules);
        self.visit = Visit::new(&self.services.door, &self.rules.door, address);
        let settings = self.peer.settings(&self.rules);
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
        let parameters = &mut accepted.envelope.parameters;
        parameters.submitter = self.peer.submitter(parameters.submitter.take(), &self.rules);
        for recipient in &mut accepted.envelope.recipients {
            if owner::is_judged(&self.rules.table, &recipient.address) {
                recipient.parameters.validity = None;
            }
        }
        let trace = Trace {
            hello: &accepted.hello,
            client: self.shown_address(),
            caller: self.caller.as_ref().map(|caller| caller.uid),
            with: accepted.with,
            tls: self.peer.tls(),
            names_recipient: self.rules.received_for,
        };
        let tenant = Arc::clone(&self.peer.tenant);
        let submitted = self.filter.is_some() || self.caller.is_some();
        // Binary content has no lines, and goes on as it came.
        let reflows = submitted && !relay::binary::is_binary(&accepted.envelope);
        let begun = self.services.intake.begin(accepted.envelope, &trace, tenant, &self.name);
        begun.map(|incoming| incoming.held(self.visit.hold()).reflowed(reflows))
    }

    /// The filter of a message from a user, or from a program whose account is bound.
    fn new_filter(&self) -> Option<Filter> {
        let rules = match &self.caller {
            Some(caller) => caller.bound_to.as_ref().map(|bound| &bound.rules),
            None => self.rules.submission.as_ref(),
        };
        let (rules, login) = (rules?, self.peer.login.as_ref()?);
        let stamp = Stamp {
            date: clock::date(clock::now_ms()),
            message_id: format!("{:032x}@{}", fastrand::u128(..), self.rules.settings.hostname),
        };
        Some(Filter::new(Arc::clone(rules), Arc::clone(&login.user), stamp))
    }

    /// The address in the trace field.
    fn shown_address(&self) -> Option<IpAddr> {
        let hidden = self.rules.hide_client_address && self.peer.login.is_some();
        (!hidden).then_some(self.peer.address)
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
        let farewell = self.turned_away(refusal, "");
        self.leave(&farewell, "the client sent too many commands in a time").await
    }

    /// Ends the session with a reply behind the last one.
    async fn leave(&mut self, farewell: &Reply, why: Ending) -> Ending {
        farewell.encode(&mut self.unsent);
        if let Err(ending) = self.flush().await {
            return ending;
        }
        end(&mut self.stream).await;
        why
    }

    /// A piece that can't be kept costs the message; the client hears of it after its final dot.
    async fn keep(&mut self, piece: Vec<u8>) {
        let Some(Ok(incoming)) = &mut self.incoming else { return };
        let piece = match &mut self.filter {
            Some(filter) => filter.take(piece).inspect_err(|refusal| {
                event::submission_refused(&self.name, filter.login(), refusal.text(), refusal);
            }),
            None => Ok(piece),
        };
        let kept = match piece {
            Ok(piece) if piece.is_empty() => Ok(()),
            Ok(piece) => incoming.write(piece).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = kept {
            self.incoming = Some(Err(refusal));
        }
    }

    async fn commit(&mut self) -> Result<(), Ending> {
        let began = clock::instant();
        self.flush().await?;
        if let Some(mut filter) = self.filter.take()
            && let Some(Ok(incoming)) = &mut self.incoming
        {
            let kept = match filter.finish() {
                Ok(rest) => incoming.write(rest).await,
                Err(refusal) => {
                    event::submission_refused(&self.name, filter.login(), refusal.text(), &refusal);
                    Err(refusal)
                }
            };
            if let Err(refusal) = kept {
                self.incoming = Some(Err(refusal));
            }
        }
        let result = match self.incoming.take() {
            Some(Ok(incoming)) => incoming.commit().await.map(|id| id.to_string()),
            Some(Err(refusal)) => Err(refusal),
            None => Err(reply::LOCAL_ERROR),
        };
        metric::SMTPD_ACCEPT.observe_time((), clock::instant().duration_since(began));
        if let (Some(reserved), true) = (self.reserved.take(), result.is_ok()) {
            reserved.keep();
        }
        self.messages += u64::from(result.is_ok());
        self.session.handle_commit(result.as_deref().map_err(Reply::clone), clock::instant());
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Ending> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let octets = self.unsent.split();
        match timeout(self.rules.settings.limits.idle, write(&mut self.stream, &octets)).await {
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
