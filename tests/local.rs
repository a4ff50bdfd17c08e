//! Mail from programs of this machine: the real command as `sendmail`, against the real daemon.
//!
//! Programs are called as cron, PHP and mailx call sendmail. What needs another account runs where
//! the tests run as root, and says so where they don't.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use support::daemon::Parts;
use support::store::{Behaviour, Delivery, Store};
use support::{ARRIVAL, Daemon, wait_until};

const NOBODY: u32 = 65534;

fn binary() -> PathBuf {
    let built = Path::new(env!("CARGO_BIN_EXE_angarium"));
    std::env::var_os("ANGARIUM_BINARY").map_or_else(|| built.to_path_buf(), PathBuf::from)
}

/// A daemon for d.example, and the rest for a next hop; both are one store.
fn start(behaviour: Behaviour, local: &str) -> (Daemon, Store) {
    let store = Store::tcp(behaviour);
    let tables = format!(
        "[[domain]]\nname = \"d.example\"\ndeliver = \"{0}\"\n\
         [[route]]\nrecipient = \"*\"\nvia = \"{0}\"\n\
         [probe]\nnegative_lifetime = \"1s\"\n\
         [queue]\nretry_next_hop = [\"1s\"]\n\
         [local]\n{local}\n",
        store.url()
    );
    (Daemon::start_with(&Parts { tables: &tables, ..Parts::default() }), store)
}

/// The command under one of its names, with this on standard input.
fn called(command: &mut Command, daemon: &Daemon, line: &str, input: &str) -> Output {
    let arguments = line.split('|').filter(|argument| !argument.is_empty());
    let mut child = command
        .args(arguments)
        .env("ANGARIUM_CONFIG", daemon.path("angarium.toml"))
        .env_remove("NAME")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses its arguments reads nothing.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn as_name(name: &str, daemon: &Daemon, line: &str, input: &str) -> Output {
    called(Command::new(binary()).arg0(name), daemon, line, input)
}

/// Calls sendmail with arguments between bars; its exit code and what it said.
fn sendmail(daemon: &Daemon, line: &str, input: &str) -> (i32, String) {
    let done = as_name("/usr/sbin/sendmail", daemon, line, input);
    let said = [done.stdout, done.stderr].concat();
    (done.status.code().unwrap(), String::from_utf8(said).unwrap())
}

fn sent(daemon: &Daemon, line: &str, input: &str) {
    assert_eq!(sendmail(daemon, line, input), (0, String::new()), "{line}");
}

/// Waits for one message, which is the only one.
fn only(daemon: &Daemon, store: &Store) -> (Delivery, String) {
    let delivery = store.wait_for(1, ARRIVAL).remove(0);
    daemon.drain(ARRIVAL);
    assert_eq!(store.count(), 1, "it came more than once");
    let text = String::from_utf8(delivery.content.clone()).unwrap();
    (delivery, text)
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        eprintln!("LEFT OUT: another account can only be had as root");
    }
    root
}

#[test]
fn cron_sends() {
    let (daemon, store) = start(Behaviour::default(), "domain = \"d.example\"");
    let mail = "From: root (Cron Daemon)\nTo: root\nSubject: Cron <root@box> job\n\nout\n.\nput\n";
    sent(&daemon, "-FCronDaemon|-i|-B8BITMIME|-oem|root", mail);
    let (delivery, text) = only(&daemon, &store);
    assert_eq!(delivery.to, ["root@d.example"]);
    assert!(text.ends_with("\r\n\r\nout\r\n.\r\nput\r\n"), "{text}");
    assert!(text.contains("\r\nFrom: root (Cron Daemon)\r\n"), "{text}");
    assert!(text.contains("\r\nDate: ") && text.contains("\r\nMessage-ID: <"), "{text}");
    let uid = nix::unistd::getuid();
    assert!(
        text.contains(&format!("by angarium.test (Angarium, from userid {uid})\r\n")),
        "{text}"
    );
    assert!(!text.contains("127.0.0.1"), "{text}");
}

#[test]
fn php_sends() {
    let (daemon, store) = start(Behaviour::default(), "");
    let mail = "To: a@d.example\r\nBcc: b@far.example\r\nSubject: form\r\n\r\nhello\r\n";
    sent(&daemon, "-t|-i|-fwww@d.example", mail);
    let (delivery, text) = only(&daemon, &store);
    assert_eq!(delivery.from, "www@d.example");
    assert_eq!(delivery.to, ["a@d.example", "b@far.example"]);
    assert!(!text.contains("b@far.example"), "the blind recipient is seen:\n{text}");
    assert!(text.ends_with("\r\nTo: a@d.example\r\nSubject: form\r\n\r\nhello\r\n"), "{text}");
}

#[test]
fn a_lone_dot_ends_and_text_alone_is_a_message() {
    let (daemon, store) = start(Behaviour::default(), "domain = \"d.example\"");
    sent(
        &daemon,
        "-f|Joe <joe@far.example>|-F|Joe \"J\" Doe|--|a@d.example,root",
        "hi there\n.\nno\n",
    );
    let (delivery, text) = only(&daemon, &store);
    assert_eq!(delivery.from, "joe@far.example");
    assert_eq!(delivery.to, ["a@d.example", "root@d.example"]);
    assert!(text.contains("\r\nFrom: \"Joe \\\"J\\\" Doe\" <joe@far.example>\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\nhi there\r\n"), "{text}");
}

#[test]
fn exit_codes_say_what_went_wrong() {
    let (daemon, store) = start(Behaviour::knowing(&["a@d.example"]), "");
    for (line, code, says) in [
        ("-i|nobody@d.example", 67, "<nobody@d.example>: 550 5.1.1"),
        ("-i|a@d.example|nobody@d.example", 67, "<nobody@d.example>: 550"),
        ("-i", 64, "no recipient"),
        ("-Z|a@d.example", 64, "there is no flag -Z"),
        ("-f", 64, "-f needs a value"),
        ("-bd", 64, "angarium serve"),
        ("-i|a@b..example", 65, "a@b..example is no address"),
        ("-C/nowhere|a@d.example", 78, "/nowhere"),
        ("-bv|a@d.example", 0, "a@d.example... 250 2.1.5"),
        ("-bv|nobody@d.example", 67, "nobody@d.example... 550 5.1.1"),
        ("-bi", 0, ""),
    ] {
        let (exit, said) = sendmail(&daemon, line, "x\n");
        assert!(exit == code && said.contains(says), "{line}: {exit} {said}");
    }
    // The recipient beside the unknown one has the message.
    assert_eq!(only(&daemon, &store).0.to, ["a@d.example"]);
}

#[test]
fn mail_waits_in_the_maildrop_while_no_daemon_runs() {
    let (mut daemon, store) = start(Behaviour::default(), "");
    let maildrop = daemon.path("spool/local/maildrop");
    daemon.terminate();
    assert!(!daemon.path("spool/local/submit").exists());
    let (exit, said) = sendmail(&daemon, "-v|-i|a@d.example", "Subject: later\n\nx\n");
    assert!(exit == 0 && said.contains("waits in the maildrop"), "{exit} {said}");
    assert_eq!(files(&maildrop), 1);
    daemon.restart();
    let (_, text) = only(&daemon, &store);
    assert!(
        text.contains("from userid ") && text.ends_with("\r\nSubject: later\r\n\r\nx\r\n"),
        "{text}"
    );
    assert!(wait_until(ARRIVAL, || files(&maildrop) == 0));
    daemon.restart();
    daemon.drain(ARRIVAL);
    assert_eq!(store.count(), 1, "the next start sent it again");
}

#[test]
fn kills_in_between_lose_nothing() {
    let (mut daemon, store) = start(Behaviour::default(), "");
    for round in 0..6 {
        for number in 0..5 {
            let mail = format!("Subject: {round}-{number}\n\nx\n");
            sent(&daemon, "-i|a@d.example", &mail);
        }
        daemon.kill_9();
        sent(&daemon, "-i|a@d.example", &format!("Subject: {round}-down\n\nx\n"));
        daemon.restart();
    }
    assert!(wait_until(ARRIVAL, || files(&daemon.path("spool/local/maildrop")) == 0));
    daemon.drain(ARRIVAL);
    let all: String = store
        .deliveries()
        .iter()
        .map(|delivery| String::from_utf8(delivery.content.clone()).unwrap())
        .collect();
    for round in 0..6 {
        for name in ["0", "1", "2", "3", "4", "down"] {
            let subject = format!("Subject: {round}-{name}\r\n");
            assert!(all.contains(&subject), "{subject} was lost");
        }
    }
}

#[test]
fn a_mailstore_that_is_down_refuses_no_local_mail() {
    let (daemon, mut store) = start(Behaviour::default(), "");
    store.stop();
    sent(&daemon, "-i|a@d.example", "Subject: x\n\nx\n");
    store.start();
    only(&daemon, &store);
}

#[test]
fn what_is_refused_from_the_maildrop_is_reported() {
    let (mut daemon, store) = start(Behaviour::knowing(&["a@d.example"]), "");
    daemon.terminate();
    sent(&daemon, "-i|-fa@d.example|nobody@d.example", "Subject: lost\n\nx\n");
    daemon.restart();
    let (delivery, text) = only(&daemon, &store);
    assert_eq!((delivery.from.as_str(), delivery.to), ("", vec!["a@d.example".to_owned()]));
    assert!(text.contains("nobody@d.example") && text.contains("550 5.1.1"), "{text}");
    assert!(text.contains("Subject: lost"), "{text}");
    assert_eq!(files(&daemon.path("spool/local/maildrop")), 0);
}

#[test]
fn what_is_no_letter_is_set_aside_and_told() {
    let (daemon, store) = start(Behaviour::default(), "");
    let maildrop = daemon.path("spool/local/maildrop");
    std::fs::write(maildrop.join("junk"), "angarium-maildrop 1 9 9 00000000\nshort").unwrap();
    support::open_to_all(&maildrop.join("junk"), 0o640);
    std::os::unix::fs::symlink("/etc/shadow", maildrop.join("link")).unwrap();
    std::fs::create_dir(maildrop.join("folder")).unwrap();
    let damaged = daemon.path("spool/local/damaged");
    assert!(wait_until(ARRIVAL, || files(&damaged) == 3), "{}", daemon.log_tail());
    assert!(daemon.log().contains("it has 5 octets where its first line says 18"));
    sent(&daemon, "-i|a@d.example", "Subject: x\n\nx\n");
    only(&daemon, &store);
}

#[test]
fn smtp_is_spoken_on_standard_input() {
    let (daemon, store) = start(Behaviour::default(), "domain = \"d.example\"");
    let said = sendmail(
        &daemon,
        "-bs",
        "EHLO me.example\r\nMAIL FROM:<s>\r\nRCPT TO:<a>\r\nRCPT TO:<b@far.example>\r\nDATA\r\n\
         Subject: bs\r\n\r\nx\r\n.\r\nQUIT\r\n",
    );
    assert!(said.0 == 0 && said.1.contains("\r\n221 "), "{said:?}");
    let (delivery, text) = only(&daemon, &store);
    assert_eq!(delivery.from, "s@d.example");
    assert_eq!(delivery.to, ["a@d.example", "b@far.example"]);
    assert!(text.contains("Subject: bs"));
}

#[test]
fn the_other_names_behave_as_theirs() {
    let (daemon, _store) = start(Behaviour::default(), "");
    let queue = as_name("mailq", &daemon, "", "");
    assert_eq!(queue.stdout, b"Mail queue is empty\n");
    assert_eq!(as_name("newaliases", &daemon, "", "").status.code(), Some(0));
    assert_eq!(as_name("sendmail", &daemon, "-bp", "").stdout, b"Mail queue is empty\n");
    assert_eq!(as_name("sendmail", &daemon, "-q", "").status.code(), Some(0));
    let named = as_name("angarium", &daemon, "sendmail|-bp", "");
    assert_eq!(named.stdout, b"Mail queue is empty\n");
}

/// The command as nobody, from a place that nobody may read.
fn as_nobody(daemon: &Daemon, line: &str, input: &str) -> (i32, String) {
    let copy = daemon.path("sendmail");
    if !copy.exists() {
        std::fs::copy(binary(), &copy).unwrap();
        support::open_to_all(&copy, 0o755);
    }
    let done =
        called(Command::new(copy).uid(NOBODY).gid(NOBODY).current_dir("/"), daemon, line, input);
    let said = [done.stdout, done.stderr].concat();
    (done.status.code().unwrap(), String::from_utf8(said).unwrap())
}

#[test]
fn another_account_sends_as_what_it_is() {
    if !is_root() {
        return;
    }
    let (mut daemon, store) = start(Behaviour::default(), "any_sender = [\"root\"]");
    let own = "-i|a@d.example";
    assert_eq!(as_nobody(&daemon, own, "Subject: up\n\nx\n"), (0, String::new()));
    let (exit, said) = as_nobody(&daemon, "-i|-froot@angarium.test|a@d.example", "x\n");
    assert!(exit == 77 && said.contains("nobody sends as <nobody@angarium.test>"), "{exit} {said}");
    let (exit, said) = as_nobody(&daemon, own, "From: root (Root)\n\nx\n");
    assert!(
        exit == 77 && said.contains("nobody may not send as <root@angarium.test>"),
        "{exit} {said}"
    );
    sent(&daemon, own, "From: nobody@far.example\nSubject: free\n\nx\n");
    let (exit, said) = as_nobody(&daemon, "-bp", "");
    assert!(exit == 77 && said.contains("may see"), "{exit} {said}");
    daemon.terminate();
    assert_eq!(as_nobody(&daemon, own, "Subject: down\n\nx\n"), (0, String::new()));
    daemon.restart();
    let deliveries = store.wait_for(3, ARRIVAL);
    daemon.drain(ARRIVAL);
    assert_eq!(store.count(), 3);
    let (bound, free): (Vec<_>, Vec<_>) =
        deliveries.into_iter().partition(|delivery| delivery.from == "nobody@angarium.test");
    assert_eq!((bound.len(), free.len()), (2, 1));
    let text = String::from_utf8_lossy(&free[0].content);
    assert!(text.contains("\r\nFrom: nobody@far.example\r\n"), "{text}");
    for delivery in bound {
        let text = String::from_utf8(delivery.content).unwrap();
        assert!(text.contains(&format!("from userid {NOBODY})")), "{text}");
    }
    let spool = daemon.path("spool");
    let listed = Command::new("ls").arg(&spool).uid(NOBODY).gid(NOBODY).output().unwrap();
    assert!(!listed.status.success(), "others may list the spool");
}

#[test]
fn a_daemon_without_privileges_reads_what_others_left() {
    if !is_root() {
        return;
    }
    let store = Store::tcp(Behaviour::default());
    let tables = format!("[[domain]]\nname = \"d.example\"\ndeliver = \"{}\"\n", store.url());
    let site = support::daemon::Site::new();
    // The control socket is opened by the unprivileged user, too.
    support::open_to_all(site.directory.path(), 0o777);
    let parts = Parts { top: "user = \"daemon\"", tables: &tables, ..Parts::default() };
    let text = site.configuration(&parts);
    let mut daemon = Daemon::start_at(site, &text);
    assert!(wait_until(ARRIVAL, || daemon.path("spool/local/submit").exists()));
    daemon.terminate();
    assert_eq!(as_nobody(&daemon, "-i|a@d.example", "Subject: x\n\nx\n"), (0, String::new()));
    daemon.restart();
    let (_, text) = only(&daemon, &store);
    assert!(text.contains(&format!("from userid {NOBODY})")), "{text}");
}

#[test]
fn with_neither_daemon_nor_maildrop_another_try_may_help() {
    let (mut daemon, store) = start(Behaviour::default(), "");
    daemon.terminate();
    std::fs::remove_dir(daemon.path("spool/local/maildrop")).unwrap();
    let (exit, said) = sendmail(&daemon, "-i|a@d.example", "x\n");
    assert!(exit == 75 && said.contains("local/submit") && said.contains("maildrop"), "{said}");
    let (exit, said) = sendmail(&daemon, "-bs", "QUIT\r\n");
    assert!(exit == 75 && said.starts_with("421 4.3.2 "), "{said}");
    daemon.restart();
    assert_eq!(
        (sendmail(&daemon, "-i|a@d.example", "x\n").0, only(&daemon, &store).0.to.len()),
        (0, 1)
    );
}

#[test]
fn a_letter_that_waits_holds_up_nobody_else() {
    if !is_root() {
        return;
    }
    let store = Store::tcp(Behaviour::knowing(&["a@d.example"]));
    let tables = format!(
        "[[domain]]\nname = \"d.example\"\ndeliver = \"{}\"\n[queue]\nsoft_bounce = true\n\
         [local]\nusers = [\"root\", \"nobody\"]\n",
        store.url()
    );
    let mut daemon = Daemon::start_with(&Parts { tables: &tables, ..Parts::default() });
    let maildrop = daemon.path("spool/local/maildrop");
    // Refused for now, and so kept: the sender need not come again.
    for _ in 0..3 {
        sent(&daemon, "-i|nobody@d.example", "Subject: waits\n\nx\n");
    }
    assert_eq!(files(&maildrop), 3);
    daemon.terminate();
    assert_eq!(as_nobody(&daemon, "-i|a@d.example", "Subject: passes\n\nx\n"), (0, String::new()));
    daemon.restart();
    assert!(only(&daemon, &store).1.contains("Subject: passes"));
    assert!(wait_until(ARRIVAL, || files(&maildrop) == 3), "{}", daemon.log_tail());
}

#[test]
fn an_account_that_is_not_listed_hands_in_nothing() {
    if !is_root() {
        return;
    }
    let (mut daemon, store) = start(Behaviour::default(), "users = [\"root\"]");
    let (exit, said) = as_nobody(&daemon, "-i|a@d.example", "x\n");
    assert!(exit == 77 && said.contains("5.7.1"), "{exit} {said}");
    daemon.terminate();
    assert_eq!(as_nobody(&daemon, "-i|a@d.example", "x\n").0, 0, "who may send is judged later");
    daemon.restart();
    let damaged = daemon.path("spool/local/damaged");
    assert!(wait_until(ARRIVAL, || files(&damaged) == 1), "{}", daemon.log_tail());
    assert!(daemon.log().contains("nobody may hand in no mail"));
    assert_eq!(store.count(), 0);
}
