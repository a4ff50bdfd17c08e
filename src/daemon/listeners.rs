//! The listening sockets and their sessions.
//!
//! A connection of implicit TLS is a session only after its handshake, so that half-open ones take
//! nobody's place.
//!
//! Promises at most `max_connections` sessions of a listener and `max_connections_per_client` of one
//! client (an IPv6 client is its /64), the rest being told 421; that a reload reaches new sessions at
//! once; and that a stop waits for content under way.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use dashmap::DashMap;
use ipnet::IpNet;
use socket2::Socket;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use super::authority::authority;
use super::certificates::Certificates;
use super::service::Inherited;
use super::settings;
use crate::auth::users::Users;
use crate::config::{Config, Listener, Tls};
use crate::event;
use crate::metric;
use crate::net::clock;
use crate::net::proxy;
use crate::net::socket::{self, Bind};
use crate::net::stream::Stream;
use crate::net::tls::{self, Link, Server};
use crate::policy::client;
use crate::receive::{self, Rules, Services};
use crate::registry::reply::{self, Reply};
use crate::route::Table;

/// Refusals being sent at a time; beyond, connections are dropped without a word.
const REFUSALS_MAX: usize = 64;
/// PROXY headers waited for at a time; beyond, connections of proxies are dropped.
const HEADERS_MAX: usize = 4096;

/// Sockets, by the address they are bound to. They listen only once they are served, so that
/// nobody waits behind a start that takes its time.
#[derive(Debug, Default)]
pub struct Sockets {
    mail: BTreeMap<Bind, Open>,
    /// The metrics socket, if there is to be one.
    pub(super) metrics: Option<Socket>,
}

/// A socket that is bound.
#[derive(Debug)]
struct Open {
    socket: Socket,
    /// It is the service manager's, and outlives us.
    inherited: bool,
}

impl Sockets {
    /// Binds the socket of each listener, where it is not `inherited`. The error is a sentence for
    /// the operator.
    pub(super) fn open<'a>(
        listeners: impl IntoIterator<Item = &'a Listener>,
        inherited: &mut Inherited,
    ) -> Result<Self, String> {
        let mut sockets = BTreeMap::new();
        for Listener { bind, socket_mode, .. } in listeners {
            let open = match inherited.remove(bind) {
                Some(socket) => Open { socket, inherited: true },
                None => {
                    let socket = socket::bind(bind, *socket_mode);
                    let socket = socket.map_err(|error| format!("listener {bind}: {error}"))?;
                    Open { socket, inherited: false }
                }
            };
            sockets.insert(bind.clone(), open);
        }
        Ok(Self { mail: sockets, metrics: None })
    }
}

/// What a reload may change for a listener that stays.
#[derive(Debug)]
struct Current {
    rules: Arc<Rules>,
    implicit_tls: bool,
    proxy_from: Vec<IpNet>,
    connections_max: usize,
    per_client_max: usize,
}

#[derive(Debug)]
struct Running {
    current: Arc<ArcSwap<Current>>,
    accepting: JoinHandle<()>,
    inherited: bool,
}

impl Running {
    /// Accepts nothing more, and takes the file of a Unix socket of ours away.
    fn end(&self, bind: &Bind) {
        self.accepting.abort();
        if let Bind::Unix(path) = bind
            && !self.inherited
        {
            // One that stays is replaced by the next start.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// All listeners of a daemon.
pub(super) struct Listeners {
    services: Services,
    certificates: Arc<Certificates>,
    running: BTreeMap<Bind, Running>,
    /// Those of the built-in store.
    users: Option<Arc<Users>>,
    stop: watch::Sender<bool>,
    /// Each session holds a clone of the sender; the receiver ends with the last.
    alive: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

impl Listeners {
    pub(super) fn new(services: Services, certificates: Arc<Certificates>) -> Self {
        let stop = watch::Sender::new(false);
        let (running, alive) = (BTreeMap::new(), mpsc::channel(1));
        Self { services, certificates, running, users: None, stop, alive }
    }

    /// Binds the addresses of `config` that are not bound yet.
    pub(super) fn open_new(&self, config: &Config) -> Result<Sockets, String> {
        let new = |listener: &&Listener| !self.running.contains_key(&listener.bind);
        Sockets::open(config.listeners.iter().filter(new), &mut Inherited::default())
    }

    /// Serves every listener of `config`, with the new `sockets` and those that run already.
    pub(super) fn serve(
        &mut self,
        mut sockets: Sockets,
        config: &Config,
        table: &Arc<Table>,
    ) -> Result<(), String> {
        // Before anything is changed: what it refuses leaves all as it was.
        let authority = authority(config, &mut self.users)?;
        let wanted = |bind: &Bind| config.listeners.iter().any(|listener| listener.bind == *bind);
        self.running.retain(|bind, running| {
            let stays = wanted(bind);
            if !stays {
                running.end(bind);
            }
            stays
        });
        for listener in &config.listeners {
            let tls = self.certificates.server(listener)?;
            let current = Current {
                rules: Arc::new(settings::rules(config, listener, table, tls, authority.clone())),
                implicit_tls: listener.tls_mode() == Tls::Implicit,
                proxy_from: listener.proxy_from.clone(),
                connections_max: listener.max_connections,
                per_client_max: listener.max_connections_per_client,
            };
            if let Some(running) = self.running.get(&listener.bind) {
                running.current.store(Arc::new(current));
            } else if let Some(socket) = sockets.mail.remove(&listener.bind) {
                self.start(listener, socket, current)?;
            }
        }
        Ok(())
    }

    fn start(
        &mut self,
        listener: &Listener,
        Open { socket, inherited }: Open,
        current: Current,
    ) -> Result<(), String> {
        let Listener { bind, role, .. } = listener;
        let socket = socket::Listener::new(bind, socket);
        let socket = socket.map_err(|error| format!("listener {bind}: {error}"))?;
        let current = Arc::new(ArcSwap::from_pointee(current));
        let acceptor = Acceptor {
            current: Arc::clone(&current),
            services: self.services.clone(),
            stop: self.stop.subscribe(),
            alive: self.alive.0.clone(),
            clients: Arc::new(DashMap::new()),
            sessions: Arc::new(AtomicU64::new(0)),
            refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
            headers: Arc::new(Semaphore::new(HEADERS_MAX)),
        };
        event::listening(socket.place(bind), role.name());
        let accepting = tokio::spawn(acceptor.run(socket));
        self.running.insert(bind.clone(), Running { current, accepting, inherited });
        Ok(())
    }

    /// Accepts nothing more, and waits until the last session is over or `deadline` has come.
    pub(super) async fn stop(mut self, deadline: Instant) {
        for (bind, running) in &self.running {
            running.end(bind);
        }
        self.stop.send_replace(true);
        drop(self.alive.0);
        let _ = timeout_at(deadline, self.alive.1.recv()).await;
    }
}

#[derive(Clone)]
struct Acceptor {
    current: Arc<ArcSwap<Current>>,
    services: Services,
    stop: watch::Receiver<bool>,
    alive: mpsc::Sender<()>,
    clients: Arc<DashMap<IpAddr, usize>>,
    sessions: Arc<AtomicU64>,
    refusals: Arc<Semaphore>,
    headers: Arc<Semaphore>,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
struct Newcomer {
    /// The client; the proxy itself where it names none.
    client: SocketAddr,
    /// The proxy that the client is behind.
    proxy: Option<IpAddr>,
    /// The address is no client's, so nothing may follow from it.
    anonymous: bool,
}

impl Newcomer {
    /// The rules that hold for it.
    fn rules(&self, rules: &Arc<Rules>) -> Arc<Rules> {
        if self.anonymous { Arc::new(rules.without_trust()) } else { Arc::clone(rules) }
    }
}

impl Acceptor {
    async fn run(self, socket: socket::Listener) {
        loop {
            match socket.accept().await {
                Ok((stream, client)) => self.meet(stream, client),
                Err(error) => {
                    event::trouble("a listener can't accept", error);
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Finds out who the client is.
    fn meet(&self, stream: Stream, client: SocketAddr) {
        if client::is_in(client.ip(), &self.current.load().proxy_from) {
            tokio::spawn(self.clone().hear_proxy(stream, client));
        } else {
            self.admit(stream, Newcomer { client, proxy: None, anonymous: false });
        }
    }

    /// Has a proxy say whom it speaks for.
    async fn hear_proxy(self, mut stream: Stream, proxy: SocketAddr) {
        let address = proxy.ip().to_canonical();
        let Ok(permit) = Arc::clone(&self.headers).try_acquire_owned() else {
            return event::session_refused(
                address,
                "too many proxies have yet to name their client",
            );
        };
        let mut stop = self.stop.clone();
        let named = tokio::select! {
            named = proxy::read_header(&mut stream, proxy::HEADER_TIME) => named,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        drop(permit);
        match named {
            Ok(client) => {
                let anonymous = client.is_none();
                let client = client.unwrap_or(proxy);
                self.admit(stream, Newcomer { client, proxy: Some(address), anonymous });
            }
            Err(fault) => event::proxy_refused(address, fault),
        }
    }

    fn admit(&self, stream: Stream, newcomer: Newcomer) {
        let current = self.current.load();
        let client = newcomer.client;
        if let Err(refusal) = self.services.door.admit(&current.rules.door, client.ip()) {
            event::door_shut(client.ip().to_canonical(), (refusal.rule, &refusal.by));
            // A reply in clear would be none to a client that begins with TLS.
            if !current.implicit_tls {
                self.refuse(Link::Clear(stream), &current.rules, refusal.reply);
            }
            return;
        }
        if current.rules.authority.is_some()
            && let Err(refusal) = self.services.limits.admit(client.ip(), clock::now_ms())
        {
            event::session_refused(client.ip().to_canonical(), "too many failed logins");
            if !current.implicit_tls {
                self.refuse(Link::Clear(stream), &current.rules, refusal);
            }
            return;
        }
        match &current.rules.tls {
            Some(server) if current.implicit_tls => {
                tokio::spawn(self.clone().secure(stream, newcomer, Arc::clone(server)));
            }
            _ => self.open(Link::Clear(stream), newcomer, next_session_name()),
        }
    }

    /// Takes the handshake of implicit TLS.
    async fn secure(self, stream: Stream, newcomer: Newcomer, server: Arc<Server>) {
        let client = newcomer.client;
        let session = next_session_name();
        let mut stop = self.stop.clone();
        let accepting = tls::accept(Link::Clear(stream), &server, client.ip());
        tokio::select! {
            accepted = accepting => match accepted {
                Ok((link, _)) => self.open(link, newcomer, session),
                Err(fault) => {
                    event::handshake_failed(&session, client.ip().to_canonical(), fault);
                }
            },
            _ = stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Opens a session, if there is a place for it.
    fn open(&self, stream: Link<Stream>, newcomer: Newcomer, session: String) {
        let current = self.current.load();
        let client = newcomer.client;
        match Place::take(self, client::host(client.ip()), &current) {
            Ok(place) => {
                let rules = newcomer.rules(&current.rules);
                if let Some(proxy) = newcomer.proxy {
                    event::proxied(&session, proxy);
                }
                let (services, stop) = (self.services.clone(), self.stop.clone());
                let alive = self.alive.clone();
                tokio::spawn(async move {
                    receive::serve(stream, client, session, rules, services, stop).await;
                    drop((place, alive));
                });
            }
            Err(why) => {
                event::session_refused(client.ip().to_canonical(), why);
                self.refuse(stream, &current.rules, reply::TOO_MANY_SESSIONS);
            }
        }
    }

    /// Tells a client that it gets no session, unless too many are being told so.
    fn refuse(&self, stream: Link<Stream>, rules: &Arc<Rules>, refusal: Reply) {
        let rules = Arc::clone(rules);
        if let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() {
            tokio::spawn(async move {
                receive::refuse(stream, &rules.settings, refusal).await;
                drop(permit);
            });
        }
    }
}

/// A session's place among those of its listener and its client; given back when dropped.
struct Place {
    clients: Arc<DashMap<IpAddr, usize>>,
    sessions: Arc<AtomicU64>,
    client: IpAddr,
}

impl Place {
    fn take(acceptor: &Acceptor, client: IpAddr, current: &Current) -> Result<Self, &'static str> {
        if acceptor.sessions.load(Ordering::Relaxed) >= current.connections_max as u64 {
            return Err("too many sessions of this listener");
        }
        let mut of_client = acceptor.clients.entry(client).or_insert(0);
        if *of_client >= current.per_client_max {
            return Err("too many sessions of this client");
        }
        *of_client += 1;
        acceptor.sessions.fetch_add(1, Ordering::Relaxed);
        metric::SMTPD_SESSIONS.increase();
        let (clients, sessions) = (Arc::clone(&acceptor.clients), Arc::clone(&acceptor.sessions));
        Ok(Self { clients, sessions, client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        metric::SMTPD_SESSIONS.decrease();
        if let Some(mut of_client) = self.clients.get_mut(&self.client) {
            *of_client = of_client.saturating_sub(1);
        }
        self.clients.remove_if(&self.client, |_, count| *count == 0);
    }
}

/// A name unique to this start and, by its time, most likely to all.
pub(super) fn next_session_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:x}-{number:x}", clock::now_ms() / 1000)
}
