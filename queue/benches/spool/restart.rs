//! Many messages in the spool: their memory, and the restart after a stop and after a crash.
//!
//! Each opening is in a new process, which ends as the one before it did.

use std::path::Path;

use crate::REPETITIONS;
use crate::figures::{label, median};
use crate::helper::{Helper, Task};
use crate::plan::Plan;

/// So many is what names say nothing of, where they need not.
const MILLION: usize = 1_000_000;

fn named(figure: &str, count: usize) -> String {
    if count == MILLION { figure.to_owned() } else { format!("{figure}.{}", label(count)) }
}

/// Memory, and restarts after a stop.
pub(crate) fn clean(plan: &Plan, count: usize) {
    let memory = named("spool.rss_per_message", count);
    let restart = format!("spool.restart.clean.{}", label(count));
    if !plan.wants_any(&[&memory, &restart]) {
        return;
    }
    let Some(directory) = plan.directory_for(&restart, count) else { return };
    let path = directory.path();
    let helper = Helper::start(Task::Fill, path, count);
    let memory_kib = helper.numbers();
    helper.close();
    plan.print(&memory, (memory_kib[1] - memory_kib[0]) * 1024.0 / count as f64, "bytes");
    if plan.wants(&restart) {
        let times = (0..REPETITIONS).map(|_| seconds(Task::Open, path, count, Helper::close));
        plan.print(&restart, median(times.collect()), "s");
    }
}

/// Restarts after a crash.
pub(crate) fn crash(plan: &Plan, count: usize) {
    let restart = format!("spool.restart.crash.{}", label(count));
    let first = named("spool.restart.first_250", count);
    if !plan.wants_any(&[&restart, &first]) {
        return;
    }
    let Some(directory) = plan.directory_for(&restart, count) else { return };
    let path = directory.path();
    let helper = Helper::start(Task::Fill, path, count);
    helper.numbers();
    helper.kill();
    if plan.wants(&restart) {
        let times = (0..REPETITIONS).map(|_| seconds(Task::Open, path, count, Helper::kill));
        plan.print(&restart, median(times.collect()), "s");
    }
    if plan.wants(&first) {
        let so_many = count..count + REPETITIONS;
        let times = so_many.map(|count| seconds(Task::Early, path, count, Helper::kill));
        plan.print(&first, median(times.collect()), "s");
    }
}

/// What a helper measured before it was ended.
fn seconds(task: Task, path: &Path, count: usize, end: fn(Helper)) -> f64 {
    let helper = Helper::start(task, path, count);
    let microseconds = helper.numbers()[0];
    end(helper);
    microseconds / 1e6
}
