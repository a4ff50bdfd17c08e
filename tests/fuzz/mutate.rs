//! Inputs made of kept ones: spliced, cut, repeated, with words of the target and odd octets in them.
//!
//! Promises that the same seed gives the same input of the same corpus.

use fastrand::Rng;

/// Octets at borders of classes.
const ODD: &[u8] = b"\0\t\n\r !\"()+,-.:;<=>@[\\]^_`{|}~\x7f\x80\xc3\xa9\xff09AZaz";
/// No input grows past this by repetition, in octets.
const REPEATED_MAX: usize = 8_192;

/// An input after some alterations, often none or one.
pub(crate) fn mutate(kept: &[Vec<u8>], words: &[&str], random: &mut Rng) -> Vec<u8> {
    let mut input = random.choice(kept).cloned().unwrap_or_default();
    for _ in 0..random.choice([0, 1, 1, 2, 3, 5, 9]).unwrap_or(1) {
        alter(&mut input, kept, words, random);
    }
    input
}

/// A stretch of the input, usually short.
fn stretch(octets: usize, random: &mut Rng) -> std::ops::Range<usize> {
    let begin = random.usize(0..=octets);
    let longest = if random.u8(0..4) == 0 { octets } else { 8 };
    begin..(begin + random.usize(0..=longest)).min(octets)
}

fn alter(input: &mut Vec<u8>, kept: &[Vec<u8>], words: &[&str], random: &mut Rng) {
    let range = stretch(input.len(), random);
    let odd = |random: &mut Rng| random.choice(ODD.iter().copied()).unwrap_or_default();
    match random.u8(0..11) {
        0 => drop(input.drain(range)),
        1 => drop(input.splice(range.start..range.start, [odd(random)])),
        2 => drop(input.splice(range, [odd(random)])),
        3 | 4 => {
            let word = random.choice(words).copied().unwrap_or_default();
            let place = if random.bool() { range.start..range.start } else { range };
            drop(input.splice(place, word.bytes()));
        }
        5 => {
            let other = random.choice(kept).cloned().unwrap_or_default();
            let part = stretch(other.len(), random);
            drop(input.splice(range, other[part].iter().copied()));
        }
        6 => {
            let other = random.choice(kept).cloned().unwrap_or_default();
            let place = random.usize(0..=other.len());
            input.truncate(range.start);
            input.extend_from_slice(&other[place..]);
        }
        7 if !range.is_empty() => {
            let part = input[range.clone()].to_vec();
            let most = random.choice([2, 2, 8, REPEATED_MAX / part.len().max(16)]).unwrap_or(2);
            let times = random.usize(1..=most.max(1));
            drop(input.splice(range.start..range.start, part.repeat(times)));
        }
        8 => input[range].iter_mut().for_each(|octet| *octet ^= 0x20),
        9 if !range.is_empty() => input[range.start] ^= 1 << random.u8(0..8),
        _ => input.rotate_left(range.start),
    }
}
