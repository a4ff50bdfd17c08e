//! Addresses: what reading, copying and printing one costs.
//!
//! `cargo bench --bench address`. Each figure is the best of many short runs, which is the one that the
//! machine disturbed least.

#![allow(clippy::unwrap_used, reason = "a panic fails the benchmark")]
#![allow(clippy::disallowed_methods, reason = "it measures by the clock")]

use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use angarium::syntax::path::{Mailbox, parse_forward_path, take_path};

const RUNS: usize = 2_000;
const TURNS: u32 = 1_000;

/// What clients send: short and long, with a route, with quotes, to a literal.
const PATHS: [(&str, &str); 4] = [
    ("plain", "<joe.doe@example.org>"),
    ("long", "<bounces+12345678-abcd-joe=example.org@em1234.newsletter.some-company.example>"),
    ("quoted", "<\"joe doe\"@example.org>"),
    ("literal", "<postmaster@[IPv6:2001:db8::1]>"),
];

fn main() {
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    for (name, text) in PATHS {
        let ns = best_ns(|| {
            let (path, _) = take_path(black_box(text)).unwrap();
            black_box(parse_forward_path(path).unwrap());
        });
        println!("address.parse.{name} = {ns:.1} ns");
    }
    let mailbox: Mailbox = "joe.doe@example.org".parse().unwrap();
    println!("address.clone = {:.1} ns", best_ns(|| drop(black_box(&mailbox).clone())));
    let mut printed = String::with_capacity(64);
    let print = || {
        printed.clear();
        write!(printed, "{}", black_box(&mailbox)).unwrap();
    };
    println!("address.print = {:.1} ns", best_ns(print));
}

/// Nanoseconds of one turn, in the best run.
fn best_ns(mut turn: impl FnMut()) -> f64 {
    let mut run = || {
        let start = Instant::now();
        for _ in 0..TURNS {
            turn();
        }
        start.elapsed().as_secs_f64() * 1e9 / f64::from(TURNS)
    };
    (0..RUNS).map(|_| run()).fold(f64::INFINITY, f64::min)
}
