//! The metrics socket: `/metrics` and `/healthz`.
//!
//! Promises that neither writes a line in the log, that what they cost does not grow with the queue,
//! and that health is told within the time of [`ANSWER_TIME`], come what may.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use angarium_queue::spool::{Room, Spool, Standing};
use socket2::Socket;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::certificates::Certificates;
use crate::dispatch::{self, Destinations, Shares};
use crate::door::Door;
use crate::event;
use crate::metric::{self, Exposition, Form};
use crate::net::clock;
use crate::net::http::{self, Answer, Question};
use crate::net::socket;

/// How long the dispatcher may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Destinations whose load is told by name.
const DESTINATIONS_MAX: usize = 50;

/// The socket, if it is open.
pub(super) struct Metrics {
    figures: Figures,
    running: Option<(SocketAddr, JoinHandle<()>)>,
}

impl Metrics {
    pub(super) fn new(
        spool: Spool,
        dispatcher: mpsc::Sender<dispatch::Request>,
        door: Arc<Door>,
        certificates: Arc<Certificates>,
    ) -> Self {
        let started_ms = clock::now_ms();
        let figures = Figures { spool, dispatcher, door, certificates, started_ms };
        Self { figures, running: None }
    }

    /// Binds the address, unless it is none or bound already.
    pub(super) fn open_new(&self, address: Option<SocketAddr>) -> Result<Option<Socket>, String> {
        let bound = self.running.as_ref().map(|(bound, _)| *bound);
        open(address.filter(|address| Some(*address) != bound))
    }

    /// Serves the address with its new socket, or with the one that it has; or closes it.
    pub(super) fn serve(
        &mut self,
        address: Option<SocketAddr>,
        socket: Option<Socket>,
    ) -> Result<(), String> {
        if self.running.as_ref().map(|(bound, _)| *bound) == address {
            return Ok(());
        }
        self.stop();
        let (Some(address), Some(socket)) = (address, socket) else { return Ok(()) };
        let listener =
            socket::listen_tcp(socket).map_err(|error| format!("metrics {address}: {error}"))?;
        event::listening(listener.local_addr().unwrap_or(address), "metrics");
        let figures = self.figures.clone();
        let answer = move |question| {
            let figures = figures.clone();
            async move { figures.answer(question).await }
        };
        self.running = Some((address, tokio::spawn(http::serve(listener, answer))));
        Ok(())
    }

    pub(super) fn stop(&mut self) {
        if let Some((_, serving)) = self.running.take() {
            serving.abort();
        }
    }
}

/// Binds the address, if there is one. The error is a sentence for the operator.
pub(super) fn open(address: Option<SocketAddr>) -> Result<Option<Socket>, String> {
    let bound =
        |address| socket::bind_tcp(address).map_err(|error| format!("metrics {address}: {error}"));
    address.map(bound).transpose()
}

/// Where the figures come from that are not counted as mail flows.
#[derive(Clone)]
struct Figures {
    spool: Spool,
    dispatcher: mpsc::Sender<dispatch::Request>,
    door: Arc<Door>,
    certificates: Arc<Certificates>,
    started_ms: u64,
}

impl Figures {
    async fn answer(&self, question: Question) -> Answer {
        match question.path.as_str() {
            "/metrics" => {
                let form = form(&question.accept);
                let body = self.expose(form).await;
                Answer { status: 200, content_type: form.content_type(), body }
            }
            "/healthz" => match self.health().await {
                Ok(()) => Answer::text(200, "ok\n"),
                Err(why) => Answer::text(503, format!("{why}\n")),
            },
            _ => Answer::text(404, "there are /metrics and /healthz\n"),
        }
    }

    async fn health(&self) -> Result<(), String> {
        self.spool_health()?;
        match self.destinations(0).await {
            Some(_) => Ok(()),
            None => Err("the dispatcher does not answer".to_owned()),
        }
    }

    fn spool_health(&self) -> Result<(), String> {
        if let Some(why) = self.spool.failure() {
            return Err(format!("the spool is unavailable: {why}"));
        }
        match self.spool.room() {
            Room::Free => Ok(()),
            Room::Low => Err("the spool has no room for more mail".to_owned()),
        }
    }

    async fn destinations(&self, count: usize) -> Option<Destinations> {
        let (answer, answered) = oneshot::channel();
        let ask = async {
            self.dispatcher.send(dispatch::Request::Destinations(count, answer)).await.ok()?;
            answered.await.ok()
        };
        timeout(ANSWER_TIME, ask).await.ok().flatten()
    }

    /// Everything; without the destinations where the dispatcher does not answer.
    async fn expose(&self, form: Form) -> String {
        let mut out = Exposition::new(form);
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        out.give(&metric::BUILD, version, 1.0);
        out.give(&metric::START_TIME, vec![], self.started_ms as f64 / 1000.0);
        let accepting = if self.spool_health().is_ok() { 1.0 } else { 0.0 };
        out.give(&metric::SPOOL_ACCEPTING, vec![], accepting);
        self.give_queue(&mut out);
        for (name, end_s) in self.certificates.ends() {
            out.give(&metric::CERTIFICATE_NOT_AFTER, vec![("name", name)], end_s as f64);
        }
        for (zone, answer, count) in self.door.answers() {
            let labels = vec![("list", zone), ("result", answer.to_owned())];
            out.give(&metric::BLOCK_LIST_LOOKUPS, labels, count as f64);
        }
        if let Some(destinations) = self.destinations(DESTINATIONS_MAX).await {
            give_destinations(&mut out, destinations);
        }
        out.write()
    }

    fn give_queue(&self, out: &mut Exposition) {
        let now_ms = clock::now_ms();
        for (standing, count) in self.spool.census() {
            let age_ms = count.oldest_arrived_ms.map_or(0, |oldest| now_ms.saturating_sub(oldest));
            let state = || vec![("state", word(standing).to_owned())];
            out.give(&metric::QUEUE_MESSAGES, state(), count.messages as f64);
            out.give(&metric::QUEUE_OLDEST, state(), age_ms as f64 / 1000.0);
        }
    }
}

/// The names that operators know; here a message is deferred from its first failed attempt on, also
/// while the next one is under way.
fn word(standing: Standing) -> &'static str {
    match standing {
        Standing::Active => "active",
        Standing::Deferred => "deferred",
        Standing::Held => "hold",
        Standing::Failed => "failed",
    }
}

fn give_destinations(out: &mut Exposition, destinations: Destinations) {
    for (labels, count) in destinations.attempts.cells() {
        out.give(&metric::DESTINATION_ATTEMPTS, labels, count as f64);
    }
    out.give(&metric::NEXT_HOPS_UNREACHABLE, vec![], destinations.outages as f64);
    give_shares(out, &destinations.shares);
    let busiest = destinations.busiest;
    let other = ("other".to_owned(), busiest.other_ready, busiest.other_assigned);
    let named = busiest.first.into_iter().map(|load| (load.destination, load.ready, load.assigned));
    for (destination, ready, assigned) in named.chain([other]) {
        let labels = vec![("destination", destination)];
        out.give(&metric::DESTINATION_READY, labels.clone(), ready as f64);
        out.give(&metric::DESTINATION_ACTIVE, labels, assigned as f64);
    }
}

fn give_shares(out: &mut Exposition, shares: &Shares) {
    for (tenant, part) in &shares.parts {
        out.give(&metric::TENANT_SHARE, vec![("tenant", tenant.to_string())], *part);
    }
    if let Some(jain) = shares.jain {
        out.give(&metric::TENANT_FAIRNESS, vec![], jain);
    }
}

/// OpenMetrics, unless only the older form is asked for.
fn form(accept: &str) -> Form {
    let older = accept.contains("text/plain") && !accept.contains("application/openmetrics-text");
    if older { Form::Prometheus } else { Form::OpenMetrics }
}

#[cfg(test)]
mod tests {
    use angarium_queue::disk::RealDisk;
    use angarium_queue::spool::Options;

    use super::*;
    use crate::config::Config;
    use crate::net::resolver;

    fn figures(directory: &std::path::Path) -> (Figures, mpsc::Receiver<dispatch::Request>) {
        let disk = Arc::new(RealDisk::open(directory).unwrap());
        let options = Options { min_free: 0, ..Options::default() };
        let (spool, _) = Spool::open(disk, options, Box::new(|_| {})).unwrap();
        let (dispatcher, asked) = mpsc::channel(1);
        let dns = resolver::Settings {
            servers: vec![],
            timeout: ANSWER_TIME,
            attempts: 1,
            cache_entries: 1,
        };
        let door = Arc::new(Door::new(dns).unwrap());
        let certificates = Arc::new(Certificates::new(&Config::default()).unwrap());
        (Figures { spool, dispatcher, door, certificates, started_ms: 0 }, asked)
    }

    async fn healthz(figures: &Figures) -> (u16, String) {
        let question = Question { path: "/healthz".to_owned(), accept: String::new() };
        let answer = figures.answer(question).await;
        (answer.status, answer.body)
    }

    #[tokio::test]
    async fn health_tells_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let (figures, mut asked) = figures(directory.path());
        let mut answered = tokio::spawn(async move {
            if let Some(dispatch::Request::Destinations(_, answer)) = asked.recv().await {
                answer.send(Destinations::default()).unwrap();
            }
            asked
        });
        assert_eq!(healthz(&figures).await, (200, "ok\n".to_owned()));
        let asked = (&mut answered).await.unwrap();
        // Nobody takes the question: it is given up in time, and figures are told without it.
        let stuck = (503, "the dispatcher does not answer\n".to_owned());
        assert_eq!(healthz(&figures).await, stuck);
        let text = figures.expose(Form::OpenMetrics).await;
        assert!(text.ends_with("# EOF\n") && !text.contains("destination="), "{text}");
        drop(asked);
        assert_eq!(healthz(&figures).await, stuck);
        figures.spool.shutdown();
        let closed = (503, "the spool is unavailable: it was shut down\n".to_owned());
        assert_eq!(healthz(&figures).await, closed);
    }

    #[test]
    fn shares_are_told_where_somebody_waited() {
        let text = |jain, parts| {
            let mut destinations = Destinations::default();
            (destinations.shares.jain, destinations.shares.parts) = (jain, parts);
            let mut out = Exposition::new(Form::OpenMetrics);
            give_destinations(&mut out, destinations);
            out.write()
        };
        let told = text(Some(0.8), vec![("a".into(), 0.75), ("b".into(), 0.25)]);
        assert!(told.contains("\nangarium_tenant_share_ratio{tenant=\"a\"} 0.75\n"), "{told}");
        assert!(told.contains("\nangarium_tenant_share_ratio{tenant=\"b\"} 0.25\n"), "{told}");
        assert!(told.contains("\nangarium_tenant_fairness_index 0.8\n"), "{told}");
        let told = text(None, vec![]);
        assert!(!told.contains("tenant") && told.contains("_unreachable 0\n"), "{told}");
    }

    #[test]
    fn the_older_form_is_for_who_knows_no_other() {
        assert_eq!(form(""), Form::OpenMetrics);
        assert_eq!(form("*/*"), Form::OpenMetrics);
        assert_eq!(form("text/plain;version=0.0.4"), Form::Prometheus);
        let both = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        assert_eq!(form(both), Form::OpenMetrics);
    }
}
