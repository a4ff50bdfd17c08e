//! The arguments of sendmail and the message behind them: no recipient is lost or made up, what means
//! nothing here changes nothing, and no blind recipient goes out.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use fastrand::Rng;
use mail_parser::{HeaderName, MessageParser};

use crate::Target;

// They belong to the command, and are nobody else's business.
#[path = "../../src/cli/sendmail/flags.rs"]
mod flags;
#[path = "../../src/cli/sendmail/message.rs"]
mod message;

use flags::{Call, parse};
use message::{Message, Missing};

pub(crate) const ARGUMENTS: Target = Target {
    name: "sendmail",
    words: &[
        "\0",
        "\0--\0",
        "-",
        "-t",
        "-i",
        "-ti",
        "-f",
        "-r",
        "-F",
        "-bs",
        "-bv",
        "-bp",
        "-bd",
        "-bi",
        "-q",
        "-q15m",
        "-qI1",
        "-qRx",
        "-qS",
        "-oi",
        "-oem",
        "-odb",
        "-om",
        "-N",
        "-R",
        "-V",
        "-O",
        "-X",
        "-C",
        "-B8BITMIME",
        "-v",
        "-G",
        "-U",
        "-d8.1",
        "joe",
        "a@d.example",
        "<>",
        "é",
    ],
    octets_max: 2_000,
    check: check_arguments,
};

pub(crate) const MESSAGE: Target = Target {
    name: "message",
    words: &[
        "\n",
        "\r\n",
        "\r",
        "\n ",
        "\n\t",
        "To: ",
        "Cc: ",
        "Bcc: ",
        "BCC : ",
        "bcc\t:",
        "Resent-To: ",
        "Resent-Bcc: ",
        "From ",
        "From: ",
        "Date: ",
        "Message-ID: ",
        "Return-Path: ",
        ":",
        ": ",
        ",",
        ";",
        "<",
        ">",
        "(",
        ")",
        "\"",
        "hidden@d.example",
        "a@d.example",
        "group: ",
        "\0",
        "é",
        "=?",
    ],
    octets_max: 8_000,
    check: check_message,
};

/// Arguments stand one behind the other, a NUL between them.
fn arguments(input: &[u8]) -> Vec<OsString> {
    if input.is_empty() {
        return Vec::new();
    }
    input.split(|octet| *octet == 0).map(|part| OsString::from_vec(part.to_vec())).collect()
}

fn check_arguments(input: &[u8], _: &mut Rng) {
    let given = arguments(input);
    let Ok(call) = parse(given.clone()) else {
        // A flag in front that is known mends nothing.
        assert!(parse(with("-oi", &given)).is_err());
        return;
    };
    let mut rest = given.iter();
    for recipient in &call.recipients {
        assert!(rest.any(|argument| argument.to_str() == Some(recipient)), "{recipient}");
    }
    let values = [&call.from, &call.full_name];
    let config = call.config.as_ref().map(|path| path.to_str().unwrap_or_default().to_owned());
    for value in values.into_iter().chain([&config]).flatten() {
        let is_end = |argument: &OsString| argument.to_string_lossy().ends_with(value.as_str());
        assert!(given.iter().any(is_end), "{value}");
    }
    let same = |other: &[&str]| {
        let more = other.iter().rev().fold(given.clone(), |all, flag| with(flag, &all));
        assert_eq!(parse(more).as_ref(), Ok(&call), "{other:?}");
    };
    for nothing in [&["-om"][..], &["-N", "never"], &["-G"], &["-B8BITMIME"], &["-O", "-t"]] {
        same(nothing);
    }
    let dotted = Call { dots_are_content: true, ..call.clone() };
    assert_eq!(parse(with("-i", &given)), Ok(dotted));
    let mut recipients = vec!["-t".to_owned()];
    recipients.extend(call.recipients.iter().cloned());
    let plain = recipients.iter().map(OsString::from);
    let plain = parse([OsString::from("--")].into_iter().chain(plain)).unwrap();
    assert_eq!(plain, Call { recipients, ..Call::default() });
}

fn with(flag: &str, others: &[OsString]) -> Vec<OsString> {
    [&[OsString::from(flag)], others].concat()
}

fn check_message(input: &[u8], _: &mut Rng) {
    let message = Message::read(input);
    let recipients = message.recipients();
    assert!(recipients.iter().all(|address| !address.is_empty() && address.trim() == address));
    let missing = Missing { from: "joe@d.example", date: "today", id: "<1@d.example>" };
    let written = message.write(missing);
    assert!(written.len() <= 2 * input.len() + 200);
    assert!(written.ends_with(b"\r\n"));
    assert!(memchr::memchr_iter(b'\n', &written).all(|at| written[at - 1] == b'\r'));
    check_header(&written);
    // What was once repaired stays as it is.
    assert_eq!(Message::read(&written).write(missing), written);
}

/// Another reader finds what has to be there, and nobody who is hidden.
fn check_header(written: &[u8]) {
    let end = memchr::memmem::find(written, b"\r\n\r\n").unwrap();
    let read = MessageParser::new().parse_headers(&written[..end + 4]).unwrap();
    for name in [HeaderName::From, HeaderName::Date, HeaderName::MessageId] {
        assert!(read.header(name.clone()).is_some(), "{name:?}");
    }
    for name in [HeaderName::Bcc, HeaderName::ResentBcc, HeaderName::ReturnPath] {
        assert!(read.header(name.clone()).is_none(), "{name:?}");
    }
}
