//! A spool's live messages as JSON lines, to compare with what others read, or read before.
//!
//! The same form as `reader.py` prints. The hash is written out here, as nothing else needs one.

// Each test takes what it needs; and a test may fail where it stands.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test target uses its share")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use std::fmt::Write;
use std::path::Path;

use angarium_queue::entry::{RecipientState, Stored};
use angarium_queue::spool::Spool;

/// One line for each live message, in the order of the identifiers.
pub fn listing(spool: &Spool) -> Vec<String> {
    spool.scan().iter().map(|stored| line(spool, stored)).collect()
}

fn line(spool: &Spool, stored: &Stored) -> String {
    let mut loaded = spool.load(stored.id).unwrap();
    let mut body = Vec::new();
    while let Some(chunk) = loaded.body.next_chunk().unwrap() {
        body.extend_from_slice(&chunk);
    }
    assert_eq!((&loaded.stored, body.len() as u64), (stored, stored.size));
    let recipients: Vec<_> = stored.recipients.iter().map(state).collect();
    format!(
        "{{\"id\": \"{}\", \"arrived_ms\": {}, \"size\": {}, \"held\": {}, \"tenant\": {}, \
         \"via\": {}, \"told_ms\": {}, \"recipients\": [{}], \"envelope_sha256\": \"{}\", \
         \"body_sha256\": \"{}\"}}",
        stored.id,
        stored.arrived_ms,
        stored.size,
        stored.held,
        quote(&stored.tenant),
        quote(&stored.via),
        stored.told_ms,
        recipients.join(", "),
        sha256(&spool.envelope(stored.id).unwrap()),
        sha256(&body),
    )
}

fn state(state: &RecipientState) -> String {
    match state {
        RecipientState::Pending { attempts, due_ms, reason } => {
            let reason = reason.as_ref().map_or("null".into(), |reason| quote(reason));
            format!(
                "{{\"state\": \"pending\", \"attempts\": {attempts}, \"due_ms\": {due_ms}, \
                 \"reason\": {reason}}}"
            )
        }
        RecipientState::Delivered => "{\"state\": \"delivered\"}".into(),
        RecipientState::Taken { reason } => {
            format!("{{\"state\": \"taken\", \"reason\": {}}}", quote(reason))
        }
        RecipientState::Failed { expired, reason, report_owed } => format!(
            "{{\"state\": \"failed\", \"expired\": {expired}, \"report_owed\": {report_owed}, \
             \"reason\": {}}}",
            quote(reason)
        ),
    }
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

/// Copies a spool that nobody writes to at the moment.
pub fn copy_spool(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name == "superblock" || name.to_string_lossy().ends_with(".segment") {
            std::fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

/// SHA-256 (FIPS 180-4), in hexadecimal digits.
pub fn sha256(octets: &[u8]) -> String {
    let primes = (2u64..).filter(|n| (2..*n).all(|d| !n.is_multiple_of(d)));
    let k: Vec<u32> = primes.clone().take(64).map(|p| root_fraction(p, 3)).collect();
    let mut hash: Vec<u32> = primes.take(8).map(|p| root_fraction(p, 2)).collect();
    let mut padded = octets.to_vec();
    padded.push(0x80);
    padded.resize((padded.len() + 8).next_multiple_of(64) - 8, 0);
    padded.extend_from_slice(&(octets.len() as u64 * 8).to_be_bytes());
    for block in padded.chunks_exact(64) {
        compress(&mut hash, block, &k);
    }
    hash.iter().fold(String::new(), |mut text, word| {
        write!(text, "{word:08x}").unwrap();
        text
    })
}

/// The first 32 bits of the fraction of a square or cube root.
fn root_fraction(of: u64, degree: u32) -> u32 {
    let target = u128::from(of) << (32 * degree);
    let (mut low, mut high) = (0u128, 1u128 << 40);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if middle.pow(degree) <= target { low = middle } else { high = middle }
    }
    low as u32
}

fn compress(hash: &mut [u32], block: &[u8], k: &[u32]) {
    let word = |part: &[u8]| u32::from_be_bytes(part.try_into().unwrap());
    let mut w: Vec<u32> = block.chunks_exact(4).map(word).collect();
    for i in 16..64 {
        let (a, b) = (w[i - 15], w[i - 2]);
        let s0 = a.rotate_right(7) ^ a.rotate_right(18) ^ (a >> 3);
        let s1 = b.rotate_right(17) ^ b.rotate_right(19) ^ (b >> 10);
        w.push(w[i - 16].wrapping_add(s0).wrapping_add(w[i - 7]).wrapping_add(s1));
    }
    let mut v = hash.to_vec();
    for i in 0..64 {
        let s1 = v[4].rotate_right(6) ^ v[4].rotate_right(11) ^ v[4].rotate_right(25);
        let choice = (v[4] & v[5]) ^ (!v[4] & v[6]);
        let first =
            v[7].wrapping_add(s1).wrapping_add(choice).wrapping_add(k[i]).wrapping_add(w[i]);
        let s0 = v[0].rotate_right(2) ^ v[0].rotate_right(13) ^ v[0].rotate_right(22);
        let majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        v.rotate_right(1);
        v[4] = v[4].wrapping_add(first);
        v[0] = first.wrapping_add(s0).wrapping_add(majority);
    }
    hash.iter_mut().zip(v).for_each(|(sum, new)| *sum = sum.wrapping_add(new));
}
