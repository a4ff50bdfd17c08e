//! Ours alone: a million on one dead route until the last has ended, and ten million queued.

use super::super::discipline::{Kind, Mail, Setup};
use super::super::receiver::{Outage, Receiver};
use super::super::source::Source;
use super::super::world::World;
use super::super::{DAY, HOUR, MINUTE, SECOND};
use super::*;

pub const ALL: &[&Scenario] = &[&WEEK, &TEN_MILLION];

const WEEK: Scenario = Scenario {
    name: "week",
    about: "a million messages in a minute to a dead site; warnings after 4 h; after 2 days the \
            route moves to a site that takes 100 a second for an hour; the rest expires after 5 \
            days: each message ends once",
    kinds: &[Kind::Ours],
    figures: &[
        ("delivered", ""),
        ("expired", ""),
        ("left", ""),
        ("warned", ""),
        ("attempts", "and probes"),
        ("steps_max", ""),
        ("last_end", "h"),
    ],
    plot: Plot {
        title: "A million messages on a dead route that moves after two days",
        x: "h",
        y: "messages waiting",
        logarithmic: false,
    },
    run: week,
};

fn week(kind: Kind, scale: Scale) -> Report {
    let dead = Receiver::default().out(0, NEVER_US, Outage::Refused);
    let service = Receiver { servers: 5, ..Receiver::new(Time::Lognormal(50_000, 0.5)) };
    let hour_us = scale.of(HOUR);
    let other = service.out(2 * DAY + hour_us, NEVER_US, Outage::Refused);
    let setup = Setup {
        sites: vec![0, 1],
        warnings_ms: vec![4 * 3_600_000],
        recipients_max: 100,
        ..Setup::new(2, 20)
    };
    let mut world = World::new(kind, &setup, vec![dead, other]);
    let count = scale.of(1_000_000);
    let gap_us = MINUTE / count;
    world.add(Source::every(gap_us, 0, count, |nth, rng| {
        let tenant = rng.u32(..100);
        Mail { tenant, stream: u64::from(tenant), ..big(nth) }
    }));
    world.fetch_notices(1000);
    world.move_route(2 * DAY, 0, 1);
    world.run(8 * DAY, |world| {
        let flow = world.ledger.flows.get(1);
        flow.is_some_and(|flow| flow.arrived == count && flow.ended == count)
    });
    let flow = world.ledger.flow(BIG);
    let counts = [
        flow.delivered,
        flow.expired,
        count - flow.ended,
        flow.warned,
        flow.unreachable + flow.served + world.probes,
        u64::from(world.discipline.steps_max()),
    ];
    let figures = counts.map(|count| count as f64);
    let last_h = flow.last_us as f64 / HOUR as f64;
    let curve = flow.backlog_curve((HOUR / SECOND) as usize);
    let curve = curve.into_iter().map(|(at, waiting)| (at / 3600.0, waiting)).collect();
    Report { figures: [figures.to_vec(), vec![last_h]].concat(), curve, guide: None }
}

const TEN_MILLION: Scenario = Scenario {
    name: "ten_million",
    about: "ten million messages of 1,000 tenants over 100,000 sites that take 100 ms, the first \
            million served; 1,000 slots, so 100 s at best",
    kinds: &[Kind::Ours],
    figures: &[("million", "s"), ("utilisation", ""), ("jain", ""), ("steps_max", "")],
    plot: Plot { title: "Ten million queued", x: "s", y: "delivered a second", logarithmic: false },
    run: ten_million,
};

fn ten_million(kind: Kind, scale: Scale) -> Report {
    let (count, routes) = (scale.of(10_000_000), scale.of(100_000) as u32);
    let receivers = vec![Receiver::new(Time::Lognormal(100_000, 0.5)); routes as usize];
    let mut world = World::new(kind, &Setup::new(routes, 20), receivers);
    world.ledger.services = Some(Vec::new());
    world.add(Source::every(0, 0, count, move |nth, rng| {
        let tenant = rng.u32(..1000);
        Mail { route: rng.u32(..routes), tenant, stream: u64::from(tenant), ..big(nth) }
    }));
    world.run(NEVER_US, |world| {
        world.ledger.flows.get(1).is_some_and(|flow| flow.delivered >= count / 10)
    });
    let used = world.busy_us as f64 / (1000 * world.now_us) as f64;
    let services = world.ledger.services.as_ref().unwrap().len() as f64;
    let jain = world.ledger.jain(1000, services)[0];
    let steps = f64::from(world.discipline.steps_max());
    Report {
        figures: vec![world.now_us as f64 / SECOND as f64, used, jain, steps],
        curve: world.ledger.flow(BIG).rate_curve(1),
        guide: None,
    }
}
