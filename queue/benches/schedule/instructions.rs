//! Instructions of a lifecycle, counted by valgrind: how little a deep queue costs more.
//!
//! The bench runs itself under callgrind, which counts from when the queue is filled. A count does
//! not depend on what else the machine does. Without valgrind the figure is left out, and says so.

use std::process::Command;

use super::speed::{self, ROUTES};

/// As the first argument, with how many are queued: be the one that is counted.
pub(crate) const WORD: &str = "--count-instructions";

const LIFECYCLES: u64 = 200_000;

/// Fills a queue, and then has lifecycles counted.
pub(crate) fn count(messages: &str) {
    let mut load = speed::filled(messages.parse().unwrap(), ROUTES);
    load.lifecycles(LIFECYCLES / 10);
    let own = std::process::id().to_string();
    let told = Command::new("callgrind_control").args(["-i", "on", &own]).output().unwrap();
    assert!(told.status.success(), "{told:?}");
    load.lifecycles(LIFECYCLES);
}

/// The bench.
pub(crate) fn bench(quick: bool, wants: impl Fn(&str) -> bool) {
    if !wants("schedule.instructions") {
        return;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        return println!("# schedule.instructions: left out, as there is no valgrind");
    }
    let large = if quick { 1_000_000 } else { 10_000_000 };
    let (few, many) = (measure(10_000), measure(large));
    println!("schedule.instructions.10k = {few:.0} a lifecycle");
    println!("schedule.instructions.{}m = {many:.0} a lifecycle", large / 1_000_000);
    println!("schedule.instructions.spread = {:.3}", many / few);
}

fn measure(messages: u64) -> f64 {
    let own = std::env::current_exe().unwrap();
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null"]);
    let output = command.arg(own).args([WORD, &messages.to_string()]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{told}");
    let line = told.lines().find_map(|line| line.split_once("Collected : ")).unwrap();
    line.1.trim().parse::<f64>().unwrap() / LIFECYCLES as f64
}
