//! `angarium user` as operators run it: what it writes, what it prints, and how it fails.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use angarium::auth::users::Accounts;
use angarium_queue::disk::RealDisk;
use angarium_queue::spool::{Options, Spool};
use nix::pty::openpty;
use nix::unistd::{Uid, User};
use serde_json::Value;

struct House {
    folder: tempfile::TempDir,
    file: PathBuf,
    users: PathBuf,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (file, users) = (folder.path().join("angarium.toml"), folder.path().join("users"));
        let house = Self { folder, file, users };
        house.configure(&format!("[auth]\nusers = \"{}\"\niterations = 5000\n", house.users()));
        house
    }

    fn users(&self) -> &str {
        self.users.to_str().unwrap()
    }

    fn configure(&self, rest: &str) {
        let spool = self.folder.path().join("spool");
        fs::create_dir_all(&spool).unwrap();
        fs::write(&self.file, format!("spool = \"{}\"\n{rest}", spool.display())).unwrap();
    }

    /// Runs `angarium ARGUMENTS`: what it said, its complaint, and its exit code.
    fn run(&self, arguments: &[&str], input: &str) -> (String, String, i32) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_angarium"));
        command.args(arguments).arg("--config").arg(&self.file).current_dir(&self.folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // One that doesn't ask may be gone.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        let done = child.wait_with_output().unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (text(done.stdout), text(done.stderr), done.status.code().unwrap())
    }

    fn user(&self, arguments: &[&str], input: &str) -> (String, String, i32) {
        self.run(&[&["user"], arguments].concat(), input)
    }

    /// A command that must succeed, and what it said.
    fn done(&self, arguments: &[&str], input: &str) -> String {
        let (said, complaint, code) = self.user(arguments, input);
        assert_eq!((complaint.as_str(), code), ("", 0), "{arguments:?}");
        said
    }

    /// A command that must fail with this code, and its complaint.
    fn fails(&self, arguments: &[&str], input: &str, expected: i32) -> String {
        let before = fs::read(&self.users).ok();
        let (said, complaint, code) = self.user(arguments, input);
        assert_eq!((said.as_str(), code), ("", expected), "{arguments:?}: {complaint}");
        assert!(fs::read(&self.users).ok() == before, "{arguments:?} has changed the file");
        complaint
    }

    fn listed(&self) -> Vec<Value> {
        let text = self.done(&["ls", "--json"], "");
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn users_come_change_and_go() {
    let house = House::new();
    assert_eq!(house.done(&["ls"], ""), "user  password  last used  state\n");
    assert!(!house.users.exists(), "to look makes nothing");
    house.done(&["add", "joe@ours.example"], "se cret\r\nand no more\n");
    house.done(&["add", "ann", "--no-password"], "");
    assert_eq!(fs::metadata(&house.users).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(&house.users).unwrap();
    assert!(!text.contains("cret") && text.contains("iterations = 5000"), "{text}");

    let made = house.done(&["app-password", "joe@ours.example", "phone"], "");
    let other = house.done(&["app-password", "JOE@ours.example", "desk"], "");
    assert!(made != other && made.trim_end().len() == 29 && made.lines().count() == 1, "{made}");
    let seen = "{\"joe@ours.example+phone\":1000}";
    fs::write(house.folder.path().join("spool/logins"), seen).unwrap();
    house.done(&["disable", "ann"], "");
    let table = house.done(&["ls"], "");
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["joe@ours.example", "main", "never"]);
    assert_eq!(lines[2], ["joe@ours.example", "desk", "never"]);
    assert_eq!((lines[3][1], *lines[3].last().unwrap()), ("phone", "ago"));
    assert_eq!(lines[4], ["ann", "none", "never", "disabled"]);
    let listed = house.listed();
    assert_eq!(listed[0]["passwords"][2]["last_used_ms"], 1000);
    assert_eq!((&listed[1]["disabled"], &listed[0]["disabled"]), (&true.into(), &false.into()));

    house.done(&["enable", "ann"], "");
    assert_eq!(house.listed()[1]["disabled"], false);
    house.done(&["rm", "joe@ours.example", "phone"], "");
    assert_eq!(house.listed()[0]["passwords"].as_array().unwrap().len(), 2);
    house.done(&["rm", "joe@ours.example"], "");
    assert_eq!(house.listed().len(), 1);
}

/// Types a line each time a prompt ends: what the terminal showed, and the exit code.
fn typed(house: &House, lines: [&str; 2]) -> (String, i32) {
    let terminal = openpty(None, None).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_angarium"));
    command.args(["user", "passwd", "joe", "--config"]).arg(&house.file);
    let mut child =
        command.stdin(terminal.slave).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let (mut keyboard, mut screen) = (fs::File::from(terminal.master), String::new());
    let mut prompts = child.stderr.take().unwrap();
    for line in lines {
        let mut octet = [0];
        let mut prompt = String::new();
        while !prompt.ends_with(": ") {
            assert_eq!(prompts.read(&mut octet).unwrap(), 1, "{prompt}");
            prompt.push(char::from(octet[0]));
        }
        keyboard.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    prompts.read_to_string(&mut screen).unwrap();
    let code = child.wait().unwrap().code().unwrap();
    // Nobody holds the other end any more: what was shown is all there is.
    drop(command);
    let mut shown = Vec::new();
    let _ = keyboard.read_to_end(&mut shown);
    screen.push_str(&String::from_utf8(shown).unwrap());
    (screen, code)
}

#[test]
fn a_typed_password_is_asked_twice_and_not_shown() {
    let house = House::new();
    house.done(&["add", "joe", "--no-password"], "");
    let (screen, code) = typed(&house, ["hidden", "hiden"]);
    assert!(code == 65 && screen.contains("the two passwords differ"), "{code} {screen}");
    assert!(house.listed()[0]["passwords"].as_array().unwrap().is_empty());
    let (screen, code) = typed(&house, ["hidden", "hidden"]);
    assert!(code == 0 && !screen.contains("hid"), "{code} {screen}");
    assert_eq!(house.listed()[0]["passwords"].as_array().unwrap().len(), 1);
}

#[test]
fn a_password_costs_anew_where_no_other_would_break() {
    let house = House::new();
    house.done(&["add", "joe", "--password-stdin"], "one\n");
    house.done(&["add", "ann"], "one");
    house.done(&["app-password", "ann", "phone"], "");
    house.done(&["disable", "joe"], "");
    let before = Accounts::read(&house.users).unwrap();
    house.configure(&format!("[auth]\nusers = \"{}\"\niterations = 6000\n", house.users()));
    house.done(&["passwd", "joe"], "two\n");
    house.done(&["passwd", "ann"], "two\n");
    let after = Accounts::read(&house.users).unwrap();
    let (joe, ann) = (after.get("joe").unwrap(), after.get("ann").unwrap());
    assert_eq!((joe.iterations, ann.iterations), (6000, 5000));
    assert!(joe.disabled && joe.salt != before.get("joe").unwrap().salt);
    assert_eq!(ann.salt, before.get("ann").unwrap().salt);
    assert!(ann.labels().eq(["phone"]) && ann.has_password());
}

/// Only root has files to give away; others keep what they make.
#[test]
fn a_file_that_root_makes_is_the_daemons() {
    let house = House::new();
    house.configure("user = \"nobody\"\n[auth]\nusers = \"users\"\n");
    house.done(&["add", "joe"], "secret\n");
    let me = Uid::effective();
    let nobody = User::from_name("nobody").unwrap().unwrap().uid;
    let owner = || fs::metadata(&house.users).unwrap().uid();
    assert_eq!(owner(), if me.is_root() { nobody } else { me }.as_raw());
    house.configure("[auth]\nusers = \"users\"\n");
    let before = owner();
    house.done(&["add", "ann"], "secret\n");
    assert_eq!(owner(), before, "a change leaves the owner");
    if me.is_root() {
        house.configure("user = \"no-such-user\"\n[auth]\nusers = \"users\"\n");
        assert!(house.fails(&["rm", "ann"], "", 78).contains("there is none of that name"));
    }
}

#[test]
fn faults_are_told_and_change_nothing() {
    let house = House::new();
    house.done(&["add", "joe"], "secret\n");
    house.done(&["app-password", "joe", "phone"], "");
    for arguments in [
        &["passwd", "bob"][..],
        &["app-password", "bob", "phone"],
        &["rm", "bob"],
        &["rm", "bob", "phone"],
        &["enable", "bob"],
        &["disable", "bob"],
    ] {
        let complaint = house.fails(arguments, "secret\n", 67);
        assert_eq!(complaint, "angarium: there is no user bob\n");
    }
    for (arguments, input, why) in [
        (&["add", "Joe"][..], "x\n", "the user Joe is there already"),
        (&["add", "a b"], "x\n", "\"a b\" is no user"),
        (&["add", "bob"], "\n", "a password is not empty"),
        (&["passwd", "joe"], "\u{7}\n", "no program can send"),
        (&["app-password", "joe", "phone"], "", "rm joe phone"),
        (&["app-password", "joe", "a+b"], "", "\"a+b\" is no label"),
        (&["rm", "joe", "desk"], "", "joe has no app password desk"),
    ] {
        let complaint = house.fails(arguments, input, 65);
        assert!(complaint.contains(why), "{complaint}");
    }
    assert!(house.fails(&["add", "bob"], "", 66).contains("no password came"));
    house.fails(&["add"], "", 64);
    house.fails(&["add", "bob", "--no-password", "--password-stdin"], "", 64);

    fs::write(&house.users, "[[user]]\nname = \"joe\"\niterations = 1\n").unwrap();
    for arguments in [&["ls"][..], &["add", "bob"], &["enable", "joe"]] {
        let complaint = house.fails(arguments, "secret\n", 65);
        assert!(
            complaint.starts_with(&format!("angarium: {}:3:14: ", house.users())),
            "{complaint}"
        );
    }
    let (_, complaint, code) = house.run(&["check"], "");
    assert!(
        code == 78 && complaint.starts_with(&format!("{}:3:14: ", house.users())),
        "{complaint}"
    );

    house.configure("[auth]\nusers = \"/nowhere/at/all/users\"\n");
    assert!(house.fails(&["add", "bob"], "secret\n", 73).contains("/nowhere/at/all/users"));
    house.configure("");
    assert!(house.fails(&["ls"], "", 78).contains("name one by `users` in [auth]"));
}

#[test]
fn check_counts_users_and_tells_where_nobody_can_log_in() {
    let house = House::new();
    house.done(&["add", "joe"], "secret\n");
    let (said, complaint, code) = house.run(&["check"], "");
    let line = format!("users      1 in {}\n", house.users());
    assert!(code == 0 && said.contains(&line) && complaint.is_empty(), "{said}{complaint}");
    house.configure("[[listener]]\nbind = \"127.0.0.1:5870\"\nrole = \"submission\"\n");
    let (said, complaint, code) = house.run(&["check"], "");
    assert!(code == 0 && said.contains("users      none\n"), "{said}");
    assert!(complaint.contains("warning: nobody can log in at 127.0.0.1:5870"), "{complaint}");
}

#[test]
fn times_of_logins_are_no_strangers_in_the_spool() {
    let house = House::new();
    let spool = house.folder.path().join("spool");
    let disk = Arc::new(RealDisk::open(&spool).unwrap());
    let options = Options { min_free: 0, ..Options::default() };
    drop(Spool::open(disk, options, Box::new(|_| {})).unwrap());
    for name in ["logins", "self-signed.pem", "odd"] {
        fs::write(spool.join(name), "").unwrap();
    }
    let (said, complaint, _) = house.run(&["queue", "fsck", "--json"], "");
    let report: Value = serde_json::from_str(&said).expect(&complaint);
    assert_eq!(report["strangers"], serde_json::json!(["odd"]));
}
