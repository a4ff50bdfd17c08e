//! Disks that spoil what they had stored: bits rot, a write lands in a wrong place.
//!
//! Then the loss is that of what was hit and of nothing else, it is told by the report of the start
//! or by reading, wrong octets are never handed out, and what could not be read is deleted by nobody.
//! There are two exceptions. Of the last group of a run that crashed nothing on the disk says that
//! it ever was there. And a label that goes astray leaves the segment the label of its last use: what
//! stands in it is then told of only by the numbers of the groups behind it, and is used again.

use std::collections::BTreeSet;

use angarium_queue::entry::Stored;
use angarium_queue::id::MessageId;
use angarium_queue::spool::{Recovery, Spool};
use fastrand::Rng;

use crate::model::{Verdict, World};
use crate::recover::start;
use crate::runner::{Runner, Shared, options, read};
use crate::scripts::replay;
use crate::simulated::{Fate, Hit, SimulatedDisk};

const COMMITS: usize = 30;

/// Runs a script, ends it with or without a shutdown, turns a bit over, and starts again. Answers
/// how many messages were hit.
pub fn rot(seed: u64) -> Verdict<usize> {
    let mut random = Rng::with_seed(seed);
    let (mut disk, world, last) = run(seed, |_| {}, random.bool())?;
    let hits: Vec<Hit> = (0..1 + seed % 3).map(|_| disk.rot(&mut random)).collect();
    disk = disk.after_kill(seed);
    let suspects = Suspects { last, most: hits.len(), hit: BTreeSet::new() };
    check(&disk, &world, &suspects)
        .map_err(|why| format!("rot {seed} {:?}: {why}{}", places(&hits), replay("rot", seed, 0)))
}

/// One sync of a script writes to a wrong place.
pub fn astray(seed: u64) -> Verdict<usize> {
    let mut random = Rng::with_seed(seed);
    let from = random.u64(1..150);
    let astray = |disk: &SimulatedDisk| disk.misdirect_from(disk.steps() + from);
    let (disk, world, mut last) = run(seed, astray, random.bool())?;
    let hits = disk.hits();
    if let Some(hit) = hits.first().filter(|hit| hit.offset == 0) {
        last.extend(named(&disk.file(hit.file), &world));
        last.extend(named(&hit.octets, &world));
    }
    let hit = hits.iter().flat_map(|hit| named(&hit.octets, &world)).collect();
    let blocks = hits.iter().map(|hit| hit.octets.len().div_ceil(4096)).sum();
    let suspects = Suspects { last, most: blocks, hit };
    check(&disk, &world, &suspects).map_err(|why| {
        format!("astray {seed} {:?}: {why}{}", places(&hits), replay("astray", seed, 0))
    })
}

fn places(hits: &[Hit]) -> Vec<(usize, usize, usize)> {
    hits.iter().map(|hit| (hit.file, hit.offset, hit.octets.len())).collect()
}

/// Who may be hit.
struct Suspects {
    /// By the last writes: these may be missing without a word.
    last: BTreeSet<MessageId>,
    hit: BTreeSet<MessageId>,
    /// How many others.
    most: usize,
}

/// Runs a script to its end; answers the disk after it, what is known, and the messages of its last
/// writes.
fn run(
    seed: u64,
    prepare: impl Fn(&SimulatedDisk),
    shut_down: bool,
) -> Verdict<(SimulatedDisk, World, BTreeSet<MessageId>)> {
    let (disk, world) = (SimulatedDisk::new(seed), Shared::default());
    let spool = start(disk.clone(), &World::default())?.spool;
    world.lock().unwrap().epoch = 1;
    prepare(&disk);
    let runner = Runner::new(&disk, spool, world.clone(), seed);
    runner.run(COMMITS).map_err(|error| error.to_string())?;
    let world = world.lock().unwrap().clone();
    let last = named(&disk.last_writes(6), &world);
    let runner = Some(runner).filter(|_| !shut_down);
    let crashed = disk.after_crash(Fate::Lost, seed);
    drop(runner);
    Ok((crashed, world, last))
}

/// The messages whose identifier stands in these octets.
fn named(octets: &[u8], world: &World) -> BTreeSet<MessageId> {
    let here =
        |id: &&MessageId| octets.windows(8).any(|octets| octets == id.as_u64().to_le_bytes());
    world.acknowledged.bodies.keys().filter(here).copied().collect()
}

fn check(disk: &SimulatedDisk, world: &World, suspects: &Suspects) -> Verdict<usize> {
    let opened = Spool::open(disk.arc(), options(), Box::new(|_| {}));
    let (spool, report) = opened.map_err(|error| format!("it does not open: {error}"))?;
    let kept = evidence(disk, &report);
    let hit = compare(&spool, world, &report, suspects)?;
    let beyond = hit.iter().filter(|id| !suspects.last.contains(id) && !suspects.hit.contains(id));
    if beyond.count() > suspects.most {
        return Err(format!("{hit:?} were hit; {} were to be", suspects.most));
    }
    end_all(&spool);
    drop(spool);
    let gone = kept.iter().find(|(name, offset, octets)| !is_kept(disk, name, *offset, octets));
    match gone {
        Some((name, offset, _)) => Err(format!("unreadable octets of {name} at {offset} are gone")),
        None => Ok(hit.len()),
    }
}

/// Finds the messages that are not as they should be; each must have been told of.
fn compare(
    spool: &Spool,
    world: &World,
    report: &Recovery,
    suspects: &Suspects,
) -> Verdict<BTreeSet<MessageId>> {
    let known = &world.acknowledged;
    let mut hit = BTreeSet::new();
    let scan = spool.scan();
    for stored in &scan {
        let body = known.bodies.get(&stored.id).ok_or(format!("{} was never sent", stored.id))?;
        let whole = read(spool, stored.id, body)?.is_ok();
        if !whole || known.live.get(&stored.id) != Some(stored) {
            hit.insert(stored.id);
        }
    }
    let found: BTreeSet<_> = scan.iter().map(|stored| stored.id).collect();
    hit.extend(known.live.keys().filter(|id| !found.contains(id)));
    let silent = report.damage.is_empty() && report.set_aside.is_empty();
    let unread = |id: &MessageId| {
        known.bodies.get(id).is_some_and(|body| matches!(read(spool, *id, body), Ok(Err(_))))
    };
    let told = |id: &MessageId| scan.iter().any(|s| s.id == *id && (unread(id) || lacks_reply(s)));
    let untold = hit.iter().find(|id| silent && !suspects.last.contains(id) && !told(id));
    let Some(id) = untold else { return Ok(hit) };
    let found = scan.iter().find(|stored| stored.id == *id);
    Err(format!("nobody told of {found:?}, which was {:?}", known.live.get(id)))
}

/// A reply that cannot be read says so in its place.
fn lacks_reply(stored: &Stored) -> bool {
    format!("{stored:?}").contains("the last reply cannot be read")
}

/// What the report says cannot be read: file, offset, octets.
fn evidence(disk: &SimulatedDisk, report: &Recovery) -> Vec<(String, usize, Vec<u8>)> {
    // The superblock alone is written anew where it can't be read.
    let durable = report.damage.iter().filter(|d| d.octets > 0 && d.file != "superblock");
    let durable = durable.filter(|d| !d.what.contains("torn"));
    let octets = |file: &str, start: usize, octets: usize| {
        let all = disk.contents(&disk.names().into_iter().find(|name| name.ends_with(file))?);
        Some(all.get(start..start + octets)?.to_vec())
    };
    durable
        .filter_map(|damage| {
            let (start, length) = (damage.offset as usize, damage.octets as usize);
            Some((damage.file.clone(), start, octets(&damage.file, start, length)?))
        })
        .collect()
}

fn is_kept(disk: &SimulatedDisk, name: &str, offset: usize, octets: &[u8]) -> bool {
    let names = disk.names();
    let mut here = names.iter().filter(|file| file.contains(name));
    here.any(|file| disk.contents(file).get(offset..offset + octets.len()) == Some(octets))
}

/// Ends every message, and uses up enough segments that the old ones are freed.
fn end_all(spool: &Spool) {
    use crate::simulated::help::{append, commit};
    use angarium_queue::spool::Op;
    for stored in spool.scan() {
        commit(spool, vec![Op::Remove(stored.id)]).unwrap();
    }
    for _ in 0..24 {
        let id = append(spool, &[7; 1_500]);
        commit(spool, vec![Op::Remove(id)]).unwrap();
    }
}

/// Spoils the label of each file in turn. Answers how many files.
fn labels(seed: u64) -> Verdict<usize> {
    let (disk, world, _) = run(seed, |_| {}, seed.is_multiple_of(2))?;
    let files = disk.files();
    for file in &files {
        let copy = disk.after_kill(seed);
        copy.rot_at(*file, 20, 1);
        let nobody = Suspects { last: BTreeSet::new(), most: 0, hit: BTreeSet::new() };
        check(&copy, &world, &nobody).map_err(|why| format!("seed {seed}, file {file}: {why}"))?;
    }
    Ok(files.len())
}

#[test]
fn a_damaged_label_costs_nothing() {
    for seed in 0..crate::seeds(30) {
        labels(seed).unwrap_or_else(|why| panic!("{why}"));
    }
}

#[test]
fn a_bit_that_rots_costs_what_it_hits() {
    let hit: usize =
        (0..crate::seeds(600)).map(|seed| rot(seed).unwrap_or_else(|why| panic!("{why}"))).sum();
    println!("{hit} messages were hit");
    assert!(hit > 50, "{hit} messages were hit");
}

#[test]
fn a_write_that_goes_astray_costs_what_it_hits() {
    let hit: usize =
        (0..crate::seeds(600)).map(|seed| astray(seed).unwrap_or_else(|why| panic!("{why}"))).sum();
    println!("{hit} messages were hit");
    assert!(hit > 50, "{hit} messages were hit");
}
