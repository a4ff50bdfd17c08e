//! What goes wrong on a simulated disk, and when.

use std::collections::BTreeSet;

/// Faults to come. Steps are counted from 1.
#[derive(Clone, Default)]
pub struct Faults {
    /// The step that never comes to its end.
    pub crash_at: Option<u64>,
    /// The steps whose sync fails and drops its pages; a later one says that all is well.
    pub failing_syncs: BTreeSet<u64>,
    /// Every sync from now on fails.
    pub broken: bool,
    /// The steps whose write ends early, with an error.
    pub short_writes: BTreeSet<u64>,
    /// The steps that find no room for a new file.
    pub full: BTreeSet<u64>,
    /// From this step on syncs say that all is well, and keep nothing.
    pub lying_from: Option<u64>,
    /// The first sync from this step on puts what it writes in another place.
    pub misdirected_from: Option<u64>,
    /// Space that was never written may hold anything after a crash.
    pub garbage: bool,
}

impl Faults {
    pub fn sync_fails(&mut self, step: u64) -> bool {
        self.broken || self.failing_syncs.remove(&step)
    }

    pub fn lies(&self, step: u64) -> bool {
        self.lying_from.is_some_and(|from| step >= from)
    }

    /// This sync is the one that is misdirected.
    pub fn misdirects(&mut self, step: u64) -> bool {
        self.misdirected_from.take_if(|from| step >= *from).is_some()
    }
}
