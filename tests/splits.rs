//! Whole sessions in any pieces: replies and messages do not depend on how the input is cut.
//!
//! Sessions come from a grammar of commands, valid and broken, with content between them; the cuts
//! fall anywhere, within CRLF and the final dot as well.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod machine;

use angarium::syntax::content::BareLineEnds;
use machine::{play, settings};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

fn choice(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    proptest::sample::select(words).prop_map(str::to_owned)
}

/// A path, in brackets or as it may be and should not.
fn path() -> impl Strategy<Value = String> {
    choice(&[
        "<a@c.example>",
        "<u@local.example>",
        "<later@local.example>",
        "<nobody@local.example>",
        "<\"odd \\\" one\"@local.example>",
        "<@one,@two:u@local.example>",
        "<v@[192.0.2.1]>",
        "<Postmaster>",
        "<>",
        "u@local.example",
        "<u@local..example>",
        "<u@local.example",
        "<\"u@local.example>",
        "",
    ])
}

fn command() -> impl Strategy<Value = String> {
    let hello = (choice(&["EHLO", "HELO", "ehlo"]), choice(&[" c.example", " [192.0.2.1]", ""]));
    let mail = (
        choice(&["MAIL FROM:", "mail from: ", "MAIL TO:"]),
        path(),
        choice(&["", " SIZE=10", " BODY=8BITMIME", " SIZE=999999999", " FOO=1", " SIZE="]),
    );
    let rcpt = (choice(&["RCPT TO:", "rcpt to: ", "RCPT"]), path(), choice(&["", " NOTIFY=NEVER"]));
    let other = choice(&[
        "RSET", "NOOP x", "HELP", "VRFY u", "DATA", "data ", "FOO", "\0", "é", "QUIT", "",
    ]);
    prop_oneof![
        2 => hello.prop_map(|(verb, name)| verb + &name),
        3 => mail.prop_map(|(verb, path, parameters)| verb + &path + &parameters),
        3 => rcpt.prop_map(|(verb, path, parameters)| verb + &path + &parameters),
        3 => other,
    ]
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    let end = prop_oneof![12 => Just("\r\n"), 1 => Just("\n"), 1 => Just("\r\r\n"), 1 => Just("")];
    let long = (1900usize..2200).prop_map(|octets| "x".repeat(octets));
    let text = prop_oneof![20 => command(), 1 => long];
    (text, end).prop_map(|(text, end)| (text + end).into_bytes())
}

/// Content with its end, or without.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let stretch = prop_oneof![
        4 => Just("Subject: x\r\n".to_owned()),
        4 => (0usize..300).prop_map(|octets| "y".repeat(octets)),
        4 => Just("\r\n".to_owned()),
        2 => "[.\r\nx\0]{1,4}",
        1 => Just(".\r\nMAIL FROM:<>\r\n".to_owned()),
    ];
    (proptest::collection::vec(stretch, 0..8), prop_oneof![9 => Just("\r\n.\r\n"), 1 => Just("")])
        .prop_map(|(text, end)| (text.concat() + end).into_bytes())
}

/// A transaction that mostly reaches its content, or a line of any kind.
fn step() -> impl Strategy<Value = Vec<u8>> {
    let transaction = content().prop_map(|content| {
        let opening = "MAIL FROM:<a@c.example>\r\nRCPT TO:<u@local.example>\r\nDATA\r\n";
        [opening.as_bytes(), &content].concat()
    });
    prop_oneof![3 => line(), 1 => transaction]
}

/// The pieces of `input` when cut after so many octets each, and the rest.
fn pieces<'a>(mut input: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for length in lengths {
        let (piece, rest) = input.split_at((*length).min(input.len()));
        pieces.push(piece);
        input = rest;
    }
    pieces.push(input);
    pieces
}

proptest! {
    #[test]
    fn any_split_gives_the_same_session(
        steps in proptest::collection::vec(step(), 1..12),
        hello: bool,
        normalise: bool,
        small: bool,
        lengths in proptest::collection::vec(0usize..120, 0..40),
    ) {
        let mut input = if hello { b"EHLO c.example\r\n".to_vec() } else { Vec::new() };
        input.extend(steps.concat());
        let bare = if normalise { BareLineEnds::Normalise } else { BareLineEnds::Refuse };
        let mut settings = settings(bare);
        if small {
            settings.limits.message_octets_max = 100;
        }
        let whole = play(&settings, [input.as_slice()]);
        for pieces in [pieces(&input, &lengths), input.chunks(1).collect()] {
            let cut = play(&settings, pieces);
            prop_assert_eq!(cut.replies(), whole.replies());
            prop_assert_eq!(&cut.messages, &whole.messages);
            prop_assert_eq!(cut.closed, whole.closed);
        }
    }
}

#[test]
fn the_grammar_reaches_accepted_messages() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let sessions = proptest::collection::vec(step(), 1..12);
    let mut accepted = 0;
    for _ in 0..200 {
        let steps = sessions.new_tree(&mut runner).unwrap().current();
        let input = [b"EHLO c.example\r\n".as_slice(), &steps.concat()].concat();
        accepted += play(&settings(BareLineEnds::Refuse), [input.as_slice()]).messages.len();
    }
    assert!(accepted > 50, "{accepted} messages of 200 sessions");
}
