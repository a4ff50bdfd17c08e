//! A process of its own, for what a process can be only once: freshly started, or killed.
//!
//! It is this program, called again. It prints one line for each thing done, and then waits: to be
//! killed, or for the end of its input, whereupon it closes the spool down and says so. The parent
//! waits for no line without end; a helper whose parent has gone ends by itself.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use angarium_queue::disk::RealDisk;
use angarium_queue::spool::Spool;

use crate::curve::{BODY, FILLERS};
use crate::engine;
use crate::load::{Load, THREADS};

/// The first argument of a helper.
pub(crate) const WORD: &str = "helper";

/// What a helper does before it waits.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Task {
    /// Fills a new spool with so many; says its resident memory before and after, in KiB.
    Fill,
    /// Opens a spool of so many; says how long it took, in µs.
    Open,
    /// The same, but wants one more accepted first; says how long that took, in µs.
    Early,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Open => "open",
            Self::Early => "early",
        }
    }
}

/// A helper's life.
pub(crate) fn main(arguments: &[String]) {
    let [task, path, count] = arguments else { panic!("a helper is called with three words") };
    let (path, count) = (Path::new(path), count.parse().unwrap());
    let spool = match task.as_str() {
        "fill" => fill(path, count),
        "open" => open(path, count),
        "early" => early(path, count),
        other => panic!("no task is called {other}"),
    };
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    spool.shutdown();
    println!("closed");
}

fn fill(path: &Path, count: usize) -> Spool {
    let before = resident_kib();
    let (spool, _) = engine::open(path);
    Load::new(spool.clone(), BODY).run(FILLERS, count, &mut [(); THREADS]);
    assert_eq!(spool.len(), count);
    println!("{before} {}", resident_kib());
    spool
}

fn open(path: &Path, count: usize) -> Spool {
    let begin = Instant::now();
    let (spool, recovery) = engine::open(path);
    let took = begin.elapsed();
    assert_eq!((spool.len(), recovery.messages), (count, count));
    println!("{}", took.as_micros());
    spool
}

fn early(path: &Path, count: usize) -> Spool {
    let disk = Arc::new(RealDisk::open(path).unwrap());
    let begin = Instant::now();
    let (spool, recovered) = engine::open_early(disk);
    Load::new(spool.clone(), BODY).one();
    let took = begin.elapsed();
    recovered();
    assert_eq!(spool.len(), count + 1);
    println!("{}", took.as_micros());
    spool
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A helper at work, seen from its parent; killed when dropped.
pub(crate) struct Helper {
    child: Child,
    lines: Receiver<String>,
    patience: Duration,
}

impl Helper {
    /// Starts one, with time enough for so many messages.
    pub(crate) fn start(task: Task, path: &Path, count: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([WORD, task.name()])
            .arg(path)
            .arg(count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line))
        });
        let patience = crate::PATIENCE + Duration::from_micros(150) * count as u32;
        Self { child, lines, patience }
    }

    /// The numbers of its next line.
    pub(crate) fn numbers(&self) -> Vec<f64> {
        let line = self.lines.recv_timeout(self.patience).expect("a helper's line in time");
        line.split(' ').map(|number| number.parse().unwrap()).collect()
    }

    /// Kills it.
    pub(crate) fn kill(self) {}

    /// Lets it close down, and waits for its end.
    pub(crate) fn close(mut self) {
        drop(self.child.stdin.take());
        assert_eq!(self.lines.recv_timeout(self.patience).as_deref(), Ok("closed"));
        let end = self.lines.recv_timeout(self.patience);
        assert_eq!(end, Err(RecvTimeoutError::Disconnected));
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Neither can fail but for one that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
