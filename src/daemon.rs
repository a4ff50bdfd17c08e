//! Floor 6: everything wired together: start, reload, stop.
//!
//! Promises an order. Start: sockets are bound, privileges dropped, the spool claimed and its end
//! read; then everything listens, and what the spool held before is read beside it. Reload:
//! what can fail is tried first, and a configuration that fails leaves the old one running. Stop: no
//! new sessions, content under way is finished, deliveries get the grace time, and the spool is
//! closed last.

pub mod authority;
mod certificates;
mod listeners;
mod local;
mod metrics;
mod observer;
mod privileges;
mod service;
mod settings;

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use angarium_queue::disk::RealDisk;
use angarium_queue::spool::{Observer, OpenError, Options, Recovering, Recovery, Spool};
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, timeout_at};

use crate::agent::Agent;
use crate::backlog::Backlog;
use crate::config::Config;
use crate::control;
use crate::dispatch::{self, Dispatcher, Memory, Pauses};
use crate::door::Door;
use crate::event;
use crate::intake::Intake;
use crate::limits::{self, Limits};
use crate::net::clock;
use crate::pool::Pool;
use crate::probe::{Cache, Prober};
use crate::receive::Services;
use crate::route::Table;
use certificates::Certificates;
use listeners::Listeners;
pub use listeners::Sockets;
use local::Local;
use metrics::Metrics;
use observer::Groups;
pub use privileges::{make_spool, prepare};
pub use settings::{table, tenants};

/// Requests to the dispatcher that may wait.
const REQUESTS: usize = 1024;
/// How often idle connections are looked through.
const SWEEP_TIME: Duration = Duration::from_secs(1);

/// A running daemon.
pub struct Daemon {
    config: Config,
    spool: Spool,
    listeners: Listeners,
    certificates: Arc<Certificates>,
    local: Local,
    dispatcher: mpsc::Sender<dispatch::Request>,
    dispatching: JoinHandle<()>,
    helpers: Vec<JoinHandle<()>>,
    keep_idle: watch::Sender<Duration>,
    table: watch::Sender<Arc<Table>>,
    backlog: Arc<Backlog>,
    door: Arc<Door>,
    limits: Arc<Limits>,
    metrics: Metrics,
}

impl Daemon {
    /// Opens the spool and starts to serve on sockets that are open already. The error is a
    /// sentence for the operator.
    pub async fn start(
        config: Config,
        mut sockets: Sockets,
        failed: mpsc::UnboundedSender<String>,
    ) -> Result<Self, String> {
        let (spool, recovering) = open_spool(&config, failed.clone())?;
        let socket = config.control_socket();
        let control = control::bind(&socket)
            .map_err(|error| format!("control socket {}: {error}", socket.display()))?;

        let (accepted, arrivals) = mpsc::unbounded_channel();
        let memory = config.queue.content_memory;
        let intake = Arc::new(Intake::new(spool.clone(), &config.hostname, memory, accepted));
        let backlog = Arc::new(Backlog::new(tenants(&config)));
        let table = Arc::new(table(&config));
        let current = watch::Sender::new(Arc::clone(&table));
        let pool = Arc::new(Pool::new(&config.hostname, current.subscribe()));
        let prober = prober(&config, &pool);

        let agent = Arc::new(Agent::new(spool.clone(), Arc::clone(&pool)));
        let settings = settings::dispatch(&config, &table);
        let (remembered, full) = (remembered(&config), Arc::clone(&backlog));
        let seed = clock::now_ms();
        let dispatcher = Dispatcher::new(spool.clone(), agent, settings, remembered, full, seed);
        let (requests, asked) = mpsc::channel(REQUESTS);
        let dispatching = tokio::spawn(dispatcher.run(arrivals, asked));
        let (recovered, recovery) = oneshot::channel();
        let (kept, told) = (spool.clone(), requests.clone());
        let reading = move || match take_up(recovering, &kept, &told) {
            Ok(()) => drop(recovered.send(())),
            Err(error) => drop(failed.send(error.to_string())),
        };
        let keep_idle = watch::Sender::new(config.timeout.keep_idle);
        let certificates = Arc::new(Certificates::new(&config)?);
        let (limits, keeping) = limits(&config, &table, &intake);
        let operator = operator(&config, &spool, &requests, &current, &limits);
        let helpers = vec![
            keeping,
            tokio::spawn(Arc::clone(&certificates).watch()),
            tokio::spawn(serve_operator(recovery, control, operator)),
            tokio::spawn(sweep(Arc::clone(&pool), keep_idle.subscribe())),
            tokio::spawn(service::feed_watchdog(requests.clone())),
        ];
        let door = Arc::new(Door::new(settings::dns(&config))?);
        let (entered, shown) = (Arc::clone(&door), Arc::clone(&certificates));
        let mut metrics = Metrics::new(spool.clone(), requests.clone(), entered, shown);
        metrics.serve(config.metrics.bind, sockets.metrics.take())?;
        let services = services(intake, prober, &backlog, &door, &limits);
        let mut listeners = Listeners::new(services.clone(), Arc::clone(&certificates));
        let local = Local::start(&config, &table, services);
        listeners.serve(sockets, &config, &table)?;
        tokio::task::spawn_blocking(reading);
        Ok(Self {
            config,
            spool,
            listeners,
            certificates,
            local,
            dispatcher: requests,
            dispatching,
            helpers,
            keep_idle,
            table: current,
            backlog,
            door,
            limits,
            metrics,
        })
    }

    /// Takes over another configuration; what is named in the error keeps the old one running.
    pub async fn reload(&mut self, config: Config) -> Result<(), String> {
        let sockets = self.listeners.open_new(&config)?;
        let metrics_socket = self.metrics.open_new(config.metrics.bind)?;
        for (name, same) in [
            ("hostname", config.hostname == self.config.hostname),
            ("spool", config.spool == self.config.spool),
            ("user", config.user == self.config.user),
            ("control.socket", config.control_socket() == self.config.control_socket()),
        ] {
            if !same {
                event::trouble("a changed option waits for the next start", name);
            }
        }
        self.door.set_dns(settings::dns(&config))?;
        self.certificates.take(&config)?;
        let table = Arc::new(table(&config));
        self.listeners.serve(sockets, &config, &table)?;
        self.local.reload(&config, &table);
        self.table.send_replace(Arc::clone(&table));
        self.metrics.serve(config.metrics.bind, metrics_socket)?;
        self.backlog.set_tenants(tenants(&config));
        self.limits.set(settings::limits(&config, &table));
        self.keep_idle.send_replace(config.timeout.keep_idle);
        let settings = Box::new(settings::dispatch(&config, &table));
        let told = self.dispatcher.send(dispatch::Request::Reload(settings)).await;
        told.map_err(|_| "the dispatcher is gone".to_owned())?;
        let (spool, dispatcher) = (self.spool.clone(), self.dispatcher.clone());
        tokio::task::spawn_blocking(move || dispatch::route_anew(&spool, &dispatcher));
        self.config = config;
        Ok(())
    }

    /// Stops within the grace time; what is not delivered by then stays in the queue.
    pub async fn stop(mut self) {
        let deadline = Instant::now() + self.config.stop_grace;
        event::stopping("no new sessions, no new deliveries");
        let _ = self.dispatcher.send(dispatch::Request::Stop).await;
        let mut dispatching = self.dispatching;
        // Side by side: a client that takes its time must not cost the deliveries theirs.
        let (_, _, finished) = tokio::join!(
            self.listeners.stop(deadline),
            self.local.stop(deadline),
            timeout_at(deadline, &mut dispatching)
        );
        if finished.is_err() {
            dispatching.abort();
            let _ = dispatching.await;
        }
        self.metrics.stop();
        for helper in self.helpers {
            helper.abort();
        }
        let (spool, limits) = (self.spool, self.limits);
        let close = move || {
            limits.save(clock::now_ms());
            spool.shutdown();
        };
        let closed = tokio::task::spawn_blocking(close).await;
        let _ = std::fs::remove_file(self.config.control_socket());
        if let Err(error) = closed {
            event::trouble("the spool did not close", error);
        }
        event::stopping("done");
    }
}

/// Serves the operator, who waits in the backlog until all of the queue is known.
async fn serve_operator(
    recovery: oneshot::Receiver<()>,
    socket: UnixListener,
    services: control::Services,
) {
    if recovery.await.is_ok() {
        control::serve(socket, services).await;
    }
}

/// What the operator's socket needs.
fn operator(
    config: &Config,
    spool: &Spool,
    dispatcher: &mpsc::Sender<dispatch::Request>,
    table: &watch::Sender<Arc<Table>>,
    limits: &Arc<Limits>,
) -> control::Services {
    control::Services {
        spool: spool.clone(),
        folder: config.spool.clone(),
        dispatcher: dispatcher.clone(),
        table: table.subscribe(),
        limits: Arc::clone(limits),
    }
}

/// What sessions hand messages and questions to.
fn services(
    intake: Arc<Intake>,
    prober: Arc<Prober>,
    backlog: &Arc<Backlog>,
    door: &Arc<Door>,
    limits: &Arc<Limits>,
) -> Services {
    let (backlog, door, limits) = (Arc::clone(backlog), Arc::clone(door), Arc::clone(limits));
    Services { intake, prober, backlog, door, limits }
}

/// What users may send, and the task that keeps the books of it.
fn limits(config: &Config, table: &Table, intake: &Arc<Intake>) -> (Arc<Limits>, JoinHandle<()>) {
    let allowed = settings::limits(config, table);
    let (limits, alerts) = Limits::open(&config.spool.join("limits"), allowed);
    let limits = Arc::new(limits);
    let keeping = limits::keep(Arc::clone(&limits), Arc::clone(intake), alerts);
    (limits, tokio::spawn(keeping))
}

/// The verifier of recipients, with the answers that it remembers.
fn prober(config: &Config, pool: &Arc<Pool>) -> Arc<Prober> {
    let positive = config.probe.positive_lifetime;
    let cache = Cache::open(&config.spool.join("recipients"), positive, clock::now_ms());
    Arc::new(Prober::new(Arc::clone(pool), cache))
}

/// What the operator and the next hops want remembered over a restart.
fn remembered(config: &Config) -> (Pauses, Memory) {
    let pauses = Pauses::open(&config.spool.join("paused"));
    (pauses, Memory::open(&config.spool.join("learned"), clock::now_ms()))
}

/// Reads what the spool held before, and hands it to the dispatcher. Blocks on the disk.
fn take_up(
    recovering: Recovering,
    spool: &Spool,
    dispatcher: &mpsc::Sender<dispatch::Request>,
) -> Result<(), OpenError> {
    tell_recovery(&recovering.finish()?);
    dispatch::take_up(spool, spool.epoch(), dispatcher);
    Ok(())
}

fn open_spool(
    config: &Config,
    failed: mpsc::UnboundedSender<String>,
) -> Result<(Spool, Recovering), String> {
    let at = |error: &dyn std::fmt::Display| format!("spool {}: {error}", config.spool.display());
    let disk = RealDisk::open(&config.spool).map_err(|error| at(&error))?;
    if let Some(doubt) = disk.doubt() {
        event::trouble("the spool is on a file system that is none for mail", doubt);
    }
    let min_free = config.queue.min_free;
    let observer = Some(Arc::new(Groups::new()) as Arc<dyn Observer>);
    let options = Options { min_free, observer, ..Options::default() };
    let on_failure = Box::new(move |why: &str| {
        let _ = failed.send(why.to_owned());
        event::spool_failed(why);
    });
    Spool::start(Arc::new(disk), options, on_failure).map_err(|error| at(&error))
}

fn tell_recovery(recovery: &Recovery) {
    event::recovered(recovery.messages, recovery.damage.len());
    for damage in &recovery.damage {
        event::damaged(&damage.file, damage.offset, damage.octets, &damage.what);
    }
}

async fn sweep(pool: Arc<Pool>, keep_idle: watch::Receiver<Duration>) {
    let mut ticks = interval(SWEEP_TIME);
    loop {
        ticks.tick().await;
        let keep_idle = *keep_idle.borrow();
        pool.sweep(keep_idle);
    }
}

/// `EX_SOFTWARE`
const EX_SOFTWARE: u8 = 70;
/// `EX_IOERR`
const EX_IOERR: u8 = 74;
/// `EX_CONFIG`
const EX_CONFIG: u8 = 78;

/// Runs `angarium serve` in the foreground until it is told to stop.
pub fn serve(config: Config, load: impl Fn() -> Result<Config, String>) -> ExitCode {
    let sockets = match prepare(&config) {
        Ok(sockets) => sockets,
        Err(error) => return fail(EX_CONFIG, &error),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(EX_IOERR, &format!("the runtime can't start: {error}")),
    };
    runtime.block_on(async {
        // Before anything else: a signal that comes early must not kill half a start.
        let signals = match Signals::follow() {
            Ok(signals) => signals,
            Err(error) => return fail(EX_IOERR, &format!("signals can't be followed: {error}")),
        };
        let (failed, failures) = mpsc::unbounded_channel();
        match Daemon::start(config, sockets, failed).await {
            Ok(daemon) => supervise(daemon, signals, failures, load).await,
            Err(error) => fail(EX_IOERR, &error),
        }
    })
}

/// SIGHUP reloads, SIGTERM and SIGINT stop.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn follow() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

async fn supervise(
    mut daemon: Daemon,
    mut signals: Signals,
    mut failures: mpsc::UnboundedReceiver<String>,
    load: impl Fn() -> Result<Config, String>,
) -> ExitCode {
    service::tell_ready(&daemon.config);
    loop {
        tokio::select! {
            _ = signals.hangup.recv() => reload(&mut daemon, &load).await,
            _ = signals.terminate.recv() => break,
            _ = signals.interrupt.recv() => break,
            Some(why) = failures.recv() => return fail(EX_IOERR, &format!("the spool: {why}")),
            // Our bug. What was acknowledged is in the spool; nothing more may be, undelivered.
            _ = &mut daemon.dispatching => return fail(EX_SOFTWARE, "the dispatcher ended"),
        }
    }
    service::tell_stopping(daemon.config.stop_grace);
    daemon.stop().await;
    ExitCode::SUCCESS
}

async fn reload(daemon: &mut Daemon, load: &impl Fn() -> Result<Config, String>) {
    service::tell_reloading();
    let loaded = load();
    let file = loaded.as_ref().map_or_else(|_| String::new(), |config| config.file.clone());
    let result = match loaded {
        Ok(config) => daemon.reload(config).await,
        Err(faults) => Err(faults),
    };
    service::tell_reloaded(&daemon.config, result.as_ref().err().map(String::as_str));
    match result {
        Ok(()) => event::reloaded(&file),
        Err(why) => event::reload_refused(why),
    }
}

fn fail(exit: u8, why: &str) -> ExitCode {
    // Standard error may be what failed.
    let _ = writeln!(std::io::stderr(), "angarium: {why}");
    ExitCode::from(exit)
}
