//! The scheduler in virtual time.

mod attacks;
mod fairness;
mod invariants;
mod properties;
mod stories;
mod timing;

use super::*;

pub(super) const DAY_MS: u64 = 86_400_000;

pub(super) fn options() -> Options {
    Options {
        backoff: Backoff {
            exchanger_ms: vec![300_000, 3_600_000],
            next_hop_ms: vec![5_000, 15_000],
        },
        lifetimes_ms: vec![5 * DAY_MS, 2 * DAY_MS],
        warnings_ms: vec![4 * 3_600_000],
        probe_delay_max_ms: 300_000,
        slots_max: 100,
        rate: None,
        site: Limits { concurrency_max: 20, recipients_max: 100, rate: None },
        tenant: TenantLimits::default(),
        paused: false,
    }
}

pub(super) fn id(counter: u64) -> MessageId {
    MessageId::new(1, 1, counter).unwrap()
}

/// A scheduler with as many routes as sites, each its own.
pub(super) struct Rig {
    pub(super) scheduler: Scheduler,
}

impl Rig {
    pub(super) fn new(options: Options, sites: u32) -> Self {
        let mut scheduler = Scheduler::new(options, 7);
        (0..sites).for_each(|site| scheduler.set_route(RouteId(site), SiteId(site), None, 0));
        Self { scheduler }
    }

    pub(super) fn job(&mut self, counter: u64, route: u32) -> Job {
        self.of("somebody", counter, route)
    }

    pub(super) fn of(&mut self, tenant: &str, counter: u64, route: u32) -> Job {
        Job {
            id: id(counter),
            route: RouteId(route),
            tenant: self.scheduler.tenant(tenant),
            class: Class::default(),
            band: Band::default(),
            stream: 0,
            pace: Pace::NextHop,
            recipients: [0].into_iter().collect(),
            size: 1000,
            attempts: 0,
            due_ms: 0,
            arrived_ms: 1_000,
            lifetime: 0,
            timing: Timing::default(),
            held: false,
            tag: 0,
        }
    }

    pub(super) fn enqueue(&mut self, job: Job, now_ms: u64) {
        self.scheduler.enqueue(job, now_ms);
        invariants::check(&self.scheduler, now_ms);
    }

    pub(super) fn put(&mut self, counter: u64, route: u32, now_ms: u64) {
        let job = self.job(counter, route);
        self.enqueue(job, now_ms);
    }

    pub(super) fn next(&mut self, now_ms: u64) -> Pick {
        loop {
            let pick = self.scheduler.next(now_ms);
            assert!(self.scheduler.steps() <= STEPS_MAX + 8, "{}", self.scheduler.steps());
            if pick != Pick::Again {
                invariants::check(&self.scheduler, now_ms);
                return pick;
            }
        }
    }

    pub(super) fn take(&mut self, now_ms: u64) -> Option<Assignment> {
        match self.next(now_ms) {
            Pick::Assignment(assignment) => Some(assignment),
            _ => None,
        }
    }

    pub(super) fn take_all(&mut self, now_ms: u64) -> Vec<Assignment> {
        std::iter::from_fn(|| self.take(now_ms)).collect()
    }

    pub(super) fn end(
        &mut self,
        assignment: &Assignment,
        attempt: Attempt,
        now_ms: u64,
    ) -> Decision {
        let decision = self.scheduler.result(assignment, attempt, now_ms);
        invariants::check(&self.scheduler, now_ms);
        decision
    }

    pub(super) fn done(&mut self, assignment: &Assignment, now_ms: u64) {
        assert_eq!(self.end(assignment, Attempt::default(), now_ms), Decision::Done);
    }
}

pub(super) fn by(at_ms: u64) -> Option<Deadline> {
    Some(Deadline { at_ms, ends: false })
}

pub(super) fn late_at(at_ms: u64) -> Timing {
    Timing { release_ms: 0, deadline: by(at_ms) }
}

pub(super) fn failed(assignment: &Assignment) -> Attempt {
    Attempt { deferred: assignment.recipients.to_vec(), verdict: Verdict::Served }
}

pub(super) fn unreachable(assignment: &Assignment) -> Attempt {
    let verdict = Verdict::Unreachable("connection refused".into());
    Attempt { deferred: assignment.recipients.to_vec(), verdict }
}

pub(super) fn limited(assignment: &Assignment, limit: Limit) -> Attempt {
    let reply = "450 4.7.28 slow down".into();
    let verdict = Verdict::Limited { scope: Scope::Site, limit, pause_ms: 0, reply };
    Attempt { deferred: assignment.recipients.to_vec(), verdict }
}
