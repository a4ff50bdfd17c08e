//! Accepting and loading with few and with many messages in the spool.
//!
//! The spools are filled first; then they take turns, so that a busy machine disturbs all alike.
//! Each repetition completes what it accepted, and so begins at the same depth.

use std::time::Instant;

use tempfile::TempDir;

use angarium_queue::id::MessageId;

use crate::REPETITIONS;
use crate::engine;
use crate::figures::{label, median};
use crate::load::{Load, THREADS, complete, flush};
use crate::plan::Plan;

const WRITERS: usize = 64;
/// Fills in a hurry.
pub(crate) const FILLERS: usize = 512;
pub(crate) const BODY: usize = 512;
const LOADS: usize = 2000;

/// One spool, so deep.
struct Depth {
    directory: TempDir,
    load: Load,
    ids: Vec<MessageId>,
    rates: Vec<f64>,
    loads_us: Vec<f64>,
}

fn names(count: usize) -> [String; 2] {
    ["accept", "load_us"].map(|figure| format!("spool.curve.{}.{figure}", label(count)))
}

/// Runs what is wanted of it.
pub(crate) fn bench(plan: &Plan) {
    let depths = [10_000, 100_000, 1_000_000];
    let mut depths: Vec<Depth> = depths[..plan.pick(2, 3)]
        .iter()
        .filter(|count| names(**count).iter().any(|name| plan.wants(name)))
        .filter_map(|count| Depth::fill(plan, *count))
        .collect();
    for _ in 0..REPETITIONS {
        for depth in &mut depths {
            depth.accept(plan.pick(5000, 20_000));
            depth.load();
        }
    }
    for depth in depths {
        let [accept, load] = names(depth.ids.len());
        plan.print(&accept, median(depth.rates), "msg/s");
        plan.print(&load, median(depth.loads_us), "us");
        let Load { spool, .. } = depth.load;
        engine::end(spool, depth.directory.path(), depth.ids.len());
    }
}

impl Depth {
    fn fill(plan: &Plan, count: usize) -> Option<Self> {
        let directory = plan.directory_for("spool.curve", count)?;
        let (spool, _) = engine::open(directory.path());
        let load = Load::new(spool, BODY);
        let mut ids = [(); THREADS].map(|()| Vec::new());
        load.run(FILLERS, count, &mut ids);
        let ids = ids.concat();
        assert_eq!((load.spool.len(), ids.len()), (count, count));
        Some(Self { directory, load, ids, rates: Vec::new(), loads_us: Vec::new() })
    }

    fn accept(&mut self, count: usize) {
        let mut ids = [(); THREADS].map(|()| Vec::new());
        let seconds = self.load.run(WRITERS, count, &mut ids);
        self.rates.push(count as f64 / seconds);
        let spool = &self.load.spool;
        assert_eq!(spool.len(), self.ids.len() + count);
        ids.concat().into_iter().for_each(|id| complete(spool, id));
        flush(spool);
        assert_eq!(spool.len(), self.ids.len());
    }

    fn load(&mut self) {
        let chosen: Vec<MessageId> =
            (0..LOADS).map(|_| self.ids[fastrand::usize(..self.ids.len())]).collect();
        let begin = Instant::now();
        for id in chosen {
            let mut body = self.load.spool.load(id).unwrap().body;
            let mut octets = 0;
            while let Some(chunk) = body.next_chunk().unwrap() {
                octets += chunk.len();
            }
            assert_eq!(octets, BODY);
        }
        self.loads_us.push(begin.elapsed().as_secs_f64() * 1e6 / LOADS as f64);
    }
}
