//! What is known of recipients: in memory for all, in a file for those that exist.
//!
//! Promises bounds on both kinds, and that a file which cannot be read or written costs questions
//! and nothing else. The file has one line per answer, `MILLISECONDS ADDRESS`, the last one counting,
//! and is written anew at each start.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use dashmap::DashMap;

use crate::event;

const EXISTING_MAX: usize = 500_000;
const UNKNOWN_MAX: usize = 50_000;

/// How long answers are good, and how long one may take.
#[derive(Clone, Copy, Debug)]
pub struct Lifetimes {
    /// That a recipient exists.
    pub positive: Duration,
    /// Past this age such an answer is used and asked for again.
    pub refresh: Duration,
    /// That a recipient does not exist.
    pub negative: Duration,
    /// The mailstore's time to answer.
    pub answer: Duration,
}

/// What was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Known {
    Exists,
    Unknown,
}

/// How good a remembered answer is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Freshness {
    Fresh,
    /// Good to use, and time to ask again.
    Stale,
}

/// The memory of answers.
#[derive(Debug)]
pub struct Cache {
    existing: DashMap<Box<str>, u64>,
    unknown: DashMap<Box<str>, u64>,
    file: Mutex<Option<File>>,
}

impl Cache {
    /// Reads what `path` holds and is not older than `positive`, and writes it anew.
    pub fn open(path: &Path, positive: Duration, now_ms: u64) -> Self {
        let existing = DashMap::new();
        for line in fs::read_to_string(path).unwrap_or_default().lines() {
            if let Some((at_ms, address)) = parse_line(line)
                && age(at_ms, now_ms) < positive
                && existing.len() < EXISTING_MAX
            {
                existing.insert(address.into(), at_ms);
            }
        }
        let file = match rewrite(path, &existing) {
            Ok(file) => Some(file),
            Err(error) => {
                event::trouble("the cache of recipients can't be written", error);
                None
            }
        };
        Self { existing, unknown: DashMap::new(), file: Mutex::new(file) }
    }

    pub(super) fn look_up(
        &self,
        address: &str,
        lifetimes: Lifetimes,
        now_ms: u64,
    ) -> Option<(Known, Freshness)> {
        if let Some(at_ms) = self.existing.get(address) {
            let age = age(*at_ms, now_ms);
            if age < lifetimes.positive {
                let stale = age >= lifetimes.refresh;
                let freshness = if stale { Freshness::Stale } else { Freshness::Fresh };
                return Some((Known::Exists, freshness));
            }
        }
        let at_ms = self.unknown.get(address)?;
        let good = age(*at_ms, now_ms) < lifetimes.negative;
        good.then_some((Known::Unknown, Freshness::Fresh))
    }

    pub(super) fn remember(&self, address: &str, known: Known, now_ms: u64) {
        match known {
            Known::Unknown => {
                self.existing.remove(address);
                // Guesses of strangers: when there are too many, all are forgotten at once.
                if self.unknown.len() >= UNKNOWN_MAX {
                    self.unknown.clear();
                }
                self.unknown.insert(address.into(), now_ms);
            }
            Known::Exists => {
                self.unknown.remove(address);
                if self.existing.len() < EXISTING_MAX || self.existing.contains_key(address) {
                    self.existing.insert(address.into(), now_ms);
                    self.append(address, now_ms);
                }
            }
        }
    }

    fn append(&self, address: &str, now_ms: u64) {
        let Ok(mut file) = self.file.lock() else { return };
        let Some(open) = file.as_mut() else { return };
        if let Err(error) = open.write_all(format!("{now_ms} {address}\n").as_bytes()) {
            event::trouble("the cache of recipients can't be written", error);
            *file = None;
        }
    }
}

fn parse_line(line: &str) -> Option<(u64, &str)> {
    let (at_ms, address) = line.split_once(' ')?;
    Some((at_ms.parse().ok()?, address)).filter(|(_, address)| !address.is_empty())
}

fn age(at_ms: u64, now_ms: u64) -> Duration {
    Duration::from_millis(now_ms.saturating_sub(at_ms))
}

fn rewrite(path: &Path, existing: &DashMap<Box<str>, u64>) -> std::io::Result<File> {
    let fresh: PathBuf = path.with_extension("new");
    let mut text = String::new();
    for entry in existing {
        text.push_str(&format!("{} {}\n", entry.value(), entry.key()));
    }
    fs::write(&fresh, text)?;
    fs::rename(&fresh, path)?;
    OpenOptions::new().append(true).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFETIMES: Lifetimes = Lifetimes {
        positive: Duration::from_secs(700),
        refresh: Duration::from_secs(100),
        negative: Duration::from_secs(5),
        answer: Duration::from_secs(1),
    };

    fn look_up(cache: &Cache, now_s: u64) -> Option<(Known, Freshness)> {
        cache.look_up("a@b.example", LIFETIMES, now_s * 1000)
    }

    #[test]
    fn answers_age() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache"), LIFETIMES.positive, 0);
        cache.remember("a@b.example", Known::Unknown, 0);
        assert_eq!(look_up(&cache, 4), Some((Known::Unknown, Freshness::Fresh)));
        assert_eq!(look_up(&cache, 5), None);
        cache.remember("a@b.example", Known::Exists, 5_000);
        assert_eq!(look_up(&cache, 6), Some((Known::Exists, Freshness::Fresh)));
        assert_eq!(look_up(&cache, 105), Some((Known::Exists, Freshness::Stale)));
        assert_eq!(look_up(&cache, 705), None);
        cache.remember("a@b.example", Known::Unknown, 706_000);
        assert_eq!(look_up(&cache, 707), Some((Known::Unknown, Freshness::Fresh)));
    }

    #[test]
    fn only_the_existing_survive_a_restart_and_torn_lines_do_no_harm() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let cache = Cache::open(&path, LIFETIMES.positive, 0);
        cache.remember("a@b.example", Known::Exists, 1_000);
        cache.remember("x@b.example", Known::Unknown, 1_000);
        drop(cache);
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"\xff\n").unwrap();
        fs::write(
            &path,
            [
                fs::read(&path).unwrap()[..fs::read(&path).unwrap().len() - 2].to_vec(),
                b"junk\n12".to_vec(),
            ]
            .concat(),
        )
        .unwrap();
        let cache = Cache::open(&path, LIFETIMES.positive, 2_000);
        assert_eq!(look_up(&cache, 2), Some((Known::Exists, Freshness::Fresh)));
        assert_eq!((cache.existing.len(), cache.unknown.len()), (1, 0));
        let cache = Cache::open(&path, LIFETIMES.positive, 900_000);
        assert_eq!(cache.existing.len(), 0);
    }

    #[test]
    fn guesses_are_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache"), LIFETIMES.positive, 0);
        for guess in 0..UNKNOWN_MAX * 2 + 5 {
            cache.remember(&format!("{guess}@b.example"), Known::Unknown, 0);
            assert!(cache.unknown.len() <= UNKNOWN_MAX);
        }
    }
}
