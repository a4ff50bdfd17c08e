//! The scheduler in virtual time, and beside it what other queues are known to do.
//!
//! The scenarios are those of the benchmark, smaller. Whatever runs also checks that each recipient
//! ends once, that nothing is tried before its time, that the slots suffice and that each call of
//! the scheduler takes a bounded number of steps.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod sim;

use sim::chance::Time;
use sim::discipline::{Kind, Mail, Setup};
use sim::receiver::Receiver;
use sim::scenario::{self, Scale};
use sim::source::Source;
use sim::world::World;
use sim::{HOUR, MINUTE, SECOND};

/// The figures of a scenario by name.
struct Figures(Vec<(&'static str, f64)>);

impl Figures {
    fn of(name: &str, kind: Kind, scale: u64) -> Self {
        let scenario = scenario::find(name);
        let report = (scenario.run)(kind, Scale(scale));
        let names = scenario.figures.iter().map(|(figure, _)| *figure);
        Self(names.zip(report.figures).collect())
    }

    fn get(&self, figure: &str) -> f64 {
        self.0.iter().find(|(name, _)| *name == figure).unwrap().1
    }
}

fn single(nth: u64, tenant: u32) -> Mail {
    Mail {
        message: nth as u32,
        tenant,
        stream: u64::from(tenant),
        recipients: 1,
        ..Mail::default()
    }
}

fn has_ended(world: &World) -> bool {
    !world.ledger.flows.is_empty() && world.ledger.left() == 0
}

#[test]
fn small_mail_hardly_waits_behind_a_list_or_a_flood() {
    for name in ["list", "flood", "flood.senders", "reports", "verp"] {
        let figures = Figures::of(name, Kind::Ours, 20);
        assert!(figures.get("p99") <= 30.0, "{name}: {:?}", figures.0);
    }
    let list = Figures::of("list", Kind::Ours, 20);
    assert!(list.get("utilisation") >= 0.98, "{:?}", list.0);
    assert!((6.8..8.0).contains(&list.get("finish")), "5,000 at 700 a second: {:?}", list.0);
}

#[test]
fn one_time_passwords_pass_the_flood_of_their_own_tenant() {
    let figures = Figures::of("otp", Kind::Ours, 20);
    assert!(figures.get("otp.p99") <= 40.0, "{:?}", figures.0);
}

#[test]
fn backlogged_tenants_get_the_same() {
    let figures = Figures::of("jain", Kind::Ours, 10);
    assert!(figures.get("") >= 0.97, "{:?}", figures.0);
    assert!(figures.get("utilisation") >= 0.98, "{:?}", figures.0);
}

#[test]
fn no_tenant_is_ever_far_behind_another() {
    let setup = Setup { recipients_max: 40, ..Setup::new(1, 4) };
    let receivers = vec![Receiver::new(Time::Lognormal(4_000, 0.5))];
    let mut world = World::new(Kind::Ours, &setup, receivers);
    world.ledger.services = Some(Vec::new());
    world.add(Source::every(0, 0, 4000, |nth, rng| {
        let tenant = nth as u32 % 4;
        let stream = rng.u64(..1 + u64::from(tenant) * 20);
        // Whole units: two for one tenant, five for another.
        Mail { stream, recipients: 10 * (1 + tenant), ..single(nth, tenant) }
    }));
    world.run(HOUR, |world| world.ledger.services.as_ref().unwrap().len() == 2400);
    let gap = world.ledger.gap(4);
    assert!(gap <= 16.0, "{gap}");
}

#[test]
fn a_tenant_with_a_backlog_keeps_half_beside_thousands_that_come() {
    let figures = Figures::of("tenants", Kind::Ours, 20);
    assert!((0.45..0.55).contains(&figures.get("share")), "{:?}", figures.0);
}

#[test]
fn a_tenant_without_tokens_holds_up_nobody() {
    let figures = Figures::of("tokens", Kind::Ours, 10);
    assert!(figures.get("p99") <= 30.0, "{:?}", figures.0);
    assert!((4.5..5.5).contains(&figures.get("rate")), "{:?}", figures.0);
}

#[test]
fn what_is_to_be_there_soon_goes_first() {
    let ours = Figures::of("deadline", Kind::Ours, 8);
    assert!(ours.get("late") == 0.0 && ours.get("p99") < 300.0, "{:?}", ours.0);
    let fifo = Figures::of("deadline", Kind::Fifo, 8);
    assert!(fifo.get("late") > 0.5, "{:?}", fifo.0);
}

#[test]
fn hung_and_slow_sites_hold_up_nobody() {
    for (name, bound_ms) in [("hung", 60.0), ("slow", 250.0)] {
        let figures = Figures::of(name, Kind::Ours, 4);
        assert!(figures.get("p99") <= bound_ms, "{name}: {:?}", figures.0);
        assert!(figures.get("delivered") >= 0.99, "{name}: {:?}", figures.0);
    }
}

#[test]
fn a_dead_site_costs_a_few_probes() {
    let figures = Figures::of("dead", Kind::Ours, 50);
    assert!(figures.get("p99") <= 60.0, "{:?}", figures.0);
    assert!(figures.get("attempts") <= 20.0, "{:?}", figures.0);
}

#[test]
fn what_an_outage_kept_is_delivered_after_it() {
    let figures = Figures::of("outage", Kind::Ours, 6);
    // Probes come after 5, 10 and 20 minutes.
    assert!(figures.get("drained") <= 25.0 * 60.0, "{:?}", figures.0);
    assert!(figures.get("attempts") <= 20.0, "{:?}", figures.0);
    assert!(figures.get("in_flight") <= 20.0, "{:?}", figures.0);
}

#[test]
fn a_hidden_limit_is_found_kept_and_found_again() {
    let figures = Figures::of("limit", Kind::Ours, 10);
    assert!(figures.get("used") >= 0.85, "{:?}", figures.0);
    assert!(figures.get("refused") <= 0.03, "{:?}", figures.0);
}

#[test]
fn greylisted_mail_comes_again_once() {
    let figures = Figures::of("greylist", Kind::Ours, 20);
    assert!(figures.get("attempts") == 2.0, "{:?}", figures.0);
}

#[test]
fn each_of_many_on_a_dead_route_ends_once() {
    let figures = Figures::of("week", Kind::Ours, 500);
    let (delivered, expired) = (figures.get("delivered"), figures.get("expired"));
    assert_eq!(delivered + expired, 2000.0, "{:?}", figures.0);
    assert!(delivered >= 500.0 && expired >= 500.0, "{:?}", figures.0);
    assert_eq!((figures.get("left"), figures.get("warned")), (0.0, 2000.0), "{:?}", figures.0);
    assert!((120.0..122.0).contains(&figures.get("last_end")), "{:?}", figures.0);
}

#[test]
fn nothing_goes_before_its_time_nor_long_after() {
    // Postfix knows no such thing.
    for kind in [Kind::Ours, Kind::Fifo, Kind::Ready] {
        let mut world = World::new(kind, &Setup::new(10, 20), vec![Receiver::default(); 10]);
        world.add(Source::every(10_000, 0, 1000, |nth, rng| {
            let due_us = rng.u64(..HOUR);
            Mail { route: rng.u32(..10), due_us, ..single(nth, 0) }
        }));
        world.run(3 * HOUR, has_ended);
        assert_eq!(world.ledger.flow(0).delivered, 1000, "{kind:?}");
        assert!(world.now_us < HOUR + 10 * MINUTE, "{kind:?}: until {}", world.now_us);
    }
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    for kind in Kind::ALL {
        let [first, second] = [(); 2].map(|()| Figures::of("verp", *kind, 50).0);
        assert_eq!(first, second, "{kind:?}");
    }
}

#[test]
fn first_in_first_out_lets_everybody_wait() {
    for name in ["list", "flood"] {
        let figures = Figures::of(name, Kind::Fifo, 10);
        let finish_ms = figures.get("finish") * 1000.0;
        assert!(figures.get("max") >= 0.98 * finish_ms, "{name}: {:?}", figures.0);
    }
    let hung = Figures::of("hung", Kind::Fifo, 4);
    assert!(hung.get("delivered") < 0.3, "{:?}", hung.0);
}

/// Postfix's list takes (k + 1) / k as long beside small mail, k being the cost of a slot, and small
/// mail gets the sixth that this leaves.
#[test]
fn preemptive_slots_stretch_a_list_by_a_fifth_at_most() {
    for name in ["list", "list.spread"] {
        let figures = Figures::of(name, Kind::Slots, 10);
        let stretched = figures.get("finish") / 10.0;
        assert!((1.18..1.22).contains(&stretched), "{name}: {:?}", figures.0);
        assert!(figures.get("p99") > 4000.0, "300 a second exceed a sixth: {:?}", figures.0);
    }
    let receivers = vec![Receiver::new(Time::Lognormal(4_000, 0.5))];
    let mut world = World::new(Kind::Slots, &Setup::new(1, 4), receivers);
    world.add(Source::every(0, 0, 1, |_, _| Mail { recipients: 10_000, flow: 1, ..single(1, 0) }));
    world.add(Source::poisson(100.0, 0, 10 * SECOND, |nth, _| single(nth * 2, 1)));
    world.run(HOUR, has_ended);
    let small = world.ledger.flow(0);
    assert!(small.sojourn_ms(0.5) < 20.0, "100 a second are less than a sixth");
    assert!(small.sojourn_ms(0.99) < 200.0, "{}", small.sojourn_ms(0.99));
}

#[test]
fn preemptive_slots_are_first_in_first_out_for_single_messages() {
    let [slots, fifo] = [Kind::Slots, Kind::Fifo].map(|kind| Figures::of("flood", kind, 10));
    assert!(slots.get("p50") > 1000.0, "{:?}", slots.0);
    assert_eq!(slots.0, fifo.0);
    let hung = Figures::of("hung", Kind::Slots, 4);
    assert!(hung.get("delivered") < 0.3, "25 times the first window is all there is: {:?}", hung.0);
    let dead = Figures::of("dead", Kind::Slots, 50);
    assert!(dead.get("attempts") <= 10.0 && dead.get("delivered") > 0.99, "{:?}", dead.0);
}

/// KumoMTA's small mail waits for what the ready queue holds, and a backlog goes no faster than one
/// ready queue each time the wheel is popped.
#[test]
fn a_capped_ready_queue_bounds_the_wait_and_the_rate() {
    let receivers = vec![Receiver::new(Time::Lognormal(4_000, 0.5))];
    let mut world = World::new(Kind::Ready, &Setup::new(1, 4), receivers);
    world.add(Source::every(0, 0, 20_000, |nth, _| single(nth, 0)));
    world.run(HOUR, has_ended);
    let rate = 20_000.0 / (world.now_us as f64 / SECOND as f64);
    assert!((250.0..345.0).contains(&rate), "{rate}");
    let flood = Figures::of("flood", Kind::Ready, 10);
    assert!((300.0..1200.0).contains(&flood.get("p99")), "{:?}", flood.0);
}

#[test]
fn receivers_refuse_what_is_too_much() {
    let receiver = Receiver { limits: vec![(0, 100.0)], ..Receiver::default() };
    let mut world = World::new(Kind::Fifo, &Setup::new(1, 20), vec![receiver]);
    world.add(Source::every(0, 0, 30_000, |nth, _| single(nth, 0)));
    world.run(10 * SECOND, |_| false);
    let flow = world.ledger.flow(0);
    assert!((1000..=1101).contains(&flow.served), "a second ahead at most: {}", flow.served);
    assert!(flow.limited > 8000, "{}", flow.limited);

    let receiver = Receiver { connections_max: 5, ..Receiver::default() };
    let mut world = World::new(Kind::Fifo, &Setup::new(1, 20), vec![receiver]);
    world.add(Source::every(0, 0, 20, |nth, _| single(nth, 0)));
    world.run(SECOND, |_| false);
    assert_eq!((world.ledger.flow(0).served, world.ledger.flow(0).limited), (5, 15));
}

/// Three of ten attempts find no connection. Five in a row close the site, which at 50 a second
/// happens every few seconds.
#[test]
fn a_site_that_often_fails_is_used_for_what_it_takes() {
    let figures = Figures::of("mixed", Kind::Ours, 2);
    assert!(figures.get("delivered") >= 0.5, "{:?}", figures.0);
}

/// The quarter of the slots that sites without a success share is shared by tenant, too.
#[test]
fn one_tenants_slow_sites_hold_up_nobody() {
    let figures = Figures::of("slow_routes", Kind::Ours, 5);
    assert!(figures.get("p99") <= 1000.0, "{:?}", figures.0);
}

/// One tenant's list over many sites, beside small mail that is served at once: the last eighth of
/// the slots is kept for sites with little under way, the rest is there to be used.
#[test]
fn slots_that_nobody_waits_for_are_used() {
    let figures = Figures::of("list.spread", Kind::Ours, 10);
    assert!(figures.get("utilisation") >= 0.85, "{:?}", figures.0);
}

/// Transactions of up to five recipients and 160 KiB cost from 1.1 to 2.1.
#[test]
fn backlogged_tenants_get_the_same_in_parts_of_a_unit() {
    let figures = Figures::of("jain", Kind::Ours, 10);
    assert!(figures.get("") >= 0.98, "{:?}", figures.0);
}

/// A site that turns the first transactions away tells nothing of what it bears.
#[test]
fn a_site_that_complains_at_first_is_tried_again_soon() {
    let limits = vec![(0, 0.0), (SECOND, 100.0)];
    let receiver = Receiver { limits, ..Receiver::default() };
    let mut world = World::new(Kind::Ours, &Setup::new(1, 20), vec![receiver]);
    world.add(Source::poisson(10.0, 0, 5 * MINUTE, |nth, _| single(nth, 0)));
    world.run(5 * MINUTE, |_| false);
    let flow = world.ledger.flow(0);
    assert!(flow.delivered > flow.arrived / 2, "{} of {}", flow.delivered, flow.arrived);
}
