//! Spools spoiled at random: nothing panics, and nothing takes memory that the disk does not have.
//!
//! The golden spools are altered, 10,000 times, and for so many seconds as
//! `ANGARIUM_FUZZ_SECONDS` says: bits, stretches, lengths, blocks in a wrong place. Half of the time
//! what was altered is sealed again, as no sender of mail could, so that the decoders behind the
//! checksums are met, too. Then the spool is checked, opened and read to its end.
//! A failure names its seed; `ANGARIUM_SEED` begins with it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![allow(unsafe_code, reason = "an allocator that counts")]
#![allow(clippy::disallowed_methods, reason = "so many seconds are counted by the clock")]

mod simulated;

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use angarium_queue::fsck;
use angarium_queue::spool::Spool;
use fastrand::Rng;
use simulated::SimulatedDisk;
use simulated::help::{groups, options, u64_at};

struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        // SAFETY: the caller's promise is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise is the same.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How many are spoiled at the least.
const SPOOLS: u64 = 10_000;

type Files = Vec<(String, Vec<u8>)>;

fn golden() -> Vec<Files> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v2");
    let spools = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = |path: std::path::PathBuf| -> Files {
        let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        files
            .map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap()))
            .collect()
    };
    spools.filter(|path| path.is_dir()).map(files).collect()
}

/// The checksum of octets at this place of a segment, by what its label says. See `FORMAT.md`.
fn seal(segment: &[u8], offset: usize, octets: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    for part in [&segment[24..32], &segment[16..20], &segment[20..24], &segment[32..40]] {
        hasher.update(part);
    }
    hasher.update(&(offset as u64).to_le_bytes());
    hasher.update(octets);
    hasher.finalize().to_le_bytes()
}

/// Alters some octets of a stretch that begins with its seal, and seals it again.
fn alter_sealed(segment: &mut [u8], offset: usize, octets: usize, random: &mut Rng) {
    let end = (offset + octets).min(segment.len());
    if end < offset + 8 {
        return;
    }
    for _ in 0..random.usize(1..4) {
        let at = random.usize(offset + 4..end);
        let any = random.u8(..);
        segment[at] = random.choice([0, 1, 0x7F, 0xFF, any]).unwrap();
    }
    // A record's length may have been altered as well; then it is sealed by what it says now.
    let said = u32::from_le_bytes(segment[offset + 4..offset + 8].try_into().unwrap()) as usize;
    let end = if random.bool() && (8..=segment.len() - offset).contains(&said) {
        offset + said
    } else {
        end
    };
    let sealed = seal(segment, offset, &segment[offset + 4..end]);
    segment[offset..offset + 4].copy_from_slice(&sealed);
}

fn alter(octets: &mut Vec<u8>, random: &mut Rng) {
    let some = |random: &mut Rng, octets: &[u8]| random.usize(0..octets.len().max(1));
    let (at, other) = (some(random, octets), some(random, octets));
    let groups = if octets.len() > 4096 { groups(octets) } else { Vec::new() };
    let group = random.choice(&groups).map(|group| group.start);
    match random.u8(0..8) {
        0 => octets.truncate(at),
        1 => octets.resize(octets.len() + random.usize(0..9_000), random.u8(..)),
        2 => octets.iter_mut().skip(at).take(random.usize(0..5_000)).for_each(|o| *o = 0),
        3 if !octets.is_empty() => octets[at] ^= 1 << random.u8(0..8),
        4 => {
            let (from, to) = (at / 4096 * 4096, other / 4096 * 4096);
            let moved = octets[from..(from + 4096).min(octets.len())].to_vec();
            octets.iter_mut().skip(to).zip(moved).for_each(|(place, octet)| *place = octet);
        }
        5 => drop(group.map(|start| alter_sealed(octets, start, 32, random))),
        6 => {
            if let Some(start) = group.map(|start| start + 32) {
                let said = u32::from_le_bytes(octets[start + 4..start + 8].try_into().unwrap());
                alter_sealed(octets, start, said as usize, random);
            }
        }
        _ if octets.len() > 8192 => {
            let trailer = octets.len() - 32;
            let footer = (u64_at(octets, trailer + 8) as usize).min(trailer - 4096);
            for _ in 0..random.usize(0..3) {
                let at = random.usize(trailer - footer.max(1)..trailer);
                octets[at] = random.u8(..);
            }
            let sealed = seal(octets, trailer - footer, &octets[trailer - footer..trailer]);
            octets[trailer + 4..trailer + 8].copy_from_slice(&sealed);
            let sealed = seal(octets, trailer, &octets[trailer + 4..]);
            octets[trailer..trailer + 4].copy_from_slice(&sealed);
        }
        _ => {}
    }
}

/// Reads everything that a spoiled spool still has.
fn read(disk: &SimulatedDisk) {
    let _ = fsck::check(disk.arc(), &[]);
    let Ok((spool, _)) = Spool::open(disk.arc(), options(), Box::new(|_| {})) else { return };
    for stored in spool.scan() {
        let _ = spool.envelope(stored.id);
        let Ok(mut loaded) = spool.load(stored.id) else { continue };
        while let Ok(Some(_)) = loaded.body.next_chunk() {}
    }
    spool.shutdown();
}

fn spoil(golden: &[Files], seed: u64) {
    let mut random = Rng::with_seed(seed);
    let mut files = random.choice(golden).unwrap().clone();
    for _ in 0..random.usize(1..4) {
        let file = random.usize(0..files.len());
        alter(&mut files[file].1, &mut random);
    }
    let disk = SimulatedDisk::new(seed);
    files.iter().for_each(|(name, octets)| disk.put(name, octets));
    let total: usize = files.iter().map(|(_, octets)| octets.len()).sum();
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    read(&disk);
    let taken = PEAK.load(Relaxed) - before;
    // A record that was sealed anew may claim a recipient for each octet of its envelope.
    let most = 100 * total + (1 << 20);
    assert!(taken < most, "{taken} octets for a spool of {total}");
}

#[test]
fn spoiled_spools_are_read_without_harm() {
    let golden = golden();
    assert_eq!(golden.len(), 3);
    let seconds = std::env::var("ANGARIUM_FUZZ_SECONDS").map_or(0, |text| text.parse().unwrap());
    let first: u64 = std::env::var("ANGARIUM_SEED").map_or(0, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut seed = first;
    while seed < first + SPOOLS || Instant::now() < end {
        let spoiled = std::panic::catch_unwind(|| spoil(&golden, seed));
        assert!(spoiled.is_ok(), "ANGARIUM_SEED={seed}");
        seed += 1;
    }
    println!("fuzz.spools = {} spools", seed - first);
}
