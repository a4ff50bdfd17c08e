//! The rules of the house, as a test.
//!
//! Which room may import which, what the pure rooms may not know, headers, sizes, leftovers, and
//! what may lie at the top level. Each rule is a function from a file's name and text to faults,
//! tried below on small made-up files, so that a rule that has gone blind is noticed too.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "tidy/scan.rs"]
mod scan;

use std::fs;
use std::path::{Path, PathBuf};

/// The floors, from the ground; on a floor a room may import those to its left.
const FLOORS: &[&[&str]] = &[
    &["registry", "metric", "event"],
    &["syntax", "envelope"],
    &["session"],
    &["route", "policy"],
    &["delivery", "report", "submission", "sign"],
    &[
        "net", "auth", "channel", "pool", "probe", "backlog", "door", "intake", "limits",
        "receive", "local", "agent", "dispatch",
    ],
    &["config", "control", "daemon", "demo", "cli", "main"],
];

/// The lowest floor that may use the queue, and the lowest with effects.
const QUEUE_FLOOR: usize = 4;
const EFFECTS_FLOOR: usize = 5;

/// What a pure room may not name.
const EFFECTS: &[&str] = &[
    "tokio",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "ToSocketAddrs",
];

/// What stays behind when work is not finished. Written in two parts: this file is read as well.
const LEFTOVERS: &[&str] = &[
    concat!("to", "do!"),
    concat!("unimpl", "emented!"),
    concat!("d", "bg!"),
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
];

const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "src",
    "queue",
    "tests",
    "conf",
    "benches",
    "README.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "CHANGELOG.md",
    "rustfmt.toml",
    "clippy.toml",
    "deny.toml",
];

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// The floor of a room and its place on it.
fn place(room: &str) -> Option<(usize, usize)> {
    FLOORS.iter().enumerate().find_map(|(floor, rooms)| {
        rooms.iter().position(|name| *name == room).map(|place| (floor, place))
    })
}

/// The room of a file under `src`, and how deep in the crate its module is.
fn room(name: &str) -> Option<(&str, usize)> {
    let path = name.strip_prefix("src/")?.strip_suffix(".rs")?;
    let path = path.strip_suffix("/mod").unwrap_or(path);
    (path != "lib").then(|| (path.split('/').next().unwrap_or(path), path.split('/').count()))
}

/// No import runs up or to the right.
fn arrows(name: &str, code: &str) -> Vec<String> {
    let Some((room, depth)) = room(name) else { return Vec::new() };
    let Some((floor, here)) = place(room) else {
        return vec![format!("{name}: the room `{room}` has no floor; give it one in FLOORS")];
    };
    let code = scan::before_tests(code);
    let mut faults = Vec::new();
    for (line, other) in scan::rooms(code, depth) {
        let Some((other_floor, there)) = place(&other) else { continue };
        if other != room && (other_floor, there) > (floor, here) {
            let why = if other_floor > floor { "on a higher floor" } else { "to its right" };
            faults.push(format!("{name}:{line}: `{room}` imports `{other}`, {why}"));
        }
    }
    if floor < QUEUE_FLOOR
        && let Some(at) = scan::words(code, "angarium_queue").next()
    {
        let line = scan::line(code, at);
        faults.push(format!("{name}:{line}: the queue is for floor {QUEUE_FLOOR} and up"));
    }
    faults
}

/// Pure rooms and the queue know no sockets and no clock; in the queue one file knows the disk.
fn effects(name: &str, code: &str) -> Vec<String> {
    let in_queue = name.starts_with("queue/src/");
    let floor = room(name).and_then(|(room, _)| place(room)).map(|(floor, _)| floor);
    if !in_queue && floor.is_none_or(|floor| floor >= EFFECTS_FLOOR) {
        return Vec::new();
    }
    let code = scan::before_tests(code);
    let mut faults: Vec<String> = EFFECTS
        .iter()
        .flat_map(|word| scan::words(code, word).map(move |at| (at, *word)))
        .chain(code.match_indices("::now(").map(|(at, _)| (at, "a clock")))
        .map(|(at, word)| {
            format!("{name}:{}: names {word}, but knows no effects", scan::line(code, at))
        })
        .collect();
    if in_queue && name != "queue/src/disk.rs" {
        faults.extend(disk(name, code));
    }
    faults
}

fn disk(name: &str, code: &str) -> Vec<String> {
    let listed = code.match_indices("std::{").filter(|(at, _)| {
        let list = code[*at..].split(';').next().unwrap_or("");
        scan::words(list, "fs").next().is_some()
    });
    code.match_indices("std::fs")
        .chain(listed)
        .map(|(at, _)| format!("{name}:{}: only disk.rs names std::fs", scan::line(code, at)))
        .collect()
}

/// Each file says first what it is for.
fn header(name: &str, source: &str) -> Vec<String> {
    let says = source.strip_prefix("//! ").is_some_and(|text| !text.trim().is_empty());
    if says { Vec::new() } else { vec![format!("{name}:1: the first line is no `//!` header")] }
}

/// Files and functions stay short.
fn sizes(name: &str, code: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let lines = scan::before_tests(code).lines().count();
    if lines > FILE_LINES_MAX {
        faults.push(format!("{name}: {lines} lines; at most {FILE_LINES_MAX}"));
    }
    for (line, function, lines) in scan::functions(code) {
        if lines > FUNCTION_LINES_MAX {
            faults.push(format!(
                "{name}:{line}: `{function}` has {lines} lines; at most {FUNCTION_LINES_MAX}"
            ));
        }
    }
    faults
}

/// Nothing is half done, and whoever silences a lint or a test says why.
fn leftovers(name: &str, source: &str, code: &str) -> Vec<String> {
    let mut faults = Vec::new();
    for word in LEFTOVERS {
        if let Some(at) = source.find(word) {
            faults.push(format!("{name}:{}: {word} is left", scan::line(source, at)));
        }
    }
    for silencer in ["[allow(", "[ignore"] {
        for (at, _) in code.match_indices(silencer) {
            let attribute = code[at..].split(']').next().unwrap_or("");
            let given = match silencer {
                "[allow(" => scan::words(attribute, "reason").next().is_some(),
                _ => attribute.contains('='),
            };
            if !given {
                faults.push(format!("{name}:{}: gives no reason", scan::line(code, at)));
            }
        }
    }
    faults
}

/// All rules for one file.
fn judge(name: &str, source: &str) -> Vec<String> {
    let code = scan::code(source);
    let mut faults = header(name, source);
    // Unit tests may use what they test with.
    if !name.ends_with("/tests.rs") {
        faults.extend(arrows(name, &code));
        faults.extend(effects(name, &code));
    }
    faults.extend(sizes(name, &code));
    faults.extend(leftovers(name, source, &code));
    faults
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below a folder, by its name from the root.
fn sources(folder: &Path, found: &mut Vec<String>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                sources(&path, found);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn every_file_keeps_the_rules() {
    let mut names = Vec::new();
    for folder in ["src", "queue", "tests", "benches"] {
        sources(&root().join(folder), &mut names);
    }
    names.sort();
    assert!(names.iter().any(|name| name == "src/lib.rs"), "the sources are not found");
    let faults: Vec<String> = names
        .iter()
        .flat_map(|name| judge(name, &fs::read_to_string(root().join(name)).unwrap()))
        .collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_top_level_holds_only_what_belongs_there() {
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        // Build output and a spool of one's own are ignored by git, and here.
        let ignored = name == "target" || name == "angarium-spool";
        let allowed = name.starts_with('.') || TOP_LEVEL.contains(&name.as_str());
        assert!(allowed || ignored, "{name} does not belong at the top level");
    }
}

#[test]
fn the_reference_file_is_the_one_declared() {
    let written = fs::read_to_string(root().join("conf/angarium.toml")).unwrap();
    let same = written == angarium::config::reference();
    assert!(same, "conf/angarium.toml is not what the declarations say; see tests/config.rs");
}

/// Asserts that a made-up file has exactly one fault, which says this.
fn caught(name: &str, body: &str, says: &str) {
    let faults = judge(name, &format!("//! For a test.\n{body}\n"));
    let shown: String = body.chars().take(80).collect();
    assert!(faults.len() == 1 && faults[0].contains(says), "{shown}: {faults:?}, not {says}");
}

/// Asserts that a made-up file has no fault.
fn fine(name: &str, body: &str) {
    let faults = judge(name, &format!("//! For a test.\n{body}\n"));
    let shown: String = body.chars().take(80).collect();
    assert!(faults.is_empty(), "{shown}: {faults:?}");
}

#[test]
fn an_arrow_up_or_to_the_right_is_caught() {
    let up = "`syntax` imports `session`, on a higher floor";
    caught("src/syntax/path.rs", "use crate::session::Session;", up);
    caught("src/syntax/path.rs", "use crate::{registry, session::{a, b}};", up);
    caught("src/syntax/path.rs", "fn f() -> crate::session::Session { g() }", up);
    caught("src/syntax/path.rs", "use super::super::session;", up);
    caught("src/syntax/a/b.rs", "use super::super::super::session;", up);
    caught("src/syntax.rs", "use super::session;", up);
    caught("src/syntax.rs", "use crate::{\n    registry,\n    session,\n};", up);
    caught("src/pool.rs", "use crate::agent::Agent;", "`pool` imports `agent`, to its right");
    caught("src/config/read.rs", "use crate::daemon;", "to its right");
    caught("src/route.rs", "use angarium_queue::Route;", "the queue is for floor 4");
    caught("src/attic.rs", "", "`attic` has no floor");
}

#[test]
fn an_arrow_down_or_to_the_left_is_fine() {
    fine("src/session.rs", "use crate::{registry::reply::Reply, syntax};");
    fine("src/session/data.rs", "use super::state::Data;\nuse super::super::syntax;");
    fine("src/agent.rs", "use crate::pool::Pool;\nuse angarium_queue::Job;");
    fine("src/delivery/plan.rs", "use angarium_queue::Outcome;");
    fine("src/syntax/path.rs", "// crate::session\nconst A: &str = \"crate::session\";");
    fine("src/syntax/path.rs", "#[cfg(test)]\nmod tests { use crate::session; }");
    fine("src/main.rs", "use angarium::daemon;");
    fine("src/syntax/a.rs", "use super::session;");
    fine("src/lib.rs", "pub use crate::daemon::run;");
}

#[test]
fn an_effect_in_a_pure_room_is_caught() {
    caught("src/session.rs", "use tokio::net;", "names tokio");
    caught("src/policy/client.rs", "use std::net::{IpAddr, TcpStream};", "names TcpStream");
    caught("src/report/dsn.rs", "fn f() { Instant::now(); }", "a clock");
    caught("queue/src/schedule.rs", "fn f() { SystemTime::now(); }", "a clock");
    caught("queue/src/log.rs", "use std::fs::File;", "only disk.rs");
    caught("queue/src/log.rs", "use std::{fs, io};", "only disk.rs");
    fine("queue/src/disk.rs", "use std::fs::File;");
    fine("queue/tests/crash.rs", "use std::fs::File;");
    fine("src/policy/client.rs", "use std::net::IpAddr; // no tokio here");
    fine("src/net/clock.rs", "fn f() { Instant::now(); }");
}

#[test]
fn a_missing_header_a_long_file_and_a_long_function_are_caught() {
    assert_eq!(judge("src/lib.rs", "mod a;\n").len(), 1);
    assert_eq!(judge("src/lib.rs", "//!\nmod a;\n").len(), 1);
    let lines = "const A: u8 = 1;\n";
    caught("src/net.rs", &lines.repeat(800), "802 lines");
    fine("src/net.rs", &format!("{}#[cfg(test)]\n{0}", lines.repeat(799)));
    let function = |lines| format!("fn long(a: [u8; 2]) {{\n{}}}", "    a();\n".repeat(lines));
    caught("tests/a.rs", &function(69), "`long` has 71 lines");
    fine("tests/a.rs", &function(68));
}

#[test]
fn leftovers_and_silence_without_a_reason_are_caught() {
    for word in LEFTOVERS {
        caught("src/net.rs", &format!("// {word}"), "is left");
    }
    caught("src/net.rs", "#[allow(dead_code)]\nmod a {}", "no reason");
    caught("src/net.rs", "#![allow(dead_code)]", "no reason");
    caught("src/net.rs", "#[ignore]\nfn a() {}", "no reason");
    fine("src/net.rs", "#[allow(dead_code, reason = \"why\")]\nmod a {}");
    fine("src/net.rs", "#[ignore = \"why\"]\nfn a() {}");
}

#[test]
fn prose_is_not_taken_for_code() {
    let source = "a('\"', '\\'', 'x'); let b: &'static str = r#\"crate::\"#; /* a /* b */ c */ d";
    let code = scan::code(source);
    assert_eq!(code.len(), source.len());
    assert!(code.contains("&'static str") && code.ends_with(" d"));
    assert!(!code.contains("crate") && !code.contains('x') && !code.contains(" c "));
}
