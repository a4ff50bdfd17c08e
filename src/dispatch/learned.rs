//! What was learned of next hops, remembered over a restart.
//!
//! Promises that what was learned is on the disk within seconds, written whole or not at all. It is
//! advice, not mail: a file that can't be read, or lines that can't, are left out, and what is older
//! than a week is forgotten.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use angarium_queue::schedule::Learned;
use serde::{Deserialize, Serialize};

use crate::event;

/// How often it is written, where it changed.
const SAVE_MS: u64 = 5_000;
/// Older than this is forgotten.
const AGE_MAX_MS: u64 = 7 * 86_400_000;

/// One site, as a line of the file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Line {
    site: String,
    window: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<Limit>,
    seen_ms: u64,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Limit {
    ceiling_per_s: f64,
    closed_until_ms: u64,
    reply: String,
}

/// The file, and what of it no site has asked for yet.
#[derive(Debug, Default)]
pub struct Memory {
    file: PathBuf,
    sites: HashMap<String, Line>,
    saved: String,
    next_ms: u64,
}

impl Memory {
    /// Reads what `file` holds.
    pub fn open(file: &Path, now_ms: u64) -> Self {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => {
                event::trouble("what was learned of next hops can't be read", error);
                String::new()
            }
        };
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let young = lines.filter(|line| now_ms.saturating_sub(line.seen_ms) <= AGE_MAX_MS);
        let sites = young.map(|line| (line.site.clone(), line)).collect();
        Self { file: file.to_owned(), sites, saved: text, next_ms: 0 }
    }

    /// What is known of a site that is used for the first time.
    pub(super) fn take(&mut self, site: &str) -> Option<Learned> {
        let line = self.sites.remove(site)?;
        let limit = |limit: Limit| (limit.ceiling_per_s, limit.closed_until_ms, limit.reply.into());
        Some(Learned { window: line.window, rate: line.limit.map(limit) })
    }

    /// Whether it is time to look what there is to save.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        now_ms >= self.next_ms
    }

    /// Writes what was learned, where that changed. Small, and seldom.
    pub(super) fn save(&mut self, learned: impl Iterator<Item = (String, Learned)>, now_ms: u64) {
        self.next_ms = now_ms + SAVE_MS;
        let seen_ms = now_ms - now_ms % 3_600_000;
        let mut lines: Vec<Line> =
            learned.map(|(site, learned)| line(site, learned, seen_ms)).collect();
        lines.extend(self.sites.values().cloned());
        lines.sort_by(|a, b| a.site.cmp(&b.site));
        let texts = lines.iter().filter_map(|line| serde_json::to_string(line).ok());
        let text: String = texts.map(|text| text + "\n").collect();
        if text == self.saved {
            return;
        }
        match write(&self.file, &text) {
            Ok(()) => self.saved = text,
            Err(error) => event::trouble("what was learned of next hops can't be saved", error),
        }
    }
}

fn line(site: String, learned: Learned, seen_ms: u64) -> Line {
    let limit = |(ceiling_per_s, closed_until_ms, reply): (f64, u64, std::sync::Arc<str>)| Limit {
        // A sample has no more digits worth keeping.
        ceiling_per_s: (ceiling_per_s * 1000.0).round() / 1000.0,
        closed_until_ms,
        reply: reply.to_string(),
    };
    Line { site, window: learned.window, limit: learned.rate.map(limit), seen_ms }
}

fn write(file: &Path, text: &str) -> io::Result<()> {
    let fresh = file.with_extension("new");
    fs::write(&fresh, text)?;
    fs::rename(&fresh, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn learned(window: u32) -> Learned {
        Learned { window, rate: Some((12.345, 99, "450 4.7.28 slow down".into())) }
    }

    #[test]
    fn survives_a_restart_even_what_nobody_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("learned");
        let mut memory = Memory::open(&file, NOW_MS);
        assert!(memory.is_due(NOW_MS));
        let sites = [("smtp://a.example:25", 7), ("smtp://b.example:25", 9)];
        let sites = sites.map(|(site, window)| (site.to_owned(), learned(window)));
        memory.save(sites.into_iter(), NOW_MS);
        assert!(!memory.is_due(NOW_MS + 1));
        let mut memory = Memory::open(&file, NOW_MS);
        assert_eq!(memory.take("smtp://a.example:25"), Some(learned(7)));
        assert_eq!(memory.take("smtp://a.example:25"), None);
        memory.save(std::iter::empty(), NOW_MS);
        let mut memory = Memory::open(&file, NOW_MS);
        assert_eq!(memory.take("smtp://b.example:25"), Some(learned(9)));
        let mut late = Memory::open(&file, NOW_MS + 8 * 86_400_000);
        assert_eq!(late.take("smtp://b.example:25"), None);
    }

    #[test]
    fn lines_that_can_not_be_read_are_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("learned");
        let line = format!(r#"{{"site":"x","window":3,"seen_ms":{NOW_MS}}}"#);
        fs::write(&file, format!("nonsense\n{line}\n{{}}\n")).unwrap();
        let mut memory = Memory::open(&file, NOW_MS);
        assert_eq!(memory.take("x"), Some(Learned { window: 3, rate: None }));
        assert!(memory.sites.is_empty());
    }
}
