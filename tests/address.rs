//! Addresses: what a mailbox costs, how a recipient is found from the session to the store, and what
//! `address lint` says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]

mod support;

use std::hint::black_box;
use std::io::Write;
use std::process::{Command, Stdio};

use allocation_counter::measure;
use angarium::syntax::lint::{Finding, lint};
use angarium::syntax::path::{Mailbox, ReversePath, parse_reverse_path, take_path};
use support::ARRIVAL;
use support::daemon::{Daemon, Parts, Site};
use support::smtp::Client;
use support::store::{Behaviour, Store};

#[test]
fn a_parse_allocates_once_and_a_copy_not_at_all() {
    let text = black_box("<A.Long.Local-Part+tag@Sub.Domain.Example> SIZE=1000");
    let mut path = ReversePath::Null;
    let parsing = measure(|| path = parse_reverse_path(take_path(text).unwrap().0).unwrap());
    assert_eq!(parsing.count_total, 1);
    let copying = measure(|| drop(black_box(path.clone())));
    assert_eq!(copying.count_total, 0);
    let stored = serde_json::to_string(&path).unwrap();
    let reading = measure(|| drop(serde_json::from_str::<ReversePath>(&stored).unwrap()));
    assert_eq!(reading.count_total, 1);
    let looking = measure(|| {
        let ReversePath::Mailbox(mailbox) = &path else { return };
        black_box((mailbox.local_part(), mailbox.domain()));
    });
    assert_eq!(looking.count_total, 0);
    assert!(size_of::<Mailbox>() <= 32);
}

/// A daemon for a listed domain, an address and a probed domain, with one store behind all.
fn start(store: &Store) -> Daemon {
    let site = Site::new();
    let list = site.path("recipients");
    std::fs::write(&list, "Joe\njosé\n").unwrap();
    let url = store.url();
    let domain = |name: &str, rest: &str| {
        format!("[[domain]]\nname = \"{name}\"\ndeliver = \"{url}\"\n{rest}\n")
    };
    let listed = format!("recipients = \"file:{}\"\nseparator = \"+\"", list.display());
    let tables = [
        domain("bücher.example", &listed),
        domain("[IPv6:2001:DB8::1]", "recipients = \"any\""),
        domain("probed.example", "separator = \"+\""),
    ];
    let top = "postmaster = \"joe@bücher.example\"";
    let parts = Parts { top, tables: &tables.concat(), ..Parts::default() };
    let text = site.configuration(&parts);
    Daemon::start_at(site, &text)
}

/// G02, G18, G20: what is looked up in another form goes on as it came.
#[test]
fn recipients_are_found_in_every_form_and_keep_theirs() {
    let store = Store::tcp(Behaviour::default());
    let daemon = start(&store);
    let mut client = Client::greet(daemon.addr(), "c.example");
    let to = [
        "JOE@XN--Bcher-KVA.example",
        "Joe+Tag+x@xn--bcher-kva.example",
        "\"jOE+odd tag\"@xn--bcher-kva.example",
        "@one.example,@two.example:joe@xn--bcher-kva.example",
        "U@[ipv6:2001:0db8:0:0:0:0:0:1]",
        "Tag+Probed@probed.example",
    ];
    client.send_message("s@c.example", &to, b"Subject: note\r\n\r\nnote\r\n").queue_id();
    for (path, code, status) in [
        ("jo@xn--bcher-kva.example", 550, "5.1.1"),
        ("joe-tag@xn--bcher-kva.example", 550, "5.1.1"),
        ("jose@xn--bcher-kva.example", 550, "5.1.1"),
        ("joe@xn--bcher-kva99.example", 550, "5.7.1"),
        ("u@[IPv6:2001:db8::2]", 550, "5.7.1"),
        ("u@[IPv6:::ffff:192.0.2.1]", 550, "5.7.1"),
    ] {
        client.command("RSET");
        client.command("MAIL FROM:<>");
        client.command(&format!("RCPT TO:<{path}>")).is(code, status);
    }
    let mut arrived: Vec<String> =
        store.wait_for(1, ARRIVAL).into_iter().flat_map(|delivery| delivery.to).collect();
    arrived.sort();
    let mut expected = [
        "JOE@xn--bcher-kva.example",
        "Joe+Tag+x@xn--bcher-kva.example",
        "\"jOE+odd tag\"@xn--bcher-kva.example",
        "joe@xn--bcher-kva.example",
        "U@[IPv6:2001:db8::1]",
        "Tag+Probed@probed.example",
    ];
    expected.sort_unstable();
    assert_eq!(arrived, expected);
}

/// Every domain has a postmaster, also where its mailstore has none. Checks: V08
#[test]
fn the_servers_postmaster_stands_in_for_a_missing_one() {
    let joe = "joe@xn--bcher-kva.example";
    let store = Store::tcp(Behaviour::knowing(&[joe, "postmaster@[IPv6:2001:db8::1]"]));
    let daemon = start(&store);
    for (postmaster, becomes) in [
        ("Postmaster", joe),
        ("PostMaster@probed.example", joe),
        ("postmaster@xn--bcher-kva.example", joe),
        ("postmaster@[IPv6:2001:db8::1]", "postmaster@[IPv6:2001:db8::1]"),
    ] {
        let before = store.count();
        let mut client = Client::greet(daemon.addr(), "c.example");
        client.send_message("s@c.example", &[postmaster], b"Subject: help\r\n\r\n").queue_id();
        client.quit();
        let delivered = store.wait_for(before + 1, ARRIVAL);
        assert_eq!(delivered.last().unwrap().to, [becomes], "{postmaster}");
    }
    let mut client = Client::greet(daemon.addr(), "c.example");
    client.command("MAIL FROM:<s@c.example>").is(250, "2.1.0");
    client.command("RCPT TO:<abuse@probed.example>").is(550, "5.1.1");
    // The store knows neither, and would refuse the tag later if it were accepted now.
    client.command("RCPT TO:<joe+tag@probed.example>").is(550, "5.1.1");
    let tagged = Behaviour::knowing(&["j+t@probed.example"]);
    store.set(|behaviour| *behaviour = tagged);
    client.command("RCPT TO:<j+t@probed.example>").is(250, "2.1.5");
}

/// The cases of `tests/address/lint.txt`: what is said of an address, and the address.
fn lint_cases() -> Vec<(String, String)> {
    let unescaped = |text: &str| {
        let mut pieces = text.split("\\u{");
        let first = pieces.next().unwrap().to_owned();
        pieces.fold(first, |text, piece| {
            let (digits, rest) = piece.split_once('}').unwrap();
            let c = char::from_u32(u32::from_str_radix(digits, 16).unwrap()).unwrap();
            format!("{text}{c}{rest}")
        })
    };
    include_str!("address/lint.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("# "))
        .map(|line| {
            let (said, address) = line.split_once(" | ").unwrap();
            (said.trim_end().to_owned(), unescaped(address))
        })
        .collect()
}

#[test]
fn each_address_breaks_the_rules_that_it_should() {
    let cases = lint_cases();
    assert!(cases.len() >= 60, "only {} addresses", cases.len());
    for (expected, address) in cases {
        let said = |finding: &Finding| {
            let at = finding.code_point.map(|c| format!("=U+{:04X}", u32::from(c)));
            format!("{}{}", finding.rule.name(), at.unwrap_or_default())
        };
        let findings: Vec<String> = lint(&address).iter().map(said).collect();
        let said = if findings.is_empty() { "ok".to_owned() } else { findings.join(" ") };
        assert_eq!(said, expected, "{}", address.escape_unicode());
        if let Some(finding) = lint(&address).iter().find(|finding| finding.rule.is_error()) {
            let all_errors = lint(&address).iter().all(|finding| finding.rule.is_error());
            assert!(all_errors, "{address}: {finding:?} is enough");
        }
    }
}

/// Runs `angarium address lint` with these arguments and input; its output and exit code.
fn run_lint(arguments: &[&str], input: &[u8]) -> (String, i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_angarium"));
    command.args(["address", "lint"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut running = command.spawn().unwrap();
    running.stdin.take().unwrap().write_all(input).unwrap();
    let done = running.wait_with_output().unwrap();
    (String::from_utf8(done.stdout).unwrap(), done.status.code().unwrap())
}

#[test]
fn the_linter_says_what_is_wrong_with_its_code_point_and_exit_code() {
    assert_eq!(run_lint(&["joe@example.com"], b""), ("joe@example.com: ok\n".into(), 0));
    let (text, exit) = run_lint(&[], "\"a b\"@c.example\r\n\njosé@c.example\n".as_bytes());
    let wanted = "\"a b\"@c.example: warning: type-email: address fields of web forms refuse it\n\
                  josé@c.example: ok\n";
    assert_eq!((text.as_str(), exit), (wanted, 0));
    let (text, exit) = run_lint(&["a@b.example", "-"], b"x\xffy@c.example\n");
    let wanted = "a@b.example: ok\nx\\u{fffd}y@c.example: error: code-points: U+FFFD: no letter, \
                  digit, joiner or ASCII character\n";
    assert_eq!((text.as_str(), exit), (wanted, 65));
    let (text, exit) = run_lint(&["--json", "ali\u{202e}ce@c.example", "b@c.example"], b"");
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines[0]["verdict"].as_str(), exit), (Some("error"), 65));
    assert_eq!(lines[0]["findings"][0]["rule"], "code-points");
    assert_eq!(lines[0]["findings"][0]["code_point"], "U+202E");
    assert_eq!((lines[1]["verdict"].as_str(), lines.len()), (Some("ok"), 2));
}
