//! The scheduler in virtual time.

use proptest::prelude::*;

use super::*;

const DAY: u64 = 86_400_000;

fn options() -> Options {
    Options {
        backoff: Backoff {
            exchanger_ms: vec![300_000, 3_600_000],
            next_hop_ms: vec![5_000, 15_000],
            lifetime_ms: 5 * DAY,
        },
        route_concurrency: 2,
        assignments_max: 100,
        paused: false,
    }
}

fn id(counter: u64) -> MessageId {
    MessageId::new(1, 1, counter).unwrap()
}

fn job(counter: u64, route: u32) -> Job {
    Job {
        id: id(counter),
        route: RouteId(route),
        pace: Pace::NextHop,
        recipients: vec![0],
        attempts: 0,
        due_ms: 0,
        arrived_ms: 1_000,
        lifetime_ms: None,
        held: false,
    }
}

fn failed() -> Attempt {
    Attempt { deferred: vec![0], outage: false }
}

fn take(scheduler: &mut Scheduler, now_ms: u64) -> Option<Assignment> {
    match scheduler.next(now_ms) {
        Pick::Assignment(assignment) => Some(assignment),
        Pick::WakeAt(_) | Pick::Idle => None,
    }
}

fn filled(jobs: impl IntoIterator<Item = Job>) -> Scheduler {
    let mut scheduler = Scheduler::new(options(), 7);
    for job in jobs {
        scheduler.enqueue(job, 1_000);
    }
    scheduler
}

#[test]
fn routes_take_turns_and_each_is_first_in_first_out() {
    let mut scheduler = filled([job(1, 0), job(2, 0), job(3, 0), job(4, 1), job(5, 1)]);
    let mut order = Vec::new();
    while let Some(assignment) = take(&mut scheduler, 1_000) {
        order.push(assignment.id.counter());
    }
    assert_eq!(order, [1, 4, 2, 5], "two at a time of each route, in turn");
}

#[test]
fn a_result_frees_the_place() {
    let mut scheduler = filled([job(1, 0), job(2, 0), job(3, 0)]);
    let first = take(&mut scheduler, 1_000).unwrap();
    take(&mut scheduler, 1_000).unwrap();
    assert_eq!(scheduler.next(1_000), Pick::Idle);
    assert_eq!(scheduler.result(&first, Attempt::default(), 1_001), Decision::Done);
    assert_eq!(take(&mut scheduler, 1_001).unwrap().id, id(3));
    assert_eq!(
        scheduler.result(&first, Attempt::default(), 1_002),
        Decision::Withdrawn,
        "only once"
    );
}

#[test]
fn deferrals_follow_the_schedule_with_jitter() {
    let mut scheduler = filled([job(1, 0)]);
    let mut now = 1_000;
    for expected in [5_000, 15_000, 15_000] {
        let assignment = take(&mut scheduler, now).unwrap();
        let Decision::Retry { due_ms, .. } = scheduler.result(&assignment, failed(), now) else {
            panic!("not retried")
        };
        let delay = due_ms - now;
        assert!((expected..=expected + expected / 8).contains(&delay), "{delay}");
        assert_eq!(scheduler.next(due_ms - 1), Pick::WakeAt(due_ms));
        now = due_ms;
    }
    assert_eq!(take(&mut scheduler, now).unwrap().attempts, 3);
}

#[test]
fn nothing_expires_unattempted() {
    let mut scheduler = filled([job(1, 0)]);
    let late = 1_000 + 6 * DAY;
    let assignment = take(&mut scheduler, late).expect("a long stop still allows an attempt");
    assert_eq!(scheduler.result(&assignment, failed(), late + 1), Decision::Expired);
    assert_eq!(scheduler.next(late + 2), Pick::Idle);

    let mut scheduler = filled([job(2, 0)]);
    let before = 999 + 5 * DAY;
    let assignment = take(&mut scheduler, before).unwrap();
    let decision = scheduler.result(&assignment, failed(), before + 100);
    assert!(matches!(decision, Decision::Retry { .. }), "it started before the deadline");
}

#[test]
fn a_job_may_have_a_lifetime_of_its_own() {
    let brief = Job { lifetime_ms: Some(2 * DAY), ..job(1, 0) };
    let mut scheduler = filled([brief, job(2, 0)]);
    let now = 1_000 + 2 * DAY;
    for expected in [true, false] {
        let assignment = take(&mut scheduler, now).unwrap();
        let decision = scheduler.result(&assignment, failed(), now);
        assert_eq!(decision == Decision::Expired, expected, "{:?}", assignment.id);
    }
}

#[test]
fn the_last_attempt_comes_with_the_deadline() {
    let mut scheduler = filled([Job { pace: Pace::Exchanger, attempts: 5, ..job(1, 0) }]);
    let deadline = 1_000 + 5 * DAY;
    let now = deadline - 600_000;
    let assignment = take(&mut scheduler, now).unwrap();
    let Decision::Retry { due_ms, .. } = scheduler.result(&assignment, failed(), now) else {
        panic!("not retried")
    };
    assert!((deadline..deadline + 600_000).contains(&due_ms));
}

#[test]
fn held_messages_wait_for_the_operator() {
    let mut scheduler = filled([job(1, 0), Job { held: true, ..job(2, 0) }]);
    scheduler.hold(id(1));
    assert_eq!(scheduler.next(2_000), Pick::Idle);
    scheduler.release_hold(id(2), 2_000);
    let assignment = take(&mut scheduler, 2_000).unwrap();
    assert_eq!(assignment.id, id(2));
    scheduler.hold(id(2));
    scheduler.result(&assignment, failed(), 2_000);
    assert_eq!(scheduler.next(DAY), Pick::Idle, "held while under way");
    scheduler.release_hold(id(2), DAY);
    assert_eq!(take(&mut scheduler, DAY).unwrap().id, id(2));
}

#[test]
fn retry_and_withdraw() {
    let mut scheduler = filled([Job { due_ms: DAY, ..job(1, 0) }, job(2, 0)]);
    assert!(scheduler.retry(id(1), 2_000));
    assert!(!scheduler.retry(id(1), 2_000), "it is ready already");
    scheduler.withdraw(id(2));
    let assignment = take(&mut scheduler, 2_000).unwrap();
    assert_eq!(assignment.id, id(1));
    scheduler.withdraw(id(1));
    assert_eq!(scheduler.result(&assignment, failed(), 2_001), Decision::Withdrawn);
    assert_eq!((scheduler.next(2_001), scheduler.assigned()), (Pick::Idle, 0));
}

#[test]
fn a_released_pick_goes_first_and_counts_no_attempt() {
    let mut scheduler = filled([job(1, 0), job(2, 0)]);
    let assignment = take(&mut scheduler, 1_000).unwrap();
    scheduler.release(&assignment);
    let again = take(&mut scheduler, 1_000).unwrap();
    assert_eq!((again.id, again.attempts), (id(1), 0));
}

#[test]
fn jobs_can_move_to_other_routes() {
    let mut scheduler = filled([job(1, 0), Job { due_ms: DAY, ..job(2, 0) }, job(3, 0)]);
    let under_way = take(&mut scheduler, 1_000).unwrap();
    let jobs = scheduler.take_all();
    assert_eq!(jobs.iter().map(|job| job.id.counter()).collect::<Vec<_>>(), [2, 3]);
    for job in jobs {
        scheduler.enqueue(Job { route: RouteId(1), ..job }, 1_000);
    }
    assert_eq!(take(&mut scheduler, 1_000).unwrap().route, RouteId(1));
    let decision = scheduler.result(&under_way, failed(), 1_000);
    assert!(matches!(decision, Decision::Retry { .. }));
    assert_eq!(scheduler.take(under_way.key).unwrap().attempts, 1);
    assert!(scheduler.take(under_way.key).is_none());
}

#[test]
fn what_an_outage_deferred_goes_when_the_route_works_again() {
    let mut scheduler = filled((1..=4).map(|counter| job(counter, 0)).chain([job(9, 1)]));
    let outage = || Attempt { deferred: vec![0], outage: true };
    let mut now = 1_000;
    for _ in 0..6 {
        while let Some(assignment) = take(&mut scheduler, now) {
            let decision = scheduler.result(&assignment, outage(), now);
            assert!(matches!(decision, Decision::Retry { .. }));
        }
        let Pick::WakeAt(due_ms) = scheduler.next(now) else { panic!("nothing waits") };
        now = due_ms;
    }
    let first = take(&mut scheduler, now).unwrap();
    let other_route = RouteId(1 - first.route.0);
    scheduler.result(&first, Attempt::default(), now);
    let mut freed = 0;
    while let Some(assignment) = take(&mut scheduler, now) {
        assert_ne!(assignment.route, other_route, "the other route is still out");
        scheduler.result(&assignment, Attempt::default(), now);
        freed += 1;
    }
    assert_eq!(freed, if first.route.0 == 0 { 3 } else { 0 });
}

#[test]
fn a_paused_route_waits_and_tells_so() {
    let mut scheduler = filled([job(1, 0), job(2, 1)]);
    scheduler.set_paused(RouteId(0), true);
    assert_eq!(take(&mut scheduler, 1_000).unwrap().id, id(2));
    assert_eq!(scheduler.next(1_000), Pick::Idle);
    assert_eq!(scheduler.why(id(1))[0].1, Waits::Paused);
    assert_eq!(scheduler.why(id(2))[0].1, Waits::Result);
    scheduler.set_paused(RouteId(0), false);
    assert_eq!(scheduler.why(id(1))[0].1, Waits::Turn);
    assert_eq!(take(&mut scheduler, 1_000).unwrap().id, id(1));
}

#[test]
fn paused_picks_nothing() {
    let mut scheduler = filled([job(1, 0)]);
    scheduler.set_options(Options { paused: true, ..options() });
    assert_eq!(scheduler.next(1_000), Pick::Idle);
    scheduler.set_options(options());
    assert!(take(&mut scheduler, 1_000).is_some());
}

#[derive(Clone, Debug)]
enum Event {
    Enqueue(u32),
    Next,
    Result(bool),
    Release,
    Hold(u64),
    ReleaseHold(u64),
    Retry(u64),
    Withdraw(u64),
    Pass(u64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0u32..3).prop_map(Event::Enqueue),
        Just(Event::Next),
        Just(Event::Next),
        any::<bool>().prop_map(Event::Result),
        Just(Event::Release),
        (0u64..20).prop_map(Event::Hold),
        (0u64..20).prop_map(Event::ReleaseHold),
        (0u64..20).prop_map(Event::Retry),
        (0u64..20).prop_map(Event::Withdraw),
        (0u64..600_000).prop_map(Event::Pass),
    ]
}

proptest! {
    /// Whatever happens, each job that was not withdrawn ends exactly once, and no bound is passed.
    #[test]
    fn every_job_ends_exactly_once(events in proptest::collection::vec(event(), 1..120)) {
        let mut scheduler = Scheduler::new(options(), 3);
        let (mut now, mut count) = (1_000u64, 0u64);
        let mut open = Vec::new();
        let mut ended = HashMap::new();
        let mut withdrawn = std::collections::HashSet::new();
        for event in events {
            match event {
                Event::Enqueue(route) => {
                    scheduler.enqueue(job(count, route), now);
                    count += 1;
                }
                Event::Next => open.extend(take(&mut scheduler, now)),
                Event::Result(fails) if !open.is_empty() => {
                    let assignment = open.swap_remove(0);
                    let attempt = if fails { failed() } else { Attempt::default() };
                    match scheduler.result(&assignment, attempt, now) {
                        Decision::Done | Decision::Expired => {
                            *ended.entry(assignment.id).or_insert(0) += 1;
                        }
                        Decision::Withdrawn => prop_assert!(withdrawn.contains(&assignment.id)),
                        Decision::Retry { due_ms, .. } => prop_assert!(due_ms > now),
                    }
                }
                Event::Release if !open.is_empty() => scheduler.release(&open.swap_remove(0)),
                Event::Hold(n) => scheduler.hold(id(n)),
                Event::ReleaseHold(n) => scheduler.release_hold(id(n), now),
                Event::Retry(n) => drop(scheduler.retry(id(n), now)),
                Event::Withdraw(n) if n < count => {
                    scheduler.withdraw(id(n));
                    withdrawn.insert(id(n));
                }
                Event::Pass(ms) => now += ms,
                Event::Result(_) | Event::Release | Event::Withdraw(_) => {}
            }
            for route in 0..3 {
                prop_assert!(scheduler.load(RouteId(route)).1 <= 2);
            }
        }
        for n in 0..count {
            scheduler.release_hold(id(n), now);
        }
        for assignment in open.drain(..) {
            scheduler.release(&assignment);
        }
        loop {
            match scheduler.next(now) {
                Pick::Assignment(assignment) => {
                    prop_assert_eq!(scheduler.result(&assignment, Attempt::default(), now), Decision::Done);
                    *ended.entry(assignment.id).or_insert(0) += 1;
                }
                Pick::WakeAt(due_ms) => now = due_ms,
                Pick::Idle => break,
            }
        }
        for n in (0..count).filter(|n| !withdrawn.contains(&id(*n))) {
            prop_assert_eq!(ended.get(&id(n)), Some(&1), "message {}", n);
        }
        prop_assert!(scheduler.jobs.is_empty() && scheduler.of_message.is_empty());
        prop_assert_eq!(scheduler.assigned(), 0);
    }
}
