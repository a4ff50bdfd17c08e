//! The tools for the spool on the disk: what they write comes back, what is damaged is found, a
//! backup beside a busy daemon holds all that was acknowledged, and none works where a daemon does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "a test of a running program waits by the clock")]

mod support;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use memchr::memmem::find;
use serde_json::Value;
use support::daemon::{Daemon, Parts, Site};
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::{ARRIVAL, wait_until};

/// What a tool said, and its exit code.
#[derive(Debug)]
struct Said {
    output: String,
    error: String,
    code: i32,
}

/// Runs `angarium queue ARGUMENTS` with a configuration.
fn tool(configuration: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_angarium"));
    command.arg("queue").args(arguments).arg("--config").arg(configuration);
    let done = command.output().unwrap();
    let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
    let code = done.status.code().unwrap();
    Said { output: text(done.stdout), error: text(done.stderr), code }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A domain whose mail goes to the store, and none of it twice within a test.
fn tables(store: &Store) -> String {
    format!(
        "[[domain]]\nname = \"ours.example\"\ndeliver = \"{}\"\nrecipients = \"any\"\n\
         [queue]\nretry_next_hop = [\"1h\"]\n",
        store.url()
    )
}

/// A place with a configuration and no daemon yet.
fn site(tables: &str) -> (Site, String, PathBuf) {
    let site = Site::new();
    let text = site.configuration(&Parts { tables, ..Parts::default() });
    let file = site.path("angarium.toml");
    fs::write(&file, &text).unwrap();
    (site, text, file)
}

fn reluctant() -> Store {
    let mut behaviour = Behaviour::default();
    let reply = "450 4.2.0 not today".to_owned();
    behaviour.content_replies.insert("later@ours.example".to_owned(), reply);
    Store::tcp(behaviour)
}

fn content(number: usize, octets: usize) -> Vec<u8> {
    let mut text = format!("Subject: {number}\r\nX-Number: {number}\r\n\r\n.dots\r\n");
    let line = format!("{number} {}\r\n", "y".repeat(60));
    while text.len() < octets {
        text.push_str(&line);
    }
    text.into_bytes()
}

fn send(client: &mut Client, to: &[&str], content: &[u8]) -> String {
    client.send_message("s@c.example", to, content).queue_id()
}

/// A daemon with eight messages that wait: seven of them were tried, some have another recipient
/// who got it, one is large, one held, one shall go another way.
fn with_waiting_mail(store: &Store) -> (Daemon, BTreeMap<String, Vec<u8>>) {
    let daemon = Daemon::start(&tables(store));
    let mut client = Client::greet(daemon.addr(), "c.example");
    let mut sent = BTreeMap::new();
    for number in 0..8 {
        let content = content(number, if number == 3 { 400_000 } else { 100 * number });
        let to: &[&str] = match number % 2 {
            0 => &["later@ours.example", "ada@ours.example"],
            _ => &["later@ours.example"],
        };
        sent.insert(send(&mut client, to, &content), content);
    }
    let tried = |row: &Value| row["recipients"][0]["attempts"] == 1;
    assert!(wait_until(ARRIVAL, || daemon.rows().iter().filter(|row| tried(row)).count() == 8));
    let ids: Vec<_> = sent.keys().collect();
    assert_eq!(daemon.queue(&["hold", ids[1]]).1, 0);
    assert_eq!(daemon.queue(&["reroute", ids[2], "--via", "smtp://192.0.2.1:25"]).1, 0);
    assert!(wait_until(ARRIVAL, || daemon.rows().len() == 8));
    (daemon, sent)
}

fn dump(configuration: &Path, folder: &Path) -> BTreeMap<String, (Value, Vec<u8>)> {
    let said = tool(configuration, &["dump", text(folder)]);
    assert_eq!(said.code, 0, "{said:?}");
    read_dump(folder)
}

fn read_dump(folder: &Path) -> BTreeMap<String, (Value, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let id = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().unwrap() == "json" {
            let mut form: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            assert_eq!(form.as_object_mut().unwrap().remove("id").unwrap(), *id);
            all.insert(id, (form, fs::read(path.with_extension("eml")).unwrap()));
        }
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2 * all.len());
    all
}

fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.is_file());
    files.map(|path| (path.clone(), fs::read(&path).unwrap())).collect()
}

#[test]
fn what_is_dumped_can_be_imported() {
    let store = reluctant();
    let (mut daemon, sent) = with_waiting_mail(&store);
    daemon.terminate();
    let first = dump(&daemon.path("angarium.toml"), &daemon.path("dump"));
    assert!(first.keys().eq(sent.keys()));
    for (id, (form, octets)) in &first {
        assert!(octets.ends_with(&sent[id]), "{id}");
        assert_eq!(form["size"], octets.len());
        assert_eq!(form["envelope"]["from"], "s@c.example");
        let tried = &form["recipients"][0];
        assert_eq!(
            (&tried["to"], &tried["state"]),
            (&"later@ours.example".into(), &"pending".into())
        );
        assert!(tried["reason"].as_str().unwrap().contains("not today"), "{form}");
    }

    let ready = Store::tcp(Behaviour::default());
    let (site, configuration, file) = site(&tables(&ready));
    let said = tool(&file, &["import", text(&daemon.path("dump"))]);
    assert_eq!(said.code, 0, "{said:?}");
    let renamed: HashMap<_, _> =
        said.output.lines().map(|line| line.split_once(" -> ").unwrap()).collect();
    let second = dump(&file, &site.path("dump"));
    assert_eq!((renamed.len(), second.len()), (8, 8));
    for (old, message) in &first {
        assert!(second[renamed[old.as_str()]] == *message, "{old}");
    }
    assert_eq!(tool(&file, &["fsck"]).code, 0);

    let daemon = Daemon::start_at(site, &configuration);
    assert_eq!(daemon.queue(&["reroute", "--all"]).1, 0);
    assert_eq!(daemon.queue(&["release", "--all"]).1, 0);
    assert_eq!(daemon.queue(&["retry", "--all"]).1, 0);
    daemon.drain(ARRIVAL);
    let mut got: Vec<_> = ready.deliveries().into_iter().map(|delivery| delivery.content).collect();
    let mut expected: Vec<_> = first.into_values().map(|(_, octets)| octets).collect();
    got.sort();
    expected.sort();
    // The store adds nothing but its own trace.
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        assert!(got.ends_with(expected));
    }
    let to = |delivery: &support::store::Delivery| delivery.to == ["later@ours.example"];
    assert!(ready.deliveries().iter().all(to), "a delivered recipient is not delivered to again");
}

#[test]
fn broken_pairs_are_named_and_left_out() {
    let store = reluctant();
    let (mut daemon, sent) = with_waiting_mail(&store);
    daemon.terminate();
    let (dumped, file) = (daemon.path("dump"), daemon.path("angarium.toml"));
    dump(&file, &dumped);
    let said = tool(&file, &["dump", text(&dumped)]);
    assert_eq!(said.code, 73, "{said:?}");
    assert!(said.error.contains("a new or an empty folder"), "{said:?}");

    let ids: Vec<_> = sent.keys().collect();
    let path = |at: usize, kind: &str| dumped.join(format!("{}.{kind}", ids[at]));
    fs::remove_file(path(0, "eml")).unwrap();
    fs::remove_file(path(1, "json")).unwrap();
    let form = fs::read_to_string(path(2, "json")).unwrap();
    fs::write(path(2, "json"), form.replace("\"size\":", "\"sise\":")).unwrap();
    fs::write(path(3, "eml"), "short").unwrap();
    let octets = fs::read(path(4, "eml")).unwrap();
    let octets =
        String::from_utf8(octets).unwrap().replacen("X-Number: 4\r\n", "X-Number: 4\n\n", 1);
    fs::write(path(4, "eml"), octets).unwrap();
    let (_site, _, other) = site(&tables(&store));
    let said = tool(&other, &["import", text(&dumped)]);
    assert_eq!((said.code, said.output.lines().count()), (65, 3), "{said:?}");
    for (at, kind, says) in [
        (0, "eml", ": No such file"),
        (1, "eml", ": no .json is beside it"),
        (2, "json", ":4:8: unknown field `sise`"),
        (3, "eml", ": 5 octets, but "),
        (4, "eml", ":5: a bare LF"),
    ] {
        let line = format!("{}{says}", path(at, kind).display());
        assert!(said.error.contains(&line), "{line}\n{said:?}");
    }
}

#[test]
fn a_backup_beside_a_busy_daemon_is_a_spool() {
    const KEPT: usize = 60;
    let store = reluctant();
    let daemon = Daemon::start(&tables(&store));
    let stopping = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (stopping, address) = (Arc::clone(&stopping), daemon.addr());
            std::thread::spawn(move || {
                let mut client = Client::greet(address, "load.example");
                let mut number = 0;
                while !stopping.load(Ordering::Relaxed) {
                    let octets = if number % 20 == 0 { 300_000 } else { 2_000 };
                    send(&mut client, &["u@ours.example"], &content(sender, octets));
                    number += 1;
                }
                number
            })
        })
        .collect();
    let mut client = Client::greet(daemon.addr(), "c.example");
    let mut kept = BTreeMap::new();
    for number in 0..KEPT {
        let octets = if number % 15 == 0 { 500_000 } else { 3_000 };
        let content = content(1_000 + number, octets);
        kept.insert(send(&mut client, &["later@ours.example"], &content), content);
    }
    let ready = Store::tcp(Behaviour::default());
    let (site, configuration, file) = site(&tables(&ready));
    let said = tool(&daemon.path("angarium.toml"), &["backup", text(&site.path("spool"))]);
    assert_eq!(said.code, 0, "{said:?}\n{}", daemon.log_tail());
    assert!(said.output.contains(" messages, "), "{said:?}");
    stopping.store(true, Ordering::Relaxed);
    let load: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
    assert!(load > 20, "only {load} messages of load");
    assert!(daemon.log().contains("\"event\":\"backed-up\""));

    let said = tool(&file, &["fsck"]);
    assert_eq!(said.code, 0, "{said:?}");
    let copied = dump(&file, &site.path("dump"));
    for (id, content) in &kept {
        assert!(copied[id].1.ends_with(content), "{id}");
    }
    let copy = Daemon::start_at(site, &configuration);
    assert_eq!(copy.queue(&["retry", "--all"]).1, 0);
    let mut client = Client::greet(copy.addr(), "c.example");
    let id = send(&mut client, &["u@ours.example"], &content(1, 1));
    assert!(id > *copied.last_key_value().unwrap().0, "new ids follow the old ones");
    copy.drain(ARRIVAL);
    let got = ready.deliveries();
    for content in kept.values() {
        assert_eq!(got.iter().filter(|one| one.content.ends_with(content)).count(), 1);
    }
}

#[test]
fn a_backup_without_a_daemon_is_the_same_spool() {
    let store = reluctant();
    let (mut daemon, _) = with_waiting_mail(&store);
    assert_eq!(daemon.queue(&["ls"]).1, 0);
    daemon.terminate();
    let file = daemon.path("angarium.toml");
    let first = dump(&file, &daemon.path("dump"));
    let before = files(&daemon.path("spool"));
    let (site, _, other) = site(&tables(&store));
    fs::create_dir(site.path("spool")).unwrap();
    let said = tool(&file, &["backup", text(&site.path("spool"))]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(files(&daemon.path("spool")) == before, "the spool is as it was");
    assert!(dump(&other, &site.path("dump")) == first);
    let said = tool(&file, &["backup", text(&site.path("spool"))]);
    assert_eq!(said.code, 73, "{said:?}");
    assert!(site.path("spool/superblock").exists());
}

#[test]
fn damage_is_found_where_it_is_and_the_rest_is_saved() {
    let store = reluctant();
    let (mut daemon, sent) = with_waiting_mail(&store);
    daemon.terminate();
    let (file, spool) = (daemon.path("angarium.toml"), daemon.path("spool"));
    let said = tool(&file, &["fsck", "--json"]);
    let clean: Value = serde_json::from_str(&said.output).unwrap();
    assert_eq!((said.code, &clean["damage"]), (0, &Value::Array(vec![])), "{said:?}");
    assert_eq!((&clean["messages"], &clean["strangers"]), (&8.into(), &clean["damage"]));

    let good = files(&spool);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let segments: Vec<_> = good.keys().filter(|path| text(path).ends_with(".segment")).collect();
    for round in 0..5 {
        // The content of a message is used room, and can be told when it is seen.
        let (id, content) = sent.iter().nth(random.usize(..sent.len())).unwrap();
        let part = &content[..content.len().min(100)];
        let mut places = segments.iter().map(|path| (*path, find(&good[*path], part)));
        let (path, start) = places.find_map(|(path, at)| Some((path, at?))).unwrap();
        let at = start + random.usize(..part.len());
        let mut octets = good[path].clone();
        octets[at] ^= random.u8(1..);
        fs::write(path, &octets).unwrap();
        let before = files(&spool);
        let said = tool(&file, &["fsck", "--json"]);
        assert!(files(&spool) == before, "fsck has written");
        assert_eq!(said.code, 65, "seed {seed}: {said:?}");
        let report: Value = serde_json::from_str(&said.output).unwrap();
        let hit = report["damage"].as_array().unwrap().iter().any(|damage| {
            let begin = damage["offset"].as_u64().unwrap() as usize;
            let range = begin..begin + damage["octets"].as_u64().unwrap() as usize;
            let named = damage["what"].as_str().unwrap().contains(id.as_str());
            path.ends_with(damage["file"].as_str().unwrap()) && range.contains(&at) && named
        });
        assert!(hit, "seed {seed}: {} at {at} is not in {report}", path.display());
        if round == 0 {
            let folder = daemon.path("saved");
            let said = tool(&file, &["dump", text(&folder)]);
            assert_eq!(said.code, 65, "{said:?}");
            assert!(said.error.contains(id), "{said:?}");
            let saved = read_dump(&folder);
            assert_eq!((saved.len(), saved.contains_key(id)), (7, false));
            let said = tool(&file, &["backup", text(&daemon.path("copy"))]);
            assert_eq!(said.code, 65, "{said:?}");
            assert!(said.error.contains(id) && said.output.starts_with("7 messages"), "{said:?}");
        }
        fs::write(path, &good[path]).unwrap();
    }
    assert_eq!(tool(&file, &["fsck"]).code, 0);
}

#[test]
fn a_tool_says_why_it_cannot_work() {
    let store = reluctant();
    let daemon = Daemon::start(&tables(&store));
    let file = daemon.path("angarium.toml");
    let folder = daemon.path("folder");
    for arguments in [&["fsck"][..], &["dump", text(&folder)], &["import", text(&folder)]] {
        let said = tool(&file, arguments);
        assert_eq!(said.code, 75, "{arguments:?}: {said:?}");
        assert!(said.error.contains("stop the daemon"), "{said:?}");
        assert!(said.error.contains("queue backup"), "{said:?}");
        assert!(!folder.exists());
    }
    fs::write(daemon.path("file"), "").unwrap();
    let inside = daemon.path("file").join("backup");
    let said = tool(&file, &["backup", text(&inside)]);
    assert_eq!(said.code, 73, "{said:?}");
    assert!(said.error.contains(text(&inside)), "{said:?}");

    let (site, _, file) = site("");
    for arguments in [&["fsck"][..], &["dump", text(&folder)], &["backup", text(&folder)]] {
        let said = tool(&file, arguments);
        assert_eq!(said.code, 66, "{arguments:?}: {said:?}");
        assert!(said.error.contains(text(&site.path("spool"))), "{said:?}");
        assert!(!site.path("spool").exists() && !folder.exists());
    }
}
