//! The whole way of a message, side by side with Postfix: rate, processor time, latency, memory.
//!
//! `cargo bench --bench relay`, with `-- --quick` for the base cells only. Source and sink are our
//! own; servers run one at a time on loopback, each fresh for each run, and take turns, so that a
//! busy machine disturbs all alike. Where Postfix is not installed, or we are not root, it is left
//! out and says so. A message lost or sent twice fails the whole.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the benchmark")]
#![allow(clippy::disallowed_methods, reason = "it measures by the clock")]

#[path = "../tests/support/mod.rs"]
mod support;

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/interop/postfix.rs"]
mod postfix;

#[path = "relay/cell.rs"]
mod cell;
#[path = "relay/disk.rs"]
mod disk;
#[path = "relay/figures.rs"]
mod figures;
#[path = "relay/run.rs"]
mod run;
#[path = "relay/server.rs"]
mod server;
#[path = "relay/sink.rs"]
mod sink;
#[path = "relay/source.rs"]
mod source;
#[path = "relay/usage.rs"]
mod usage;

use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use cell::Cell;
use run::Measured;
use server::{Job, Kind};

const JOBS: [Job; 3] = [Job::Accept, Job::Smtp, Job::Lmtp];
const REPETITIONS: usize = 3;

/// No further job is begun after this, however slow the machine.
const LIMIT: Duration = Duration::from_secs(13 * 60);

/// What of it all is run.
struct Plan {
    quick: bool,
    kinds: Vec<Kind>,
    begin: Instant,
}

impl Plan {
    fn cells(&self) -> &'static [Cell] {
        if self.quick { &cell::ALL[..1] } else { &cell::ALL }
    }

    /// How long the source sends in one run.
    fn lasting(&self, cell: &Cell) -> Duration {
        let long = !self.quick && cell.is_base();
        Duration::from_millis(if long { 2500 } else { 1500 })
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    // Whoever runs or lists tests comes here, too.
    if !has("--bench") || has("--test") || has("--list") {
        return;
    }
    disk::choose();
    let mut kinds = vec![Kind::Quiet];
    if postfix_is_here() {
        kinds.push(Kind::Postfix);
    } else {
        println!("# LEFT OUT: Postfix is not installed, or we are not root");
    }
    bench(&Plan { quick: has("--quick"), kinds, begin: Instant::now() });
}

fn postfix_is_here() -> bool {
    nix::unistd::Uid::effective().is_root() && std::path::Path::new(postfix::COMMAND).exists()
}

fn bench(plan: &Plan) {
    let runtime = Runtime::new().unwrap();
    figures::legend();
    let mut compared = Vec::new();
    for (cell, job) in plan.cells().iter().flat_map(|cell| JOBS.map(|job| (cell, job))) {
        if plan.begin.elapsed() > LIMIT {
            println!("# LEFT OUT: {} {}, the time is over", job.name(), cell.name);
            continue;
        }
        let mut kinds = plan.kinds.clone();
        if cell.is_base() && !plan.quick {
            kinds.push(Kind::Talking);
        }
        let medians = bench_job(&runtime, cell, job, &kinds, plan.lasting(cell));
        if let [ours, postfix, ..] = medians[..]
            && cell.is_base()
            && kinds.contains(&Kind::Postfix)
        {
            compared.push((job, ours, postfix));
        }
    }
    for (job, ours, postfix) in compared {
        figures::print_ratios(job, &ours, &postfix);
    }
}

/// The medians of each server in one cell; they take turns, with the ground under them in between.
fn bench_job(
    runtime: &Runtime,
    cell: &Cell,
    job: Job,
    kinds: &[Kind],
    lasting: Duration,
) -> Vec<Measured> {
    let mut runs = vec![Vec::new(); kinds.len()];
    let mut ground = Ground::default();
    for _ in 0..REPETITIONS {
        if job == Job::Accept {
            ground.measure(runtime, cell, lasting);
        }
        for (kind, runs) in kinds.iter().zip(&mut runs) {
            runs.push(run::serve(runtime, cell, job, *kind, lasting));
        }
    }
    ground.print(cell);
    let medians: Vec<Measured> = runs.iter().map(|runs| figures::medians(runs)).collect();
    for (kind, median) in kinds.iter().zip(&medians) {
        figures::print_run(job, cell.name, *kind, median);
    }
    medians
}

/// What no server can exceed: the load alone, and the disk alone.
#[derive(Default)]
struct Ground {
    rates: Vec<f64>,
    syncs: Vec<f64>,
}

impl Ground {
    fn measure(&mut self, runtime: &Runtime, cell: &Cell, lasting: Duration) {
        self.rates.push(run::ceiling(runtime, cell, lasting / 2));
        self.syncs.push(disk::syncs(lasting / 4));
    }

    fn print(self, cell: &Cell) {
        if self.rates.is_empty() {
            return;
        }
        let name = cell.name;
        figures::print(&format!("relay.ceiling.{name}.rate"), figures::median(self.rates), "msg/s");
        figures::print(&format!("relay.ceiling.{name}.syncs"), figures::median(self.syncs), "/s");
    }
}
