//! The engine that keeps messages in memory alone: for tests, and as the other proof that nothing
//! above the spool depends on a disk.
//!
//! Promises what [`Engine`] asks for, but that anything outlives the process. A later claim on the
//! same [`Memory`] fences the earlier owner off: nothing it commits from then on has any effect.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};

use crate::census::{Count, Standing};
use crate::engine::{Engine, Page, Room};
use crate::entry::{RecipientState, Stored};
use crate::id::MessageId;
use crate::op::{CommitError, NewBody, NewMessage, Op};
use crate::open::Options;
use crate::read::{Body, Loaded, ReadError};
use crate::shared::{Batch, Done, lock};
use crate::staging::Staging;

/// Messages in memory, whoever owns them.
#[derive(Clone, Default)]
pub struct Memory {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    messages: BTreeMap<MessageId, Kept>,
    /// What the present owner has appended.
    appended: HashSet<MessageId>,
    epoch: u32,
    counter: u64,
}

struct Kept {
    stored: Stored,
    envelope: Bytes,
    body: Bytes,
}

/// One owner of them.
pub(crate) struct MemoryEngine {
    state: Arc<Mutex<State>>,
    options: Options,
    epoch: u32,
    closed: Mutex<bool>,
}

impl Memory {
    pub(crate) fn claim(&self, options: Options) -> MemoryEngine {
        let mut state = lock(&self.state);
        state.epoch = (state.epoch + 1).max(options.least_epoch);
        state.counter = 0;
        state.appended.clear();
        let epoch = state.epoch;
        MemoryEngine { state: self.state.clone(), options, epoch, closed: Mutex::new(false) }
    }
}

impl State {
    /// Makes sure that all of a batch may be done, before any of it is.
    fn check(&self, ops: &[Op], options: &Options) -> Result<(), CommitError> {
        for op in ops {
            let Op::Append(message) = op else { continue };
            let id = message.id;
            if self.appended.contains(&id) || self.messages.contains_key(&id) {
                continue;
            }
            let adopted = options.adopt && id.epoch() < self.epoch;
            if id.shard() != options.shard || id.epoch() != self.epoch && !adopted {
                return Err(CommitError::Fenced);
            }
            message.check(options.inline_max)?;
        }
        Ok(())
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Append(message) => self.append(message),
            Op::Update { id, changes } => self.change(id, |stored| {
                for (recipient, change) in &changes {
                    if let Some(state) = stored.recipients.get_mut(*recipient as usize) {
                        state.apply(change);
                    }
                }
            }),
            Op::Hold(id) => self.change(id, |stored| stored.held = true),
            Op::Release(id) => self.change(id, |stored| stored.held = false),
            Op::Remove(id) => drop(self.messages.remove(&id)),
            Op::Told(id, at_ms) => {
                self.change(id, |stored| stored.told_ms = stored.told_ms.max(at_ms));
            }
            Op::Via(id, via) => self.change(id, |stored| stored.via = via),
        }
    }

    fn append(&mut self, message: NewMessage) {
        let id = message.id;
        let is_new = self.appended.insert(id) && !self.messages.contains_key(&id);
        if !is_new || message.recipients == 0 {
            return;
        }
        let body = match &message.body {
            NewBody::Inline(parts) => join(parts),
            NewBody::Staged(staged) => staged.in_memory().unwrap_or_default(),
        };
        let stored = Stored {
            id,
            arrived_ms: message.arrived_ms,
            size: body.len() as u64,
            held: message.held,
            told_ms: 0,
            via: "".into(),
            tenant: message.tenant,
            recipients: vec![RecipientState::fresh(); message.recipients as usize],
        };
        self.messages.insert(id, Kept { stored, envelope: message.envelope, body });
    }

    fn change(&mut self, id: MessageId, change: impl FnOnce(&mut Stored)) {
        let Some(kept) = self.messages.get_mut(&id) else { return };
        change(&mut kept.stored);
        if kept.stored.is_ended() {
            self.messages.remove(&id);
        }
    }
}

fn join(parts: &[Bytes]) -> Bytes {
    let mut all = BytesMut::new();
    parts.iter().for_each(|part| all.extend_from_slice(part));
    all.freeze()
}

impl MemoryEngine {
    fn perform(&self, ops: Vec<Op>) -> Result<(), CommitError> {
        if let Some(why) = self.failure() {
            return Err(CommitError::Unavailable(why));
        }
        let mut state = lock(&self.state);
        if state.epoch != self.epoch {
            return Err(CommitError::Fenced);
        }
        state.check(&ops, &self.options)?;
        ops.into_iter().for_each(|op| state.apply(op));
        Ok(())
    }
}

impl Engine for MemoryEngine {
    fn epoch(&self) -> u32 {
        self.epoch
    }

    fn next_id(&self) -> Result<MessageId, CommitError> {
        let mut state = lock(&self.state);
        let counter = state.counter;
        state.counter += 1;
        MessageId::new(self.options.shard, self.epoch, counter)
            .ok_or_else(|| CommitError::Unavailable("no identifier is left".into()))
    }

    fn stage(&self, id: MessageId) -> Result<Staging, CommitError> {
        match self.failure() {
            Some(why) => Err(CommitError::Unavailable(why)),
            None => Ok(Staging::in_memory(id)),
        }
    }

    fn commit(&self, ops: Vec<Op>, done: Option<Done>) {
        let result = self.perform(ops);
        Batch::new(Vec::new(), done).answer(result);
    }

    fn load(&self, id: MessageId) -> Result<Loaded, ReadError> {
        let state = lock(&self.state);
        let kept = state.messages.get(&id).ok_or(ReadError::Gone)?;
        let body = Body::at_hand(kept.body.clone());
        Ok(Loaded { stored: kept.stored.clone(), envelope: kept.envelope.clone(), body })
    }

    fn envelope(&self, id: MessageId) -> Result<Bytes, ReadError> {
        let state = lock(&self.state);
        state.messages.get(&id).map(|kept| kept.envelope.clone()).ok_or(ReadError::Gone)
    }

    fn get(&self, id: MessageId) -> Option<Stored> {
        lock(&self.state).messages.get(&id).map(|kept| kept.stored.clone())
    }

    fn standing(&self, id: MessageId) -> Option<Standing> {
        lock(&self.state).messages.get(&id).map(|kept| Standing::of(&kept.stored))
    }

    fn page(&self, after: Option<MessageId>, most: usize) -> Page {
        let state = lock(&self.state);
        let from = after.map_or(0, |id| id.as_u64().saturating_add(1));
        let behind = state.messages.range(MessageId::from_u64(from)..);
        behind
            .take(most)
            .map(|(_, kept)| (kept.stored.clone(), Ok(kept.envelope.clone())))
            .collect()
    }

    fn ids(&self, after: Option<MessageId>, most: usize) -> Vec<MessageId> {
        self.page(after, most).into_iter().map(|(stored, _)| stored.id).collect()
    }

    fn shard(&self) -> u8 {
        self.options.shard
    }

    fn inline_max(&self) -> usize {
        self.options.inline_max
    }

    fn census(&self) -> [(Standing, Count); Standing::ALL.len()] {
        let state = lock(&self.state);
        Standing::ALL.map(|standing| {
            let of = |kept: &&Kept| Standing::of(&kept.stored) == standing;
            let all = state.messages.values().filter(of);
            let count = Count {
                messages: all.clone().count(),
                oldest_arrived_ms: all.map(|kept| kept.stored.arrived_ms).min(),
            };
            (standing, count)
        })
    }

    fn len(&self) -> usize {
        lock(&self.state).messages.len()
    }

    fn failure(&self) -> Option<String> {
        lock(&self.closed).then(|| "it was shut down".into())
    }

    fn room(&self, _octets: u64) -> Room {
        Room::Free
    }

    fn shutdown(&self) {
        *lock(&self.closed) = true;
    }
}
