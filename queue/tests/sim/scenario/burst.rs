//! Small mail beside a list or a flood, at one site that takes 1,000 a second.

use super::super::SECOND;
use super::super::discipline::{Class, Kind, Mail};
use super::super::ledger::Ledger;
use super::super::source::Source;
use super::super::world::World;
use super::*;

pub const ALL: &[&Scenario] = &[&LIST, &SPREAD, &FLOOD, &SENDERS, &REPORTS];

const FIGURES: &[(&str, &str)] =
    &[("p50", "ms"), ("p99", "ms"), ("max", "ms"), ("finish", "s"), ("utilisation", "")];

const SMALL_PER_S: f64 = 300.0;

const LIST: Scenario = Scenario {
    name: "list",
    about: "one message to 100,000, and 300 single messages a second of others",
    kinds: Kind::ALL,
    figures: FIGURES,
    plot: Plot { title: "Small mail behind a list of 100,000", ..WAITS },
    run: |kind, scale| {
        let list = move |nth, _: &mut _| Mail { recipients: scale.of(100_000) as u32, ..big(nth) };
        beside(kind, Source::every(0, COMES_US, 1, list))
    },
};

const FLOOD: Scenario = Scenario {
    name: "flood",
    about: "30,000 single messages of one sender, and 300 a second of others",
    kinds: Kind::ALL,
    figures: FIGURES,
    plot: Plot { title: "Small mail behind a flood of 30,000 single messages", ..WAITS },
    run: |kind, scale| {
        beside(kind, Source::every(0, COMES_US, scale.of(30_000), |nth, _| big(nth)))
    },
};

const SENDERS: Scenario = Scenario {
    name: "flood.senders",
    about: "the same flood of one tenant, each message of another sender",
    kinds: Kind::ALL,
    figures: FIGURES,
    plot: Plot { title: "Small mail behind a flood of 30,000 senders of one tenant", ..WAITS },
    run: |kind, scale| {
        let other = |nth, rng: &mut fastrand::Rng| Mail { stream: rng.u64(..), ..big(nth) };
        beside(kind, Source::every(0, COMES_US, scale.of(30_000), other))
    },
};

const REPORTS: Scenario = Scenario {
    name: "reports",
    about: "30,000 reports to one tenant's messages, and 300 a second of others",
    kinds: Kind::ALL,
    figures: FIGURES,
    plot: Plot { title: "Small mail beside a storm of 30,000 reports", ..WAITS },
    run: |kind, scale| {
        let report = |nth, _: &mut _| Mail { class: Class::Report, stream: 0, ..big(nth) };
        beside(kind, Source::every(0, COMES_US, scale.of(30_000), report))
    },
};

const SPREAD: Scenario = Scenario {
    name: "list.spread",
    about: "a list of 100,000 over 1,000 sites, and 300 a second of others; 100 slots",
    kinds: &[Kind::Ours, Kind::Fifo, Kind::Slots],
    figures: FIGURES,
    plot: Plot { title: "Small mail behind a list over 1,000 sites, 100 slots", ..WAITS },
    run: |kind, scale| {
        let setup = Setup { slots: 100, ..Setup::new(1000, 20) };
        let receivers = vec![Receiver::new(Time::Lognormal(100_000, 0.5)); 1000];
        let mut world = World::new(kind, &setup, receivers);
        world.add(small_mail(SMALL_PER_S, NEVER_US, 1000));
        let recipients = scale.of(100) as u32;
        let part =
            move |nth, _: &mut _| Mail { message: 1, route: nth as u32, recipients, ..big(nth) };
        world.add(Source::every(0, COMES_US, 1000, part));
        report(&mut world, 100)
    },
};

/// Small mail and something else at the one site.
fn beside(kind: Kind, other: Source) -> Report {
    let (setup, receivers) = thousand_a_second();
    let mut world = World::new(kind, &setup, receivers);
    world.add(small_mail(SMALL_PER_S, NEVER_US, 1));
    world.add(other);
    report(&mut world, 4)
}

fn report(world: &mut World, connections: u64) -> Report {
    let (used, end_us) = run_until_clear(world, connections);
    let [p50, p99, max] = waits(&world.ledger);
    let finish_s = (end_us - COMES_US) as f64 / SECOND as f64;
    Report {
        figures: vec![p50, p99, max, finish_s, used],
        curve: world.ledger.flow(SMALL).sojourn_curve(0.99, stretch_s(&world.ledger)),
        guide: None,
    }
}

/// Some 150 points.
fn stretch_s(ledger: &Ledger) -> f64 {
    let last = ledger.flow(SMALL).sojourns.iter().fold(0.0_f32, |last, (at, _)| last.max(*at));
    f64::from((last / 150.0).ceil().max(1.0))
}
