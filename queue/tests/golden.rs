//! Spools of earlier days, read with the code of today: the format cannot change unnoticed.
//!
//! `golden/v2/NAME/` is a spool, and `golden/v2/NAME.jsonl` what is alive in it. They were made once
//! and are never made again for the same version: when the format changes, its version does, and
//! new ones go beside the old. `ANGARIUM_MAKE_GOLDEN=1 cargo test -p angarium-queue --test golden`
//! makes those of the present version where there are none, and fails, so that nobody takes having
//! made them for having read them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod listing;
mod simulated;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use angarium_queue::disk::RealDisk;
use angarium_queue::spool::{NewMessage, Op, Recovery, Spool};
use listing::{copy_spool, listing};
use simulated::help::*;

const NAMES: [&str; 3] = ["closed", "killed", "bulk"];

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v2")
}

fn open_at(path: &Path) -> (Spool, Recovery) {
    let disk = Arc::new(RealDisk::open(path).unwrap());
    Spool::open(disk, options(), Box::new(|_| {})).unwrap()
}

/// Messages in every state that there is.
fn fill(spool: &Spool) {
    let ids: Vec<_> = (0..8).map(|_| spool.next_id().unwrap()).collect();
    for id in &ids {
        let body = octets(id.as_u64(), 100 + 70 * id.counter() as usize);
        let new = NewMessage { held: id.counter() == 1, ..message(*id, 3, &[&body]) };
        commit(spool, vec![Op::Append(new)]).unwrap();
    }
    commit(spool, vec![deferred(ids[2], 0, 4, 1_700_000_000_000), delivered(ids[2], 1)]).unwrap();
    commit(spool, vec![failed(ids[3], 0, true), failed(ids[3], 2, false)]).unwrap();
    commit(spool, vec![Op::Told(ids[4], 77), Op::Via(ids[4], "smtp://h.example:25".into())])
        .unwrap();
    commit(spool, (0..3).map(|recipient| delivered(ids[5], recipient)).collect()).unwrap();
    commit(spool, vec![Op::Remove(ids[6]), Op::Hold(ids[7]), Op::Release(ids[1])]).unwrap();
}

/// Ends so many messages that what is alive moves forward and slots are used again.
fn churn(spool: &Spool) {
    for n in 0..90 {
        // Of one octet, so that the repository stays small.
        let id = append(spool, &[n; 3_000]);
        commit(spool, vec![delivered(id, 0)]).unwrap();
        commit(spool, vec![]).unwrap();
    }
}

/// Makes a spool; what is open when it is copied looks as after a kill.
fn make(name: &str, path: &Path) -> Spool {
    let (spool, _) = open_at(path);
    match name {
        "bulk" => {
            for length in [5_000, 300, 30_000, 0, 700] {
                let id = spool.next_id().unwrap();
                let body = octets(id.as_u64(), length);
                let new = match length {
                    5_000.. => staged(&spool, id, 1, &body),
                    _ => message(id, 1, &[&body]),
                };
                commit(&spool, vec![Op::Append(new)]).unwrap();
            }
        }
        "killed" => fill(&spool),
        _ => {
            fill(&spool);
            churn(&spool);
            spool.shutdown();
        }
    }
    spool
}

/// Free segments hold nothing, and would only take room.
fn drop_free(path: &Path) {
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let is_segment = path.extension().is_some_and(|extension| extension == "segment");
        if is_segment && fs::read(&path).unwrap()[12] == FREE {
            fs::remove_file(path).unwrap();
        }
    }
}

/// Makes what is missing; answers whether anything was.
fn make_missing() -> bool {
    let missing: Vec<_> = NAMES.into_iter().filter(|name| !golden().join(name).is_dir()).collect();
    for name in &missing {
        let home = tempfile::tempdir().unwrap();
        let spool = make(name, home.path());
        let lines = listing(&spool);
        copy_spool(home.path(), &golden().join(name));
        drop_free(&golden().join(name));
        fs::write(golden().join(name).with_extension("jsonl"), lines.join("\n") + "\n").unwrap();
    }
    !missing.is_empty()
}

#[test]
fn spools_of_earlier_days_are_read_as_they_were() {
    if std::env::var_os("ANGARIUM_MAKE_GOLDEN").is_some() {
        assert!(!make_missing(), "new golden spools were made: look at them, and commit them");
    }
    for name in NAMES {
        let text = fs::read_to_string(golden().join(name).with_extension("jsonl")).unwrap();
        let expected: Vec<&str> = text.lines().collect();
        assert!(expected.len() >= 5, "{name}");
        let home = tempfile::tempdir().unwrap();
        copy_spool(&golden().join(name), home.path());
        for start in 0..2 {
            let (spool, recovery) = open_at(home.path());
            assert_eq!(recovery.damage, [], "{name}");
            assert_eq!(listing(&spool), expected, "{name}, start {start}");
            // The bodies were made by number: none can be another's.
            for stored in spool.scan() {
                let expected = octets(stored.id.as_u64(), stored.size as usize);
                assert_eq!(body(&spool, stored.id).unwrap(), expected, "{name}, {}", stored.id);
            }
            spool.shutdown();
        }
    }
}
