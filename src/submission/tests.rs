//! Tricks and repairs, message by message.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::policy::sender::{Check, SenderMap};

fn rules(check: Check) -> Rules {
    let mut map = SenderMap::default();
    map.grant("joe@x.org", "joe@bücher.example").unwrap();
    let login_domain = Some("x.org".to_owned());
    let senders = Senders { check, login_domain, map, ..Senders::default() };
    Rules { senders, unqualified: Unqualified::Qualify }
}

fn filter(rules: Rules) -> Filter {
    let stamp = Stamp { date: "Thu, 1 Jan 2026 00:00:00 +0000".into(), message_id: "id@h".into() };
    Filter::new(Arc::new(rules), "joe@x.org".into(), stamp)
}

fn run(mut filter: Filter, pieces: &[&[u8]]) -> Result<Vec<u8>, Reply> {
    let mut out = Vec::new();
    for piece in pieces {
        out.extend(filter.take(piece.to_vec())?);
    }
    out.extend(filter.finish()?);
    Ok(out)
}

fn submit(message: impl AsRef<[u8]>) -> Result<String, Reply> {
    let out = run(filter(rules(Check::Bind)), &[message.as_ref()])?;
    Ok(String::from_utf8_lossy(&out).into_owned())
}

const STAMPED: &str = "Date: Mon, 2 Mar 2026 00:00:00 +0000\r\nMessage-ID: <1@x.org>\r\n";

/// Headers that joe@x.org may not send.
const TRICKS: &[&str] = &[
    "From: ann@x.org",
    "from: ann@x.org",
    "FROM:ann@x.org",
    "From : ann@x.org",
    "From\t: ann@x.org",
    "From: Joe <ann@x.org>",
    "From: \"joe@x.org\" <ann@x.org>",
    "From: joe@x.org <ann@x.org>",
    "From: <joe@x.org> <ann@x.org>",
    "From: <ann@x.org> <joe@x.org>",
    "From: joe@x.org, ann@x.org",
    "From: ann@x.org, joe@x.org",
    "From: joe@x.org\r\nFrom: ann@x.org",
    "From: ann@x.org\r\nFrom: joe@x.org",
    "From: joe@x.org\r\nFROM : joe@x.org",
    "From:\r\n ann@x.org",
    "From:\r\n joe@x.org,\r\n\tann@x.org",
    "From: ann@x.org (joe@x.org)",
    "From: (joe@x.org) ann@x.org",
    "From: ann(joe@x.org)@x.org",
    "From: (<joe@x.org>) <ann@x.org>",
    "From: =?utf-8?q?joe=40x.org?= <ann@x.org>",
    "From: =?utf-8?q?ann=40x.org?=",
    "From: =?utf-8?q?=3Cann=40x.org=3E?= =?utf-8?q?x?=",
    "From: =?utf-8?q?Ann_<ann@x.org>?= <joe@x.org>",
    "From: =?utf-8?b?YW5uQHgub3Jn?=@x.org",
    "From: team: ann@x.org;",
    "From: team: joe@x.org, ann@x.org;",
    "From: team: joe@x.org;, ann@x.org",
    "From: joe@x.org: ann@x.org;",
    "From: nobody:;",
    "From: \"ann\"@x.org",
    "From: \"joe@x.org,ann\"@x.org",
    "From: \"joe\\\"@x.org",
    "From: ANN@X.ORG",
    "From: joe@xn--bcher-kva9.example",
    "From: joe@b\u{fc}cher2.example",
    "From: ann",
    "From: Ann Joe",
    "From: <@joe.x.org:ann@x.org>",
    "From: <@x.org,@y.org:joe@x.org>",
    "From: <>",
    "From:",
    "From: ,",
    "From: joe@x.org ann@x.org",
    "From: joe@x.org; ann@x.org",
    "From: <joe@x.org",
    "From: joe@x.org>",
    "From: joe@x.org\0",
    "From: joe@x.org\u{200b}.y",
    "From: joe\u{200b}@x.org",
    "From: joe@x.org@ann.org",
    "From: ann%x.org@y.org",
    "From: joe . ann@x.org",
    "From: joe..@x.org",
    "From: (joe@x.org",
    "From: \"joe@x.org",
    "From: joe@[192.0.2.1]",
    "From: joe@sub.x.org",
    "From: joe@x.org\r\nSender: ann@x.org",
    "From: ann@x.org\r\nSender: joe@x.org",
    "From: joe@x.org\r\nSender: joe@x.org\r\nSender: ann@x.org",
    "Resent-From: ann@x.org\r\nFrom: joe@x.org",
    "Resent-To: a@b.org\r\nFrom: joe@x.org",
    "Resent-From: joe@x.org\r\nResent-Sender: ann@x.org\r\nFrom: ann@x.org",
    "Resent-From: ann@x.org\r\nReceived: x\r\nResent-From: joe@x.org\r\nFrom: joe@x.org",
];

#[test]
fn no_trick_sends_as_another() {
    // Checks: M03
    for header in TRICKS {
        let refusal = submit(format!("{STAMPED}{header}\r\n\r\nbody\r\n"));
        let refusal = refusal.expect_err(header);
        assert_eq!((refusal.code, refusal.to_string().contains("5.7.1")), (550, true), "{header}");
        assert!(refusal.text().contains("joe@x.org"), "{header}: {refusal}");
    }
}

#[test]
fn what_is_valid_passes_octet_for_octet() {
    for header in [
        "From: joe@x.org",
        "From: Joe Q. Doe <JOE@X.org>",
        "from : \"ann@x.org\" <joe+list@x.org> (ann@x.org)",
        "From: joe@xn--bcher-kva.example",
        "From: Jo\u{eb} <joe@b\u{fc}cher.example>",
        "From: team: joe@x.org;",
        "From: joe@x.org, ann@y.org\r\nSender: joe@x.org",
        "Resent-From: joe@x.org\r\nResent-Date: x\r\nFrom: ann@y.org",
        "From:\r\n =?utf-8?q?J?=\r\n <joe@x.org>\r\nTo: a@b, b@c,\r\n d <e@f>\r\nX:y \t z",
        "From: \"joe\"@x.org\r\nDate: again",
    ] {
        let message = format!("{STAMPED}{header}\r\n\r\nbody\r\n.\r\nFrom: ann@x.org\r\n");
        assert_eq!(submit(&message).as_deref(), Ok(&*message), "{header}");
    }
    let latin: &[u8] = b"Date: x\r\nMessage-ID: <1@x>\r\nFrom: Jo\xeb <joe@x.org>\r\n\r\n\xff\r\n";
    assert_eq!(run(filter(rules(Check::Bind)), &[latin]).as_deref(), Ok(latin));
}

#[test]
fn what_is_missing_is_added_and_what_must_go_goes() {
    // Checks: M02 M03 R07
    let added = "Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nMessage-ID: <id@h>\r\n";
    for (message, repaired) in [
        ("From: joe@x.org\r\n\r\nx\r\n", format!("From: joe@x.org\r\n{added}\r\nx\r\n")),
        ("", format!("{added}From: joe@x.org\r\n\r\n")),
        ("\r\nx\r\n", format!("{added}From: joe@x.org\r\n\r\nx\r\n")),
        (
            "just text\r\nFrom: ann@x.org\r\n",
            format!("{added}From: joe@x.org\r\n\r\njust text\r\nFrom: ann@x.org\r\n"),
        ),
        (" folded: first\r\n\r\n", format!("{added}From: joe@x.org\r\n\r\n folded: first\r\n\r\n")),
        ("From ann Mon\r\nFrom: joe@x.org\r\n\r\n", format!("From: joe@x.org\r\n{added}\r\n")),
        (
            "From: joe@x.org\r\nodd line\r\nFrom: ann@x.org\r\n\r\n",
            format!("From: joe@x.org\r\n{added}\r\nodd line\r\nFrom: ann@x.org\r\n\r\n"),
        ),
        (
            "Bcc: a@b,\r\n c@d\r\nFrom: joe@x.org\r\nReturn-Path: <a@b>\r\nRESENT-BCC : x\r\n\r\n",
            String::new(),
        ),
        (
            "From: joe\r\nTo: ann, \"b c\", (d) E <e>, f@g\r\n\r\n",
            format!(
                "From: joe@x.org\r\nTo: ann@x.org, \"b c\"@x.org, (d) E <e@x.org>, f@g\r\n{added}\r\n"
            ),
        ),
        (
            "Resent-From: joe@x.org\r\nFrom: a@b\r\n\r\n",
            format!(
                "Resent-Date: Thu, 1 Jan 2026 00:00:00 +0000\r\nResent-From: joe@x.org\r\nFrom: a@b\r\n{added}\r\n"
            ),
        ),
    ] {
        if repaired.is_empty() {
            let bind = submit(message.replace("RESENT-BCC : x\r\n", "")).unwrap();
            assert_eq!(bind, format!("From: joe@x.org\r\n{added}\r\n"));
            let off = run(filter(rules(Check::Off)), &[message.as_bytes()]).unwrap();
            assert!(!String::from_utf8(off).unwrap().to_lowercase().contains("bcc"));
            continue;
        }
        assert_eq!(submit(message).as_deref(), Ok(&*repaired), "{message}");
    }
}

#[test]
fn sender_is_told_where_from_is_free() {
    let with = |message: &str| {
        let out = run(filter(rules(Check::AddSender)), &[message.as_bytes()]).unwrap();
        String::from_utf8(out).unwrap()
    };
    let ours = format!("{STAMPED}From: joe@x.org\r\n\r\n");
    assert_eq!(with(&ours), ours);
    let message = format!("{STAMPED}From: ann@y.org\r\nSender: boss@y.org\r\n\r\n");
    assert_eq!(with(&message), format!("{STAMPED}From: ann@y.org\r\nSender: joe@x.org\r\n\r\n"));
    let off = run(filter(rules(Check::Off)), &[message.as_bytes()]);
    assert_eq!(off.as_deref(), Ok(message.as_bytes()));
}

#[test]
fn unqualified_addresses_can_be_refused() {
    let rules = Rules { unqualified: Unqualified::Refuse, ..rules(Check::Bind) };
    let refusal = run(filter(rules), &[b"From: joe@x.org\r\nTo: Ann <ann>\r\n\r\n"]).unwrap_err();
    assert_eq!(refusal.to_string(), "554 5.6.0 the address <ann> in To has no domain");
}

#[test]
fn long_header_lines_are_folded_and_a_long_header_is_refused() {
    let words = "word ".repeat(500);
    let message = format!(
        "{STAMPED}From: joe@x.org\r\nSubject: {words}end\r\nX: {}\r\n\r\n{}\r\n",
        "z".repeat(2000),
        "b ".repeat(2000)
    );
    let out = submit(&message).unwrap();
    let (header, body) = out.split_once("\r\n\r\n").unwrap();
    let long = header.split("\r\n").filter(|line| line.len() > 998).count();
    assert_eq!((long, body.len()), (1, 4002), "one line has no blank to fold at");
    assert_eq!(out.replace("\r\n ", " "), message);
    let refusal = submit(format!("X: {}", "y\r\n ".repeat(300_000))).unwrap_err();
    assert_eq!(refusal.code, 552);
}

fn corpus() -> Vec<PathBuf> {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus")];
    folders.extend(std::env::var_os("ANGARIUM_CORPUS").map(PathBuf::from));
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files
}

#[test]
fn real_messages_keep_their_bodies() {
    let mut seen = 0;
    for path in corpus() {
        let message = fs::read(&path).unwrap();
        let Ok(out) = run(filter(rules(Check::Off)), &[&message]) else { continue };
        let Some(at) = memchr::memmem::find(&message, b"\r\n\r\n") else { continue };
        assert!(mail_parser::MessageParser::new().parse(&out).is_some(), "{path:?}");
        let mut known = 0;
        let end = header::find_end(&message, &mut known).unwrap();
        assert!(end.body <= at + 4, "{path:?}");
        assert!(out.ends_with(&message[end.body..]), "{path:?}");
        let again = run(filter(rules(Check::Off)), &[&out]);
        assert_eq!(again.as_ref(), Ok(&out), "{path:?}: a second pass finds nothing to do");
        seen += 1;
    }
    assert!(seen > 0, "there are messages to try");
}

proptest! {
    #[test]
    fn no_split_changes_the_result(
        lines in prop::collection::vec(
            prop::sample::select(vec![
                "From: joe@x.org", "From: ann@x.org", " folded", "To: ann, b@c", "Bcc: x", "", "text",
                "From me", "Resent-From: joe@x.org", "Sender: joe",
            ]), 0..8),
        cuts in prop::collection::vec(0_usize..200, 0..6),
    ) {
        let message: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut % (message.len() + 1)).collect();
        cuts.extend([0, message.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> =
            cuts.windows(2).map(|pair| &message.as_bytes()[pair[0]..pair[1]]).collect();
        let whole = run(filter(rules(Check::Bind)), &[message.as_bytes()]);
        prop_assert_eq!(run(filter(rules(Check::Bind)), &pieces), whole);
    }

    #[test]
    fn what_passes_names_nobody_else(value in "[joeann@x.org<>()\",:;\\\\ =?]{0,24}") {
        if let Ok(out) = submit(format!("{STAMPED}From:{value}\r\n\r\n")) {
            let parsed = mail_parser::MessageParser::new().parse(out.as_bytes()).unwrap();
            for address in parsed.from().into_iter().flat_map(|from| from.iter()) {
                let address = address.address().unwrap_or_default();
                let (local, domain) = address.rsplit_once('@').unwrap_or(("joe", "x.org"));
                let local = local.trim_matches('"').to_lowercase();
                prop_assert!(local == "joe" || local.starts_with("joe+"), "{}", out);
                prop_assert!(domain.eq_ignore_ascii_case("x.org"), "{}", out);
            }
        }
    }
}
