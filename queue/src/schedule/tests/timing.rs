//! Releases, deadlines and priorities, alone and under load.

use std::collections::BTreeMap;

use super::*;

const HOUR_MS: u64 = 3_600_000;
/// A step of the wheel.
const TICK_MS: u64 = 16;

fn released_at(release_ms: u64, job: Job) -> Job {
    Job { due_ms: release_ms, timing: Timing { release_ms, deadline: None }, ..job }
}

fn ends_at(at_ms: u64, job: Job) -> Job {
    Job { timing: Timing { release_ms: 0, deadline: Some(Deadline { at_ms, ends: true }) }, ..job }
}

/// What is told until nothing more is.
fn notices(rig: &mut Rig, now_ms: u64) -> Vec<Notice> {
    std::iter::from_fn(|| rig.scheduler.notice(now_ms)).collect()
}

#[test]
fn ten_thousand_releases_under_load_each_come_at_their_time() {
    let mut rig = Rig::new(Options { slots_max: 50_000, ..options() }, 2);
    let start_ms = 1_800_000_000_000;
    let mut random = fastrand::Rng::with_seed(11);
    let mut due = BTreeMap::new();
    for counter in 1..=10_000 {
        let bits = random.u32(1..32);
        let release_ms = start_ms + 1 + random.u64(0..1 << bits);
        let job = Job { arrived_ms: start_ms, ..rig.job(counter, 0) };
        rig.scheduler.enqueue(released_at(release_ms, job), start_ms);
        due.insert(counter, release_ms);
    }
    let (mut now_ms, mut busy) = (start_ms, 0);
    while !due.is_empty() {
        // Another route is never idle.
        busy += 1;
        let job = rig.job(100_000 + busy, 1);
        rig.scheduler.enqueue(job, now_ms);
        now_ms = loop {
            match rig.scheduler.next(now_ms) {
                Pick::Assignment(picked) => {
                    if let Some(release_ms) = due.remove(&picked.id.counter()) {
                        let late_ms = now_ms.checked_sub(release_ms).expect("never early");
                        assert!(late_ms <= TICK_MS, "late by {late_ms} ms");
                    }
                    rig.scheduler.result(&picked, Attempt::default(), now_ms);
                }
                Pick::Again => {}
                Pick::WakeAt(at_ms) => break at_ms,
                Pick::Idle => break now_ms + 1,
                Pick::Probe(..) => panic!("nothing is out"),
            }
        };
    }
    assert!(now_ms - start_ms > 20 * DAY_MS, "some were far away");
}

#[test]
fn a_release_is_not_hurried_but_by_its_own_verb() {
    let mut rig = Rig::new(options(), 1);
    for counter in [1, 2] {
        let job = released_at(9_000_000, rig.job(counter, 0));
        rig.enqueue(job, 1_000);
    }
    assert!(!rig.scheduler.retry(id(1), 2_000));
    rig.scheduler.hold(id(1), 2_000);
    assert!(!rig.scheduler.release_now(id(1), 2_000), "the operator holds it");
    rig.scheduler.release_hold(id(1), 3_000);
    assert_eq!(rig.scheduler.why(id(1), 3_000)[0].1, Waits::Until(9_000_000));
    assert_eq!(rig.take(3_000), None);
    assert!(rig.scheduler.release_now(id(1), 4_000) && !rig.scheduler.release_now(id(1), 4_000));
    let picked = rig.take(4_000).unwrap();
    assert_eq!(picked.id, id(1));
    assert!(matches!(rig.end(&picked, failed(&picked), 5_000), Decision::Retry { .. }));
    assert!(rig.scheduler.retry(id(1), 6_000), "from then on it is like any other");
    assert_eq!(rig.take(6_000).map(|picked| picked.id), Some(id(1)));
    assert_eq!(rig.take(8_999_999), None);
    assert_eq!(rig.take(9_000_000 + TICK_MS).map(|picked| picked.id), Some(id(2)));
}

#[test]
fn lifetime_and_warnings_count_from_the_release() {
    let mut rig = Rig::new(options(), 1);
    let release_ms = 20 * DAY_MS;
    let job = released_at(release_ms, rig.job(1, 0));
    rig.enqueue(job, 1_000);
    rig.put(2, 0, 1_000);
    let picked = rig.take(1_000).unwrap();
    assert!(matches!(rig.end(&picked, failed(&picked), 1_000), Decision::Retry { .. }));
    assert_eq!(notices(&mut rig, 4 * HOUR_MS + 1_000), [Notice::Waiting(id(2))]);
    rig.scheduler.withdraw(id(2), 5 * HOUR_MS);
    let mut now_ms = release_ms + TICK_MS;
    let mut told = Vec::new();
    loop {
        told.extend(notices(&mut rig, now_ms).into_iter().map(|notice| (now_ms, notice)));
        let Some(picked) = rig.take(now_ms) else {
            now_ms += 60_000;
            continue;
        };
        let decision = rig.end(&picked, failed(&picked), now_ms);
        if decision == Decision::Expired {
            break;
        }
    }
    let lived_ms = now_ms - release_ms;
    assert!((5 * DAY_MS..5 * DAY_MS + 300_000).contains(&lived_ms), "{lived_ms}");
    let [(told_ms, Notice::Waiting(_))] = told[..] else { panic!("{told:?}") };
    let told_ms = told_ms - release_ms;
    assert!((4 * HOUR_MS..4 * HOUR_MS + 120_000).contains(&told_ms), "{told_ms}");
    let of_job = |timer: &(u64, Timer)| matches!(timer.1, Timer::Warning(_) | Timer::Deadline(_));
    assert!(!rig.scheduler.timers.iter().any(of_job));
}

#[test]
fn what_ends_at_its_deadline_ends_once_wherever_it_is() {
    let mut options = options();
    options.site.concurrency_max = 2;
    let mut rig = Rig::new(options, 2);
    for (counter, route) in [(1, 0), (2, 0), (3, 0), (4, 1), (5, 1)] {
        let due_ms = if counter == 4 { 60_000 } else { 0 };
        let job = ends_at(9_000, Job { due_ms, ..rig.job(counter, route) });
        rig.enqueue(job, 1_000);
    }
    rig.scheduler.hold(id(5), 1_000);
    let picked = rig.take_all(1_000);
    assert_eq!(picked.iter().map(|picked| picked.id).collect::<Vec<_>>(), [id(1), id(2)]);
    rig.next(8_999);
    assert_eq!(notices(&mut rig, 8_999), []);
    assert_eq!(rig.take(9_000), None);
    let ended = |notice: Notice| match notice {
        Notice::Ended(job) => job.id,
        other => panic!("{other:?}"),
    };
    let mut told: Vec<_> = notices(&mut rig, 9_000).into_iter().map(ended).collect();
    told.sort_unstable();
    assert_eq!(told, [id(3), id(4)], "ready and waiting");
    assert_eq!(rig.end(&picked[0], Attempt::default(), 9_500), Decision::Done, "it was under way");
    assert_eq!(rig.end(&picked[1], unreachable(&picked[1]), 9_500), Decision::Expired);
    assert_eq!(rig.scheduler.len(), 1, "the operator's");
    rig.scheduler.release_hold(id(5), 20_000);
    assert_eq!(rig.take(20_000), None);
    assert_eq!(notices(&mut rig, 20_000).into_iter().map(ended).collect::<Vec<_>>(), [id(5)]);
    assert!(rig.scheduler.is_empty());
}

#[test]
fn what_is_given_back_after_its_deadline_is_not_picked_again() {
    let mut rig = Rig::new(options(), 1);
    let job = ends_at(9_000, rig.job(1, 0));
    rig.enqueue(job, 1_000);
    let picked = rig.take(1_000).unwrap();
    rig.next(9_000);
    rig.scheduler.release(&picked, 9_001);
    assert_eq!(rig.take(9_001), None);
    assert!(rig.scheduler.is_empty() && !rig.scheduler.is_silent(), "it is still to be told");
    assert!(matches!(notices(&mut rig, 9_001)[..], [Notice::Ended(_)]));
}

/// Five thousand that end at one moment, while a call fires only some timers.
#[test]
fn nothing_is_picked_after_its_deadline_however_many_there_are() {
    let mut rig = Rig::new(options(), 1);
    for counter in 1..=5_000 {
        let job = ends_at(9_000, rig.job(counter, 0));
        rig.scheduler.enqueue(job, 1_000);
    }
    assert_eq!(rig.take_all(9_000), []);
    assert_eq!(notices(&mut rig, 9_000).len(), 5_000);
    assert!(rig.scheduler.is_empty());
}

/// What each priority gets of a site that is never idle, in the order of the bands.
fn served(bands: &[Band], picks: usize) -> Vec<usize> {
    let mut rig = Rig::new(options(), 1);
    let mut counter = 0;
    for &band in bands {
        for _ in 0..picks {
            counter += 1;
            let job = Job { band, ..rig.job(counter, 0) };
            rig.scheduler.enqueue(job, 1_000);
        }
    }
    let mut last = BTreeMap::new();
    let mut count = vec![0; bands.len()];
    for _ in 0..picks {
        let picked = rig.take(1_000).unwrap();
        let nth = (picked.id.counter() as usize - 1) / picks;
        let before = last.insert(nth, picked.id);
        assert!(before < Some(picked.id), "first in, first out at one priority");
        count[nth] += 1;
        rig.done(&picked, 1_000);
    }
    count
}

#[test]
fn priorities_share_by_their_weights_and_none_stands_still() {
    let all = [Band::Highest, Band::High, Band::Raised, Band::Normal, Band::Lowered, Band::Low];
    let got = served(&all, 990);
    for (got, weight) in got.iter().zip([12, 8, 6, 4, 2, 1]) {
        let fair = weight * 990 / 33;
        assert!(got.abs_diff(fair) <= 12, "{got} of {fair}");
    }
    let [highest, normal] = served(&[Band::Highest, Band::Normal], 400)[..] else { panic!() };
    assert!((90..=110).contains(&normal), "{highest} {normal}: at most three of four go before");
}

/// A priority orders a tenant's class at one site, and takes nothing from other tenants.
#[test]
fn a_priority_costs_other_tenants_no_more_than_its_weight() {
    let mut rig = Rig::new(options(), 1);
    let mut counter = 0;
    for (tenant, band, class) in [
        ("loud", Band::Highest, Class::Submitted),
        ("quiet", Band::Normal, Class::Submitted),
        ("stranger", Band::Normal, Class::Inbound),
    ] {
        for _ in 0..400 {
            counter += 1;
            let job = Job { band, class, ..rig.of(tenant, counter, 0) };
            rig.scheduler.enqueue(job, 1_000);
        }
    }
    let mut got = BTreeMap::new();
    for _ in 0..300 {
        let picked = rig.take(1_000).unwrap();
        *got.entry(picked.tenant.to_string()).or_insert(0_usize) += 1;
        rig.done(&picked, 1_000);
    }
    assert!((90..=110).contains(&got["stranger"]), "another class keeps its third: {got:?}");
    assert!((40..=60).contains(&got["quiet"]), "a quarter of the rest: {got:?}");
}
