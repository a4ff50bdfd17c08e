//! `angarium queue import`: what `queue dump` wrote, back into the spool.
//!
//! Promises that a message is taken with all that had become of it, or not at all, and that its new
//! id is printed only when it is durable. What is broken is told and left out; all else is taken.
//! Refuses: content of another size than the JSON says, and bare CR, LF and NUL, which no content
//! that was ever accepted has.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use angarium_queue::copy::{Receipt, begin_commit, restore, store_body};
use angarium_queue::disk::RealDisk;
use angarium_queue::spool::{CommitError, Options, Spool};
use bytes::Bytes;

use super::form::Form;
use super::offline::{refusal, unreadable};
use crate::config::Config;
use crate::control::client::{EX_CANTCREAT, EX_DATAERR, EX_IOERR, EX_TEMPFAIL, Failure};
use crate::daemon;
use crate::syntax::content::TraitReader;

/// Octets of content in memory.
const CHUNK_OCTETS: usize = 64 * 1024;
/// Messages that may wait for the disk at once.
const WAITING: usize = 64;

pub(super) fn run(config: &Config, paths: &[PathBuf]) -> Result<(), Failure> {
    let (files, mut broken) = find(paths);
    broken.iter().for_each(|why| eprintln!("{why}"));
    let mut import = Import { spool: open(config)?, waiting: Vec::new() };
    for file in &files {
        if let Err(why) = import.take(file)? {
            eprintln!("{why}");
            broken.push(why);
        }
    }
    import.settle()?;
    import.spool.shutdown();
    match broken.len() {
        0 => Ok(()),
        count => Err(Failure { exit: EX_DATAERR, message: format!("{count} left out") }),
    }
}

fn open(config: &Config) -> Result<Spool, Failure> {
    daemon::make_spool(config).map_err(|message| Failure { exit: EX_CANTCREAT, message })?;
    let disk = RealDisk::open(&config.spool).map_err(|error| refusal(&error))?;
    let options = Options { min_free: config.queue.min_free, ..Options::default() };
    let opened = Spool::open(Arc::new(disk), options, Box::new(|_| {}));
    let (spool, recovery) = opened.map_err(|error| unreadable(&config.spool, error))?;
    for damage in &recovery.damage {
        eprintln!("{damage}");
    }
    Ok(spool)
}

/// The JSON files that are meant, in order, and what is wrong with the others.
fn find(paths: &[PathBuf]) -> (BTreeSet<PathBuf>, Vec<String>) {
    let (mut files, mut broken) = (BTreeSet::new(), Vec::new());
    for path in paths {
        let listed = match fs::read_dir(path) {
            Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
            Err(error) if error.kind() == ErrorKind::NotADirectory => Ok(vec![path.clone()]),
            Err(error) => Err(error),
        };
        let listed: Vec<_> = listed.unwrap_or_else(|error| {
            broken.push(format!("{}: {error}", path.display()));
            Vec::new()
        });
        for file in listed {
            let json = file.with_extension("json");
            match file.extension().and_then(OsStr::to_str) {
                Some("json" | "eml") if json.exists() => drop(files.insert(json)),
                Some("eml") => broken.push(format!("{}: no .json is beside it", file.display())),
                _ => broken.push(format!("{}: neither .json nor .eml", file.display())),
            }
        }
    }
    (files, broken)
}

struct Import {
    spool: Spool,
    /// The old id and the new one of what is on its way.
    waiting: Vec<(String, String, Receipt)>,
}

impl Import {
    /// Takes a pair of files; the inner error says what is wrong with it.
    fn take(&mut self, file: &Path) -> Result<Result<(), String>, Failure> {
        let id = self.spool.next_id().map_err(failure)?;
        let (form, content) = match read(file) {
            Ok(read) => read,
            Err(why) => return Ok(Err(why)),
        };
        let stored = match form.stored(id) {
            Ok(stored) => stored,
            Err(why) => return Ok(Err(format!("{}: {why}", file.display()))),
        };
        let mut chunks = Chunks { file: content };
        let body = store_body(&self.spool, id, form.size, &mut || chunks.next_chunk());
        let body = match body.map_err(failure)? {
            Ok(body) => body,
            Err(error) => return Ok(Err(format!("{}: {error}", eml(file).display()))),
        };
        let ops = restore(&stored, form.envelope.encode().into(), body);
        self.waiting.push((form.id, id.to_string(), begin_commit(&self.spool, ops)));
        if self.waiting.len() >= WAITING {
            self.settle()?;
        }
        Ok(Ok(()))
    }

    /// Waits until what was taken is durable, and says so.
    fn settle(&mut self) -> Result<(), Failure> {
        for (old, new, receipt) in self.waiting.drain(..) {
            receipt.wait().map_err(failure)?;
            println!("{old} -> {new}");
        }
        Ok(())
    }
}

fn failure(error: CommitError) -> Failure {
    let exit = if error == CommitError::Full { EX_TEMPFAIL } else { EX_IOERR };
    Failure { exit, message: format!("{error}; what is not listed was not taken") }
}

fn eml(file: &Path) -> PathBuf {
    file.with_extension("eml")
}

/// Reads the JSON and looks through the content; an error says what is wrong, and where.
fn read(file: &Path) -> Result<(Form, File), String> {
    let text = fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let mut form = Form::read(&text).map_err(|error| format!("{}:{error}", file.display()))?;
    let path = eml(file);
    let opened = File::open(&path).and_then(|content| Ok((content.metadata()?.len(), content)));
    let (octets, content) = opened.map_err(|error| format!("{}: {error}", path.display()))?;
    if octets != form.size {
        let (size, file) = (form.size, file.display());
        return Err(format!("{}: {octets} octets, but {file} says {size}", path.display()));
    }
    let mut look = Look::default();
    let mut chunks = Chunks { file: content };
    while let Some(chunk) = chunks.next_chunk().map_err(|e| format!("{}: {e}", path.display()))? {
        look.at(&chunk).map_err(|why| format!("{}:{}: {why}", path.display(), look.line))?;
    }
    if look.last == b'\r' {
        return Err(format!("{}:{}: a bare CR", path.display(), look.line));
    }
    // The content may have been edited.
    let traits = look.traits.traits();
    (form.envelope.eight_bit, form.envelope.long_lines) = (traits.eight_bit, traits.long_lines);
    let mut content = chunks.file;
    content.rewind().map_err(|error| format!("{}: {error}", path.display()))?;
    Ok((form, content))
}

/// What is in content.
struct Look {
    line: usize,
    last: u8,
    traits: TraitReader,
}

impl Default for Look {
    fn default() -> Self {
        Self { line: 1, last: 0, traits: TraitReader::default() }
    }
}

impl Look {
    fn at(&mut self, chunk: &[u8]) -> Result<(), &'static str> {
        self.traits.look(chunk);
        for octet in chunk {
            match (self.last, *octet) {
                (b'\r', b'\n') => self.line += 1,
                (b'\r', _) => return Err("a bare CR"),
                (_, b'\n') => return Err("a bare LF: lines of content end in CR LF"),
                (_, 0) => return Err("a NUL"),
                _ => {}
            }
            self.last = *octet;
        }
        Ok(())
    }
}

struct Chunks {
    file: File,
}

impl Chunks {
    fn next_chunk(&mut self) -> std::io::Result<Option<Bytes>> {
        let mut chunk = Vec::with_capacity(CHUNK_OCTETS);
        let octets = (&mut self.file).take(CHUNK_OCTETS as u64).read_to_end(&mut chunk)?;
        Ok((octets > 0).then(|| chunk.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_line_ends_are_seen_across_chunks() {
        let look = |chunks: &[&[u8]]| {
            let mut look = Look::default();
            let seen = chunks.iter().try_for_each(|chunk| look.at(chunk));
            (seen.is_ok(), look.line, look.last)
        };
        assert_eq!(look(&[b"a\r", b"\nb\r\n"]), (true, 3, b'\n'));
        assert_eq!(look(&[b"a\r\n", b"\n"]), (false, 2, b'\n'));
        assert_eq!(look(&[b"a\r", b"b"]), (false, 1, b'\r'));
        assert_eq!(look(&[b"a\0"]), (false, 1, b'a'));
    }
}
