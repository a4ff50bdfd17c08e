//! What a bad clock, late answers, changed limits and nonsense must not do: one defect a story.

use super::*;

/// Calls of `next` in a row that may end in `Again` with little queued.
const AGAIN_MAX: usize = 64;

fn next(rig: &mut Rig, now_ms: u64) -> Pick {
    let mut picks = (0..AGAIN_MAX).map(|_| rig.scheduler.next(now_ms));
    picks.find(|pick| *pick != Pick::Again).expect("it makes no progress")
}

#[test]
fn a_clock_that_goes_back_stops_nothing() {
    let mut rig = Rig::new(options(), 1);
    rig.put(1, 0, 1_000);
    let picked = rig.take(DAY_MS).unwrap();
    rig.end(&picked, failed(&picked), 1_000);
    let late = Job { due_ms: 70_000, ..rig.job(2, 0) };
    rig.enqueue(late, 60_000);
    assert!(matches!(next(&mut rig, 60_000), Pick::Assignment(_)));
    assert!(matches!(next(&mut rig, 60_000), Pick::WakeAt(_)));
    assert!(matches!(next(&mut rig, DAY_MS + 16), Pick::Assignment(_)));
}

#[test]
fn a_result_is_not_taken_for_that_of_another_part() {
    let mut options = options();
    options.site.recipients_max = 1;
    options.site.concurrency_max = 1;
    let mut rig = Rig::new(options, 1);
    let job = Job { recipients: smallvec::smallvec![0, 1, 2], ..rig.job(1, 0) };
    rig.enqueue(job, 1_000);
    let first = rig.take(1_000).unwrap();
    rig.done(&first, 1_001);
    let second = rig.take(1_002).unwrap();
    assert_eq!(first.key, second.key, "the number is used again");
    assert_eq!(rig.end(&first, Attempt::default(), 1_003), Decision::Withdrawn);
    rig.scheduler.release(&first, 1_003);
    assert_eq!(rig.scheduler.assigned(), 1);
    rig.done(&second, 1_004);
}

#[test]
fn a_result_is_not_taken_for_that_of_a_later_attempt() {
    let mut rig = Rig::new(options(), 1);
    rig.put(1, 0, 1_000);
    let first = rig.take(1_000).unwrap();
    assert!(matches!(rig.end(&first, failed(&first), 1_000), Decision::Retry { .. }));
    let second = rig.take(10_000).unwrap();
    assert_eq!(rig.end(&first, Attempt::default(), 10_000), Decision::Withdrawn);
    rig.done(&second, 10_000);
}

#[test]
fn a_limit_counts_what_was_under_way_before_it() {
    let mut rig = Rig::new(options(), 1);
    (1..=20).for_each(|counter| rig.put(counter, 0, 1_000));
    let before = rig.take_all(1_000);
    assert_eq!(before.len(), 5);
    let limits = Limits { concurrency_max: 2, recipients_max: 9, rate: None };
    rig.scheduler.set_route(RouteId(0), SiteId(0), Some(limits), 1_000);
    before[1..].iter().for_each(|picked| rig.done(picked, 1_001));
    assert_eq!(rig.take_all(1_001).len(), 1, "one of two is still under way");
    rig.done(&before[0], 1_001);
    assert_eq!(rig.take_all(1_001).len(), 1);
}

#[test]
fn what_waits_for_its_route_moves_with_it() {
    let mut rig = Rig::new(options(), 2);
    let limits = Limits { concurrency_max: 1, recipients_max: 9, rate: None };
    rig.scheduler.set_route(RouteId(0), SiteId(0), Some(limits), 0);
    (1..=3).for_each(|counter| rig.put(counter, 0, 1_000));
    let picked = rig.take_all(1_000);
    assert_eq!(picked.len(), 1);
    rig.end(&picked[0], unreachable(&picked[0]), 1_000);
    rig.take_all(1_000);
    rig.scheduler.set_route(RouteId(0), SiteId(1), Some(limits), 1_500);
    assert_eq!(rig.take(1_500).map(|picked| picked.site), Some(SiteId(1)));
}

#[test]
fn what_waits_paused_moves_with_its_route() {
    let mut rig = Rig::new(options(), 2);
    rig.put(1, 1, 1_000);
    rig.scheduler.set_paused(RouteId(0), true, 1_000);
    (2..=3).for_each(|counter| rig.put(counter, 0, 1_000));
    rig.scheduler.set_route(RouteId(1), SiteId(0), None, 1_000);
    let picked = rig.take_all(1_000);
    assert_eq!(picked.len(), 1);
    rig.end(&picked[0], unreachable(&picked[0]), 1_000);
    rig.scheduler.set_route(RouteId(0), SiteId(1), None, 1_500);
    rig.scheduler.set_paused(RouteId(0), false, 1_500);
    assert_eq!(rig.take_all(1_500).len(), 2);
}

#[test]
fn what_waits_for_its_tenant_moves_with_its_route() {
    let mut rig = Rig::new(options(), 3);
    let one = TenantLimits { concurrency_max: Some(1), rate: None };
    rig.scheduler.set_tenant("small", Some(one), 0);
    for (counter, route) in [(1, 2), (2, 0)] {
        let job = rig.of("small", counter, route);
        rig.enqueue(job, 1_000);
    }
    let other = rig.of("other", 3, 0);
    rig.enqueue(other, 1_000);
    let picked = rig.take_all(1_000);
    assert_eq!(picked.len(), 2);
    let at = |site| picked.iter().find(|picked| picked.site == SiteId(site));
    if let (Some(dead), Some(alive)) = (at(0), at(2)) {
        rig.end(dead, unreachable(dead), 1_000);
        rig.scheduler.set_route(RouteId(0), SiteId(1), None, 1_000);
        rig.done(alive, 1_001);
        rig.take_all(1_001);
        assert!(rig.scheduler.why(id(2), 1_001)[0].1 == Waits::Result);
    } else {
        panic!("{picked:?}");
    }
}

#[test]
fn a_probe_uses_a_route_that_leads_there() {
    let mut rig = Rig::new(options(), 2);
    (1..=3).for_each(|counter| rig.put(counter, 0, 1_000));
    let picked = rig.take(1_000).unwrap();
    rig.end(&picked, unreachable(&picked), 1_000);
    rig.scheduler.set_route(RouteId(0), SiteId(1), None, 1_000);
    rig.scheduler.set_route(RouteId(7), SiteId(0), None, 1_000);
    rig.put(9, 7, 1_000);
    let probe = std::iter::from_fn(|| Some(rig.next(9_000))).take(9);
    let mut probe = probe.filter(|pick| matches!(pick, Pick::Probe(..)));
    assert_eq!(probe.next(), Some(Pick::Probe(SiteId(0), RouteId(7))));
}

#[test]
fn a_number_is_good_for_a_second_whatever_is_set() {
    let mut rig = Rig::new(options(), 1);
    let job = rig.of("somebody", 1, 0);
    rig.scheduler.set_options(options(), 1_000);
    rig.next(1_000);
    rig.enqueue(job, 1_000);
    let other = rig.of("another", 2, 0);
    rig.enqueue(other, 1_000);
    let picked = rig.take_all(1_000);
    assert_eq!(picked.len(), 2);
    picked.iter().for_each(|picked| rig.done(picked, 1_000));
    let back = rig.job(3, 0);
    rig.enqueue(back, 1_999);
    let picked = rig.take(1_999).unwrap();
    rig.done(&picked, 1_999);
    let held = rig.job(4, 0);
    rig.next(2_500);
    rig.enqueue(held, 2_500);
    assert_eq!(&*rig.take(2_500).unwrap().tenant, "somebody");
}

#[test]
fn tenants_are_forgotten_when_all_is_over() {
    let mut rig = Rig::new(options(), 1);
    rig.put(1, 0, 1_000);
    let picked = rig.take(1_000).unwrap();
    rig.done(&picked, 1_000);
    let mut now_ms = 1_000;
    while let Pick::WakeAt(at_ms) = rig.next(now_ms) {
        now_ms = at_ms;
    }
    rig.next(10 * DAY_MS);
    rig.next(11 * DAY_MS);
    assert_eq!((rig.scheduler.tenants.slab.len(), rig.scheduler.details.len()), (0, 0));
    assert!(rig.scheduler.timers.is_empty());
}

/// A tenant over its share waits for slots that others gave back long ago.
#[test]
fn a_tenant_over_its_share_goes_on_once_nobody_else_wants_slots() {
    let options = Options { slots_max: 16, ..options() };
    let mut rig = Rig::new(options, 16);
    for site in 0..16 {
        rig.scheduler.learn(SiteId(site), Learned { window: 20, rate: None }, 0);
    }
    // Every site has proven itself.
    for site in 0..16 {
        rig.put(u64::from(site) + 1, site, 1_000);
        let picked = rig.take(1_000).unwrap();
        rig.done(&picked, 1_000);
    }
    for site in 0..7 {
        let job = rig.of("b", 100 + u64::from(site), site);
        rig.enqueue(job, 1_000);
    }
    for site in 0..16 {
        let job = rig.of("a", 200 + u64::from(site), site);
        rig.enqueue(job, 1_000);
    }
    let picked = rig.take_all(1_000);
    let job = rig.of("c", 300, 0);
    rig.enqueue(job, 1_000);
    let last = rig.take(1_000).expect("a tenant with nothing under way gets more");
    let mut of_b = picked.iter().filter(|picked| &*picked.tenant == "b");
    let slow = of_b.next().expect("both have their share");
    of_b.chain([&last]).for_each(|picked| rig.done(picked, 1_001));
    rig.take_all(1_001);
    let under_way = rig.scheduler.assigned();
    assert!(under_way < 14, "{under_way} beside {slow:?}");
    let Pick::WakeAt(at_ms) = rig.next(1_002) else { panic!("nothing planned") };
    assert!(at_ms <= 1_050, "at {at_ms}");
    assert!(!rig.take_all(1_050).is_empty(), "{under_way} under way, and the rest waits");
}

#[test]
fn what_was_learned_may_be_nonsense() {
    for (window, ceiling, closed_until_ms) in [
        (u32::MAX, f64::NAN, u64::MAX),
        (0, f64::INFINITY, 0),
        (65_535, f64::NEG_INFINITY, 0),
        (1, -1.0, 0),
        (7, f64::MAX, 0),
    ] {
        let mut rig = Rig::new(options(), 1);
        let rate = Some((ceiling, closed_until_ms, "450".into()));
        rig.scheduler.learn(SiteId(0), Learned { window, rate }, 1_000);
        (1..=40).for_each(|counter| rig.put(counter, 0, 1_000));
        let mut now_ms = 1_000;
        let mut sent = 0;
        for _ in 0..1_000 {
            match rig.next(now_ms) {
                Pick::Assignment(picked) if sent < 5 => {
                    sent += 1;
                    rig.done(&picked, now_ms);
                }
                Pick::Assignment(picked) => {
                    sent += 1;
                    rig.end(&picked, limited(&picked, Limit::Rate), now_ms);
                }
                Pick::WakeAt(at_ms) => now_ms = at_ms,
                other => panic!("{other:?} of {ceiling}"),
            }
            if sent == 20 {
                break;
            }
        }
        assert!(sent == 20 && now_ms < 10 * DAY_MS, "{sent} of {ceiling} at {now_ms}");
        let rate = rig.scheduler.site(SiteId(0), now_ms).unwrap().rate.unwrap();
        assert!(rate.per_s.is_finite() && rate.per_s < 1e6, "{rate:?}");
    }
}

#[test]
fn huge_numbers_overflow_nothing() {
    let mut options = options();
    options.backoff.next_hop_ms = vec![u64::MAX];
    options.lifetimes_ms = vec![u64::MAX];
    options.probe_delay_max_ms = u64::MAX;
    options.warnings_ms = vec![u64::MAX, 0];
    options.site.rate = Some(Rate { count: u32::MAX, per_ms: u64::MAX });
    options.tenant.rate = Some(Rate { count: 0, per_ms: 0 });
    options.rate = Some(Rate { count: 0, per_ms: 0 });
    let mut rig = Rig::new(options, 1);
    for counter in 1..=3 {
        let job = Job {
            size: u64::MAX,
            arrived_ms: u64::MAX,
            attempts: u32::MAX,
            stream: u64::MAX,
            lifetime: usize::MAX,
            timing: Timing { release_ms: u64::MAX, deadline: by(u64::MAX) },
            tag: u8::MAX,
            due_ms: if counter == 3 { u64::MAX } else { 0 },
            ..rig.job(counter, 0)
        };
        rig.enqueue(job, 1_000);
    }
    let picked = rig.take(1_000).unwrap();
    assert!(matches!(rig.end(&picked, failed(&picked), 1_000), Decision::Retry { .. }));
    let (picked, at_ms) = (rig.take(1_000).unwrap(), 1_000);
    let reply = "450".into();
    let (scope, limit) = (Scope::Site, Limit::Rate);
    let verdict = Verdict::Limited { scope, limit, pause_ms: u64::MAX, reply };
    rig.end(&picked, Attempt { deferred: vec![0], verdict }, at_ms);
    rig.next(at_ms);
    rig.scheduler.notice(at_ms);
}

#[test]
fn bounds_of_nothing_let_nothing_through_until_they_are_raised() {
    for bound in 0..4 {
        let none = Limits { concurrency_max: 0, recipients_max: 0, rate: None };
        let mut low = options();
        match bound {
            0 => low.slots_max = 0,
            1 => low.site = none,
            2 => low.tenant.concurrency_max = Some(0),
            _ => {}
        }
        let mut rig = Rig::new(low, 1);
        rig.scheduler.set_route(RouteId(0), SiteId(0), (bound == 3).then_some(none), 0);
        (1..=20).for_each(|counter| {
            let job = rig.of(&format!("t{}", counter % 9), counter, 0);
            rig.enqueue(Job { stream: counter, ..job }, 1_000);
        });
        assert_eq!(next(&mut rig, 1_000), Pick::Idle, "{bound}");
        rig.scheduler.set_options(options(), 2_000);
        rig.scheduler.set_route(RouteId(0), SiteId(0), None, 2_000);
        let mut sent = 0;
        for now_ms in 2_000..2_100 {
            for picked in rig.take_all(now_ms) {
                sent += 1;
                rig.done(&picked, now_ms);
            }
        }
        assert_eq!(sent, 20, "{bound}");
    }
}

#[test]
fn one_slot_serves_all() {
    let mut rig = Rig::new(Options { slots_max: 1, ..options() }, 3);
    for counter in 1..=60 {
        let job = rig.of(&format!("t{}", counter % 5), counter, (counter % 3) as u32);
        rig.enqueue(job, 1_000);
    }
    for _ in 0..60 {
        let picked = rig.take(1_000).expect("a slot is free");
        rig.done(&picked, 1_000);
    }
}

#[test]
fn a_release_gives_the_rate_of_its_site_back() {
    let mut options = options();
    options.site.rate = Some(Rate { count: 1, per_ms: 60_000 });
    let mut rig = Rig::new(options, 1);
    (1..=2).for_each(|counter| rig.put(counter, 0, 100_000));
    let picked = rig.take_all(100_000);
    picked.iter().for_each(|picked| rig.scheduler.release(picked, 100_001));
    assert_eq!(rig.take_all(100_002).len(), picked.len());
}

#[test]
fn a_reload_forgets_no_deadline_and_no_part_loses_its_own() {
    let mut options = options();
    options.site.recipients_max = 1;
    let mut rig = Rig::new(options.clone(), 1);
    let job =
        Job { timing: late_at(9_000), recipients: smallvec::smallvec![0, 1], ..rig.job(1, 0) };
    rig.enqueue(job, 1_000);
    let picked = rig.take_all(1_000);
    assert_eq!(picked.len(), 2);
    rig.next(9_000);
    rig.scheduler.set_options(options, 9_000);
    let late = |rig: &mut Rig| matches!(rig.scheduler.notice(9_000), Some(Notice::Late(..)));
    assert!(late(&mut rig) && late(&mut rig), "both parts are late");
}

#[test]
fn a_call_looks_at_few_sites_whose_success_is_long_ago() {
    let sites = 2_000;
    let mut rig = Rig::new(Options { slots_max: 10, ..options() }, sites + 2);
    for site in 0..sites {
        let first = rig.job(u64::from(site) + 1, site);
        rig.scheduler.enqueue(first, 1_000);
        let Pick::Assignment(picked) = rig.scheduler.next(1_000) else { panic!("none") };
        rig.scheduler.result(&picked, Attempt::default(), 1_000);
    }
    // Two sites that nothing is known of use up what such may have.
    for site in 0..sites + 2 {
        let job = rig.job(u64::from(site) + 10_000, site);
        rig.scheduler.enqueue(job, 1_000);
    }
    for _ in 0..5 {
        assert!(matches!(rig.scheduler.next(1_000), Pick::Assignment(_)));
    }
    let listed = |rig: &Rig| {
        let proven = |&site: &u32| matches!(rig.scheduler.sites[site].listing, Some((true, _)));
        (0..sites).filter(proven).count()
    };
    let before = listed(&rig);
    rig.scheduler.next(100_000);
    let looked_at = before - listed(&rig);
    assert!(looked_at <= STEPS_MAX as usize, "{looked_at}");
}
