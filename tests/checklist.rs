//! Holds every MUST of `tests/checklist.txt` to a transcript or test that names its id.
//!
//! A proof names the lines it is for as `Checks: S01 G05`: in a dialogue script, or in a comment of the
//! test. A line that waits for something else says for what; then it must have no proof yet, so that
//! nobody forgets to take the word away. Prints the coverage (`--no-capture`).

#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected shall stop")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

struct Line {
    id: String,
    level: String,
    what: String,
    waits: Option<String>,
    choice: Option<String>,
}

fn lines() -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for text in include_str!("checklist.txt").lines() {
        if text.starts_with('#') || text.is_empty() {
            continue;
        }
        if let Some(more) = text.strip_prefix("    ") {
            let last = lines.last_mut().unwrap();
            match more.split_once(": ").unwrap() {
                ("waits", what) => last.waits = Some(what.to_owned()),
                ("choice", what) => last.choice = Some(what.to_owned()),
                (other, _) => panic!("{}: no such word: {other}", last.id),
            }
            continue;
        }
        let [id, _, _, level, what] = text.split(" | ").collect::<Vec<_>>()[..] else {
            panic!("not a line of the checklist: {text}");
        };
        let [id, level, what] = [id, level, what].map(str::to_owned);
        lines.push(Line { id, level, what, waits: None, choice: None });
    }
    lines
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|kind| kind == "rs" || kind == "smtp") {
            found.push(path);
        }
    }
}

/// The ids that a text names behind `Checks:`.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let is_id = |word: &&str| {
        let (letter, digits) = word.split_at_checked(1).unwrap_or(("", ""));
        letter.chars().all(|letter| letter.is_ascii_uppercase())
            && digits.len() == 2
            && digits.bytes().all(|digit| digit.is_ascii_digit())
    };
    text.lines()
        .filter_map(|line| line.split_once("Checks: "))
        .flat_map(move |(_, ids)| ids.split_ascii_whitespace().take_while(is_id))
}

fn proofs() -> BTreeMap<String, BTreeSet<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for folder in ["tests", "src", "queue/src", "queue/tests"] {
        files(&root.join(folder), &mut paths);
    }
    let mut proofs: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    for path in paths.iter().filter(|path| !path.ends_with("tests/checklist.rs")) {
        let text = std::fs::read_to_string(path).unwrap();
        for id in named(&text) {
            let short = path.strip_prefix(root).unwrap().to_owned();
            proofs.entry(id.to_owned()).or_default().insert(short);
        }
    }
    proofs
}

#[test]
fn every_must_is_proved_or_waits_for_something() {
    let (lines, proofs) = (lines(), proofs());
    let known: BTreeSet<&str> = lines.iter().map(|line| line.id.as_str()).collect();
    assert_eq!((lines.len(), known.len()), (161, 161), "a line is missing or there twice");
    let mut faults: Vec<String> = proofs
        .keys()
        .filter(|id| !known.contains(id.as_str()))
        .map(|id| format!("{id}: no such line"))
        .collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for Line { id, level, what, waits, choice } in &lines {
        let state = match (proofs.get(id), waits, choice) {
            (Some(_), None, _) => "proved",
            (None, Some(_), _) => "waiting",
            (None, None, Some(_)) if !level.starts_with("MUST") => "choice",
            (Some(_), Some(what), _) => {
                faults.push(format!("{id} is proved, and said to wait for {what}"));
                continue;
            }
            (None, None, _) => {
                faults.push(format!("{id} ({level}) has no proof: {what}"));
                continue;
            }
        };
        *counts.entry(state).or_default() += 1;
    }
    let figures: Vec<String> = counts.iter().map(|(state, n)| format!("{n} {state}")).collect();
    println!("checklist: {} of {}", figures.join(", "), lines.len());
    for Line { id, what, waits, .. } in &lines {
        if let Some(waits) = waits {
            println!("{id} waits for {waits}: {what}");
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
