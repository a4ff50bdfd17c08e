//! Who gets how much of a site that is never idle: tenants, deadlines, tokens.

use super::super::SECOND;
use super::super::discipline::{Kind, Mail, Setup};
use super::super::ledger::cost;
use super::super::source::Source;
use super::super::world::World;
use super::*;

pub const ALL: &[&Scenario] = &[&JAIN, &DEADLINE, &TOKENS];

const TENANTS: u32 = 20;
/// Units of service in each stretch.
const STRETCH: f64 = 1000.0;

const JAIN: Scenario = Scenario {
    name: "jain",
    about: "20 tenants with much to send: 1 to 96 senders, 1 to 5 recipients, 4 to 160 KiB; Jain's \
            index of the service in each 1,000 units, the lowest and the mean",
    kinds: Kind::ALL,
    figures: &[("", ""), ("mean", ""), ("utilisation", "")],
    plot: Plot {
        title: "Jain's index of 20 backlogged tenants",
        x: "service, 1,000 units",
        y: "Jain's index",
        logarithmic: false,
    },
    run: shares,
};

fn shares(kind: Kind, scale: Scale) -> Report {
    let (mut setup, receivers) = thousand_a_second();
    setup.recipients_max = 5;
    let mut world = World::new(kind, &setup, receivers);
    world.ledger.services = Some(Vec::new());
    let each = scale.of(6000);
    // One tenant comes after the other, all at the same time.
    let mail = move |nth: u64, rng: &mut fastrand::Rng| {
        let tenant = (nth / each) as u32;
        let senders = 1 + 5 * tenant;
        let stream = u64::from(tenant) << 32 | u64::from(rng.u32(..senders));
        let recipients = 1 + tenant % 5;
        let size = 4096 * (1 + 13 * (tenant % 4));
        Mail { tenant, stream, recipients, size, ..big(nth) }
    };
    world.add(Source::every(0, 0, each * u64::from(TENANTS), mail));
    // Until those whose mail costs least have sent nine tenths of it.
    let units = each as f64 * cost(1, 4096) * f64::from(TENANTS) * 0.9;
    world.run(NEVER_US, |world| world.ledger.service >= units);
    let indices = world.ledger.jain(TENANTS, STRETCH);
    let mean = indices.iter().sum::<f64>() / indices.len() as f64;
    let lowest = indices.iter().copied().fold(1.0, f64::min);
    let used = world.busy_us as f64 / (4 * world.now_us) as f64;
    let curve = indices.into_iter().enumerate().map(|(at, index)| (at as f64, index)).collect();
    Report { figures: vec![lowest, mean, used], curve, guide: None }
}

const DEADLINE: Scenario = Scenario {
    name: "deadline",
    about: "20,000 messages of 50 tenants at a site that takes 100 a second, and 5 a second of \
            the same tenants to be delivered within 10 s",
    kinds: Kind::ALL,
    figures: &[("late", "share"), ("p50", "ms"), ("p99", "ms"), ("finish", "s")],
    plot: Plot { title: "Mail with a deadline of 10 s behind 20,000 messages", ..WAITS },
    run: |kind, scale| {
        let receivers = vec![Receiver::new(Time::Lognormal(40_000, 0.5))];
        let mut world = World::new(kind, &Setup::new(1, 4), receivers);
        let tenant = |rng: &mut fastrand::Rng| rng.u32(..50);
        world.add(Source::every(0, COMES_US, scale.of(20_000), move |nth, rng| {
            let tenant = tenant(rng);
            Mail { tenant, stream: u64::from(tenant), ..big(nth) }
        }));
        let until_us = COMES_US + scale.of(180) * SECOND;
        world.add(Source::poisson(5.0, COMES_US, until_us, move |nth, rng| Mail {
            deadline_in_us: Some(10 * SECOND),
            ..single(nth, tenant(rng))
        }));
        world.run(NEVER_US, |world| world.now_us > until_us && world.ledger.left() == 0);
        let small = world.ledger.flow(SMALL);
        let late = small.late as f64 / small.arrived as f64;
        let finish_s = (world.ledger.flow(BIG).last_us - COMES_US) as f64 / SECOND as f64;
        Report {
            figures: vec![late, small.sojourn_ms(0.5), small.sojourn_ms(0.99), finish_s],
            curve: small.sojourn_curve(0.99, 2.0),
            guide: None,
        }
    },
};

const TOKENS: Scenario = Scenario {
    name: "tokens",
    about: "a tenant that may send 5 a second and has 3,000, beside 300 a second of others",
    kinds: &[Kind::Ours],
    figures: &[("p50", "ms"), ("p99", "ms"), ("max", "ms"), ("rate", "/s")],
    plot: Plot { title: "Small mail beside a tenant out of tokens", ..WAITS },
    run: |kind, scale| {
        let (mut setup, receivers) = thousand_a_second();
        setup.tenant_rate = Some((CULPRIT, 5));
        let mut world = World::new(kind, &setup, receivers);
        let until_us = COMES_US + scale.of(300) * SECOND;
        world.add(small_mail(300.0, until_us, 1));
        world.add(Source::every(0, COMES_US, 3000, |nth, _| big(nth)));
        world.run(until_us, |_| false);
        let [p50, p99, max] = waits(&world.ledger);
        let passed_s = (until_us - COMES_US) as f64 / SECOND as f64;
        let rate = world.ledger.flow(BIG).delivered as f64 / passed_s;
        Report {
            figures: vec![p50, p99, max, rate],
            curve: world.ledger.flow(SMALL).sojourn_curve(0.99, 2.0),
            guide: None,
        }
    },
};
