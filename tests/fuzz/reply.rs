//! Replies of servers: any pieces give the same ones, and what was read can be said again.

use angarium::syntax::reply::{NoReply, ReplyReader, ServerReply};
use bytes::BytesMut;
use fastrand::Rng;

use crate::{Target, pieces};

pub(crate) const TARGET: Target = Target {
    name: "reply",
    words: &[
        "220 ",
        "250-",
        "250 ",
        "354 ",
        "421 ",
        "450 4.2.0 ",
        "550 5.1.1 ",
        "550-5.7.1 ",
        "999 ",
        "\r\n",
        "\n",
        "\r",
        "2.1.0",
        "5.99.999 ",
        "\x1b[2J",
        "é",
        "\0",
        "PIPELINING",
        "SIZE 10",
    ],
    octets_max: 20_000,
    check,
};

fn read(wire: &[&[u8]]) -> (Vec<ServerReply>, Option<NoReply>) {
    let (mut reader, mut input, mut replies) =
        (ReplyReader::default(), BytesMut::new(), Vec::new());
    for piece in wire {
        input.extend_from_slice(piece);
        loop {
            match reader.read(&mut input) {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(fault) => return (replies, Some(fault)),
            }
        }
    }
    (replies, None)
}

fn print(reply: &ServerReply) -> Vec<u8> {
    let last = reply.lines.len() - 1;
    let separator = |number| if number == last { ' ' } else { '-' };
    let lines = reply.lines.iter().enumerate();
    let lines =
        lines.map(|(number, line)| format!("{}{}{line}\r\n", reply.code, separator(number)));
    lines.collect::<String>().into_bytes()
}

fn check(wire: &[u8], random: &mut Rng) {
    let (replies, fault) = read(&[wire]);
    assert_eq!(read(&pieces(wire, random)), (replies.clone(), fault));
    for reply in replies {
        assert!((200..=599).contains(&reply.code) && (1..=256).contains(&reply.lines.len()));
        assert!(reply.status.is_none_or(|status| u16::from(status.class) == reply.code / 100));
        assert!(!reply.lines.iter().any(|line| line.contains(char::is_control)));
        // An octet that is no text may have become three.
        if reply.lines.iter().all(|line| line.len() < 4_000) {
            assert_eq!(read(&[&print(&reply)]), (vec![reply], None));
        }
    }
}
