//! The daemon as a service: what it tells its manager, sockets that it is handed, the rights it
//! keeps, and the files in `conf/` that go with it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]
#![allow(clippy::disallowed_methods, reason = "it measures by the clock")]

mod support;

use std::fs;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::daemon::{Parts, Site, binary};
use support::process::Process;
use support::smtp::Client;
use support::tls::write_certificate;
use support::{START, free_port, loopback, wait_until};

/// A service manager: the socket that it is told at.
struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Manager {
    fn new(site: &Site) -> Self {
        let path = site.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(START)).unwrap();
        Self { socket, path }
    }

    /// The next message, its lines in order; the watchdog's are left out.
    fn hear(&self) -> Vec<String> {
        loop {
            let lines = self.hear_any();
            if lines != ["WATCHDOG=1"] {
                return lines;
            }
        }
    }

    fn hear_any(&self) -> Vec<String> {
        let mut octets = [0; 4096];
        let count = self.socket.recv(&mut octets).unwrap();
        let text = String::from_utf8(octets[..count].to_vec()).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// `angarium serve` at this site, with `command` in front.
fn serve(site: &Site, (mut command, input): (Command, Stdio), parts: &Parts<'_>) -> Process {
    fs::write(site.path("angarium.toml"), site.configuration(parts)).unwrap();
    command.args(["serve", "--config"]).arg(site.path("angarium.toml"));
    command.current_dir(site.directory.path());
    Process::start_with(&mut command, input, &site.path("output"), &site.path("log"))
}

fn told(site: &Site) -> String {
    fs::read_to_string(site.path("log")).unwrap()
}

#[test]
fn the_manager_is_told_each_step() {
    let site = Site::new();
    let manager = Manager::new(&site);
    let mut command = Command::new(binary());
    command.env("NOTIFY_SOCKET", &manager.path).env("WATCHDOG_USEC", "300000");
    let parts = Parts { top: "stop_grace = \"3s\"", ..Parts::default() };
    let mut daemon = serve(&site, (command, Stdio::null()), &parts);

    let status = format!("STATUS=taking mail at {}", site.address);
    let ready = ["READY=1".to_owned(), status.clone()];
    assert_eq!(manager.hear(), ready);
    TcpStream::connect(site.address).expect("who says it is ready listens");
    let fed = Instant::now();
    for _ in 0..3 {
        assert_eq!(manager.hear_any(), ["WATCHDOG=1"]);
    }
    assert!(fed.elapsed() < Duration::from_secs(2), "fed in time: {:?}", fed.elapsed());

    daemon.signal(Signal::SIGHUP);
    let reloading = manager.hear();
    assert_eq!(reloading[0], "RELOADING=1");
    let moment: u64 = reloading[1].strip_prefix("MONOTONIC_USEC=").unwrap().parse().unwrap();
    assert!(moment > 0 && reloading.len() == 2);
    assert_eq!(manager.hear(), ready);

    fs::write(site.path("angarium.toml"), "spool = 7\nx = 1\n").unwrap();
    daemon.signal(Signal::SIGHUP);
    assert_eq!(manager.hear()[0], "RELOADING=1");
    let kept = manager.hear();
    assert_eq!((kept[0].as_str(), kept.len()), ("READY=1", 2));
    assert!(
        kept[1].starts_with(&format!("{status}; a new configuration was refused: ")),
        "{kept:?}"
    );

    daemon.signal(Signal::SIGTERM);
    assert_eq!(manager.hear(), ["STOPPING=1", "EXTEND_TIMEOUT_USEC=33000000"]);
    assert!(daemon.wait().unwrap().success());
}

/// A command that gets `socket` as the first that its service manager hands over.
fn with_socket(socket: OwnedFd) -> (Command, Stdio) {
    let mut command = Command::new("sh");
    let script = "export LISTEN_PID=$$ LISTEN_FDS=1; exec \"$@\" 3<&0 </dev/null";
    command.args(["-c", script, "sh"]).arg(binary());
    (command, Stdio::from(socket))
}

#[test]
fn a_socket_that_is_handed_over_is_served_and_outlives_the_daemon() {
    let site = Site::new();
    let socket = TcpListener::bind(site.address).unwrap();
    let kept = socket.try_clone().unwrap();
    let mut daemon = serve(&site, with_socket(socket.into()), &Parts::default());
    // It waits in the socket, whether the daemon is up or not.
    Client::greet(site.address, "c.example").quit();
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().unwrap().success());
    let waiting = Client::connect(site.address);
    assert!(kept.accept().is_ok(), "the socket is still the manager's");
    drop(waiting);
}

#[test]
fn a_unix_socket_of_the_manager_keeps_its_file() {
    let site = Site::new();
    let path = site.path("lmtp");
    let socket = UnixListener::bind(&path).unwrap();
    let tables = format!("[[listener]]\nbind = \"unix:{}\"\nrole = \"lmtp\"\n", path.display());
    let parts = Parts { tables: &tables, ..Parts::default() };
    let mut daemon = serve(&site, with_socket(socket.into()), &parts);
    let mut client = Client::unix(&path);
    client.try_hello("LHLO c.example").unwrap();
    client.quit();
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().unwrap().success());
    assert!(path.exists());
}

#[test]
fn a_socket_that_nobody_serves_ends_the_start() {
    let site = Site::new();
    let other = TcpListener::bind(loopback(free_port())).unwrap();
    let bind = other.local_addr().unwrap();
    let mut daemon = serve(&site, with_socket(other.into()), &Parts::default());
    assert_eq!(daemon.wait().unwrap().code(), Some(78));
    let said = format!("the service manager listens at {bind}, which is the `bind` of no");
    assert!(told(&site).contains(&said), "{}", told(&site));
}

#[test]
fn a_start_as_root_keeps_the_rights_of_its_user_alone() {
    if !nix::unistd::Uid::effective().is_root() {
        let _ = writeln!(std::io::stderr(), "LEFT OUT: only root can become another user");
        return;
    }
    let user = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let site = Site::new();
    // The test's folder is for root alone; what is under it is the daemon's to make.
    fs::set_permissions(site.directory.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let spool = site.path("deep/er/spool");
    let text = site.configuration(&Parts { top: "user = \"nobody\"", ..Parts::default() });
    let text = text.replace(&format!("{:?}", site.path("spool")), &format!("{:?}", spool));
    let text =
        text.replace(&format!("{:?}", site.path("control")), "\"\"").replace("socket = \"\"", "");
    fs::write(site.path("angarium.toml"), text).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 022; exec \"$@\"", "sh"]).arg(binary());
    command.args(["serve", "--config"]).arg(site.path("angarium.toml"));
    command.current_dir("/");
    let mut daemon = Process::start(&mut command, &site.path("output"), &site.path("log"));
    let up = wait_until(START, || daemon.has_ended() || TcpStream::connect(site.address).is_ok());
    assert!(up && !daemon.has_ended(), "{}", told(&site));
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    let (uid, gid) = (user.uid.to_string(), user.gid.to_string());
    assert_eq!(field("Uid"), vec![uid; 4]);
    assert_eq!(field("Gid"), vec![gid.clone(); 4]);
    assert_eq!(field("Groups"), [gid.as_str()]);
    assert_eq!(field("CapEff"), ["0000000000000000"]);
    assert_eq!(field("CapPrm"), ["0000000000000000"]);
    assert_eq!(field("Umask"), ["0077"]);
    let owner = |path: &Path| fs::metadata(path).unwrap().uid();
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(owner(&spool), user.uid.as_raw());
    let control = spool.join("control");
    assert!(wait_until(START, || control.exists()), "{}", told(&site));
    assert_eq!((owner(&control), mode(&control)), (user.uid.as_raw(), 0o600));
    for file in fs::read_dir(&spool).unwrap() {
        let path = file.unwrap().path();
        let public = path.ends_with("local");
        assert_eq!(owner(&path), user.uid.as_raw(), "{}", path.display());
        assert!(public || mode(&path) & 0o077 == 0, "{}: {:o}", path.display(), mode(&path));
    }
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().unwrap().success());
}

fn conf(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

#[test]
fn systemd_takes_the_units_and_finds_them_strict() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        let _ = writeln!(std::io::stderr(), "LEFT OUT: there is no systemd-analyze here");
        return;
    }
    let site = Site::new();
    let unit = fs::read_to_string(conf("angarium.service")).unwrap();
    let program = binary().display().to_string();
    fs::write(site.path("angarium.service"), unit.replace("/usr/bin/angarium", &program)).unwrap();
    fs::copy(conf("angarium.socket"), site.path("angarium.socket")).unwrap();
    let analyze = |arguments: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        let run = command.args(arguments).current_dir(site.directory.path()).output().unwrap();
        let said = [run.stdout, run.stderr].concat();
        (run.status.success(), String::from_utf8(said).unwrap())
    };
    let (good, said) = analyze(&["verify", "./angarium.service", "./angarium.socket"]);
    // What systemd before 253 says of notify-reload, as the unit tells.
    let faults: Vec<&str> = said
        .lines()
        .filter(|line| !line.ends_with("Failed to parse service type, ignoring: notify-reload"))
        .collect();
    assert!(good && faults.is_empty(), "{said}");
    let security = ["security", "--offline=true", "--threshold=25", "./angarium.service"];
    let (strict, said) = analyze(&security);
    assert!(strict, "{said}");
}

#[test]
fn secrets_come_from_the_manager() {
    let site = Site::new();
    let secrets = site.path("secrets");
    fs::create_dir(&secrets).unwrap();
    write_certificate(&secrets.join("mx.pem"), &secrets.join("mx.key"), "mx.example");
    let text = "[[certificate]]\nname = \"mx\"\nchain = \"credential:mx.pem\"\nkey = \"credential:mx.key\"\n";
    fs::write(site.path("angarium.toml"), text).unwrap();
    let check = |folder: Option<&Path>| {
        let mut command = Command::new(binary());
        command.args(["check", "--config"]).arg(site.path("angarium.toml"));
        command.env_remove("CREDENTIALS_DIRECTORY");
        command.envs(folder.map(|folder| ("CREDENTIALS_DIRECTORY", folder)));
        let run = command.output().unwrap();
        (run.status.code(), String::from_utf8(run.stderr).unwrap())
    };
    assert_eq!(check(Some(&secrets)).0, Some(0));
    let (code, said) = check(None);
    assert_eq!(code, Some(78));
    assert!(said.contains("cannot read /run/credentials/angarium.service/mx.pem ("), "{said}");
}

/// Outside of one: its configuration and its health check.
#[test]
fn the_container_starts_and_its_health_is_seen() {
    let site = Site::new();
    let free: Vec<String> = (0..4).map(|_| free_port().to_string()).collect();
    let mut text = fs::read_to_string(conf("container.toml")).unwrap();
    for (port, free) in ["2525", "2587", "2465", "9125"].into_iter().zip(&free) {
        assert_eq!(text.matches(port).count(), 1, "{port}");
        text = text.replace(port, free);
    }
    text = text
        .replace("0.0.0.0", "127.0.0.1")
        .replace("/var/spool/angarium", site.path("spool").to_str().unwrap());
    fs::write(site.path("angarium.toml"), text).unwrap();
    let mut command = Command::new(binary());
    command.args(["serve", "--config"]).arg(site.path("angarium.toml"));
    let mut daemon = Process::start(&mut command, &site.path("output"), &site.path("log"));

    let file = fs::read_to_string(conf("Containerfile")).unwrap();
    let check = file.lines().find_map(|line| Some(line.split_once("HEALTHCHECK ")?.1)).unwrap();
    let check: Vec<String> = serde_json::from_str(check.split_once("CMD ").unwrap().1).unwrap();
    let check: Vec<String> = check.iter().map(|word| word.replace("9125", &free[3])).collect();
    let healthy = || {
        let run = Command::new(&check[0]).args(&check[1..]).stderr(Stdio::null()).status();
        run.unwrap().success()
    };
    assert!(wait_until(START, healthy), "{}", told(&site));
    for port in &free[..3] {
        let address = loopback(port.parse().unwrap());
        assert!(wait_until(START, || TcpStream::connect(address).is_ok()), "{port}");
    }
    daemon.signal(Signal::SIGTERM);
    assert!(daemon.wait().unwrap().success());
    assert!(!healthy());
}
