//! Files of the maildrop, which every account may write: read or refused, the same each time, and a
//! letter that was read can't speak for itself in the session that it is handed over by.
//!
//! An input is an envelope, an empty line, and content; its first line is made to fit.

use std::sync::LazyLock;

use angarium::local::Letter;
use angarium::local::hand_over::hand_over;
use angarium::local::maildrop::{decode, encode};
use fastrand::Rng;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::runtime::{Builder, Runtime};

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "maildrop",
    words: &[
        "{\"from\":\"",
        "\",\"rcpt\":[\"",
        "\",\"",
        "\"]}",
        "\n\n",
        "\\r\\n",
        "\\n",
        "\\u0000",
        ">\\r\\nDATA\\r\\n",
        ">\\r\\nQUIT\\r\\n",
        "> SIZE=1",
        "a@d.example",
        "<",
        ">",
        ".",
        "\r\n.\r\n",
        "\r\n",
        "\n",
        "é",
        "angarium-maildrop 1",
    ],
    octets_max: 4_000,
    check,
};

fn check(input: &[u8], _: &mut Rng) {
    assert!(decode(input).is_err(), "the check sum can't be guessed");
    let end = memchr::memmem::find(input, b"\n\n").unwrap_or(input.len());
    let (envelope, content) = (&input[..end], input.get(end + 2..).unwrap_or_default());
    let sum = crc32fast::hash(&[envelope, content].concat());
    let head = format!("angarium-maildrop 1 {} {} {sum:08x}\n", envelope.len(), content.len());
    let Ok(letter) = decode(&[head.as_bytes(), envelope, content].concat()) else { return };
    assert_eq!(letter.content, content);
    assert_eq!(decode(&encode(&letter)).as_ref(), Ok(&letter));
    static RUNTIME: LazyLock<Runtime> =
        LazyLock::new(|| Builder::new_current_thread().enable_all().build().unwrap());
    RUNTIME.block_on(async {
        let (ours, theirs) = tokio::io::duplex(256 * 1024);
        let (_, lines) = tokio::join!(hand_over(ours, "me.example", &letter), listen(theirs));
        check_session(&letter, &lines);
    });
}

/// A daemon that agrees to everything; the lines that it was sent.
async fn listen(stream: DuplexStream) -> Vec<String> {
    let (mut stream, mut lines, mut in_content) = (BufReader::new(stream), Vec::new(), false);
    stream.write_all(b"220 hi\r\n").await.unwrap();
    loop {
        let mut line = Vec::new();
        // Only CR and LF together end a line.
        while !line.ends_with(b"\r\n") {
            if stream.read_until(b'\n', &mut line).await.unwrap() == 0 {
                return lines;
            }
        }
        in_content &= line != b".\r\n";
        if in_content {
            continue;
        }
        let line = String::from_utf8_lossy(&line).into_owned();
        in_content = line == "DATA\r\n";
        let reply = if in_content { "354 go\r\n" } else { "250 ok\r\n" };
        // Whoever has said QUIT may be gone.
        let _ = stream.write_all(reply.as_bytes()).await;
        lines.push(line);
    }
}

/// One command for each part of the letter.
fn check_session(letter: &Letter, lines: &[String]) {
    let body = if letter.content.is_ascii() { "" } else { " BODY=8BITMIME" };
    let mut expected = vec!["EHLO me.example\r\n".to_owned()];
    expected.push(format!("MAIL FROM:<{}>{body}\r\n", letter.from));
    expected.extend(letter.recipients.iter().map(|to| format!("RCPT TO:<{to}>\r\n")));
    if !letter.recipients.is_empty() {
        expected.extend(["DATA\r\n", ".\r\n"].map(str::to_owned));
    }
    expected.push("QUIT\r\n".to_owned());
    assert_eq!(lines, expected);
}
