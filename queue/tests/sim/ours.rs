//! The scheduler of this crate, as a discipline.
//!
//! Beside what every run checks: no retry before its time, and no steps without bound.

use std::collections::HashMap;

use angarium_queue::id::MessageId;
use angarium_queue::schedule::{
    Assignment, Attempt, Backoff, Band, Class, Deadline, Decision, Job, Limit, Limits, Notice,
    Options, Pace, Pick, Rate, RouteId, STEPS_MAX, Scheduler, Scope, SiteId, TenantLimits, Timing,
    Verdict,
};

use super::discipline::{self, Discipline, Mail, Next, Outcome, Setup, Start};

/// What the world calls 0: a time since the epoch, as the scheduler knows time.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// How often a call may ask to be called again, one after the other.
const AGAIN_MAX: u32 = 1_000_000;
const MINUTE_MS: u64 = 60_000;

pub struct Ours {
    scheduler: Scheduler,
    open: HashMap<u64, Assignment>,
    /// When what was put off is due, by mail.
    due_ms: HashMap<u32, u64>,
    count: u64,
    steps_max: u32,
}

impl Ours {
    pub fn new(setup: &Setup) -> Self {
        let mut scheduler = Scheduler::new(options(setup), setup.seed);
        for (route, site) in setup.sites.iter().enumerate() {
            scheduler.set_route(RouteId(route as u32), SiteId(*site), None, EPOCH_MS);
        }
        if let Some((tenant, per_s)) = setup.tenant_rate {
            let rate = Some(Rate { count: per_s, per_ms: 1000 });
            let limits = TenantLimits { concurrency_max: None, rate };
            scheduler.set_tenant(&name(tenant), Some(limits), EPOCH_MS);
        }
        Self { scheduler, open: HashMap::new(), due_ms: HashMap::new(), count: 0, steps_max: 0 }
    }

    fn count_steps(&mut self) {
        let steps = self.scheduler.steps();
        assert!(steps <= STEPS_MAX, "a call took {steps} steps");
        self.steps_max = self.steps_max.max(steps);
    }

    fn start(&mut self, assignment: Assignment, now_ms: u64) -> Start {
        let mail = assignment.id.as_u64() as u32;
        if let Some(due_ms) = self.due_ms.remove(&mail) {
            assert!(now_ms >= due_ms, "mail {mail} is tried again before its time");
        }
        self.count += 1;
        let token = self.count;
        let (site, recipients) = (assignment.site.0, assignment.recipients.clone());
        self.open.insert(token, assignment);
        Start { mail, site, recipients: recipients.into_vec(), token }
    }
}

fn options(setup: &Setup) -> Options {
    let exchanger_ms = [5, 10, 20, 40, 60].map(|minutes| minutes * MINUTE_MS).to_vec();
    Options {
        backoff: Backoff { exchanger_ms, next_hop_ms: vec![5_000, 15_000, MINUTE_MS] },
        lifetimes_ms: vec![setup.lifetime_ms],
        warnings_ms: setup.warnings_ms.clone(),
        probe_delay_max_ms: 300_000,
        slots_max: setup.slots as u32,
        rate: None,
        site: Limits {
            concurrency_max: setup.concurrency,
            recipients_max: setup.recipients_max as u32,
            rate: None,
        },
        tenant: TenantLimits { concurrency_max: None, rate: None },
        paused: false,
    }
}

fn name(tenant: u32) -> String {
    format!("tenant-{tenant}")
}

fn verdict(verdict: discipline::Verdict) -> Verdict {
    let limited = |limit, reply: &str| Verdict::Limited {
        scope: Scope::Site,
        limit,
        pause_ms: 0,
        reply: reply.into(),
    };
    match verdict {
        discipline::Verdict::Served => Verdict::Served,
        discipline::Verdict::Unreachable => Verdict::Unreachable("no connection".into()),
        discipline::Verdict::Limited => limited(Limit::Rate, "421 4.7.0 too fast"),
        discipline::Verdict::TurnedAway => {
            limited(Limit::Connections, "421 4.3.2 too many connections")
        }
        discipline::Verdict::Broken => Verdict::Broken,
    }
}

impl Discipline for Ours {
    fn enqueue(&mut self, number: u32, mail: &Mail, now_ms: u64) {
        let class = match mail.class {
            discipline::Class::Submitted => Class::Submitted,
            discipline::Class::Inbound => Class::Inbound,
            discipline::Class::Report => Class::Report,
        };
        let arrived_ms = EPOCH_MS + mail.arrived_us / 1000;
        let later = mail.due_us > 0;
        let job = Job {
            id: MessageId::from_u64(u64::from(number)),
            route: RouteId(mail.route),
            tenant: self.scheduler.tenant(&name(mail.tenant)),
            class,
            band: if mail.deadline_in_us.is_some() { Band::Urgent } else { Band::Normal },
            stream: mail.stream,
            pace: Pace::Exchanger,
            recipients: (0..mail.recipients).collect(),
            size: u64::from(mail.size),
            attempts: 0,
            due_ms: if later { EPOCH_MS + mail.due_us.div_ceil(1000) } else { 0 },
            arrived_ms,
            lifetime: 0,
            timing: Timing {
                release_ms: 0,
                deadline: mail.deadline_in_us.map(|within_us| Deadline {
                    at_ms: arrived_ms + within_us / 1000,
                    ends: false,
                }),
            },
            held: false,
            tag: 0,
        };
        self.scheduler.enqueue(job, EPOCH_MS + now_ms);
        self.count_steps();
    }

    fn next(&mut self, now_ms: u64) -> Next {
        for _ in 0..AGAIN_MAX {
            let pick = self.scheduler.next(EPOCH_MS + now_ms);
            self.count_steps();
            return match pick {
                Pick::Assignment(assignment) => Next::Start(self.start(assignment, now_ms)),
                Pick::Probe(site, _) => Next::Probe(site.0),
                Pick::WakeAt(at_ms) => Next::WakeAt(at_ms - EPOCH_MS),
                Pick::Idle => Next::Idle,
                Pick::Again => continue,
            };
        }
        panic!("it asks to be called again without end");
    }

    fn result(&mut self, start: Start, attempt: &discipline::Attempt, now_ms: u64) -> Outcome {
        let assignment = self.open.remove(&start.token).unwrap();
        let attempt =
            Attempt { deferred: attempt.deferred.clone(), verdict: verdict(attempt.verdict) };
        let decision = self.scheduler.result(&assignment, attempt, EPOCH_MS + now_ms);
        self.count_steps();
        match decision {
            Decision::Done | Decision::Back => Outcome::Kept,
            Decision::Retry { due_ms, .. } => {
                self.due_ms.insert(start.mail, due_ms - EPOCH_MS);
                Outcome::Kept
            }
            Decision::Expired => Outcome::Expired,
            Decision::Withdrawn => panic!("nobody withdrew mail {}", start.mail),
        }
    }

    fn probed(&mut self, site: u32, answers: bool, now_ms: u64) {
        let failure = (!answers).then(|| "no connection".into());
        self.scheduler.probed(SiteId(site), failure, EPOCH_MS + now_ms);
        self.count_steps();
    }

    fn notice(&mut self, now_ms: u64) -> Option<discipline::Notice> {
        let notice = self.scheduler.notice(EPOCH_MS + now_ms);
        self.count_steps();
        let number = |id: MessageId| id.as_u64() as u32;
        Some(match notice? {
            Notice::Expired(Assignment { id, recipients, .. }) => {
                discipline::Notice::Expired(number(id), recipients.into_vec())
            }
            Notice::Waiting(id) => discipline::Notice::Waiting(number(id)),
            Notice::Late(_, id) => discipline::Notice::Late(number(id)),
            Notice::Ended(_) => panic!("no mail here ends at its deadline"),
        })
    }

    fn set_route(&mut self, route: u32, site: u32, now_ms: u64) {
        self.scheduler.set_route(RouteId(route), SiteId(site), None, EPOCH_MS + now_ms);
        self.count_steps();
    }

    fn steps_max(&self) -> u32 {
        self.steps_max
    }
}
