//! What a server costs: processor time and memory of a process and all below it.
//!
//! Promises that the time of children which have ended and were waited for is counted, and that
//! only `/proc` is read: the server does not notice.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A tick of `/proc/PID/stat`: Linux has a hundred a second on all machines.
const TICK_MS: u64 = 10;
const PAGE_KIB: u64 = 4;
/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(250);

/// One process as `/proc/PID/stat` tells of it.
struct Process {
    id: u32,
    parent: u32,
    time_ms: u64,
    resident_kib: u64,
}

/// Processor time of the process and all below it so far, that of ended children included.
pub(crate) fn time_ms(root: u32) -> u64 {
    family(root).iter().map(|process| process.time_ms).sum()
}

/// The most memory that a process has held so far (VmHWM), in KiB.
pub(crate) fn peak_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn family(root: u32) -> Vec<Process> {
    let mut all: Vec<Process> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect();
    // Parents first, unless process ids have come round; then some passes more.
    let mut known = BTreeSet::from([root]);
    loop {
        let before = known.len();
        for process in &all {
            if known.contains(&process.parent) {
                known.insert(process.id);
            }
        }
        if known.len() == before {
            break;
        }
    }
    all.retain(|process| known.contains(&process.id));
    all
}

/// A process, unless it has just gone. Its name may hold anything, so fields count from behind it.
fn read(id: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // proc(5): state is the third field; utime, stime, cutime and cstime the 14th to 17th.
    let number = |place: usize| fields.get(place - 3)?.parse::<u64>().ok();
    let ticks = number(14)? + number(15)? + number(16)? + number(17)?;
    let parent = u32::try_from(number(4)?).ok()?;
    Some(Process { id, parent, time_ms: ticks * TICK_MS, resident_kib: number(24)? * PAGE_KIB })
}

/// Watches the memory of a process and all below it, until it is asked for the most.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    peak_kib: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Begins.
    pub(crate) fn start(root: u32) -> Self {
        let (stop, peak_kib) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, peak) = (Arc::clone(&stop), Arc::clone(&peak_kib));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let sum = family(root).iter().map(|process| process.resident_kib).sum();
                peak.fetch_max(sum, Ordering::Relaxed);
                std::thread::sleep(SAMPLE);
            }
        });
        Self { stop, peak_kib, thread }
    }

    /// The largest sum of resident memory seen; pages that processes share count in each.
    pub(crate) fn end(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.peak_kib.load(Ordering::Relaxed)
    }
}
