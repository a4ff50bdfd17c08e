//! The scenarios, one discipline beside the other: figures and plots.

use crate::plan::Plan;
use crate::plot::{self, Line};
use crate::sim::discipline::Kind;
use crate::sim::scenario::{self, Report, Scenario};

const LEGEND: &str = "\
# Waits are of small mail (and where named so, of one-time passwords) that came since what is in its
# way: from its acceptance to the last reply, the time of the transaction included. finish: until
# that which is in the way has been delivered. utilisation: share of the connections in use until
# then. One site takes 1,000 a second over four connections, where nothing else is said.";

/// Runs what is wanted of it.
pub(crate) fn bench(plan: &Plan) {
    println!("{LEGEND}");
    for scenario in scenario::all() {
        let runs: Vec<(Kind, Report)> = scenario
            .kinds
            .iter()
            .filter(|kind| wants(plan, scenario, **kind))
            .map(|kind| (*kind, (scenario.run)(*kind, plan.scale())))
            .collect();
        if runs.is_empty() {
            continue;
        }
        println!("# {}: {}", scenario.name, scenario.about);
        for (kind, report) in &runs {
            for ((figure, unit), value) in scenario.figures.iter().zip(&report.figures) {
                plan.print(&scenario.name_of(*kind, figure), *value, unit);
            }
        }
        draw(plan, scenario, &runs);
    }
}

fn wants(plan: &Plan, scenario: &Scenario, kind: Kind) -> bool {
    scenario.figures.iter().any(|(figure, _)| plan.wants(&scenario.name_of(kind, figure)))
}

fn draw(plan: &Plan, scenario: &Scenario, runs: &[(Kind, Report)]) {
    let Some(folder) = &plan.plots else { return };
    let mut lines: Vec<Line<'_>> = runs
        .iter()
        .map(|(kind, report)| {
            let (name, colour) = label(*kind);
            Line { name, colour, points: &report.curve, dashed: false }
        })
        .collect();
    if let Some(guide) = runs.iter().find_map(|(_, report)| report.guide.as_ref()) {
        lines.push(Line { name: "limit", colour: "#000000", points: guide, dashed: true });
    }
    let svg = plot::svg(scenario.plot, scenario.about, &lines);
    std::fs::write(folder.join(format!("{}.svg", scenario.name)), svg).unwrap();
}

/// Name and colour; those of Okabe and Ito, whom the colour-blind can tell apart.
fn label(kind: Kind) -> (&'static str, &'static str) {
    match kind {
        Kind::Ours => ("Angarium", "#0072b2"),
        Kind::Fifo => ("first in, first out", "#999999"),
        Kind::Slots => ("Postfix", "#d55e00"),
        Kind::Ready => ("KumoMTA", "#009e73"),
    }
}
