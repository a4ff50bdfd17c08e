//! What single rules do, one story each.

use super::super::flow::Flow;
use super::*;

#[test]
fn a_flow_fills_a_cache_line() {
    assert_eq!(size_of::<Flow>(), 64);
}

#[test]
fn within_a_stream_the_first_goes_first_and_sites_take_turns() {
    let mut rig = Rig::new(options(), 2);
    for (counter, site) in [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1)] {
        rig.put(counter, site, 1_000);
    }
    let order: Vec<_> = rig.take_all(1_000).iter().map(|picked| picked.id.counter()).collect();
    assert_eq!(order, [1, 4, 2, 5, 3]);
}

#[test]
fn a_window_opens_with_each_result_and_a_result_counts_once() {
    let mut rig = Rig::new(options(), 1);
    (1..=7).for_each(|counter| rig.put(counter, 0, 1_000));
    let picked = rig.take_all(1_000);
    assert_eq!(picked.len(), 5, "as many as a site gets that nothing is known of");
    assert_eq!(rig.scheduler.why(id(6), 1_000)[0].1, Waits::Window(5));
    assert!(matches!(rig.end(&picked[0], failed(&picked[0]), 1_001), Decision::Retry { .. }));
    assert_eq!(rig.take(1_001).unwrap().id, id(6));
    assert_eq!(rig.end(&picked[0], Attempt::default(), 1_002), Decision::Withdrawn);
}

#[test]
fn deferrals_follow_the_schedule_with_jitter() {
    let mut rig = Rig::new(options(), 1);
    rig.put(1, 0, 1_000);
    let mut now_ms = 1_000;
    for expected_ms in [5_000, 15_000, 15_000] {
        let picked = rig.take(now_ms).unwrap();
        let Decision::Retry { due_ms, .. } = rig.end(&picked, failed(&picked), now_ms) else {
            panic!("not retried")
        };
        let delay_ms = due_ms - now_ms;
        assert!((expected_ms..=expected_ms + expected_ms / 8).contains(&delay_ms), "{delay_ms}");
        let Pick::WakeAt(wake_ms) = rig.next(due_ms - 1) else { panic!("tried too early") };
        assert!((due_ms..=due_ms + delay_ms / 7).contains(&wake_ms));
        now_ms = wake_ms;
    }
    assert_eq!(rig.take(now_ms).unwrap().attempts, 3);
}

#[test]
fn nothing_expires_unattempted() {
    let mut rig = Rig::new(options(), 1);
    rig.put(1, 0, 1_000);
    let late_ms = 1_000 + 6 * DAY_MS;
    let picked = rig.take(late_ms).expect("a long stop still allows an attempt");
    assert_eq!(rig.end(&picked, failed(&picked), late_ms + 1), Decision::Expired);
    assert!(rig.scheduler.is_empty());
    rig.put(2, 0, 2_000);
    let before_ms = 999 + 5 * DAY_MS;
    let picked = rig.take(before_ms).unwrap();
    let decision = rig.end(&picked, failed(&picked), before_ms + 100);
    assert!(matches!(decision, Decision::Retry { .. }), "it started before the deadline");
}

#[test]
fn each_class_has_its_lifetime_and_the_last_attempt_comes_with_its_end() {
    let mut rig = Rig::new(options(), 1);
    let brief = Job { lifetime: 1, pace: Pace::Exchanger, attempts: 9, ..rig.job(1, 0) };
    rig.enqueue(brief, 1_000);
    let end_ms = 1_000 + 2 * DAY_MS;
    let picked = rig.take(end_ms - 400_000).unwrap();
    let Decision::Retry { due_ms, .. } = rig.end(&picked, failed(&picked), end_ms - 400_000) else {
        panic!("given up early")
    };
    assert!((end_ms..end_ms + 3_600_000 / 4).contains(&due_ms), "{}", due_ms - end_ms);
}

#[test]
fn a_hold_keeps_a_message_and_ends_where_it_began() {
    let mut rig = Rig::new(options(), 1);
    rig.put(1, 0, 1_000);
    rig.scheduler.hold(id(1), 1_000);
    assert_eq!(rig.next(1_000), Pick::Idle);
    assert_eq!(rig.scheduler.why(id(1), 1_000)[0].1, Waits::Held);
    rig.scheduler.release_hold(id(1), 2_000);
    let picked = rig.take(2_000).unwrap();
    rig.scheduler.hold(id(1), 2_000);
    let decision = rig.end(&picked, failed(&picked), 2_000);
    assert!(matches!(decision, Decision::Retry { attempts: 1, .. }));
    assert_eq!(rig.next(DAY_MS), Pick::Idle, "held while it was tried");
    assert!(!rig.scheduler.retry(id(1), 3_000));
    rig.scheduler.release_hold(id(1), 3_000);
    assert!(rig.scheduler.retry(id(1), 3_000));
    assert_eq!(rig.take(3_000).unwrap().attempts, 1);
}

#[test]
fn what_is_withdrawn_is_forgotten_at_once_or_at_its_result() {
    let mut rig = Rig::new(options(), 2);
    rig.put(1, 0, 1_000);
    rig.put(1, 1, 1_000);
    let picked = rig.take(1_000).unwrap();
    rig.scheduler.withdraw(id(1), 1_000);
    invariants::check(&rig.scheduler, 1_000);
    assert_eq!(rig.take(1_000), None);
    assert_eq!(rig.end(&picked, failed(&picked), 1_000), Decision::Withdrawn);
    assert!(rig.scheduler.is_empty());
}

#[test]
fn a_released_pick_goes_first_again_and_counts_nothing() {
    let mut rig = Rig::new(options(), 1);
    rig.put(1, 0, 1_000);
    rig.put(2, 0, 1_000);
    let picked = rig.take(1_000).unwrap();
    rig.scheduler.release(&picked, 1_100);
    let again = rig.take(1_200).unwrap();
    assert_eq!((again.id, again.attempts), (id(1), 0));
    assert_eq!(again.waited_ms, 200);
}

#[test]
fn many_recipients_are_cut_into_transactions_and_each_is_tried_for_itself() {
    let mut rig = Rig::new(options(), 1);
    let many = Job { recipients: (0..250).collect(), ..rig.job(1, 0) };
    rig.enqueue(many, 1_000);
    let picked = rig.take_all(1_000);
    let sizes: Vec<_> = picked.iter().map(|picked| picked.recipients.len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    rig.done(&picked[0], 1_000);
    let deferred = Attempt { deferred: vec![101, 199], verdict: Verdict::Served };
    assert!(matches!(rig.end(&picked[1], deferred, 1_000), Decision::Retry { attempts: 1, .. }));
    rig.scheduler.release(&picked[2], 1_000);
    let mut left: Vec<Vec<u32>> = rig
        .scheduler
        .why(id(1), 1_000)
        .into_iter()
        .map(|(job, _)| job.recipients.to_vec())
        .collect();
    left.sort();
    assert_eq!(left, [vec![101, 199], (200..250).collect()]);
    assert_eq!(rig.scheduler.take_message(id(1), 1_000).len(), 2);
    assert!(rig.scheduler.is_empty());
}

#[test]
fn an_outage_parks_everything_and_a_probe_ends_it() {
    let mut rig = Rig::new(options(), 1);
    (1..=30).for_each(|counter| rig.put(counter, 0, 1_000));
    let picked = rig.take_all(1_000);
    for picked in &picked {
        assert_eq!(rig.end(picked, unreachable(picked), 1_010), Decision::Back);
    }
    let Waits::Outage(outage) = &rig.scheduler.why(id(20), 1_010)[0].1 else { panic!("no outage") };
    assert_eq!((outage.since_ms, &*outage.reply), (1_010, "connection refused"));
    let mut now_ms = 1_010;
    for (round, delay_ms) in [1_000, 2_000, 4_000].into_iter().enumerate() {
        let Pick::WakeAt(at_ms) = rig.next(now_ms) else { panic!("nothing planned") };
        assert!((delay_ms..=delay_ms * 9 / 8).contains(&(at_ms - now_ms)), "{}", at_ms - now_ms);
        now_ms = at_ms;
        assert_eq!(rig.next(now_ms), Pick::Probe(SiteId(0), RouteId(0)));
        assert_eq!(rig.next(now_ms), Pick::Idle, "one probe at a time");
        if round < 2 {
            rig.scheduler.probed(SiteId(0), Some("timed out".into()), now_ms);
        }
    }
    rig.scheduler.probed(SiteId(0), None, now_ms);
    let first = rig.take_all(now_ms);
    assert_eq!(first.len(), 1, "slowly at first");
    assert_eq!((first[0].attempts, first[0].id), (0, id(5)), "what was picked last is in front");
    rig.done(&first[0], now_ms);
    assert_eq!(rig.take_all(now_ms).len(), 2);
}

#[test]
fn a_site_that_works_survives_single_misses() {
    let mut rig = Rig::new(options(), 1);
    (1..=60).for_each(|counter| rig.put(counter, 0, 1_000));
    let is_out = |rig: &Rig| rig.scheduler.site(SiteId(0), 1_002).unwrap().outage.is_some();
    let first = rig.take_all(1_000);
    rig.done(&first[0], 1_001);
    rig.end(&first[1], unreachable(&first[1]), 1_002);
    assert_eq!(rig.scheduler.site(SiteId(0), 1_002).unwrap().window, 6, "one is chance");
    first[2..].iter().for_each(|picked| rig.done(picked, 1_003));
    for misses in 1..=5 {
        assert!(!is_out(&rig), "after {misses}");
        let picked = rig.take(1_010).unwrap();
        rig.end(&picked, unreachable(&picked), 1_010);
    }
    assert!(is_out(&rig), "five in a row");
}

#[test]
fn an_outage_expires_what_is_too_old_after_a_probe_failed() {
    let mut rig = Rig::new(options(), 1);
    (1..=3).for_each(|counter| rig.put(counter, 0, 1_000));
    let late = Job { arrived_ms: DAY_MS, ..rig.job(4, 0) };
    rig.enqueue(late, DAY_MS);
    rig.scheduler.hold(id(2), DAY_MS);
    let picked = rig.take(DAY_MS).unwrap();
    rig.end(&picked, unreachable(&picked), DAY_MS);
    let over_ms = 1_000 + 5 * DAY_MS;
    assert_eq!(rig.scheduler.notice(over_ms + 1), Some(Notice::Waiting(id(1))));
    (2..=4).for_each(|counter| {
        assert_eq!(rig.scheduler.notice(over_ms + 1), Some(Notice::Waiting(id(counter))));
    });
    assert_eq!(rig.scheduler.notice(over_ms + 1), None, "no probe failed since");
    let Pick::Probe(..) = rig.next(over_ms + 2) else { panic!("no probe") };
    rig.scheduler.probed(SiteId(0), Some("still refused".into()), over_ms + 2);
    let mut expired = Vec::new();
    let mut now_ms = over_ms + 2;
    for _ in 0..10 {
        now_ms += 60_000;
        while let Some(Notice::Expired(over)) = rig.scheduler.notice(now_ms) {
            invariants::check(&rig.scheduler, now_ms);
            assert_eq!((over.recipients.to_vec(), over.started_ms), (vec![0], over_ms + 2));
            expired.push(over.id.counter());
        }
    }
    assert_eq!(expired, [1, 3], "the held one and the younger one stay");
}

#[test]
fn a_pause_keeps_a_route_and_nothing_else() {
    let mut rig = Rig::new(options(), 2);
    rig.put(1, 0, 1_000);
    rig.put(2, 1, 1_000);
    rig.scheduler.set_paused(RouteId(0), true, 1_000);
    assert_eq!(rig.take_all(1_000).len(), 1);
    assert_eq!(rig.scheduler.why(id(1), 1_000)[0].1, Waits::Paused);
    rig.put(3, 0, 1_000);
    assert_eq!(rig.next(DAY_MS), Pick::Idle);
    rig.scheduler.set_paused(RouteId(0), false, DAY_MS);
    invariants::check(&rig.scheduler, DAY_MS);
    assert_eq!(rig.take_all(DAY_MS).len(), 2);
}

#[test]
fn a_route_that_moves_takes_its_queue_along() {
    let mut rig = Rig::new(options(), 2);
    (1..=10).for_each(|counter| rig.put(counter, 0, 1_000));
    let waits = Job { due_ms: 60_000, ..rig.job(11, 0) };
    rig.enqueue(waits, 1_000);
    let picked = rig.take(1_000).unwrap();
    rig.end(&picked, unreachable(&picked), 1_000);
    assert_eq!(rig.take(1_000), None);
    rig.scheduler.set_route(RouteId(0), SiteId(1), None, 2_000);
    invariants::check(&rig.scheduler, 2_000);
    let moved = rig.take_all(2_000);
    assert_eq!(moved.len(), 5);
    assert!(moved.iter().all(|moved| moved.site == SiteId(1) && moved.route == RouteId(0)));
    moved.iter().for_each(|moved| rig.done(moved, 2_000));
    let rest = rig.take_all(2_000);
    rest.iter().for_each(|rest| rig.done(rest, 2_000));
    assert_eq!(rig.take_all(70_000).len(), 1, "what waited follows");
}

#[test]
fn limits_of_route_tenant_and_all_hold() {
    let limits = Limits { concurrency_max: 3, recipients_max: 2, rate: None };
    let mut rig = Rig::new(options(), 2);
    rig.scheduler.set_route(RouteId(0), SiteId(0), Some(limits), 0);
    let one = TenantLimits { concurrency_max: Some(1), rate: None };
    rig.scheduler.set_tenant("small", Some(one), 0);
    (1..=9).for_each(|counter| rig.put(counter, 0, 1_000));
    let small: Vec<Job> = (11..=14).map(|counter| rig.of("small", counter, 1)).collect();
    small.into_iter().for_each(|job| rig.enqueue(job, 1_000));
    let picked = rig.take_all(1_000);
    let of_small = |picked: &&Assignment| picked.id.counter() > 10;
    assert_eq!((picked.len(), picked.iter().filter(of_small).count()), (4, 1));
    assert_eq!(rig.scheduler.why(id(14), 1_000)[0].1, Waits::Tenant(None));
    picked.iter().for_each(|picked| rig.done(picked, 1_001));
    assert_eq!(rig.take_all(1_001).len(), 4);
    let many = Job { recipients: [1, 2, 3].into_iter().collect(), ..rig.job(20, 0) };
    rig.enqueue(many, 1_001);
    let whole = Options { slots_max: 4, ..options() };
    rig.scheduler.set_options(whole, 1_001);
    assert_eq!(rig.take(1_001), None, "four are under way");
}

#[test]
fn rates_of_site_route_tenant_and_all_hold() {
    let rate = Rate { count: 10, per_ms: 1_000 };
    for limited in 0..4 {
        let mut options = options();
        options.rate = (limited == 0).then_some(rate);
        options.site.rate = (limited == 1).then_some(rate);
        options.tenant.rate = (limited == 2).then_some(rate);
        let limits = Limits { concurrency_max: 50, recipients_max: 9, rate: Some(rate) };
        let mut rig = Rig::new(options, 1);
        rig.scheduler.set_route(RouteId(0), SiteId(0), (limited == 3).then_some(limits), 0);
        (1..=200).for_each(|counter| rig.put(counter, 0, 1_000));
        let (mut now_ms, mut sent) = (1_000, 0);
        while now_ms < 11_000 {
            match rig.next(now_ms) {
                Pick::Assignment(picked) => {
                    sent += 1;
                    rig.done(&picked, now_ms);
                }
                Pick::WakeAt(at_ms) => now_ms = at_ms,
                other => panic!("{other:?} of {limited}"),
            }
        }
        assert!((100..=103).contains(&sent), "{sent} of {limited}");
    }
}

#[test]
fn a_complaint_slows_a_site_and_is_shown_and_learned() {
    let mut rig = Rig::new(options(), 1);
    (1..=300).for_each(|counter| rig.put(counter, 0, 1_000));
    let mut now_ms = 1_000;
    for _ in 0..100 {
        let picked = rig.take(now_ms).unwrap();
        now_ms += 10;
        rig.done(&picked, now_ms);
    }
    let picked = rig.take(now_ms).unwrap();
    assert_eq!(rig.end(&picked, limited(&picked, Limit::Rate), now_ms), Decision::Back);
    let rate = rig.scheduler.site(SiteId(0), now_ms).unwrap().rate.unwrap();
    assert!((60.0..80.0).contains(&rate.per_s), "{}", rate.per_s);
    let mut open = rig.take_all(now_ms);
    assert!(open.len() <= 2);
    let Waits::Rate(at_ms, Some(reply)) = &rig.scheduler.why(id(250), now_ms)[0].1 else {
        panic!("{:?}", rig.scheduler.why(id(250), now_ms))
    };
    assert!(*at_ms > now_ms && reply.contains("slow down"));
    open.drain(..).for_each(|picked| rig.done(&picked, now_ms));
    let learned = rig.scheduler.learned(SiteId(0)).unwrap();
    let mut other = Rig::new(options(), 1);
    other.scheduler.learn(SiteId(0), learned.clone(), 5_000);
    assert_eq!(other.scheduler.learned(SiteId(0)), Some(learned));
}

#[test]
fn too_many_connections_narrow_the_window() {
    let mut rig = Rig::new(options(), 1);
    (1..=300).for_each(|counter| rig.put(counter, 0, 1_000));
    let picked = rig.take_all(1_000);
    picked[1..].iter().for_each(|picked| {
        rig.end(picked, limited(picked, Limit::Connections), 1_010);
    });
    let state = rig.scheduler.site(SiteId(0), 1_010).unwrap();
    assert_eq!((state.window, state.assigned, state.rate), (2, 1, None), "once a round");
}

#[test]
fn a_deadline_is_told_once_and_not_of_what_has_ended() {
    let mut rig = Rig::new(options(), 1);
    for counter in [1, 2] {
        let job = Job { timing: late_at(9_000), band: Band::Urgent, ..rig.job(counter, 0) };
        rig.enqueue(job, 1_000);
    }
    let picked = rig.take(1_000).unwrap();
    rig.done(&picked, 2_000);
    rig.take(8_999).unwrap();
    rig.next(8_999);
    assert_eq!(rig.scheduler.notice(8_999), None);
    rig.next(9_000);
    assert!(matches!(rig.scheduler.notice(9_000), Some(Notice::Late(_, late)) if late == id(2)));
    assert_eq!(rig.scheduler.notice(9_000), None);
}

#[test]
fn a_rate_is_shared_by_those_who_wait_for_it() {
    let rate = Rate { count: 32, per_ms: 1_000 };
    for (of_site, shift_ms) in (0..30).flat_map(|nth| [(true, nth * 7), (false, nth * 7)]) {
        let mut options = options();
        options.site.rate = of_site.then_some(rate);
        let limits = Limits { concurrency_max: 20, recipients_max: 100, rate: Some(rate) };
        let mut rig = Rig::new(options, 1);
        let own = (!of_site).then_some(limits);
        rig.scheduler.set_route(RouteId(0), SiteId(0), own, 0);
        for counter in 1..=200 {
            let job = rig.of("a", counter, 0);
            rig.enqueue(job, 1_000);
        }
        let (mut now_ms, mut came, mut left) = (1_000, false, 20);
        let mut open: Vec<Assignment> = Vec::new();
        while left > 0 {
            match rig.next(now_ms) {
                Pick::Assignment(picked) => {
                    left -= u32::from(&*picked.tenant == "b");
                    open.push(picked);
                }
                Pick::WakeAt(at_ms) => {
                    now_ms = at_ms.min(now_ms + 2);
                    open.drain(..).for_each(|picked| rig.done(&picked, now_ms));
                }
                other => panic!("{other:?}"),
            }
            if now_ms >= 3_000 + shift_ms && !came {
                came = true;
                for counter in 301..=320 {
                    let job = Job { arrived_ms: now_ms, ..rig.of("b", counter, 0) };
                    rig.enqueue(job, now_ms);
                }
            }
            assert!(now_ms < 5_000 + shift_ms, "{left} left of site {of_site}");
        }
    }
}
