//! The scheduler: its speed, and its order in virtual time beside what other queues do.
//!
//! `cargo bench -p angarium-queue --bench schedule`; `-- --quick` for smaller counts, `--plots DIR`
//! to draw each scenario into an SVG file there, and any other word runs only the figures whose name
//! holds it. Figures without a discipline in their name are ours. All but those of speed are the
//! same on every machine. A recipient delivered twice, ended twice or tried before its time fails
//! the whole.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the benchmark")]
#![allow(clippy::disallowed_methods, reason = "it measures by the clock")]

#[path = "schedule/instructions.rs"]
mod instructions;
#[path = "schedule/plan.rs"]
mod plan;
#[path = "schedule/plot.rs"]
mod plot;
#[path = "../tests/sim/mod.rs"]
mod sim;
#[path = "schedule/speed.rs"]
mod speed;
#[path = "schedule/table.rs"]
mod table;

use plan::Plan;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [word, messages] = arguments.as_slice()
        && word == instructions::WORD
    {
        return instructions::count(messages);
    }
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    // Whoever runs or lists tests comes here, too.
    if !has("--bench") || has("--test") || has("--list") {
        return;
    }
    let plan = Plan::new(&arguments);
    speed::bench(plan.quick, |name| plan.wants(name));
    instructions::bench(plan.quick, |name| plan.wants(name));
    table::bench(&plan);
}
