//! Blocks are given once, come back, and are left alone after a failed sync.

use std::collections::BTreeSet;

use super::*;
use crate::disk::Disk;
use crate::disk::memory::MemoryDisk;
use crate::id::MessageId;
use crate::label::segment_name;
use crate::op::CommitError;
use crate::staging::{Staged, Staging};
use crate::superblock::Claim;

const SIZE: u64 = 64 << 10;
const BLOCKS: usize = 15;

fn bulk() -> (Arc<MemoryDisk>, Arc<Bulk>) {
    let disk = Arc::new(MemoryDisk::default());
    let claim = Claim { shard: 0, epoch: 2, secret: 3 };
    let pool = Pool::new(disk.clone(), claim, (SIZE, SIZE), 1, 10);
    (disk, Arc::new(Bulk::new(Arc::new(pool))))
}

fn id(number: u64) -> MessageId {
    MessageId::from_u64(number)
}

fn stage(bulk: &Arc<Bulk>, octets: &[u8]) -> Result<Staged, CommitError> {
    let mut staging = Staging::in_bulk(bulk.clone(), id(1));
    octets.chunks(1_000).try_for_each(|part| staging.write(part))?;
    staging.finish()
}

/// Every block of a body.
fn blocks(staged: &Staged) -> Vec<(u32, u32)> {
    let of = |e: &Extent| (e.block..e.block + e.blocks).map(|block| (e.slot, block)).collect();
    staged.extents().iter().flat_map(|extent: &Extent| -> Vec<_> { of(extent) }).collect()
}

#[test]
fn the_block_size_follows_from_the_segment() {
    for (size, octets, blocks) in
        [(SIZE, 4 << 10, 15), (4 << 20, 64 << 10, 63), (64 << 20, 256 << 10, 255)]
    {
        assert_eq!((block_octets(size), blocks_in(size)), (octets, blocks));
        assert!(block_offset(size, blocks) <= size && block_offset(size, blocks + 1) > size);
    }
}

#[test]
fn a_block_is_given_to_one_body_at_a_time() {
    let (disk, bulk) = bulk();
    let bodies: Vec<_> = (0..9u8).map(|n| stage(&bulk, &[n; 13_000]).unwrap()).collect();
    let all: Vec<_> = bodies.iter().flat_map(blocks).collect();
    assert_eq!(all.len(), 9 * 4);
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    for (n, body) in (0..9u8).zip(&bodies) {
        let mut read = Vec::new();
        for (slot, block) in blocks(body) {
            let octets = disk.contents(&segment_name(slot));
            read.extend_from_slice(&octets[block_offset(SIZE, block) as usize..][..4096]);
        }
        assert_eq!(read[..13_000], [n; 13_000]);
        assert_eq!((body.octets(), body.crc()), (13_000, crc32fast::hash(&[n; 13_000])));
    }
}

#[test]
fn what_is_written_reads_back_over_blocks_and_segments() {
    let (disk, bulk) = bulk();
    let octets: Vec<u8> = (0..3 * SIZE as usize).map(|at| (at % 251) as u8).collect();
    let mut staging = Staging::in_bulk(bulk.clone(), id(1));
    assert_eq!(staging.read_back().unwrap(), []);
    let mut written = 0;
    for part in octets.chunks(4_095) {
        staging.write(part).unwrap();
        written += part.len();
        assert_eq!(staging.read_back().unwrap(), octets[..written]);
    }
    let first = segment_name(staging.finish().unwrap().extents()[0].slot);
    let mut staging = Staging::in_bulk(bulk, id(1));
    staging.write(&octets).unwrap();
    disk.open(&first).unwrap().write_at(block_offset(SIZE, 0), b"other").unwrap();
    assert!(matches!(staging.read_back(), Err(CommitError::Unavailable(_))));
}

#[test]
fn neighbours_are_one_extent() {
    let (_, bulk) = bulk();
    let body = stage(&bulk, &[1; 20_000]).unwrap();
    assert_eq!(body.extents(), [Extent { slot: 1, block: 0, blocks: 5 }]);
    assert_eq!(stage(&bulk, &[]).unwrap().extents(), []);
}

#[test]
fn what_is_dropped_is_free_and_what_is_kept_is_not() {
    let (_, bulk) = bulk();
    for _ in 0..20 {
        drop(stage(&bulk, &[1; 50_000]).unwrap());
    }
    let kept = stage(&bulk, &[1; 50_000]).unwrap();
    let extents = kept.extents().to_vec();
    kept.keep();
    let taken: BTreeSet<_> = blocks(&kept).into_iter().collect();
    drop(kept);
    let other = stage(&bulk, &[1; 50_000]).unwrap();
    assert!(blocks(&other).iter().all(|block| !taken.contains(block)));
    // Its message has ended: it is room again.
    bulk.release(&extents);
    let again = stage(&bulk, &[1; 40_000]).unwrap();
    assert!(blocks(&again).iter().all(|block| taken.contains(block)));
}

#[test]
fn two_owners_of_a_block_are_counted() {
    let (_, bulk) = bulk();
    let body = stage(&bulk, &[1; SIZE as usize - 4096]).unwrap();
    let extents = body.extents().to_vec();
    body.keep();
    extents.iter().for_each(|extent| bulk.use_blocks(extent));
    bulk.release(&extents);
    assert_eq!(bulk.find(None).map(|given| given.slot), None);
    bulk.release(&extents);
    // Blocks that are not there, and one release too many, do no harm.
    bulk.release(&extents);
    let beyond = Extent { slot: 1, block: 10, blocks: u32::MAX };
    bulk.use_blocks(&beyond);
    bulk.release(&[beyond, Extent { slot: 99, block: 0, blocks: 3 }]);
    assert_eq!(blocks(&stage(&bulk, &[1; 60_000]).unwrap()).len(), BLOCKS);
}

#[test]
fn emptied_segments_go_but_for_one() {
    let (_, bulk) = bulk();
    let bodies: Vec<_> = (0..3).map(|_| stage(&bulk, &[1; 60_000]).unwrap()).collect();
    assert!(bulk.take_emptied().is_empty());
    drop(bodies);
    let emptied = bulk.take_emptied();
    assert_eq!(emptied.iter().map(|emptied| emptied.slot).collect::<Vec<_>>(), [2, 3]);
    assert!(bulk.take_emptied().is_empty() && bulk.size(1).is_some() && bulk.size(2).is_none());
}

#[test]
fn nothing_new_is_put_into_a_kept_segment() {
    let (disk, bulk) = bulk();
    disk.create(&segment_name(7), SIZE).unwrap();
    let label = bulk.pool.label(Use::Bulk, 7, SIZE, 0);
    bulk.adopt(&label, true).unwrap();
    assert!(blocks(&stage(&bulk, &[1; 60_000]).unwrap()).iter().all(|(slot, _)| *slot != 7));
    let emptied = bulk.take_emptied();
    assert!(emptied.iter().any(|emptied| emptied.slot == 7 && emptied.kept));
}

#[test]
fn an_adopted_segment_is_labelled_before_it_is_used() {
    let (disk, bulk) = bulk();
    disk.create(&segment_name(7), SIZE).unwrap();
    let label = bulk.pool.label(Use::Bulk, 7, SIZE, 0);
    bulk.adopt(&label, false).unwrap();
    assert_eq!(Label::decode(&disk.contents(&segment_name(7))), None);
    let body = stage(&bulk, b"body").unwrap();
    assert_eq!(blocks(&body), [(7, 0)]);
    assert_eq!(Label::decode(&disk.contents(&segment_name(7))), Some(label));
}

#[test]
fn a_failed_sync_spoils_the_segment_for_this_run() {
    let (disk, bulk) = bulk();
    let before = stage(&bulk, &[1; 5_000]).unwrap();
    let mut beside = Staging::in_bulk(bulk.clone(), id(2));
    beside.write(&[2; 5_000]).unwrap();
    disk.broken.store(true, Ordering::Relaxed);
    assert!(matches!(stage(&bulk, &[3; 5_000]), Err(CommitError::Unavailable(_))));
    disk.broken.store(false, Ordering::Relaxed);
    // The system tells of a failure only once: whoever has octets there hears of it all the same.
    assert!(matches!(beside.finish(), Err(CommitError::Unavailable(_))));
    let after = stage(&bulk, &[4; 60_000]).unwrap();
    assert!(blocks(&after).iter().all(|(slot, _)| *slot != 1));
    drop((before, after));
    assert!(bulk.take_emptied().iter().all(|emptied| emptied.slot != 1));
}

#[test]
fn a_full_disk_is_told_and_gives_the_blocks_back() {
    let (disk, bulk) = bulk();
    disk.capacity.store(SIZE, Ordering::Relaxed);
    assert_eq!(stage(&bulk, &[1; 70_000]).err(), Some(CommitError::Full));
    assert_eq!(blocks(&stage(&bulk, &[1; 60_000]).unwrap()).len(), BLOCKS);
}
