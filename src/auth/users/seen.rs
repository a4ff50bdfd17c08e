//! When each password was last used.
//!
//! Promises to be right to the minute or so: it is written at most once a minute, and what came
//! since is lost with the process. It is advice; a file that can't be read is begun anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::super::Login;
use super::edit;
use crate::event;

/// How long new times may wait for the disk.
const WAIT_TIME: Duration = Duration::from_secs(60);

/// The times of last use, by login with its label, in milliseconds since 1970.
#[derive(Debug)]
pub struct Seen {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    times: BTreeMap<String, u64>,
    /// A write is on its way.
    waits: bool,
}

impl Seen {
    /// Reads the file.
    #[must_use]
    pub fn open(path: &Path) -> Self {
        let known = Known { times: Self::read(path), waits: false };
        Self { path: path.to_owned(), known: Mutex::new(known) }
    }

    /// The times in a file.
    #[must_use]
    pub fn read(path: &Path) -> BTreeMap<String, u64> {
        let text = fs::read_to_string(path).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// The name of a login there.
    #[must_use]
    pub fn name(user: &str, label: Option<&str>) -> String {
        label.map_or_else(|| user.to_owned(), |label| [user, "+", label].concat())
    }

    /// Notes a use; only logins that were let in come here.
    pub(super) fn note(self: &Arc<Self>, login: &Login, now_ms: u64) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.times.insert(Self::name(&login.user, login.label.as_deref()), now_ms);
        if std::mem::replace(&mut known.waits, true) {
            return;
        }
        let seen = Arc::clone(self);
        tokio::spawn(async move {
            sleep(WAIT_TIME).await;
            // A write that panics is a write that fails.
            let _ = spawn_blocking(move || seen.write()).await;
        });
    }

    fn write(&self) {
        let times = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            known.waits = false;
            known.times.clone()
        };
        let written = serde_json::to_string(&times)
            .map_err(std::io::Error::from)
            .and_then(|text| edit::replace(&self.path, &text, None));
        if let Err(error) = written {
            event::trouble("the times of logins can't be written", error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_is_read_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logins");
        let login =
            |label: Option<&str>| Login { user: "joe".into(), label: label.map(Into::into) };
        let seen = Arc::new(Seen::open(&path));
        seen.note(&login(None), 5);
        seen.note(&login(Some("phone")), 7);
        seen.write();
        let times = [("joe".to_owned(), 5), ("joe+phone".to_owned(), 7)];
        assert_eq!(Seen::read(&path), BTreeMap::from(times));
        let again = Arc::new(Seen::open(&path));
        again.note(&login(None), 9);
        again.write();
        assert_eq!(Seen::read(&path).get("joe"), Some(&9));
        assert_eq!(Seen::read(&path).get("joe+phone"), Some(&7));
        fs::write(&path, "{").unwrap();
        assert!(Seen::read(&path).is_empty());
    }
}
