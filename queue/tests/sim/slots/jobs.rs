//! The list of jobs of a transport, and how a big one is preempted by small ones.
//!
//! After Postfix's SCHEDULER_README and qmgr_job.c, with the names they use: each entry selected
//! earns its job a slot; a job that earned enough of them gives its turn to a later, smaller one,
//! which stands before it on the list as its child until all its entries are selected.

use std::collections::VecDeque;

use super::super::discipline::Batch;

/// Slots that one entry of a preempting job costs.
const SLOT_COST: i64 = 5;
/// Slots, already divided by their cost, that a job may owe.
const SLOT_LOAN: f64 = 3.0;
/// Share of the entries that must be paid for before preempting.
const SLOT_LOAN_FACTOR: f64 = 0.5;
/// Slots, divided by their cost, that a job must be able to earn to be preempted at all.
const MIN_SLOTS: i64 = 3;

/// Entries of a job for one destination.
pub struct Peer {
    pub site: usize,
    pub entries: VecDeque<Batch>,
}

/// A message on the transport.
pub struct Job {
    pub message: u32,
    pub arrived_ms: u64,
    /// Those with entries, in turn.
    pub peers: VecDeque<Peer>,
    /// Entries selected whose result is out.
    pub open: usize,
    pub deferred: Vec<Batch>,
    /// Entries that were selected, of so many.
    pub selected: i64,
    pub entries: i64,
    queued_s: u64,
    slots_available: i64,
    slots_used: i64,
    parent: Option<usize>,
    children: Vec<usize>,
    /// How deep in a stack of preemptions; none while not on the list.
    level: Option<u32>,
    blocker_tag: u64,
    previous: Option<usize>,
    next: Option<usize>,
}

impl Job {
    pub fn new(message: u32, arrived_ms: u64, now_ms: u64) -> Self {
        Self {
            message,
            arrived_ms,
            peers: VecDeque::new(),
            open: 0,
            deferred: Vec::new(),
            selected: 0,
            entries: 0,
            queued_s: now_ms / 1000,
            slots_available: 0,
            slots_used: 0,
            parent: None,
            children: Vec::new(),
            level: None,
            blocker_tag: 0,
            previous: None,
            next: None,
        }
    }

    /// Adds an entry for a destination.
    pub fn add(&mut self, site: usize, batch: Batch) {
        self.entries += 1;
        // Parts come destination by destination.
        if let Some(peer) = self.peers.back_mut().filter(|peer| peer.site == site) {
            return peer.entries.push_back(batch);
        }
        match self.peers.iter_mut().find(|peer| peer.site == site) {
            Some(peer) => peer.entries.push_back(batch),
            None => self.peers.push_back(Peer { site, entries: VecDeque::from([batch]) }),
        }
    }
}

/// Which job is the best to preempt another, as long as nothing changes.
#[derive(Default)]
struct Candidate {
    of: Option<usize>,
    job: Option<usize>,
    at_s: u64,
}

/// All jobs of the transport.
pub struct Jobs {
    jobs: Vec<Option<Job>>,
    free: Vec<usize>,
    first: Option<usize>,
    last: Option<usize>,
    current: Option<usize>,
    candidate: Candidate,
    /// Jobs and sites that carry it block; always odd, so that those marked with 0 do not.
    blocker_tag: u64,
}

impl Default for Jobs {
    fn default() -> Self {
        Self {
            jobs: Vec::new(),
            free: Vec::new(),
            first: None,
            last: None,
            current: None,
            candidate: Candidate::default(),
            blocker_tag: 1,
        }
    }
}

impl Jobs {
    pub fn get(&mut self, job: usize) -> &mut Job {
        self.jobs[job].as_mut().unwrap()
    }

    pub fn blocker_tag(&self) -> u64 {
        self.blocker_tag
    }

    /// Puts a job at the end of the list: behind the last that preempts nobody.
    pub fn insert(&mut self, job: Job) -> usize {
        let job = match self.free.pop() {
            Some(place) => {
                self.jobs[place] = Some(job);
                place
            }
            None => {
                self.jobs.push(Some(job));
                self.jobs.len() - 1
            }
        };
        let (mut after, mut before) = (self.last, None);
        while let Some(at) = after.filter(|at| self.jobs[*at].as_ref().unwrap().parent.is_some()) {
            if self.current == Some(at) {
                self.current = None;
            }
            before = after;
            after = self.get(at).previous;
        }
        self.link(after, job, before);
        self.get(job).level = Some(0);
        self.current = self.current.or(Some(job));
        self.candidate.of = None;
        job
    }

    /// Takes a job out of everything.
    pub fn remove(&mut self, job: usize) -> Job {
        if self.get(job).level.is_some() {
            self.retire(job);
        }
        self.free.push(job);
        self.jobs[job].take().unwrap()
    }

    /// Reconsiders all that is blocked: a destination that blocked takes more.
    pub fn unblock(&mut self) {
        self.blocker_tag += 2;
        self.current = self.first;
        self.candidate.of = None;
    }

    /// The next entry of a job whose destination has room, and that destination; `block` is told of
    /// destinations without.
    pub fn select(
        &mut self,
        now_ms: u64,
        has_room: impl Fn(usize) -> bool,
        mut block: impl FnMut(usize),
    ) -> Option<(usize, usize, Batch)> {
        let mut cursor = self.current.map(|current| self.preempt(current, now_ms / 1000));
        while let Some(at) = cursor {
            let tag = self.blocker_tag;
            let job = self.get(at);
            cursor = job.next;
            if job.blocker_tag == tag {
                continue;
            }
            if let Some(place) = job.peers.iter().position(|peer| has_room(peer.site)) {
                let (site, batch) = Self::take(job, place);
                self.count_slot(at);
                self.current = Some(at);
                if self.get(at).selected == self.get(at).entries {
                    self.retire(at);
                }
                return Some((at, site, batch));
            }
            if job.selected < job.entries {
                job.blocker_tag = tag;
                job.peers.iter().for_each(|peer| block(peer.site));
            } else {
                self.retire(at);
            }
        }
        self.current = None;
        None
    }

    /// An entry of the peer there, which becomes the last in turn.
    fn take(job: &mut Job, place: usize) -> (usize, Batch) {
        job.peers.rotate_left(place);
        let mut peer = job.peers.pop_front().unwrap();
        let batch = peer.entries.pop_front().unwrap();
        let site = peer.site;
        if !peer.entries.is_empty() {
            job.peers.push_back(peer);
        }
        job.selected += 1;
        job.open += 1;
        (site, batch)
    }

    fn count_slot(&mut self, job: usize) {
        self.get(job).slots_available += 1;
        self.get(job).slots_used += 1;
        if self.candidate.of != Some(job) {
            self.candidate.of = None;
        }
    }

    /// The job that may best preempt this one: later on the list, no parent, small enough for the
    /// slots it can still earn, and of the highest age over size.
    fn candidate(&mut self, current: usize, now_s: u64) -> Option<usize> {
        let cached = &self.candidate;
        if cached.of == Some(current) && (cached.at_s == now_s || cached.job.is_none()) {
            return cached.job;
        }
        let job = self.get(current);
        let slots_max = (job.entries - job.selected + job.slots_available) / SLOT_COST;
        let (mut best, mut best_score) = (None, 0.0);
        let mut cursor = if slots_max > 0 { job.next } else { None };
        while let Some(at) = cursor {
            let tag = self.blocker_tag;
            let job = self.get(at);
            cursor = job.next;
            if !job.children.is_empty() || job.blocker_tag == tag {
                continue;
            }
            let needed = job.entries - job.selected;
            let age_s = (now_s - job.queued_s + 1) as f64;
            let score = age_s / job.entries as f64;
            if needed > 0 && needed <= slots_max && score > best_score {
                (best, best_score) = (Some(at), score);
            }
            if age_s <= best_score && job.level == Some(0) {
                break;
            }
        }
        self.candidate = Candidate { of: Some(current), job: best, at_s: now_s };
        best
    }

    /// The job whose turn it is: this one, or one that preempts it.
    fn preempt(&mut self, current: usize, now_s: u64) -> usize {
        let job = self.get(current);
        let available = job.slots_available;
        if available <= 0 || job.entries < MIN_SLOTS * SLOT_COST {
            return current;
        }
        let Some(best) = self.candidate(current, now_s) else { return current };
        let expected = self.get(best).entries - self.get(best).selected;
        let paid = (available / SLOT_COST) as f64 + SLOT_LOAN;
        if paid < expected as f64 * SLOT_LOAN_FACTOR {
            return current;
        }
        if self.get(best).level > Some(0) {
            self.pop(best);
        }
        self.unlink(best);
        let before = self.get(current).previous;
        self.link(before, best, Some(current));
        let level = self.get(current).level.map(|level| level + 1);
        self.get(current).children.push(best);
        self.get(current).slots_available -= expected * SLOT_COST;
        let child = self.get(best);
        child.parent = Some(current);
        child.level = level;
        child.slots_used = -expected;
        self.current = Some(best);
        self.candidate.of = None;
        best
    }

    /// Takes a job off its stack; its parent gets back what it did not use.
    fn pop(&mut self, at: usize) {
        let job = self.get(at);
        let (parent, level, used) = (job.parent.take(), job.level, job.slots_used);
        job.level = Some(0);
        if let Some(parent) = parent {
            let parent = self.get(parent);
            if level == parent.level.map(|level| level + 1) {
                parent.slots_available -= used * SLOT_COST;
            }
            parent.children.retain(|child| *child != at);
        }
        self.orphan(at, parent);
        self.candidate.of = None;
    }

    /// Gives the children of a job to another, or to nobody.
    fn orphan(&mut self, at: usize, parent: Option<usize>) {
        for child in std::mem::take(&mut self.get(at).children) {
            self.get(child).parent = parent;
            if let Some(parent) = parent {
                self.get(parent).children.push(child);
            }
        }
    }

    /// Takes a job off the list, all whose entries are selected.
    fn retire(&mut self, at: usize) {
        if self.get(at).level > Some(0) {
            self.pop(at);
        }
        self.orphan(at, None);
        if self.current == Some(at) {
            self.current = self.get(at).next;
        }
        if self.candidate.job == Some(at) || self.candidate.of == Some(at) {
            self.candidate.of = None;
        }
        self.unlink(at);
        self.get(at).level = None;
    }

    fn link(&mut self, after: Option<usize>, at: usize, before: Option<usize>) {
        self.get(at).previous = after;
        self.get(at).next = before;
        match after {
            Some(after) => self.get(after).next = Some(at),
            None => self.first = Some(at),
        }
        match before {
            Some(before) => self.get(before).previous = Some(at),
            None => self.last = Some(at),
        }
    }

    fn unlink(&mut self, at: usize) {
        let (after, before) = (self.get(at).previous, self.get(at).next);
        match after {
            Some(after) => self.get(after).next = before,
            None => self.first = before,
        }
        match before {
            Some(before) => self.get(before).previous = after,
            None => self.last = after,
        }
    }
}
