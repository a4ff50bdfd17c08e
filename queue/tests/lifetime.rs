//! Days of a queue in virtual time: a stop, a pause, a dead route, a mailstore that comes back.
//!
//! 10,000 messages each. Nothing expires without a failed attempt after its deadline, and what an
//! outage held back goes at full speed once it is over.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use std::collections::HashMap;

use angarium_queue::id::MessageId;
use angarium_queue::schedule::{
    Assignment, Attempt, Backoff, Decision, Job, Options, Pace, Pick, RouteId, Scheduler,
};

const MESSAGES: u64 = 10_000;
const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;
const LIFETIME: u64 = 5 * DAY;
/// How long a delivery takes.
const SERVICE: u64 = 10;
const CONCURRENCY: usize = 20;

fn options(paused: bool) -> Options {
    let minute = 60_000;
    Options {
        backoff: Backoff {
            exchanger_ms: [5, 10, 20, 30, 60, 120, 240].map(|minutes| minutes * minute).to_vec(),
            next_hop_ms: vec![5_000, 15_000, minute, 5 * minute, 15 * minute],
            lifetime_ms: LIFETIME,
        },
        route_concurrency: CONCURRENCY,
        assignments_max: 500,
        paused,
    }
}

fn job(counter: u64) -> Job {
    Job {
        id: MessageId::new(1, 1, counter).unwrap(),
        route: RouteId(0),
        pace: if counter.is_multiple_of(2) { Pace::NextHop } else { Pace::Exchanger },
        recipients: vec![0],
        attempts: 0,
        due_ms: 0,
        // Accepted over a minute.
        arrived_ms: counter * 6,
        held: false,
        lifetime_ms: None,
    }
}

fn filled(paused: bool, now_ms: u64) -> Scheduler {
    let mut scheduler = Scheduler::new(options(paused), 11);
    for counter in 0..MESSAGES {
        scheduler.enqueue(job(counter), now_ms);
    }
    scheduler
}

/// What became of each message.
#[derive(Default)]
struct Ends {
    delivered: HashMap<MessageId, u64>,
    expired: HashMap<MessageId, u64>,
    /// When the last attempt began.
    tried: HashMap<MessageId, u64>,
}

/// Runs from `now` until nothing is left or `until` has come; the route is out before `works_at`.
fn run(scheduler: &mut Scheduler, mut now: u64, until: u64, works_at: u64) -> Ends {
    let mut ends = Ends::default();
    let mut busy: Vec<(u64, Assignment)> = Vec::new();
    while now <= until {
        let wake = loop {
            match scheduler.next(now) {
                Pick::Assignment(assignment) => {
                    ends.tried.insert(assignment.id, now);
                    busy.push((now + SERVICE, assignment));
                }
                Pick::WakeAt(at) => break Some(at),
                Pick::Idle => break None,
            }
        };
        assert!(busy.len() <= CONCURRENCY);
        let next_end = busy.iter().map(|(end, _)| *end).min();
        let Some(at) = next_end.into_iter().chain(wake).min() else { return ends };
        now = at.max(now);
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
    let out = assignment.started_ms < works_at;
    let deferred = if out { vec![0] } else { vec![] };
    match scheduler.result(assignment, Attempt { deferred, outage: out }, now) {
        Decision::Done => assert_eq!(ends.delivered.insert(assignment.id, now), None),
        Decision::Expired => assert_eq!(ends.expired.insert(assignment.id, now), None),
        Decision::Retry { due_ms, .. } => assert!(due_ms > now),
        Decision::Withdrawn => panic!("nothing was withdrawn"),
    }
}

/// Each message expired, after an attempt that began after its deadline.
fn assert_all_expired_attempted(ends: &Ends) {
    assert_eq!((ends.delivered.len(), ends.expired.len() as u64), (0, MESSAGES));
    for counter in 0..MESSAGES {
        let job = job(counter);
        let last = ends.tried[&job.id];
        assert!(last >= job.arrived_ms + LIFETIME, "message {counter} expired unattempted");
        assert_eq!(ends.expired[&job.id], last + SERVICE);
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
    scheduler.set_options(options(false));
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
    // 5,000 messages of the mailstore's pace are tried every quarter of an hour, so one comes soon.
    assert!(first < works_at + 60_000, "the first came {} ms after", first - works_at);
    let at_full_speed = MESSAGES * SERVICE / CONCURRENCY as u64;
    assert!(last - first <= at_full_speed + 1_000, "drained in {} ms", last - first);
}
