//! Lists: what matches, what is more specific, what is refused.

use super::*;
use crate::syntax::path::{parse_forward_path, parse_reverse_path};

fn list(subject: Subject, lines: &[&str]) -> Arc<List> {
    let mut list = List::new(subject, "list");
    for (number, line) in (1..).zip(lines) {
        list.add(line, number).unwrap_or_else(|why| panic!("{line}: {why}"));
    }
    list.finish();
    Arc::new(list)
}

fn refused(subject: Subject, line: &str) -> String {
    List::new(subject, "list").add(line, 1).expect_err(line)
}

fn said(found: Option<Match<'_>>) -> String {
    let Some(found) = found else { return "nothing".to_owned() };
    match found.action {
        Action::Accept => format!("{found} accept"),
        Action::Refuse(reply) => format!("{found} {reply}"),
        Action::Hold(why) => format!("{found} hold {why}"),
    }
}

#[test]
fn the_longest_prefix_decides_wherever_it_stands() {
    let lines = ["10.1.2.3 accept", "10.0.0.0/8 reject", "10.1.0.0/16 defer", "2001:db8::/32 hold"];
    for order in [[0, 1, 2, 3], [3, 2, 1, 0]] {
        let lines: Vec<&str> = order.into_iter().filter_map(|at| lines.get(at).copied()).collect();
        let access = Access { client: Some(list(Subject::Client, &lines)), ..Access::default() };
        for (client, action) in [
            ("10.1.2.3", " accept"),
            ("::ffff:10.1.2.3", " accept"),
            ("10.1.2.4", " 450 4.7.1 mail from your address is not taken now, try again later"),
            ("10.2.0.1", " 550 5.7.1 mail from your address is refused here"),
            ("2001:db8::7", " hold "),
            ("11.0.0.1", "nothing"),
            ("2001:db9::1", "nothing"),
        ] {
            let said = said(access.client(client.parse().unwrap()));
            assert!(said.ends_with(action), "{client}: {said}");
        }
    }
}

#[test]
fn a_name_counts_before_the_domains_above_it() {
    let lines = [
        "mail.example.org accept",
        ".example.org reject",
        "*.bulk.example.org hold slow down",
        "DYNAMIC_1 defer",
        "[192.0.2.1] reject",
        "192.0.2.9 reject",
    ];
    let list = list(Subject::Hello, &lines);
    for (name, line) in [
        ("MAIL.example.org", Some(1)),
        ("other.example.org", Some(2)),
        ("a.mail.example.org", Some(2)),
        ("a.b.bulk.example.org", Some(3)),
        ("dynamic_1", Some(4)),
        ("[192.0.2.1]", Some(5)),
        ("192.0.2.9", Some(6)),
        ("example.org", None),
        ("badexample.org", None),
        ("", None),
    ] {
        assert_eq!(list.name(name).map(|rule| list.matched(rule).line), line, "{name}");
    }
}

#[test]
fn an_address_counts_before_its_domain_and_that_before_its_local_part() {
    let lines = [
        "postmaster@ accept",
        "joe@example.org hold",
        "example.org reject",
        ".example.org defer",
        "root@[192.0.2.1] reject",
        "[IPv6:2001:DB8::1] reject",
        ".bücher.example reject",
    ];
    let list = list(Subject::Recipient, &lines);
    for (local, domain, line) in [
        ("Joe", "Example.org", Some(2)),
        ("postmaster", "example.org", Some(3)),
        ("jim", "sub.example.org", Some(4)),
        ("joe", "a.sub.example.org", Some(4)),
        ("Postmaster", "other.example", Some(1)),
        ("postmaster", "", Some(1)),
        ("root", "[192.0.2.1]", Some(5)),
        ("any", "[IPv6:2001:db8::1]", Some(6)),
        ("any", "a.xn--bcher-kva.example", Some(7)),
        ("joe", "other.example", None),
        ("joe@example.org", "other.example", None),
    ] {
        let found = list.address(local, domain).map(|rule| list.matched(rule).line);
        assert_eq!(found, line, "{local}@{domain}");
    }
}

/// What is decided, and which line asks to hold, for a recipient of a client.
fn judged(client: &str, hello: &str, sender: &str, recipient: &str) -> (String, String) {
    let access = Access {
        client: Some(list(
            Subject::Client,
            &["192.0.2.1 accept", "192.0.2.2 reject", "192.0.2.3 hold"],
        )),
        hello: Some(list(Subject::Hello, &["bad.example reject", "slow.example hold again"])),
        sender: Some(list(Subject::Sender, &["<> defer no reports now", "spam.example reject"])),
        recipient: Some(list(
            Subject::Recipient,
            &["postmaster@ accept", "gone@d.example reject 5.1.6 has moved"],
        )),
    };
    let verdict = access.judge(Facts {
        client: client.parse().unwrap(),
        hello,
        sender: &parse_reverse_path(sender).unwrap(),
        recipient: &parse_forward_path(recipient).unwrap(),
    });
    (said(verdict.decided), said(verdict.held))
}

#[test]
fn the_first_subject_that_decides_ends_the_judgement_and_a_hold_does_not() {
    let (by_address, by_name) = (
        "550 5.7.1 mail from your address is refused here",
        "550 5.7.1 mail from a host of your name is refused here",
    );
    for (client, facts, decided, held) in [
        (
            "192.0.2.1",
            ["bad.example", "a@spam.example", "gone@d.example"],
            "client list:1 accept".to_owned(),
            "nothing",
        ),
        (
            "192.0.2.2",
            ["c.example", "a@b.example", "a@d.example"],
            format!("client list:2 {by_address}"),
            "nothing",
        ),
        (
            "192.0.2.3",
            ["slow.example", "a@b.example", "a@d.example"],
            "nothing".into(),
            "client list:3 hold ",
        ),
        (
            "192.0.2.3",
            ["bad.example", "a@b.example", "a@d.example"],
            format!("hello list:1 {by_name}"),
            "client list:3 hold ",
        ),
        (
            "192.0.2.9",
            ["slow.example", "", "a@d.example"],
            "sender list:1 450 4.7.1 no reports now".into(),
            "hello list:2 hold again",
        ),
        (
            "192.0.2.9",
            ["c.example", "a@b.example", "gone@d.example"],
            "recipient list:2 550 5.1.6 has moved".into(),
            "nothing",
        ),
        (
            "192.0.2.9",
            ["c.example", "a@b.example", "postmaster"],
            "recipient list:1 accept".into(),
            "nothing",
        ),
        ("192.0.2.9", ["c.example", "a@b.example", "a@d.example"], "nothing".into(), "nothing"),
    ] {
        let [hello, sender, recipient] = facts;
        let found = judged(client, hello, sender, recipient);
        assert_eq!(found, (decided, held.to_owned()), "{client} {facts:?}");
    }
}

#[test]
fn a_rejection_may_name_its_code_and_a_registered_status() {
    for (action, reply) in [
        ("reject", "550 5.7.1 mail from this sender is refused here"),
        ("REJECT   go away  ", "550 5.7.1 go away"),
        ("reject 554 go away", "554 5.7.1 go away"),
        ("reject 553 5.1.8 no such domain", "553 5.1.8 no such domain"),
        ("reject 5.1.8 no such domain", "550 5.1.8 no such domain"),
        ("reject 42 reasons", "550 5.7.1 42 reasons"),
        ("defer", "450 4.7.1 mail from this sender is not taken now, try again later"),
        ("defer later, please", "450 4.7.1 later, please"),
    ] {
        match parse_action(Subject::Sender, action) {
            Ok(Action::Refuse(given)) => assert_eq!(given.to_string(), reply),
            other => panic!("{action}: {other:?}"),
        }
    }
}

#[test]
fn a_fault_says_what_would_be_right() {
    for (subject, line, says) in [
        (Subject::Client, "192.0.2.1", "it has no action; write `accept`"),
        (Subject::Client, "192.0.2.1 OK", "write `accept`; it never grants relaying"),
        (Subject::Client, "192.0.2.1 554 go away", "write `reject 554 go away`"),
        (Subject::Client, "192.0.2.1 450 later", "write `defer later`"),
        (Subject::Client, "192.0.2.1 discard", "`discard` is no action"),
        (Subject::Client, "192.0.2.1 accept them", "remove the text"),
        (Subject::Client, "192.0.2.1 reject 250 fine", "550, 553 or 554"),
        (Subject::Client, "192.0.2.1 reject 4.7.1 later", "write `defer`"),
        (Subject::Client, "192.0.2.1 reject 5.99.1 odd", "not registered"),
        (Subject::Client, "192.0.2.1 reject für dich", "`ü` cannot stand in a reply"),
        (Subject::Client, "10.1.2.3/8 reject", "write 10.0.0.0/8 or 10.1.2.3"),
        (Subject::Client, "example.org reject", "write an address or a network"),
        (Subject::Hello, "mx*.example.org reject", "write *.example.org"),
        (Subject::Hello, "a..b reject", "empty label"),
        (Subject::Sender, "*@example.org reject", "write example.org"),
        (Subject::Sender, "joe@exa_mple.org reject", "`_` is no letter"),
        (Subject::Sender, "@example.org reject", "cannot be empty"),
        (Subject::Recipient, "<> reject", "only senders"),
    ] {
        let why = refused(subject, line);
        assert!(why.contains(says), "{line}: {why}");
    }
}

#[test]
fn a_pattern_given_twice_must_say_the_same() {
    let mut list = List::new(Subject::Client, "list");
    list.add("192.0.2.1 reject", 1).unwrap();
    list.add("192.0.2.1/32 reject", 2).unwrap();
    let why = list.add("192.0.2.1 accept", 3).unwrap_err();
    assert!(why.starts_with("it is already at line 2 with another action"), "{why}");
    assert_eq!(list.len(), 1);
}
