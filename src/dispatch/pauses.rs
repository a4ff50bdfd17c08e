//! The destinations that the operator has paused, remembered over a restart.
//!
//! Promises that a pause is on the disk before it is answered. A file that can't be read pauses
//! nothing, and says so in the log.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::event;

/// The paused destinations, as a route's next hop is written.
#[derive(Debug, Default)]
pub struct Pauses {
    file: PathBuf,
    destinations: BTreeSet<String>,
}

impl Pauses {
    /// Reads what `file` holds, one destination a line.
    pub fn open(file: &Path) -> Self {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            Err(error) => {
                event::trouble("the list of paused routes can't be read", error);
                String::new()
            }
        };
        let destinations = text.lines().map(str::to_owned).collect();
        Self { file: file.to_owned(), destinations }
    }

    pub(super) fn contains(&self, destination: &str) -> bool {
        self.destinations.contains(destination)
    }

    pub(super) fn set(&mut self, destination: &str, paused: bool) -> io::Result<()> {
        if paused {
            self.destinations.insert(destination.to_owned());
        } else {
            self.destinations.remove(destination);
        }
        let text: String = self.destinations.iter().map(|name| format!("{name}\n")).collect();
        let fresh = self.file.with_extension("new");
        let mut file = File::create(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &self.file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_survive() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("paused");
        let mut pauses = Pauses::open(&file);
        pauses.set("smtp://a.example:25", true).unwrap();
        pauses.set("smtp://b.example:25", true).unwrap();
        pauses.set("smtp://a.example:25", false).unwrap();
        let pauses = Pauses::open(&file);
        assert!(!pauses.contains("smtp://a.example:25"));
        assert!(pauses.contains("smtp://b.example:25"));
    }
}
