//! Days of a queue in virtual time: a stop, a pause, a dead route, a mailstore that comes back.
//!
//! 10,000 messages each. Nothing expires without a failed attempt after its deadline, and what an
//! outage held back goes at full speed once it is over.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use std::collections::HashMap;

use angarium_queue::id::MessageId;
use angarium_queue::schedule::{
    Assignment, Attempt, Backoff, Band, Class, Decision, Job, Limits, Notice, Options, Pace, Pick,
    RouteId, Scheduler, SiteId, TenantLimits, Timing, Verdict,
};

const MESSAGES: u64 = 10_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const LIFETIME: u64 = 5 * DAY;
/// How long a delivery takes.
const SERVICE: u64 = 10;
const CONCURRENCY: u32 = 20;

fn options(paused: bool) -> Options {
    let minute = 60_000;
    Options {
        backoff: Backoff {
            exchanger_ms: [5, 10, 20, 30, 60, 120, 240].map(|minutes| minutes * minute).to_vec(),
            next_hop_ms: vec![5_000, 15_000, minute, 5 * minute, 15 * minute],
        },
        lifetimes_ms: vec![LIFETIME],
        warnings_ms: Vec::new(),
        probe_delay_max_ms: 300_000,
        slots_max: 500,
        rate: None,
        site: Limits { concurrency_max: CONCURRENCY, recipients_max: 100, rate: None },
        tenant: TenantLimits::default(),
        paused,
    }
}

fn job(scheduler: &mut Scheduler, counter: u64) -> Job {
    Job {
        id: MessageId::new(1, 1, counter).unwrap(),
        route: RouteId(0),
        tenant: scheduler.tenant("192.0.2.1"),
        class: Class::Inbound,
        band: Band::Normal,
        stream: counter,
        size: 4_000,
        pace: if counter.is_multiple_of(2) { Pace::NextHop } else { Pace::Exchanger },
        recipients: [0].into_iter().collect(),
        attempts: 0,
        due_ms: 0,
        arrived_ms: arrived_ms(counter),
        lifetime: 0,
        timing: Timing::default(),
        held: false,
        tag: 0,
    }
}

/// Accepted over a minute.
fn arrived_ms(counter: u64) -> u64 {
    counter * 6
}

fn filled(paused: bool, now_ms: u64) -> Scheduler {
    let mut scheduler = Scheduler::new(options(paused), 11);
    scheduler.set_route(RouteId(0), SiteId(0), None, now_ms);
    for counter in 0..MESSAGES {
        let job = job(&mut scheduler, counter);
        scheduler.enqueue(job, now_ms);
    }
    scheduler
}

/// What became of each message.
#[derive(Default)]
struct Ends {
    delivered: HashMap<MessageId, u64>,
    expired: HashMap<MessageId, u64>,
    /// When the last attempt began, by which a probe counts for what waits behind it.
    tried: HashMap<MessageId, u64>,
}

/// Runs from `now` until nothing is left or `until` has come; the route is out before `works_at`.
fn run(scheduler: &mut Scheduler, mut now: u64, until: u64, works_at: u64) -> Ends {
    let mut ends = Ends::default();
    let mut busy: Vec<(u64, Assignment)> = Vec::new();
    while now <= until && !(scheduler.is_empty() && busy.is_empty()) {
        let wake = loop {
            match scheduler.next(now) {
                Pick::Assignment(assignment) => {
                    ends.tried.insert(assignment.id, now);
                    busy.push((now + SERVICE, assignment));
                }
                Pick::Probe(site, _) => {
                    let failure = (now < works_at).then(|| "connection refused".into());
                    scheduler.probed(site, failure, now);
                }
                Pick::Again => {}
                Pick::WakeAt(at) => break Some(at),
                Pick::Idle => break None,
            }
        };
        while let Some(notice) = scheduler.notice(now) {
            let Notice::Expired(over) = notice else { panic!("{notice:?}") };
            ends.tried.insert(over.id, over.started_ms);
            assert_eq!(ends.expired.insert(over.id, now), None);
        }
        assert!(busy.len() <= CONCURRENCY as usize);
        let next_end = busy.iter().map(|(end, _)| *end).min();
        // What is told is asked for every second.
        let ask = (now + 1_000).min(until + 1);
        now = next_end.into_iter().chain(wake).chain([ask]).min().unwrap().max(now);
        let (over, rest) = busy.into_iter().partition(|(end, _)| *end <= now);
        busy = rest;
        for (_, assignment) in over {
            settle(scheduler, &assignment, now, works_at, &mut ends);
        }
    }
    ends
}

fn settle(
    scheduler: &mut Scheduler,
    assignment: &Assignment,
    now: u64,
    works_at: u64,
    ends: &mut Ends,
) {
    let attempt = match assignment.started_ms < works_at {
        true => Attempt {
            deferred: vec![0],
            verdict: Verdict::Unreachable("connection refused".into()),
        },
        false => Attempt::default(),
    };
    match scheduler.result(assignment, attempt, now) {
        Decision::Done => assert_eq!(ends.delivered.insert(assignment.id, now), None),
        Decision::Expired => assert_eq!(ends.expired.insert(assignment.id, now), None),
        Decision::Back => {}
        other => panic!("{other:?}"),
    }
}

/// Each message expired, after an attempt that began after its deadline.
fn assert_all_expired_attempted(ends: &Ends) {
    assert_eq!((ends.delivered.len(), ends.expired.len() as u64), (0, MESSAGES));
    for counter in 0..MESSAGES {
        let id = MessageId::new(1, 1, counter).unwrap();
        let last = ends.tried[&id];
        assert!(last >= arrived_ms(counter) + LIFETIME, "message {counter} expired unattempted");
        assert!(ends.expired[&id] >= last);
    }
}

#[test]
fn after_a_stop_of_six_days_each_is_tried_before_it_expires() {
    let start = 6 * DAY;
    let mut scheduler = filled(false, start);
    assert_all_expired_attempted(&run(&mut scheduler, start, 7 * DAY, u64::MAX));

    let mut scheduler = filled(false, start);
    let ends = run(&mut scheduler, start, 7 * DAY, 0);
    assert_eq!((ends.delivered.len() as u64, ends.expired.len()), (MESSAGES, 0));
}

#[test]
fn after_a_pause_of_six_days_each_is_tried_before_it_expires() {
    let mut scheduler = filled(true, 0);
    let ends = run(&mut scheduler, 0, 6 * DAY, 0);
    assert!(ends.tried.is_empty() && ends.expired.is_empty());
    scheduler.set_options(options(false), 6 * DAY);
    assert_all_expired_attempted(&run(&mut scheduler, 6 * DAY, 7 * DAY, u64::MAX));
}

#[test]
fn on_a_route_dead_for_six_days_each_is_tried_after_its_deadline() {
    let mut scheduler = filled(false, 0);
    let ends = run(&mut scheduler, 0, 6 * DAY, u64::MAX);
    assert_all_expired_attempted(&ends);
    let late = ends.expired.values().filter(|&&at| at > LIFETIME + 6 * HOUR).count();
    assert_eq!(late, 0, "and not long after it");
}

#[test]
fn a_mailstore_back_after_six_hours_is_drained_at_full_speed() {
    let works_at = 6 * HOUR;
    let mut scheduler = filled(false, 0);
    let ends = run(&mut scheduler, 0, DAY, works_at);
    assert_eq!(ends.delivered.len() as u64, MESSAGES);
    let first = *ends.delivered.values().min().unwrap();
    let last = *ends.delivered.values().max().unwrap();
    // A site is looked at every quarter of an hour at least.
    assert!(first < works_at + 17 * 60_000, "the first came {} ms after", first - works_at);
    let at_full_speed = MESSAGES * SERVICE / CONCURRENCY as u64;
    // The slow start takes a little.
    assert!(last - first <= at_full_speed * 5 / 4 + 1_000, "drained in {} ms", last - first);
}
