//! The table of known replies: that each row can be read and is of use, and real replies.

use bytes::BytesMut;

use super::*;
use crate::syntax::reply::ReplyReader;

fn read(wire: &str) -> ServerReply {
    let mut input = BytesMut::from(format!("{wire}\r\n").as_str());
    ReplyReader::default().read(&mut input).unwrap().unwrap()
}

fn judged(wire: &str) -> Option<(Scope, Kind, u64)> {
    judge(&read(wire)).map(|complaint| (complaint.scope, complaint.kind, complaint.pause_ms))
}

#[test]
fn every_row_can_be_read_and_is_reached() {
    let parsed: Vec<Row> = lines().map(|line| parse_row(line).expect(line)).collect();
    assert_eq!(parsed, rows());
    assert!(parsed.len() > 50);
    for row in rows() {
        let status = row.status.map_or(String::new(), |status| format!("{status} "));
        let said = format!("{} {status}{}", row.codes.start(), row.text.to_uppercase());
        let found = find(&read(&said));
        assert_eq!(found, Some(row), "{said:?} is taken by an earlier row");
        let class = row.codes.start() / 100;
        assert!(row.status.is_none_or(|status| u16::from(status.class) == class), "{row:?}");
        // Any reply at all, or any time at all, would be no knowledge.
        assert!(row.status.is_some() || row.text.len() > 3, "{row:?}");
        assert!(row.kind == Kind::Closed || row.pause_ms == 0, "{row:?}");
    }
}

#[test]
fn rows_that_say_nothing_are_refused() {
    let good = "421 | 4.7.0 | slow | site | fast | 0 | somebody";
    assert!(parse_row(good).is_ok());
    for (part, other) in [
        ("421", "250"),
        ("421", "4zz"),
        ("4.7.0", "4.7"),
        ("4.7.0", "4.7.0 x"),
        ("slow", "Slow"),
        ("slow", ""),
        ("site", "world"),
        ("fast", "slowly"),
        ("| 0", "| 1h"),
        ("somebody", ""),
        (" | somebody", ""),
    ] {
        let bad = good.replacen(part, other, 1);
        assert!(parse_row(String::leak(bad.clone())).is_err(), "{bad}");
    }
}

#[test]
fn a_quota_of_gmail_is_told_from_another_across_lines() {
    let of = |whose: &str| {
        judged(&format!(
            "421-4.7.28 Gmail has detected an unusual rate of unsolicited mail originating from\r\n\
             421-4.7.28 your {whose}. To protect our users from spam, mail sent from\r\n\
             421-4.7.28 your domain has been temporarily rate limited. Please visit\r\n\
             421 4.7.28 https://support.google.com/mail/?p=UnsolicitedRateLimitError - gsmtp"
        ))
        .unwrap()
        .0
    };
    assert_eq!(of("IP address"), Scope::Site);
    assert_eq!(of("IP Netblock"), Scope::Site);
    assert_eq!(of("SPF\r\n421-4.7.28 domain [x.example  35]"), Scope::Tenant);
    assert_eq!(of("DKIM domain"), Scope::Tenant);
    assert_eq!(of("URL domains"), Scope::Content);
    assert_eq!(of("shoe size"), Scope::Site);
}

/// Replies as they were seen or are documented, with the pause in seconds.
const REAL: &[(&str, Scope, Kind, u64)] = &[
    (
        "450-4.2.1 The user you are trying to contact is receiving mail at a rate that\r\n450 4.2.1 prevents additional messages from being delivered. - gsmtp",
        Scope::Recipient,
        Kind::TooFast,
        0,
    ),
    (
        "452-4.2.2 The email account that you tried to reach is over quota.\r\n452 4.2.2 - gsmtp",
        Scope::Recipient,
        Kind::Closed,
        0,
    ),
    (
        "451 4.3.0 Multiple destination domains per transaction is unsupported. Please try again.",
        Scope::Content,
        Kind::TooManyRecipients,
        0,
    ),
    (
        "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (S77714)",
        Scope::Site,
        Kind::TooFast,
        0,
    ),
    (
        "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation. (S775)",
        Scope::Site,
        Kind::TooFast,
        0,
    ),
    (
        "550 5.7.1 Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider (S3140).",
        Scope::Site,
        Kind::Closed,
        5400,
    ),
    (
        "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1; see x",
        Scope::Site,
        Kind::Closed,
        7200,
    ),
    (
        "421 4.7.1 [TS03] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.",
        Scope::Site,
        Kind::Closed,
        14400,
    ),
    ("454 Throttling failure: Maximum sending rate exceeded.", Scope::Site, Kind::TooFast, 0),
    ("454 Throttling failure: Daily message quota exceeded.", Scope::Site, Kind::Closed, 3600),
    (
        "421 4.7.0 mx.example Error: too many connections from 192.0.2.1",
        Scope::Site,
        Kind::TooManyConnections,
        0,
    ),
    ("450 4.7.1 Error: too many recipients from 192.0.2.1", Scope::Site, Kind::TooFast, 0),
    ("452 4.5.3 Error: too many recipients", Scope::Recipient, Kind::TooManyRecipients, 0),
    ("452 too many recipients", Scope::Recipient, Kind::TooManyRecipients, 0),
    (
        "421 mx.example: Too many concurrent SMTP connections; please try again later",
        Scope::Site,
        Kind::TooManyConnections,
        0,
    ),
    (
        "451 4.3.0 <joe> Too many concurrent deliveries for user",
        Scope::Recipient,
        Kind::TooManyConnections,
        0,
    ),
    (
        "452 4.2.2 <joe> Quota exceeded (mailbox for user is full)",
        Scope::Recipient,
        Kind::Closed,
        0,
    ),
    ("421 4.3.2 mx.example Service shutting down", Scope::Site, Kind::Closed, 60),
    ("452 4.3.1 Insufficient system storage", Scope::Content, Kind::Closed, 0),
    ("451 4.7.1 Ratelimit \"to_ip\" exceeded", Scope::Site, Kind::TooFast, 0),
];

#[test]
fn real_replies_are_what_they_are() {
    for &(said, scope, kind, pause_s) in REAL {
        assert_eq!(judged(said), Some((scope, kind, pause_s * 1000)), "{said}");
    }
}

#[test]
fn what_concerns_one_message_is_no_complaint() {
    for said in [
        "450 4.7.1 <a@b.example>: Recipient address rejected: Greylisted, see x",
        "451 4.7.1 Greylisting in action, please come back later",
        "451 4.3.0 Error: queue file write error",
        "450 4.1.8 <a@b.example>: Sender address rejected: Domain not found",
        "421 mx.example closing connection",
        "550 5.1.1 rate limit",
        "554 5.7.1 spam",
        "250 2.0.0 slow down",
        "354 too many connections",
    ] {
        assert_eq!(judged(said), None, "{said}");
    }
    let reply = judge(&read("451-4.4.5 a\r\n451 4.4.5 b")).unwrap().reply;
    assert_eq!(reply, "451 4.4.5 a / 4.4.5 b");
}
