//! What holds whatever happens: random calls against the invariants and a plain account of them.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// One call.
#[derive(Clone, Debug)]
enum Call {
    Put {
        tenant: u8,
        route: u8,
        class: u8,
        band: u8,
        stream: u8,
        recipients: u8,
        wait_ms: u16,
        held: bool,
    },
    Pick,
    End {
        nth: u8,
        how: u8,
    },
    Pass(u16),
    Probe(bool),
    Hold(u8),
    Free(u8),
    Retry(u8),
    Withdraw(u8),
    Take(u8),
    Pause(u8, bool),
    Move(u8, u8),
    Notice,
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        8 => (0..6u8, 0..4u8, 0..3u8, 0..4u8, 0..4u8, 1..60u8, 0..9_000u16, any::<bool>())
            .prop_map(|(tenant, route, class, band, stream, recipients, wait_ms, held)| {
                let wait_ms = if wait_ms < 6_000 { 0 } else { wait_ms };
                let held = held && wait_ms % 7 == 1;
                Call::Put { tenant, route, class, band, stream, recipients, wait_ms, held }
            }),
        12 => Just(Call::Pick),
        9 => (any::<u8>(), 0..12u8).prop_map(|(nth, how)| Call::End { nth, how }),
        4 => (1..20_000u16).prop_map(Call::Pass),
        3 => any::<bool>().prop_map(Call::Probe),
        1 => any::<u8>().prop_map(Call::Hold),
        1 => any::<u8>().prop_map(Call::Free),
        1 => any::<u8>().prop_map(Call::Retry),
        1 => any::<u8>().prop_map(Call::Withdraw),
        1 => any::<u8>().prop_map(Call::Take),
        1 => (0..4u8, any::<bool>()).prop_map(|(route, paused)| Call::Pause(route, paused)),
        1 => (0..4u8, 0..4u8).prop_map(|(route, site)| Call::Move(route, site)),
        1 => Just(Call::Notice),
    ]
}

/// The calls, and what must come of them.
struct World {
    rig: Rig,
    now_ms: u64,
    counter: u64,
    /// Recipients that have not ended.
    open: BTreeMap<MessageId, Vec<u32>>,
    under_way: Vec<Assignment>,
    probes: Vec<SiteId>,
}

impl World {
    fn new() -> Self {
        let mut options = options();
        options.slots_max = 16;
        options.site.recipients_max = 5;
        options.site.concurrency_max = 6;
        let mut rig = Rig::new(options, 4);
        let slow = Rate { count: 2, per_ms: 1_000 };
        let limits = Limits { concurrency_max: 3, recipients_max: 4, rate: Some(slow) };
        rig.scheduler.set_route(RouteId(3), SiteId(3), Some(limits), 0);
        let tenant = TenantLimits { concurrency_max: Some(2), rate: Some(slow) };
        rig.scheduler.set_tenant("t5", Some(tenant), 0);
        Self {
            rig,
            now_ms: 1_000,
            counter: 0,
            open: BTreeMap::new(),
            under_way: Vec::new(),
            probes: Vec::new(),
        }
    }

    fn id(&self, nth: u8) -> MessageId {
        id(u64::from(nth) % self.counter.max(1) + 1)
    }

    fn call(&mut self, call: &Call) {
        let now_ms = self.now_ms;
        let named = match *call {
            Call::Hold(nth) | Call::Free(nth) | Call::Retry(nth) => self.id(nth),
            _ => id(0),
        };
        let scheduler = &mut self.rig.scheduler;
        match *call {
            Call::Put { .. } => self.put(call),
            Call::Pick => self.pick(),
            Call::End { nth, how } => self.end(nth, how),
            Call::Pass(ms) => self.now_ms += u64::from(ms),
            Call::Probe(answers) => {
                if let Some(site) = self.probes.pop() {
                    let failure = (!answers).then(|| "refused".into());
                    scheduler.probed(site, failure, now_ms);
                }
            }
            Call::Hold(_) => scheduler.hold(named, now_ms),
            Call::Free(_) => scheduler.release_hold(named, now_ms),
            Call::Retry(_) => drop(scheduler.retry(named, now_ms)),
            Call::Withdraw(nth) => {
                let id = self.id(nth);
                self.rig.scheduler.withdraw(id, now_ms);
                self.open.remove(&id);
            }
            Call::Take(nth) => {
                let id = self.id(nth);
                for job in self.rig.scheduler.take_message(id, now_ms) {
                    self.rig.scheduler.enqueue(job, now_ms);
                }
            }
            Call::Pause(route, paused) => {
                scheduler.set_paused(RouteId(u32::from(route)), paused, now_ms);
            }
            Call::Move(route, site) => {
                let (route, site) = (RouteId(u32::from(route)), SiteId(u32::from(site)));
                scheduler.set_route(route, site, None, now_ms);
            }
            Call::Notice => {
                let notice = scheduler.notice(now_ms);
                assert!(self.rig.scheduler.steps() <= STEPS_MAX);
                if let Some(Notice::Expired(over)) = notice {
                    self.ended(over.id, &over.recipients);
                }
            }
        }
        invariants::check(&self.rig.scheduler, self.now_ms);
    }

    fn put(&mut self, call: &Call) {
        let &Call::Put { tenant, route, class, band, stream, recipients, wait_ms, held } = call
        else {
            return;
        };
        self.counter += 1;
        let job = Job {
            class: [Class::Submitted, Class::Inbound, Class::Report][usize::from(class)],
            band: [Band::Urgent, Band::High, Band::Normal, Band::Low][usize::from(band)],
            stream: u64::from(stream),
            recipients: (0..u32::from(recipients)).collect(),
            due_ms: if wait_ms == 0 { 0 } else { self.now_ms + u64::from(wait_ms) },
            arrived_ms: self.now_ms,
            held,
            ..self.rig.of(&format!("t{tenant}"), self.counter, u32::from(route))
        };
        self.open.insert(job.id, job.recipients.to_vec());
        self.rig.scheduler.enqueue(job, self.now_ms);
    }

    fn pick(&mut self) {
        match self.rig.next(self.now_ms) {
            Pick::Assignment(picked) => {
                let open = self.open.get(&picked.id).expect("picked after its end");
                assert!(picked.recipients.iter().all(|one| open.contains(one)));
                let twice = self.under_way.iter().any(|other| {
                    other.id == picked.id
                        && other.recipients.iter().any(|one| picked.recipients.contains(one))
                });
                assert!(!twice, "a recipient in two transactions");
                assert!(picked.recipients.len() <= 5);
                self.under_way.push(picked);
                assert!(self.under_way.len() <= 16);
            }
            Pick::Probe(site, _) => self.probes.push(site),
            Pick::WakeAt(at_ms) => assert!(at_ms > self.now_ms),
            Pick::Idle => {}
            Pick::Again => unreachable!("asked again"),
        }
    }

    fn end(&mut self, nth: u8, how: u8) {
        if self.under_way.is_empty() {
            return;
        }
        let picked = self.under_way.swap_remove(usize::from(nth) % self.under_way.len());
        let attempt = match how {
            0 => failed(&picked),
            1 => unreachable(&picked),
            2 => limited(&picked, Limit::Rate),
            3 => limited(&picked, Limit::Connections),
            4 => Attempt { verdict: Verdict::Broken, ..failed(&picked) },
            5 => return self.rig.scheduler.release(&picked, self.now_ms),
            6 => Attempt { deferred: picked.recipients[..1].to_vec(), verdict: Verdict::Served },
            _ => Attempt::default(),
        };
        let deferred = attempt.deferred.clone();
        let decision = self.rig.end(&picked, attempt, self.now_ms);
        let ended: Vec<u32> = match decision {
            Decision::Withdrawn | Decision::Expired | Decision::Done => picked.recipients.to_vec(),
            Decision::Retry { .. } | Decision::Back => {
                picked.recipients.iter().copied().filter(|one| !deferred.contains(one)).collect()
            }
        };
        if decision != Decision::Withdrawn {
            self.ended(picked.id, &ended);
        }
    }

    fn ended(&mut self, id: MessageId, recipients: &[u32]) {
        let open = self.open.get_mut(&id).expect("ended twice");
        for one in recipients {
            let at = open.iter().position(|other| other == one).expect("ended twice");
            open.swap_remove(at);
        }
        if open.is_empty() {
            self.open.remove(&id);
        }
    }

    /// Everything works again: all that is left ends.
    fn drain(&mut self) {
        for nth in 0..=self.counter {
            self.rig.scheduler.release_hold(id(nth), self.now_ms);
        }
        (0..4).for_each(|route| self.rig.scheduler.set_paused(RouteId(route), false, self.now_ms));
        for _ in 0..200_000 {
            while let Some(picked) = self.under_way.pop() {
                let decision = self.rig.scheduler.result(&picked, Attempt::default(), self.now_ms);
                if decision == Decision::Done {
                    self.ended(picked.id, &picked.recipients);
                }
            }
            while let Some(site) = self.probes.pop() {
                self.rig.scheduler.probed(site, None, self.now_ms);
            }
            match self.rig.scheduler.next(self.now_ms) {
                Pick::Assignment(picked) => self.under_way.push(picked),
                Pick::Probe(site, _) => self.probes.push(site),
                Pick::WakeAt(at_ms) => self.now_ms = at_ms,
                Pick::Again => {}
                Pick::Idle => break,
            }
        }
        assert_eq!(self.open, BTreeMap::new(), "something never came");
        assert_eq!((self.rig.scheduler.len(), self.rig.scheduler.flows.slab.len()), (0, 0));
        invariants::check(&self.rig.scheduler, self.now_ms);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_recipient_ends_once_whatever_happens(calls in prop::collection::vec(call(), 1..250)) {
        let mut world = World::new();
        calls.iter().for_each(|call| world.call(call));
        world.drain();
    }

    #[test]
    fn a_trace_replays_to_the_same_decisions(calls in prop::collection::vec(call(), 1..200)) {
        let mut traces = (0..2).map(|_| {
            let mut world = World::new();
            calls.iter().map(|call| {
                world.call(call);
                (world.under_way.clone(), world.probes.clone(), world.open.clone())
            }).collect::<Vec<_>>()
        });
        prop_assert!(traces.next() == traces.next());
    }
}
