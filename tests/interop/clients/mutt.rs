//! Mutt: a message from its command line, and one from the mailbox that the user bounces on.
//!
//! Debian builds it with GNU SASL and gives that no channel binding. Left to itself it takes
//! SCRAM-SHA-256-PLUS and gives up, so the settings name a mechanism.

use std::path::Path;

use super::{Hosted, PASSWORD, RECIPIENT, assert_submitted, run};
use crate::require_peers;

const MAILBOX: &str = "\
From eve@elsewhere.example Thu Jan  1 00:00:00 2026
Received: from a by b; Thu, 1 Jan 2026 00:00:00 +0000
From: Eve <eve@elsewhere.example>
To: joe@ours.example
Subject: news
Date: Thu, 1 Jan 2026 00:00:00 +0000
Message-ID: <1@elsewhere.example>

read this
.
..

";

/// What must be in the header section of the bounced message.
const BOUNCED: [&str; 7] = [
    "Resent-From: Joe <joe@ours.example>",
    "Resent-To: ann@far.example",
    "Received: from a by b; Thu, 1 Jan 2026 00:00:00 +0000",
    "From: Eve <eve@elsewhere.example>",
    "To: joe@ours.example",
    "Date: Thu, 1 Jan 2026 00:00:00 +0000",
    "Message-ID: <1@elsewhere.example>",
];

/// The scheme and port of a server, the mechanism, and the password.
type Way<'a> = (&'a str, u16, &'a str, &'a str);

fn write_settings(folder: &Path, (scheme, port, mechanism, password): Way<'_>, more: &str) {
    let settings = format!(
        "set from = joe@ours.example\nset realname = Joe\nset hostname = ours.example\n\
         set smtp_url = {scheme}://joe%40ours.example@localhost:{port}\n\
         set smtp_pass = {password}\nset smtp_authenticators = {mechanism}\n\
         set ssl_force_tls = yes\nset certificate_file = mx.pem\n\
         set copy = no\nset bounce = yes\nset folder = .\n{more}\n"
    );
    std::fs::write(folder.join("settings"), settings).unwrap();
}

#[test]
fn mutt_submits_and_bounces_over_both_kinds_of_tls() {
    // Checks: M01
    require_peers!();
    let hosted = Hosted::start();
    let folder = hosted.folder();
    std::fs::write(folder.join("message"), "by hand\n.\n..\n").unwrap();
    std::fs::write(folder.join("mailbox"), MAILBOX).unwrap();
    let home = ["HOME=.", "TERM=xterm"];
    let send = ["mutt", "-n", "-F", "settings", "-s", "hello", RECIPIENT];
    let send = [&home[..], &send].concat();
    let keys = format!("push \"<bounce-message>{RECIPIENT}<enter><quit>\"");
    let places = [("smtp", hosted.starttls, "scram-sha-256"), ("smtps", hosted.implicit, "plain")];
    for (round, (scheme, place, mechanism)) in places.into_iter().enumerate() {
        write_settings(&folder, (scheme, place.port(), mechanism, "wrong"), "");
        let (sent, printed) = run(&folder, "env", &send);
        assert!(!sent && printed.contains("Could not send the message."), "{printed}");
        let way = (scheme, place.port(), mechanism, PASSWORD);
        write_settings(&folder, way, "");
        let (sent, printed) = run(&folder, "env", &send);
        assert!(sent, "{printed}");
        let written = hosted.arrived(2 * round + 1).pop().unwrap();
        let fields = ["From: Joe <joe@ours.example>", "To: ann@far.example", "Subject: hello"];
        assert_submitted(&written, &fields, "by hand\r\n.\r\n..\r\n");

        write_settings(&folder, way, &keys);
        // It bounces only where it has a screen.
        let screen = ["script", "-qec", "mutt -n -F settings -f mailbox", "screen"];
        let (bounced, printed) = run(&folder, "env", &[&home[..], &screen].concat());
        assert!(bounced, "{printed}");
        let bounced = hosted.arrived(2 * round + 2).pop().unwrap();
        assert_submitted(&bounced, &BOUNCED, "read this\r\n.\r\n..\r\n");
        assert!(hosted.has_seen(&mechanism.to_uppercase()));
    }
}
