//! Who gets which segment, and who gets none.

use super::*;
use crate::disk::memory::MemoryDisk;

const SIZE: u64 = 64 << 10;
const SHORT: u64 = 16 << 10;

fn pool() -> (Arc<MemoryDisk>, Pool) {
    let disk = Arc::new(MemoryDisk::default());
    let claim = Claim { shard: 0, epoch: 2, secret: 3 };
    (disk.clone(), Pool::new(disk, claim, (SIZE, SHORT), 1, 10))
}

fn label(disk: &MemoryDisk, slot: u32) -> Label {
    Label::decode(&disk.contents(&segment_name(slot))).unwrap()
}

#[test]
fn the_last_free_segment_is_for_control_records() {
    let (disk, pool) = pool();
    pool.keep_up();
    disk.capacity.store(SIZE + SHORT - 1, Ordering::Relaxed);
    assert_eq!(pool.ready(), 0);
    let full = pool.take(Need::Mail).err().unwrap();
    assert!(is_full(&full));
    let taken = pool.take(Need::Control).unwrap();
    assert_eq!((taken.slot, taken.size), (1, SIZE));
    assert!(is_full(&pool.take(Need::Control).err().unwrap()));
    // A short one, when not even a whole one fits; mail never gets it.
    disk.capacity.store(2 * SIZE - 1, Ordering::Relaxed);
    pool.keep_up();
    disk.create(&segment_name(9), SHORT).unwrap();
    pool.add_free(9, SHORT);
    assert!(is_full(&pool.take(Need::Mail).err().unwrap()));
    assert_eq!(pool.take(Need::Control).unwrap().size, SHORT);
}

#[test]
fn a_new_segment_is_labelled_as_free() {
    let (disk, pool) = pool();
    let taken = pool.take(Need::Mail).unwrap();
    let found = label(&disk, taken.slot);
    assert_eq!((found.usage, found.slot, found.size), (Use::Free, 1, SIZE));
    assert_eq!((found.epoch, found.secret), (2, 3));
    assert!(pool.take(Need::Mail).unwrap().slot > taken.slot);
    // Its serial rises with every use.
    let next = pool.label(Use::Log, taken.slot, SIZE, 1);
    assert!(next.serial > found.serial);
}

#[test]
fn what_is_given_back_is_free_on_the_disk_first() {
    let (disk, pool) = pool();
    let taken = pool.take(Need::Mail).unwrap();
    let used = pool.label(Use::Log, taken.slot, SIZE, 7);
    taken.file.write_at(0, &used.encode()).unwrap();
    disk.broken.store(true, Ordering::Relaxed);
    assert!(pool.give_back(taken.slot, SIZE).is_err());
    disk.broken.store(false, Ordering::Relaxed);
    assert_ne!(pool.take(Need::Mail).unwrap().slot, taken.slot, "it may not be free for sure");
    pool.give_back(taken.slot, SIZE).unwrap();
    assert_eq!(label(&disk, taken.slot).usage, Use::Free);
    assert_eq!(pool.take(Need::Control).unwrap().slot, taken.slot);
}

#[test]
fn room_goes_back_to_the_file_system() {
    let (disk, pool) = pool();
    let taken: Vec<_> = (0..12).map(|_| pool.take(Need::Mail).unwrap().slot).collect();
    for slot in &taken {
        pool.give_back(*slot, SIZE).unwrap();
    }
    assert_eq!(pool.ready(), 11);
    (0..20).for_each(|_| pool.keep_up());
    assert_eq!((pool.ready() as usize + 1, disk.list().unwrap().len()), (FREE_KEPT, FREE_KEPT));
    // One that is too small for any use is removed.
    disk.create(&segment_name(40), SHORT - 1).unwrap();
    pool.add_free(40, SHORT - 1);
    assert_eq!(disk.list().unwrap().len(), FREE_KEPT);
    // A forgotten one is nobody's.
    pool.forget(taken[0]);
    assert!(pool.file(77).is_err());
}

#[test]
fn filled_ones_come_first_and_filling_spares_the_last() {
    let (disk, pool) = pool();
    pool.prepare();
    assert!(!pool.fill_one(), "the last one is never away");
    pool.prepare();
    assert_eq!(disk.list().unwrap().len(), 2);
    let filled: Vec<_> = lock(&pool.state).free.values().map(|free| free.filled).collect();
    assert_eq!(filled.iter().filter(|filled| **filled).count(), 1);
    let first = pool.take(Need::Mail).unwrap().slot;
    assert!(filled[first as usize - 1]);
    assert_eq!(label(&disk, first).usage, Use::Free, "the label is not written over");
}
