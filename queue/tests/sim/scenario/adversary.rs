//! Senders that look for the weak spot of a fair queue: many streams, many tenants, one among many.

use super::super::SECOND;
use super::super::discipline::{Kind, Mail};
use super::super::source::Source;
use super::super::world::World;
use super::*;

pub const ALL: &[&Scenario] = &[&VERP, &OTP, &TENANTS];

/// Passwords of the tenant whose own mail is in the way.
const PASSWORDS: u8 = 2;

const FIGURES: &[(&str, &str)] = &[
    ("p50", "ms"),
    ("p99", "ms"),
    ("max", "ms"),
    ("otp.p50", "ms"),
    ("otp.p99", "ms"),
    ("finish", "s"),
];

const VERP: Scenario = Scenario {
    name: "verp",
    about: "100,000 messages of one tenant, each with a sender of its own, beside its stream of \
            one-time passwords, 2 a second, and 300 a second of others",
    kinds: Kind::ALL,
    figures: FIGURES,
    plot: Plot { title: "Small mail beside 100,000 senders of one tenant", ..WAITS },
    run: |kind, scale| {
        let other = |nth, rng: &mut fastrand::Rng| Mail { stream: rng.u64(..), ..big(nth) };
        passwords(kind, Source::every(0, COMES_US, scale.of(100_000), other))
    },
};

const OTP: Scenario = Scenario {
    name: "otp",
    about: "30,000 messages of one sender, beside one-time passwords of the same tenant, 2 a \
            second, and 300 a second of others",
    kinds: Kind::ALL,
    figures: FIGURES,
    plot: Plot { title: "Small mail beside a tenant with one-time passwords and a flood", ..WAITS },
    run: |kind, scale| {
        passwords(kind, Source::every(0, COMES_US, scale.of(30_000), |nth, _| big(nth)))
    },
};

fn passwords(kind: Kind, other: Source) -> Report {
    let (setup, receivers) = thousand_a_second();
    let mut world = World::new(kind, &setup, receivers);
    world.add(small_mail(300.0, NEVER_US, 1));
    world.add(other);
    world.add(Source::poisson(2.0, COMES_US, NEVER_US, |nth, _| Mail {
        flow: PASSWORDS,
        message: u32::MAX - nth as u32,
        stream: 77,
        ..big(nth)
    }));
    let (_, end_us) = run_until_clear(&mut world, 4);
    let [p50, p99, max] = waits(&world.ledger);
    let passwords = world.ledger.flow(PASSWORDS);
    let otp = [0.5, 0.99].map(|share| passwords.sojourn_ms(share));
    let finish_s = (end_us - COMES_US) as f64 / SECOND as f64;
    Report {
        figures: vec![p50, p99, max, otp[0], otp[1], finish_s],
        curve: world.ledger.flow(SMALL).sojourn_curve(0.99, (finish_s / 150.0).ceil()),
        guide: None,
    }
}

const TENANTS: Scenario = Scenario {
    name: "tenants",
    about: "20,000 messages of one tenant, then one of each of 10,000 tenants: how long these \
            wait, and what share of the site the one keeps meanwhile",
    kinds: Kind::ALL,
    figures: &[("p50", "ms"), ("p99", "ms"), ("max", "ms"), ("share", "")],
    plot: Plot {
        title: "One tenant's backlog, and 10,000 tenants with one message each",
        x: "s",
        y: "the one tenant's messages a second",
        logarithmic: false,
    },
    run: |kind, scale| {
        let (setup, receivers) = thousand_a_second();
        let mut world = World::new(kind, &setup, receivers);
        let before_us = COMES_US - SECOND / 10;
        world.add(Source::every(0, before_us, scale.of(20_000), |nth, _| big(nth)));
        world.add(Source::every(0, COMES_US, scale.of(10_000), |nth, _| {
            single(nth, 1 + nth as u32)
        }));
        world.run(COMES_US, |_| false);
        let before = world.ledger.flow(BIG).delivered;
        world.run(NEVER_US, |world| is_through(world, SMALL));
        let kept = world.ledger.flow(BIG).delivered - before;
        let share = kept as f64 / (kept + world.ledger.flow(SMALL).delivered) as f64;
        let [p50, p99, max] = waits(&world.ledger);
        let curve = world.ledger.flow(BIG).rate_curve(1);
        Report { figures: vec![p50, p99, max, share], curve, guide: None }
    },
};
