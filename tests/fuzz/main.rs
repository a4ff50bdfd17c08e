//! Fuzzing of what reads octets of strangers: each target holds what it reads to an invariant.
//!
//! Kept inputs of `corpus/<target>/` go in as they are, then altered, for `ANGARIUM_FUZZ_SECONDS` a
//! target (1 where it says nothing). A failure prints the seed and the input; `ANGARIUM_SEED` begins
//! with that seed. Without it seeds start at 0 in the short form and at random in a longer one. What
//! once failed is kept in the corpus.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod chunks;
mod command;
mod content;
mod differential;
mod dovecot;
mod header;
mod maildrop;
mod mutate;
mod path;
mod proxy;
mod reply;
mod sasl;
mod sendmail;
mod session;
mod users;

#[path = "../machine/mod.rs"]
mod machine;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use fastrand::Rng;

/// Something that reads octets.
struct Target {
    /// Its folder in the corpus.
    name: &'static str,
    /// Words that its inputs are made of.
    words: &'static [&'static str],
    /// The longest input, in octets.
    octets_max: usize,
    /// Panics where what was read breaks the invariant. The random numbers are for cuts and the like.
    check: fn(&[u8], &mut Rng),
}

fn kept(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let files =
        std::fs::read_dir(&folder).unwrap_or_else(|_| panic!("{} is gone", folder.display()));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

fn check(target: &Target, input: &[u8], seed: u64) {
    let mut random = Rng::with_seed(seed);
    let checked = catch_unwind(AssertUnwindSafe(|| (target.check)(input, &mut random)));
    assert!(checked.is_ok(), "{}: ANGARIUM_SEED={seed} {}", target.name, input.escape_ascii());
}

/// Runs one target for its time.
#[allow(clippy::disallowed_methods, reason = "so many seconds are counted by the clock")]
fn fuzz(target: &Target) {
    let kept = kept(target.name);
    assert!(!kept.is_empty(), "{} has no corpus", target.name);
    kept.iter().for_each(|input| check(target, input, 0));
    let seconds = number("ANGARIUM_FUZZ_SECONDS");
    let somewhere = || if seconds.is_some() { fastrand::u64(..) >> 16 } else { 0 };
    let first = number("ANGARIUM_SEED").unwrap_or_else(somewhere);
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(1));
    let mut seed = first;
    while seed == first || Instant::now() < end {
        let mut random = Rng::with_seed(seed);
        let mut input = mutate::mutate(&kept, target.words, &mut random);
        input.truncate(target.octets_max);
        check(target, &input, seed);
        seed += 1;
    }
    println!("fuzz.{} = {} inputs (from ANGARIUM_SEED={first})", target.name, seed - first);
}

/// Cuts `input` into pieces, most of them short.
fn pieces<'a>(mut input: &'a [u8], random: &mut Rng) -> Vec<&'a [u8]> {
    let longest = random.choice([1, 3, 20, 200]).unwrap();
    let mut pieces = Vec::new();
    while !input.is_empty() {
        let (piece, rest) = input.split_at(random.usize(1..=longest).min(input.len()));
        pieces.push(piece);
        input = rest;
    }
    pieces
}

#[test]
fn commands() {
    fuzz(&command::TARGET);
}

#[test]
fn commands_beside_smtp_proto() {
    fuzz(&differential::TARGET);
}

#[test]
fn paths() {
    fuzz(&path::TARGET);
}

#[test]
fn replies() {
    fuzz(&reply::TARGET);
}

#[test]
fn headers() {
    fuzz(&header::TARGET);
}

#[test]
fn contents() {
    fuzz(&content::TARGET);
}

#[test]
fn chunks_of_content() {
    fuzz(&chunks::TARGET);
}

#[test]
fn sessions() {
    fuzz(&session::TARGET);
}

#[test]
fn sasl_exchanges() {
    fuzz(&sasl::TARGET);
}

#[test]
fn proxy_headers() {
    fuzz(&proxy::TARGET);
}

#[test]
fn replies_of_dovecot() {
    fuzz(&dovecot::TARGET);
}

#[test]
fn files_of_users() {
    fuzz(&users::TARGET);
}

#[test]
fn arguments_of_sendmail() {
    fuzz(&sendmail::ARGUMENTS);
}

#[test]
fn messages_to_sendmail() {
    fuzz(&sendmail::MESSAGE);
}

#[test]
fn files_of_the_maildrop() {
    fuzz(&maildrop::TARGET);
}
