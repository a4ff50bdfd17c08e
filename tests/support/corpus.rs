//! The messages that tests send.
//!
//! `corpus()` gives our own messages (`tests/corpus/`) and those of the folder that
//! `ANGARIUM_CORPUS` names, where it is set: with CRLF line ends, as a client must send them, and
//! a CRLF at the end. Nothing else is touched. A named folder without messages is a failure.

use std::path::{Path, PathBuf};

/// One message.
#[derive(Debug, Clone)]
pub struct Message {
    /// Folder and file, for a failing test to tell.
    pub name: String,
    /// Header section and body, in CRLF lines.
    pub octets: Vec<u8>,
}

impl Message {
    /// Whether it holds a NUL, which DATA may not carry.
    pub fn has_nul(&self) -> bool {
        self.octets.contains(&0)
    }

    /// Whether the first line is a header field, or the empty line that ends an empty header:
    /// what a server can put trace fields in front of without any line between.
    pub fn takes_trace(&self) -> bool {
        self.octets.starts_with(b"\r\n") || begins_with_field(&self.octets)
    }

    /// The lines of the header section, without line ends.
    pub fn header(&self) -> impl Iterator<Item = &[u8]> {
        let lines = self.octets.split(|octet| *octet == b'\n');
        let lines = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        lines.take_while(|line| !line.is_empty())
    }

    /// The first line of the first field of this name, behind the colon.
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.header().find_map(|line| {
            let (begin, value) = line.split_at_checked(name.len())?;
            let named = begin.eq_ignore_ascii_case(name.as_bytes());
            value.strip_prefix(b":").filter(|_| named)
        })
    }

    /// Whether an empty line ends the header section.
    pub fn has_body(&self) -> bool {
        self.octets.starts_with(b"\r\n") || self.octets.windows(4).any(|end| end == b"\r\n\r\n")
    }

    /// Whether the header section is nothing but fields and their folded lines: what a server
    /// that repairs headers has no reason to touch.
    pub fn has_sound_header(&self) -> bool {
        let mut lines = self.header();
        let first = lines.next().is_none_or(begins_with_field);
        first && lines.all(|line| is_folded(line) || begins_with_field(line))
    }
}

/// Every message, sorted by name.
pub fn corpus() -> Vec<Message> {
    let mut messages = folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus"));
    if let Some(named) = std::env::var_os("ANGARIUM_CORPUS") {
        messages.extend(folder(Path::new(&named)));
    }
    messages
}

/// The messages that the protocol can carry: all without a NUL.
pub fn sendable() -> Vec<Message> {
    corpus().into_iter().filter(|message| !message.has_nul()).collect()
}

/// The messages of one folder and the folders in it.
fn folder(path: &Path) -> Vec<Message> {
    let mut files = Vec::new();
    collect(path, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no messages in {}", path.display());
    files.iter().map(|file| read(path, file)).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(directory)
        .unwrap_or_else(|fault| panic!("{}: {fault}", directory.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "eml") {
            files.push(path);
        }
    }
}

fn read(root: &Path, file: &Path) -> Message {
    let name = file.strip_prefix(root).unwrap().display().to_string();
    Message { name, octets: to_crlf(&std::fs::read(file).unwrap()) }
}

/// LF without a CR before it becomes CRLF, and a last line gets its CRLF. A CR alone stays.
pub fn to_crlf(octets: &[u8]) -> Vec<u8> {
    let mut converted = Vec::with_capacity(octets.len() + octets.len() / 32);
    for &octet in octets {
        if octet == b'\n' && converted.last() != Some(&b'\r') {
            converted.push(b'\r');
        }
        converted.push(octet);
    }
    if !converted.ends_with(b"\r\n") {
        converted.extend_from_slice(b"\r\n");
    }
    converted
}

/// Whether a header line goes on with the field above it.
pub fn is_folded(line: &[u8]) -> bool {
    line.starts_with(b" ") || line.starts_with(b"\t")
}

/// Whether octets begin with a field name and a colon (RFC 5322 section 2.2).
pub fn begins_with_field(octets: &[u8]) -> bool {
    let name = octets.iter().take_while(|octet| octet.is_ascii_graphic() && **octet != b':');
    let length = name.count();
    length > 0 && octets.get(length) == Some(&b':')
}
