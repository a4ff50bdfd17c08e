//! The end of a transaction: what it says of the site, and what becomes of its recipients.

use std::sync::Arc;

use super::Scheduler;
use super::backoff::Failed;
use super::entry::Place;
use super::job::{Assignment, Attempt, Decision, Limit, Scope, Verdict};

impl Scheduler {
    /// Ends an attempt.
    pub fn result(&mut self, assignment: &Assignment, attempt: Attempt, now_ms: u64) -> Decision {
        self.steps = 1;
        self.messages.prefetch(assignment.id);
        let key = assignment.key.0;
        if !self.is_under_way(assignment) {
            return Decision::Withdrawn;
        }
        let back = self.learn_from(assignment, attempt.verdict, now_ms);
        if back {
            self.refund(assignment);
        }
        self.end(assignment, now_ms);
        if self.jobs[key].place() == Place::Withdrawn {
            self.forget(key, now_ms);
            return Decision::Withdrawn;
        }
        if attempt.deferred.is_empty() {
            self.forget(key, now_ms);
            return Decision::Done;
        }
        self.set_recipients(key, attempt.deferred.into());
        self.decide(assignment, back, now_ms)
    }

    /// Gives a pick back as if it had not happened; it goes first in its line.
    pub fn release(&mut self, assignment: &Assignment, now_ms: u64) {
        self.steps = 1;
        if self.is_under_way(assignment) {
            self.refund(assignment);
            self.sites[assignment.site.0].give_back(&self.options.site);
            self.end(assignment, now_ms);
            self.put_back(assignment.key.0, now_ms);
        }
    }

    /// A number is used again, also by another part of the same message.
    fn is_under_way(&self, assignment: &Assignment) -> bool {
        let key = assignment.key.0;
        key < self.jobs.used() && {
            let entry = &self.jobs[key];
            entry.message() == assignment.id
                && matches!(entry.place(), Place::Assigned | Place::Withdrawn)
                && u32::from(entry.attempts) == assignment.attempts
                && self.is_for(key, &assignment.recipients)
        }
    }

    /// What becomes of recipients that were not settled.
    fn decide(&mut self, assignment: &Assignment, back: bool, now_ms: u64) -> Decision {
        let key = assignment.key.0;
        let entry = &self.jobs[key];
        let lifetime_ms = self.lifetime_ms(entry.lifetime());
        let deadline_ms = self.since_ms(key).saturating_add(lifetime_ms);
        if assignment.started_ms >= deadline_ms || self.is_too_late(key, now_ms) {
            self.forget(key, now_ms);
            return Decision::Expired;
        }
        if back {
            self.put_back(key, now_ms);
            return Decision::Back;
        }
        let attempts = u32::from(entry.attempts).saturating_add(1);
        let failed = Failed { pace: entry.pace(), attempts, deadline_ms };
        let due_ms = self.options.backoff.after(&failed, now_ms, &mut self.random);
        let entry = &mut self.jobs[key];
        entry.attempts = u16::try_from(attempts).unwrap_or(u16::MAX);
        entry.set_due_ms(due_ms);
        let place = if entry.is_held() { Place::Held } else { Place::Waiting };
        self.put(key, place, now_ms);
        Decision::Retry { attempts, due_ms }
    }

    /// How long a message of this class is tried.
    pub(super) fn lifetime_ms(&self, class: usize) -> u64 {
        let lifetimes = &self.options.lifetimes_ms;
        lifetimes.get(class).or(lifetimes.last()).copied().unwrap_or(u64::MAX)
    }

    /// Puts what was not tried first in its line.
    fn put_back(&mut self, key: u32, now_ms: u64) {
        match self.jobs[key].place() {
            Place::Withdrawn => self.forget(key, now_ms),
            _ if self.jobs[key].is_held() => self.jobs[key].set_place(Place::Held),
            _ => {
                self.make_ready(key, true, now_ms);
                self.watch(key);
            }
        }
    }

    /// Learns what an attempt says of its site; whether it was no attempt at the message.
    fn learn_from(&mut self, assignment: &Assignment, verdict: Verdict, now_ms: u64) -> bool {
        let (site, started_ms) = (assignment.site.0, assignment.started_ms);
        match verdict {
            Verdict::Served => {
                self.sites[site].serve(&self.options.site, started_ms, now_ms);
                self.is_back(site, now_ms);
                false
            }
            Verdict::Broken => {
                self.sites[site].window.cut(started_ms, now_ms);
                false
            }
            Verdict::Unreachable(reply) => {
                if self.sites[site].miss(started_ms, now_ms) {
                    self.close(site, assignment.route.0, reply, now_ms);
                }
                true
            }
            Verdict::Limited { scope: Scope::Site, limit, pause_ms, reply } => {
                self.limit(assignment, limit, pause_ms, reply, now_ms);
                true
            }
            Verdict::Limited { .. } => {
                self.sites[site].serve(&self.options.site, started_ms, now_ms);
                false
            }
        }
    }

    fn limit(
        &mut self,
        assignment: &Assignment,
        limit: Limit,
        pause_ms: u64,
        reply: Arc<str>,
        now_ms: u64,
    ) {
        let site = &mut self.sites[assignment.site.0];
        if limit == Limit::Connections {
            site.window.cut(assignment.started_ms, now_ms);
        }
        // One at a time is still too much: only waiting helps.
        let alone = site.assigned <= 1;
        if limit == Limit::Rate || pause_ms > 0 || alone {
            site.complain(assignment.started_ms, pause_ms, now_ms, reply);
        }
    }

    /// Takes a transaction off the books.
    fn end(&mut self, assignment: &Assignment, now_ms: u64) {
        let key = assignment.key.0;
        let stream = self.jobs[key].flow;
        let unproven = u32::from(self.jobs[key].is_unproven());
        self.slots.assigned -= 1;
        self.slots.unproven -= unproven;
        let site = assignment.site.0;
        self.sites[site].assigned -= 1;
        self.refresh(site, now_ms);
        let route = assignment.route.0;
        self.routes[route].assigned -= 1;
        if let Some(gate) = &mut self.routes[route].gate {
            gate.end();
            self.wake_route(route, now_ms);
        }
        let tenant = self.flows.slab[stream].tenant;
        self.tenants.slab[tenant].unproven -= unproven;
        let gate = &mut self.tenants.slab[tenant].gate;
        gate.end();
        self.tenants.active -= u32::from(gate.assigned == 0);
        // Its rate may have been given back.
        if gate.concurrency_max.is_some() || gate.rate.is_some() {
            self.wake_tenant(tenant, now_ms);
        }
        self.wake_short(now_ms);
    }

    /// What was not tried is not paid for.
    fn refund(&mut self, assignment: &Assignment) {
        let key = assignment.key.0;
        let stream = self.jobs[key].flow;
        let cost = self.jobs[key].cost(assignment.recipients.len());
        self.flows.refund(stream, cost as i32);
        if let Some(gate) = &mut self.routes[assignment.route.0].gate {
            gate.give_back();
        }
        let tenant = self.flows.slab[stream].tenant;
        self.tenants.slab[tenant].gate.give_back();
        if let Some(rate) = self.options.rate {
            self.bucket.give_back(rate.gap_us());
        }
    }
}
