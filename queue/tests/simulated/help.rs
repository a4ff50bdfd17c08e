//! What several tests need: a small spool, messages, and waiting for an answer.

// Each test takes what it needs; and a test may fail where it stands.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test target uses its share")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use std::sync::{Arc, mpsc};

use angarium_queue::disk::Disk;
use angarium_queue::entry::Change;
use angarium_queue::id::MessageId;
use angarium_queue::spool::{
    CommitError, NewBody, NewMessage, Op, Options, ReadError, Recovery, Spool,
};
use bytes::Bytes;

use super::SimulatedDisk;

/// What segments are used for, as their labels have it.
pub const FREE: u8 = 0;
pub const LOG: u8 = 1;
pub const BULK: u8 = 2;
pub const KEPT: u8 = 3;

/// Octets of a block, and of what a group begins with.
pub const BLOCK: usize = 4096;
pub const GROUP_HEAD: usize = 32;

/// Segments of 64 KiB, no thread but the writer's; batches nobody waits for wait until somebody does.
pub fn options() -> Options {
    Options {
        segment_size: 64 << 10,
        reserve: 8 << 10,
        inline_max: 4 << 10,
        completion_delay_ms: 60_000,
        completion_batch: 1_000_000,
        min_free: 0,
        background: false,
        ..Options::default()
    }
}

pub fn open(disk: Arc<dyn Disk>) -> (Spool, Recovery) {
    Spool::open(disk, options(), Box::new(|_| {})).unwrap()
}

/// The segments with this use, in the order in which they were taken for it.
pub fn segments(disk: &SimulatedDisk, usage: u8) -> Vec<String> {
    let is_used =
        |name: &String| name.ends_with(".segment") && disk.contents(name).get(12) == Some(&usage);
    let mut names: Vec<_> = disk.names().into_iter().filter(is_used).collect();
    names.sort_by_key(|name| serial(disk, name));
    names
}

/// The number that orders the uses of segments.
pub fn serial(disk: &SimulatedDisk, name: &str) -> u64 {
    u64_at(&disk.contents(name), 32)
}

pub fn u64_at(octets: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(octets[at..at + 8].try_into().unwrap())
}

/// Changes a file, durably.
pub fn change(disk: &SimulatedDisk, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut octets = disk.contents(name);
    change(&mut octets);
    disk.put(name, &octets);
}

/// Where each group of a segment of the log begins and ends, whether it is whole or not.
pub fn groups(segment: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut at = BLOCK;
    let mut all = Vec::new();
    let (serial, mut number) = (u64_at(segment, 32), u64_at(segment, 40));
    while at + GROUP_HEAD <= segment.len()
        && (u64_at(segment, at + 8), u64_at(segment, at + 16)) == (number, serial)
    {
        let octets = u32::from_le_bytes(segment[at + 28..at + 32].try_into().unwrap());
        all.push(at..at + octets as usize);
        at = (at + octets as usize).next_multiple_of(BLOCK);
        number += 1;
    }
    all
}

/// Commits and waits.
pub fn commit(spool: &Spool, batch: Vec<Op>) -> Result<(), CommitError> {
    let (sender, receiver) = mpsc::channel();
    spool.commit(batch, Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap()
}

/// Octets that look like nothing else, by a number.
pub fn octets(seed: u64, length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..length).map(|_| random.u8(..)).collect()
}

pub fn envelope(id: MessageId) -> Bytes {
    octets(id.as_u64() ^ 1, 20 + (id.counter() % 50) as usize).into()
}

pub fn message(id: MessageId, recipients: u32, parts: &[&[u8]]) -> NewMessage {
    NewMessage {
        id,
        arrived_ms: 1_000 + id.counter(),
        tenant: "tenant".into(),
        held: false,
        recipients,
        envelope: envelope(id),
        body: NewBody::Inline(parts.iter().map(|part| Bytes::copy_from_slice(part)).collect()),
    }
}

/// Appends a message with one recipient.
pub fn append(spool: &Spool, body: &[u8]) -> MessageId {
    let id = spool.next_id().unwrap();
    commit(spool, vec![Op::Append(message(id, 1, &[body]))]).unwrap();
    id
}

pub fn staged(spool: &Spool, id: MessageId, recipients: u32, body: &[u8]) -> NewMessage {
    let mut staging = spool.stage(id).unwrap();
    for part in body.chunks(1000) {
        staging.write(part).unwrap();
    }
    let body = NewBody::Staged(staging.finish().unwrap());
    NewMessage { body, ..message(id, recipients, &[]) }
}

pub fn delivered(id: MessageId, recipient: u32) -> Op {
    Op::Update { id, changes: vec![(recipient, Change::Delivered)] }
}

pub fn deferred(id: MessageId, recipient: u32, attempts: u32, due_ms: u64) -> Op {
    let change = Change::Deferred { attempts, due_ms, reason: format!("450 {due_ms}").into() };
    Op::Update { id, changes: vec![(recipient, change)] }
}

pub fn failed(id: MessageId, recipient: u32, report_owed: bool) -> Op {
    let change = Change::Failed { expired: false, reason: "550 no".into(), report_owed };
    Op::Update { id, changes: vec![(recipient, change)] }
}

/// Reads a message's whole body, and checks its envelope.
pub fn body(spool: &Spool, id: MessageId) -> Result<Vec<u8>, ReadError> {
    let mut loaded = spool.load(id)?;
    assert_eq!(loaded.envelope, envelope(id));
    assert_eq!(spool.envelope(id)?, envelope(id));
    let mut all = Vec::new();
    while let Some(chunk) = loaded.body.next_chunk()? {
        assert!(!chunk.is_empty() && chunk.len() <= 64 << 10);
        all.extend_from_slice(&chunk);
    }
    assert_eq!(all.len() as u64, loaded.body.len());
    Ok(all)
}
