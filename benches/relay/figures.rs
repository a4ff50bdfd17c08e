//! What is printed: one `name = value unit` a line, with comments that say what it means.
//!
//! Promises medians of the repetitions, and a ratio only where both servers ran.

use crate::run::Measured;
use crate::server::{Job, Kind};

const LEGEND: &str = "\
# Sessions wait for each reply (no pipelining) and send many messages a connection, but for .single.
# rate: messages from the first one sent until the last one is accepted, or at the sink. cpu: user
# and system time of the server and its children. p50, p99: final dot to 250. memory: VmHWM;
# of Postfix the sum of resident memory over its processes, pages they share counted in each.
# Angarium logs from \"warn\" up; .logged is Angarium with its default, \"info\". Postfix always logs.
# ceiling: rate is the load straight into the sink; syncs are 4 KiB writes into space written before,
# each with fdatasync, one after the other. Ratios compare the medians of the base cell.";

/// What the lines mean.
pub(crate) fn legend() {
    println!("{LEGEND}");
}

/// Prints one figure.
pub(crate) fn print(name: &str, value: f64, unit: &str) {
    let digits = match value {
        _ if value >= 100.0 => 0,
        _ if value >= 10.0 => 1,
        _ if value >= 1.0 => 2,
        _ => 4,
    };
    println!("{name} = {value:.digits$} {unit}");
}

/// The middle of some values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// The median of each member.
pub(crate) fn medians(runs: &[Measured]) -> Measured {
    let of = |member: fn(&Measured) -> f64| median(runs.iter().map(member).collect());
    Measured {
        rate: of(|run| run.rate),
        cpu_ms: of(|run| run.cpu_ms),
        p50_ms: of(|run| run.p50_ms),
        p99_ms: of(|run| run.p99_ms),
        memory_mib: of(|run| run.memory_mib),
    }
}

/// Prints what was measured of one server in one cell.
pub(crate) fn print_run(job: Job, cell: &str, kind: Kind, run: &Measured) {
    let server = match kind {
        Kind::Quiet => "",
        Kind::Talking => ".logged",
        Kind::Postfix => ".postfix",
    };
    let name = format!("relay.{}.{cell}{server}", job.name());
    print(&format!("{name}.rate"), run.rate, "msg/s");
    print(&format!("{name}.cpu"), run.cpu_ms, "ms/msg");
    print(&format!("{name}.p50"), run.p50_ms, "ms");
    print(&format!("{name}.p99"), run.p99_ms, "ms");
    print(&format!("{name}.memory"), run.memory_mib, "MiB");
}

/// Prints how ours compares with Postfix in the base cell.
pub(crate) fn print_ratios(job: Job, ours: &Measured, postfix: &Measured) {
    let does = match job {
        Job::Accept => "accepted and kept",
        Job::Smtp => "accepted and sent on by SMTP",
        Job::Lmtp => "accepted and sent on by LMTP",
    };
    let name = job.name();
    println!("# Angarium's processor time over Postfix's, a 4 KiB message {does}, 20 sessions");
    print(&format!("relay.{name}.cpu_ratio"), ours.cpu_ms / postfix.cpu_ms, "x");
    println!("# Angarium's messages a second over Postfix's, 4 KiB each, {does}, 20 sessions");
    print(&format!("relay.{name}.rate_ratio"), ours.rate / postfix.rate, "x");
}
