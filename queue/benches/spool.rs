//! The spool beside the bare disk: accepts, large bodies, memory, restarts, depth.
//!
//! `cargo bench -p angarium-queue --bench spool`; `-- --quick` for smaller counts in a minute,
//! `-- --ten-million` for the part with so many in the spool as well, and any other word runs only
//! the figures whose name holds it. It works in a new directory on a disk, below
//! `ANGARIUM_BENCH_DIR` if that is set, and removes it. A message refused, lost or come back fails
//! the whole; so does an answer that stays out.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the benchmark")]
#![allow(clippy::disallowed_methods, reason = "it measures by the clock")]

#[path = "spool/accept.rs"]
mod accept;
#[path = "spool/count.rs"]
mod count;
#[path = "spool/curve.rs"]
mod curve;
#[path = "spool/engine.rs"]
mod engine;
#[path = "spool/figures.rs"]
mod figures;
#[path = "spool/helper.rs"]
mod helper;
#[path = "spool/large.rs"]
mod large;
#[path = "spool/load.rs"]
mod load;
#[path = "spool/plan.rs"]
mod plan;
#[path = "spool/raw.rs"]
mod raw;
#[path = "spool/restart.rs"]
mod restart;

use std::time::Duration;

use plan::Plan;

/// Each figure is the median of so many, ours and raw in turns.
const REPETITIONS: usize = 3;

/// Whoever waits longer for an answer gives up.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((helper::WORD, rest)) = arguments.split_first().map(|(f, r)| (f.as_str(), r)) {
        return helper::main(rest);
    }
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    // Whoever runs or lists tests comes here, too.
    if !has("--bench") || has("--test") || has("--list") {
        return;
    }
    let plan = Plan::new(&arguments);
    figures::legend();
    accept::bench(&plan);
    large::bench(&plan);
    let many = plan.many();
    restart::clean(&plan, many);
    restart::crash(&plan, many);
    curve::bench(&plan);
    if plan.ten_million {
        restart::clean(&plan, 10_000_000);
        restart::crash(&plan, 10_000_000);
    }
}
