//! The oracle: what was acknowledged, what is under way, and which recoveries that explains.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use angarium_queue::entry::{Change, RecipientState, Stored};
use angarium_queue::id::MessageId;

/// What went wrong, in words; a case that passes has an answer.
pub type Verdict<T> = Result<T, String>;

/// An operation that can be done twice: for the spool and for the oracle.
#[derive(Clone, Debug)]
pub enum Step {
    Append { id: MessageId, recipients: u32, body: Body, staged: bool, held: bool },
    Update(MessageId, u32, Change),
    Hold(MessageId),
    Release(MessageId),
    Remove(MessageId),
    Told(MessageId, u64),
    Via(MessageId, String),
}

/// A body; it is told by its length.
#[derive(Clone)]
pub struct Body(pub Arc<[u8]>);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} octets", self.0.len())
    }
}

/// What the spool should hold.
#[derive(Clone, Default)]
pub struct Model {
    pub live: BTreeMap<MessageId, Stored>,
    pub bodies: BTreeMap<MessageId, Body>,
    appended: BTreeSet<MessageId>,
}

impl Model {
    fn apply(&mut self, step: &Step) {
        match step {
            Step::Append { id, recipients, body, held, .. } => {
                let stored = Stored {
                    id: *id,
                    arrived_ms: 1_000 + id.counter(),
                    size: body.0.len() as u64,
                    held: *held,
                    told_ms: 0,
                    via: "".into(),
                    tenant: "tenant".into(),
                    recipients: vec![RecipientState::fresh(); *recipients as usize],
                };
                if self.appended.insert(*id) {
                    self.live.insert(*id, stored);
                    self.bodies.insert(*id, body.clone());
                }
            }
            Step::Update(id, recipient, change) => {
                let Some(stored) = self.live.get_mut(id) else { return };
                stored.recipients[*recipient as usize].apply(change);
                if stored.is_ended() {
                    self.live.remove(id);
                }
            }
            Step::Hold(id) => self.with(id, |stored| stored.held = true),
            Step::Release(id) => self.with(id, |stored| stored.held = false),
            Step::Remove(id) => drop(self.live.remove(id)),
            Step::Told(id, ms) => self.with(id, |stored| stored.told_ms = stored.told_ms.max(*ms)),
            Step::Via(id, via) => self.with(id, |stored| stored.via = via.as_str().into()),
        }
    }

    fn with(&mut self, id: &MessageId, change: impl FnOnce(&mut Stored)) {
        if let Some(stored) = self.live.get_mut(id) {
            change(stored);
        }
    }
}

/// What is certain, and what is under way.
#[derive(Clone, Default)]
pub struct World {
    pub acknowledged: Arc<Model>,
    pub flying: Vec<Vec<Step>>,
    /// The last start that gave out identifiers.
    pub epoch: u32,
    /// A failed sync may have left what is under way in an older segment, too.
    pub twice: bool,
}

impl World {
    /// All that is under way has been acknowledged.
    pub fn land(&mut self) {
        for batch in std::mem::take(&mut self.flying) {
            let model = Arc::make_mut(&mut self.acknowledged);
            batch.iter().for_each(|step| model.apply(step));
        }
    }

    /// The world as it is when some of what was under way has happened.
    fn with(&self, chosen: [u32; 2]) -> Arc<Model> {
        let mut model = self.acknowledged.clone();
        for chosen in chosen {
            for (place, batch) in self.flying.iter().enumerate() {
                if chosen & (1 << place) != 0 {
                    let model = Arc::make_mut(&mut model);
                    batch.iter().for_each(|step| model.apply(step));
                }
            }
        }
        model
    }

    /// Finds what happened to the batches in flight; an error when nothing explains the scan.
    pub fn explain(&self, scan: &[Stored]) -> Verdict<Arc<Model>> {
        let all = 1u32 << self.flying.len();
        for first in 0..if self.twice { all } else { 1 } {
            for second in 0..all {
                let model = self.with([first, second]);
                if model.live.values().eq(scan) {
                    return Ok(model);
                }
            }
        }
        let known = &self.acknowledged.live;
        let lost = known.values().filter(|stored| scan.iter().all(|found| found.id != stored.id));
        let lost: Vec<_> = lost.map(|stored| stored.id).collect();
        let odd = scan.iter().filter(|found| known.get(&found.id) != Some(*found));
        let odd: Vec<_> = odd.map(|found| (found, known.get(&found.id))).collect();
        Err(format!(
            "nothing explains what was recovered: not there {lost:?}, found and expected {odd:?}, \
             in flight {:?}",
            self.flying
        ))
    }
}
