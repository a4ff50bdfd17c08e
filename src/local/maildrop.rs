//! The files of the maildrop: one letter each, written by whoever sends it, read by the daemon.
//!
//! ```text
//! angarium-maildrop 1 ENVELOPE-OCTETS CONTENT-OCTETS CRC32\n
//! {"from":"…","rcpt":["…"]}content
//! ```
//! The check sum is of all behind the first line. Promises that only a whole file is read: one is
//! whole once its group may read it, and that is set after its last octet was written and before the
//! sync. So a file needs no second name, and the folder no listing by who writes there. The owner
//! of the file is the sender: the daemon believes the file system, and nothing that stands inside.
//! Refuses links of both kinds, pipes and devices, what is too large, and what doesn't add up.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};

use super::Letter;
use crate::net::clock;

const MAGIC: &str = "angarium-maildrop 1";
/// What the first line may take.
const HEAD_OCTETS_MAX: usize = 80;
/// Largest envelope: some hundred thousand recipients.
const ENVELOPE_OCTETS_MAX: u64 = 32 << 20;
/// Nobody but the sender may read a file that is being written.
const UNFINISHED_MODE: u32 = 0o600;
/// The bit that says that it is written; the folder gave it the daemon's group.
const WHOLE_MODE: u32 = 0o640;

#[derive(Serialize, Deserialize)]
struct Envelope {
    from: String,
    rcpt: Vec<String>,
}

/// A letter as it stands in a file.
pub fn encode(letter: &Letter) -> Vec<u8> {
    let envelope = Envelope { from: letter.from.clone(), rcpt: letter.recipients.clone() };
    let envelope = serde_json::to_vec(&envelope).unwrap_or_default();
    let sum = check_sum(&envelope, &letter.content);
    let (before, behind) = (envelope.len(), letter.content.len());
    let mut file = format!("{MAGIC} {before} {behind} {sum:08x}\n").into_bytes();
    file.extend_from_slice(&envelope);
    file.extend_from_slice(&letter.content);
    file
}

/// The letter in a file; an error says what is wrong with it.
pub fn decode(file: &[u8]) -> Result<Letter, String> {
    let end = file.iter().take(HEAD_OCTETS_MAX).position(|&octet| octet == b'\n');
    let (head, rest) = file.split_at_checked(end.unwrap_or(0)).ok_or("it has no first line")?;
    let head = std::str::from_utf8(head).ok().and_then(|head| head.strip_prefix(MAGIC));
    let head = head.ok_or_else(|| format!("it does not begin with \"{MAGIC}\""))?;
    let mut numbers = head.split_ascii_whitespace();
    let mut number = || numbers.next()?.parse::<usize>().ok();
    let (Some(before), Some(behind)) = (number(), number()) else {
        return Err("its first line has no lengths".to_owned());
    };
    let sum = numbers.next().and_then(|sum| u32::from_str_radix(sum, 16).ok());
    let rest = rest.get(1..).unwrap_or_default();
    let Some((envelope, content)) =
        rest.split_at_checked(before).filter(|(_, content)| content.len() == behind)
    else {
        let (has, wanted) = (rest.len(), before.saturating_add(behind));
        return Err(format!("it has {has} octets where its first line says {wanted}"));
    };
    if sum != Some(check_sum(envelope, content)) {
        return Err("its check sum is wrong".to_owned());
    }
    let envelope: Envelope =
        serde_json::from_slice(envelope).map_err(|error| format!("its envelope: {error}"))?;
    let odd = |address: &String| address.contains(char::is_control);
    // A line end in an address would be that of a command, and what follows another command.
    if odd(&envelope.from) || envelope.rcpt.iter().any(odd) {
        return Err("an address in its envelope holds control characters".to_owned());
    }
    Ok(Letter { from: envelope.from, recipients: envelope.rcpt, content: content.to_vec() })
}

fn check_sum(envelope: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(envelope);
    hasher.update(content);
    hasher.finalize()
}

/// Leaves a letter in the maildrop; it is on stable storage afterwards.
pub fn leave(maildrop: &Path, letter: &Letter) -> io::Result<()> {
    // In the order in which they came; the rest keeps two apart, and strangers from guessing.
    let name = format!("{:013}-{:016x}", clock::now_ms(), fastrand::u64(..));
    let path = maildrop.join(name);
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(UNFINISHED_MODE).open(&path)?;
    let written = file
        .write_all(&encode(letter))
        .and_then(|()| file.set_permissions(Permissions::from_mode(WHOLE_MODE)))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        let _ = std::fs::remove_file(&path);
    }
    written
}

/// What a file of the maildrop turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// A letter, and the account that left it.
    Letter(u32, Letter),
    /// It is being written, or its writer died; since when, in ms since the epoch.
    Unfinished(u64),
    /// It is gone.
    Gone,
    /// It can't be taken, and why.
    Bad(String),
}

/// Reads a file of the maildrop.
pub fn read(path: &Path, content_octets_max: u64) -> Found {
    match open(path) {
        Ok(file) => read_open(file, content_octets_max),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Gone,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => age(path),
        Err(error) => Found::Bad(format!("it can't be opened: {error}")),
    }
}

/// A link is not followed, and a pipe not waited for.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

/// A file that not even the daemon may read is not whole.
fn age(path: &Path) -> Found {
    match std::fs::symlink_metadata(path) {
        Ok(meta) => Found::Unfinished(modified_ms(&meta)),
        Err(_) => Found::Gone,
    }
}

fn modified_ms(meta: &std::fs::Metadata) -> u64 {
    u64::try_from(meta.mtime()).unwrap_or(0).saturating_mul(1000)
}

fn read_open(file: File, content_octets_max: u64) -> Found {
    let meta = match file.metadata() {
        Ok(meta) => meta,
        Err(error) => return Found::Bad(format!("it can't be looked at: {error}")),
    };
    if !meta.is_file() || meta.nlink() != 1 {
        return Found::Bad("it is no plain file with one name".to_owned());
    }
    if meta.mode() & WHOLE_MODE != WHOLE_MODE {
        return Found::Unfinished(modified_ms(&meta));
    }
    let octets_max = content_octets_max.saturating_add(ENVELOPE_OCTETS_MAX);
    if meta.len() > octets_max {
        return Found::Bad(format!("it has {} octets; at most {octets_max} are taken", meta.len()));
    }
    let mut octets = Vec::new();
    if let Err(error) = file.take(octets_max).read_to_end(&mut octets) {
        return Found::Bad(format!("it can't be read: {error}"));
    }
    match decode(&octets) {
        Ok(letter) if letter.content.len() as u64 > content_octets_max => {
            Found::Bad(format!("its message is larger than {content_octets_max} octets"))
        }
        Ok(letter) => Found::Letter(meta.uid(), letter),
        Err(why) => Found::Bad(why),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn letter() -> Letter {
        Letter {
            from: "joe@d.example".to_owned(),
            recipients: vec!["a@b.example".to_owned(), "\"odd one\"@b.example".to_owned()],
            content: b"Subject: x\r\n\r\n\0\xff\r\n".to_vec(),
        }
    }

    fn only(folder: &Path) -> std::path::PathBuf {
        std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path()
    }

    #[test]
    fn what_is_left_is_found() {
        let folder = tempfile::tempdir().unwrap();
        leave(folder.path(), &letter()).unwrap();
        let path = only(folder.path());
        let uid = nix::unistd::geteuid().as_raw();
        assert_eq!(read(&path, 100), Found::Letter(uid, letter()));
        assert!(matches!(read(&path, 3), Found::Bad(why) if why.contains("larger than 3")));
        std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(read(&path, 100), Found::Unfinished(since_ms) if since_ms > 0));
        assert_eq!(read(&folder.path().join("other"), 100), Found::Gone);
    }

    #[test]
    fn nothing_but_a_plain_file_of_its_own_is_read() {
        let folder = tempfile::tempdir().unwrap();
        leave(folder.path(), &letter()).unwrap();
        let path = only(folder.path());
        let (link, second, pipe) =
            (folder.path().join("link"), folder.path().join("second"), folder.path().join("pipe"));
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(read(&link, 100), Found::Bad(_)));
        std::fs::hard_link(&path, &second).unwrap();
        assert!(matches!(read(&path, 100), Found::Bad(why) if why.contains("one name")));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o640)).unwrap();
        assert!(matches!(read(&pipe, 100), Found::Bad(_)));
        assert!(matches!(read(folder.path(), 100), Found::Bad(_)));
    }

    #[test]
    fn an_address_brings_no_command_of_its_own() {
        for odd in ["a@b.example>\r\nDATA\r\n", "a@b.example\n", "\ra", "\0"] {
            for sends in [true, false] {
                let mut letter = letter();
                *(if sends { &mut letter.from } else { &mut letter.recipients[1] }) =
                    odd.to_owned();
                let refused = decode(&encode(&letter)).unwrap_err();
                assert!(refused.contains("control characters"), "{odd:?}: {refused}");
            }
        }
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(
            from in "\\PC{0,20}",
            recipients in proptest::collection::vec("\\PC{0,20}", 0..4),
            content in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let letter = Letter { from, recipients, content };
            prop_assert_eq!(decode(&encode(&letter)), Ok(letter));
        }

        #[test]
        fn what_was_cut_or_changed_is_refused(cut in 0usize..150, at in any::<prop::sample::Index>()) {
            let whole = encode(&letter());
            let mut changed = whole.clone();
            changed[at.index(whole.len())] ^= 0x20;
            // Another case of a hex digit is the same number.
            prop_assert!(decode(&changed).is_err() || decode(&changed) == Ok(letter()));
            if cut < whole.len() {
                prop_assert!(decode(&whole[..cut]).is_err());
            }
        }

        #[test]
        fn any_octets_are_judged(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(decode(&octets).is_err());
            prop_assert!(decode(&[MAGIC.as_bytes(), &octets].concat()).is_err());
        }
    }
}
