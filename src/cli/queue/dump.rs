//! `angarium queue dump`: every message as plain files.
//!
//! Promises that a file has its name only when it is whole, that a `.json` has its `.eml`, and that
//! all of it is on the disk when it says so. What is damaged is told and left out; all else is
//! written.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use angarium_queue::id::MessageId;
use angarium_queue::snapshot::Snapshot;
use angarium_queue::spool::ReadError;
use bytesize::ByteSize;

use super::form::Form;
use super::offline::{damage_found, snapshot};
use crate::config::Config;
use crate::control::backup::{empty_folder, refused};
use crate::control::client::{EX_IOERR, Failure};
use crate::envelope::Envelope;

/// Messages that are listed at once.
const PAGE: usize = 256;

pub(super) fn run(config: &Config, folder: &Path) -> Result<(), Failure> {
    let snapshot = snapshot(config)?;
    empty_folder(folder, None).map_err(|error| refused(folder, &error))?;
    for damage in &snapshot.report().damage {
        eprintln!("{damage}");
    }
    let mut damaged = snapshot.report().damage.len();
    let mut dump = Dump { folder, written: Vec::new(), octets: 0 };
    let mut last = None;
    loop {
        let ids = snapshot.ids(last, PAGE);
        last = ids.last().copied();
        if ids.is_empty() {
            break;
        }
        for id in ids {
            if let Err(why) = dump.message(&snapshot, id)? {
                eprintln!("{id}: {why}");
                damaged += 1;
            }
        }
    }
    dump.finish()?;
    if damaged == 0 { Ok(()) } else { Err(damage_found(damaged)) }
}

struct Dump<'a> {
    folder: &'a Path,
    written: Vec<MessageId>,
    octets: u64,
}

impl Dump<'_> {
    fn path(&self, id: MessageId, kind: &str) -> PathBuf {
        self.folder.join(format!("{id}.{kind}"))
    }

    fn failure(&self, error: &io::Error) -> Failure {
        Failure { exit: EX_IOERR, message: format!("{}: {error}", self.folder.display()) }
    }

    /// Writes a message; the inner error says why it can't be read.
    fn message(
        &mut self,
        snapshot: &Snapshot,
        id: MessageId,
    ) -> Result<Result<(), String>, Failure> {
        let read = snapshot.load(id).map_err(|error| error.to_string());
        let read = read.and_then(|loaded| Ok((Envelope::decode(&loaded.envelope)?, loaded)));
        let (envelope, mut loaded) = match read {
            Ok(read) => read,
            Err(why) => return Ok(Err(why)),
        };
        let written = self.put(id, "eml", |file| {
            loop {
                match loaded.body.next_chunk() {
                    Ok(Some(chunk)) => file.write_all(&chunk)?,
                    Ok(None) => return Ok(Ok(())),
                    Err(error) => return Ok(Err(error)),
                }
            }
        })?;
        if let Err(error) = written {
            return Ok(Err(error.to_string()));
        }
        let form = Form::new(&loaded.stored, envelope).write();
        let _ = self.put(id, "json", |file| file.write_all(&form).map(Ok))?;
        self.written.push(id);
        self.octets += loaded.stored.size;
        Ok(Ok(()))
    }

    /// Writes a file, which gets its name when all went well.
    fn put(
        &self,
        id: MessageId,
        kind: &str,
        write: impl FnOnce(&mut File) -> io::Result<Result<(), ReadError>>,
    ) -> Result<Result<(), ReadError>, Failure> {
        let path = self.path(id, kind);
        let fresh = self.path(id, &format!("{kind}.new"));
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).mode(0o600).open(&fresh);
        let written = file.and_then(|mut file| write(&mut file));
        let done = match written {
            Ok(Ok(())) => fs::rename(&fresh, &path).map(Ok),
            other => {
                let _ = fs::remove_file(&fresh);
                other
            }
        };
        done.map_err(|error| self.failure(&error))
    }

    fn finish(self) -> Result<(), Failure> {
        let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        for id in &self.written {
            for kind in ["eml", "json"] {
                sync(&self.path(*id, kind)).map_err(|error| self.failure(&error))?;
            }
        }
        sync(self.folder).map_err(|error| self.failure(&error))?;
        let (messages, size) = (self.written.len(), ByteSize(self.octets));
        let plural = if messages == 1 { "" } else { "s" };
        println!("{messages} message{plural}, {size}, in {}", self.folder.display());
        Ok(())
    }
}
