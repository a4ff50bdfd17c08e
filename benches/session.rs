//! What a session costs without its socket, and how fast content is looked through.
//!
//! `cargo bench --bench session`. A whole session of one message of 4 KiB, its commands one by one,
//! is driven as `receive` drives it, and its content thrown away. `.scan` finds the end of content
//! and what it may not hold, and copies it out; `.content` also counts hops, and looks for long
//! lines and 8-bit octets. Both in reads of 16 KiB.

#![allow(clippy::unwrap_used, reason = "a panic fails the benchmark")]
#![allow(clippy::disallowed_methods, reason = "it measures by the clock")]

mod bursts;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use allocation_counter::measure;
use angarium::registry::offer::{Offer, Protocol, Terms};
use angarium::session::limit::Limits;
use angarium::session::{Output, Service, Session, Settings, Standing};
use angarium::syntax::content::{BareLineEnds, Decoder, Encoder, TraitReader};
use angarium::syntax::header::HopCounter;
use angarium::syntax::path::ForwardPath;
use bytes::BytesMut;

/// What one read of a socket brings at most, in octets.
const READ_OCTETS: usize = 16 * 1024;

const HEADER: &str = "Received: from a.far.example ([192.0.2.7])\r\n\tby b.far.example with ESMTPS id \
                      4d8c1f;\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\nFrom: <a@far.example>\r\nTo: \
                      <u@ours.example>\r\nSubject: a bench\r\nDate: Tue, 24 Nov 2026 10:00:00 +0000\
                      \r\nMessage-ID: <4711@far.example>\r\n\r\n";

fn main() {
    let has = |name: &str| std::env::args().any(|argument| argument == name);
    // Whoever runs or lists tests comes here, too.
    if !has("--bench") || has("--test") || has("--list") {
        return;
    }
    bench_message();
    bench_content();
}

/// Lines of so many octets beside their ends, up to so many octets in all.
fn lines(octets: usize, total: usize) -> Vec<u8> {
    let letters = (b'a'..=b'z').cycle().take(octets).chain(*b"\r\n");
    let line: Vec<u8> = letters.collect();
    line.repeat(total / line.len())
}

/// What the client says, a piece a reply that it waits for.
fn client() -> Vec<Vec<u8>> {
    let content = [HEADER.as_bytes(), &lines(70, 4096 - HEADER.len()), b".\r\n"].concat();
    let commands = [
        "EHLO a.far.example\r\n",
        "MAIL FROM:<a@far.example> SIZE=4096\r\n",
        "RCPT TO:<u@ours.example>\r\n",
        "DATA\r\n",
    ];
    let commands = commands.into_iter().map(|line| line.as_bytes().to_vec());
    commands.chain([content, b"QUIT\r\n".to_vec()]).collect()
}

fn bench_message() {
    let limits = Limits {
        message_octets_max: 50 << 20,
        recipients_max: 1_000,
        transactions_max: None,
        errors_max: 20,
        idle: Duration::from_secs(300),
    };
    let settings = Settings {
        hostname: "mx.ours.example".into(),
        protocol: Protocol::Smtp,
        offer: Arc::new(Offer::new(&Terms::new(Protocol::Smtp, limits.message_octets_max))),
        limits,
        bare_line_ends: BareLineEnds::Refuse,
        strict: false,
        domain: None,
        verify: false,
        service: Service::Open,
        standing: Standing::default(),
    };
    let (settings, client, now) = (Arc::new(settings), client(), Instant::now());
    let mut unsent = BytesMut::with_capacity(4096);
    let mut whole = || serve(&settings, &client, now, &mut unsent);
    whole();
    let allocations = measure(&mut whole).count_total;
    bursts::print("session.cpu_per_message", bursts::seconds(whole) * 1e6, "us");
    bursts::print("session.allocations_per_message", allocations as f64, "allocations");
}

/// A whole session, with a judge who accepts everything.
fn serve(settings: &Arc<Settings>, client: &[Vec<u8>], now: Instant, unsent: &mut BytesMut) {
    let mut session = Session::new(Arc::clone(settings), now);
    let (mut content, mut commits, mut closed) = (0, 0, false);
    for input in std::iter::once(&[][..]).chain(client.iter().map(Vec::as_slice)) {
        unsent.clear();
        session.handle_input(input, now);
        while let Some(output) = session.poll_output(now) {
            match output {
                Output::Reply(reply) => reply.encode(unsent),
                Output::JudgeSender { .. } => session.handle_sender(Ok(()), now),
                Output::JudgeRecipient(ForwardPath::Mailbox(mailbox), _) => {
                    session.handle_recipient(Ok(mailbox), now);
                }
                Output::Content(piece) => content += black_box(piece).len(),
                Output::Commit => {
                    commits += 1;
                    session.handle_commit(Ok("0000001000000005"), now);
                }
                Output::Close => closed = true,
                Output::Begin(accepted) => drop(black_box(accepted)),
                other => panic!("not of this session: {other:?}"),
            }
        }
        black_box(&unsent);
    }
    assert!(closed && commits == 1 && content > 4_000, "{content} octets came through");
}

fn bench_content() {
    let total = 256 * 1024;
    let dots = [&b".dot\r\n"[..], &lines(70, 300)].concat().repeat(total / 300);
    let cases = [("", lines(70, total)), (".long_lines", lines(990, total)), (".dots", dots)];
    for (name, content) in cases {
        let (mut encoder, mut wire) = (Encoder::default(), Vec::new());
        encoder.encode(HEADER.as_bytes(), &mut wire);
        encoder.encode(&content, &mut wire);
        encoder.finish(&mut wire);
        let speed = |look: fn(&[u8])| wire.len() as f64 / bursts::seconds(|| look(&wire)) / 1e9;
        bursts::print(&format!("session.scan{name}"), speed(scan), "GB/s");
        bursts::print(&format!("session.content{name}"), speed(look), "GB/s");
    }
}

/// Decodes the whole, a piece a read; `each` gets the pieces.
fn decode(wire: &[u8], mut each: impl FnMut(&[u8])) {
    let (mut decoder, mut ended) = (Decoder::new(BareLineEnds::Refuse), false);
    for read in wire.chunks(READ_OCTETS) {
        let mut piece = Vec::with_capacity(read.len());
        ended |= decoder.decode(black_box(read), &mut piece).1;
        each(&piece);
        black_box(piece);
    }
    assert!(ended && decoder.fault().is_none(), "the content is not whole");
}

fn scan(wire: &[u8]) {
    decode(wire, |_| {});
}

fn look(wire: &[u8]) {
    let (mut hops, mut traits) = (HopCounter::default(), TraitReader::default());
    decode(wire, |piece| {
        hops.look(piece);
        traits.look(piece);
    });
    assert!(hops.hops() == 1 && !traits.traits().long_lines, "the content is misread");
}
