//! How fast a command line is read, beside the `smtp-proto` crate on the same lines.
//!
//! `cargo bench --bench command`. The lines are those of a day's sessions: more recipients than
//! senders, some of them long. Both make a value that owns or borrows what the line says; ours owns
//! it, and looks at every domain.

#![allow(clippy::disallowed_methods, reason = "it measures by the clock")]

mod bursts;

use std::hint::black_box;

use angarium::registry::offer::{Offer, Protocol, Terms};
use angarium::syntax::command::Grammar;
use smtp_proto::Request;

const LINES: &[&str] = &[
    "EHLO mail-ej1-f54.far.example\r\n",
    "MAIL FROM:<newsletter@news.far.example> SIZE=48213 BODY=8BITMIME\r\n",
    "RCPT TO:<alice@ours.example>\r\n",
    "RCPT TO:<bob.builder+shop@ours.example>\r\n",
    "RCPT TO:<carol@lists.ours.example>\r\n",
    "DATA\r\n",
    "MAIL FROM:<bounces+9471823-5f2a-alice=ours.example@em4711.far.example> SIZE=120334\r\n",
    "RCPT TO:<alice@ours.example>\r\n",
    "DATA\r\n",
    "RSET\r\n",
    "MAIL FROM:<>\r\n",
    "RCPT TO:<\"odd one\"@ours.example>\r\n",
    "DATA\r\n",
    "NOOP\r\n",
    "QUIT\r\n",
];

fn main() {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    // Whoever runs or lists tests comes here, too.
    if !has("--bench") || has("--test") || has("--list") {
        return;
    }
    let offer = Offer::new(&Terms::new(Protocol::Smtp, 50 << 20));
    let grammar = Grammar { offer: &offer, strict: false, domain: None };
    let ours = per_line(|line| {
        let line = line.strip_suffix("\r\n").unwrap_or(line).as_bytes();
        assert!(black_box(grammar.parse(black_box(line))).is_ok(), "a line is refused");
    });
    let theirs = per_line(|line| {
        let parsed = Request::parse(&mut black_box(line.as_bytes()).iter());
        assert!(black_box(parsed).is_ok(), "smtp-proto refuses a line");
    });
    bursts::print("command.parse", ours, "ns/line");
    bursts::print("command.parse.smtp_proto", theirs, "ns/line");
    println!("# Our time over that of smtp-proto");
    bursts::print("command.parse.ratio", ours / theirs, "x");
}

/// Nanoseconds a line.
fn per_line(read: impl Fn(&str)) -> f64 {
    let all = bursts::seconds(|| LINES.iter().for_each(|line| read(line)));
    all * 1e9 / LINES.len() as f64
}
