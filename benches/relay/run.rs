//! One run: a server, a load and a job, measured from the first message to the last.
//!
//! Promises that each message is accounted for before a figure is given: those to be kept are in
//! the queue, those to be sent on are at the sink, once each. The warm-up is not measured.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::cell::Cell;
use crate::server::{Job, Kind, Server};
use crate::sink::Sink;
use crate::source::{self, Load, Sent};

/// Processes are there, connections open and pages mapped after this.
const WARM_UP: Duration = Duration::from_millis(500);
/// After the last message, for what is cleaned up behind it.
const SETTLE: Duration = Duration::from_millis(300);
/// How long all that is queued may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(60);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    /// Messages a second.
    pub(crate) rate: f64,
    /// Processor time of the server, in milliseconds a message.
    pub(crate) cpu_ms: f64,
    /// From the final dot to the reply, in milliseconds: the median.
    pub(crate) p50_ms: f64,
    /// The same, exceeded by one in a hundred.
    pub(crate) p99_ms: f64,
    /// The most memory, in MiB.
    pub(crate) memory_mib: f64,
}

/// Runs a server.
pub(crate) fn serve(
    runtime: &Runtime,
    cell: &Cell,
    job: Job,
    kind: Kind,
    lasting: Duration,
) -> Measured {
    let hello = if job == Job::Lmtp { "LHLO" } else { "EHLO" };
    let sink = Sink::start(runtime.handle(), hello, cell.octets);
    let server = Server::start(kind, job, sink.address);
    let load = cell.load(server.address());
    let ids = Arc::new(AtomicU64::new(0));
    runtime.block_on(source::send(&load, &ids, WARM_UP));
    await_all(&sink, job, &ids);
    std::thread::sleep(SETTLE);

    let before_ms = server.time_ms();
    let sent = runtime.block_on(source::send(&load, &ids, lasting));
    let last = await_all(&sink, job, &ids).unwrap_or(sent.last);
    std::thread::sleep(SETTLE);
    let cpu_ms = (server.time_ms() - before_ms) as f64 / sent.messages as f64;

    let all = ids.load(Ordering::Relaxed);
    if job == Job::Accept {
        assert_eq!(server.queued(), all, "messages in the queue, and accepted ones");
    }
    let memory_mib = server.end() as f64 / 1024.0;
    sink.check(if job == Job::Accept { 0 } else { all });
    measured(sent, last, cpu_ms, memory_mib)
}

fn await_all(sink: &Sink, job: Job, ids: &AtomicU64) -> Option<Instant> {
    (job != Job::Accept).then(|| sink.await_all(ids.load(Ordering::Relaxed), ARRIVAL))
}

/// Runs the load straight into the sink: messages a second with no server between.
pub(crate) fn ceiling(runtime: &Runtime, cell: &Cell, lasting: Duration) -> f64 {
    let sink = Sink::start(runtime.handle(), "EHLO", cell.octets);
    let ids = Arc::new(AtomicU64::new(0));
    let load: Load = cell.load(sink.address);
    let sent = runtime.block_on(source::send(&load, &ids, lasting));
    sink.check(sent.messages);
    rate(&sent, sent.last)
}

fn rate(sent: &Sent, last: Instant) -> f64 {
    sent.messages as f64 / (last - sent.first).as_secs_f64()
}

fn measured(mut sent: Sent, last: Instant, cpu_ms: f64, memory_mib: f64) -> Measured {
    sent.waits_us.sort_unstable();
    let rate = rate(&sent, last);
    let waited_ms =
        |share: usize| f64::from(sent.waits_us[(sent.waits_us.len() - 1) * share / 100]) / 1000.0;
    Measured { rate, cpu_ms, p50_ms: waited_ms(50), p99_ms: waited_ms(99), memory_mib }
}
