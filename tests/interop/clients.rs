//! What people submit with, over STARTTLS and implicit TLS: swaks, msmtp, s-nail, curl and Python's
//! smtplib here, the rest in files of their own.
//!
//! Promises that a message which a program calls sent has arrived once, with the body that the
//! program was given, and that with a wrong password it stays with the program.

mod dovecot;
mod gsasl;
mod mutt;
mod nodemailer;
mod smarthost;

use std::collections::HashSet;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use angarium::auth::users::{Account, Accounts};

use crate::compare::below_received_by;
use crate::require_peers;
use crate::support::daemon::{Daemon, HOSTNAME, Parts, Site};
use crate::support::store::{Behaviour, Delivery, Store};
use crate::support::tls::write_certificate;
use crate::support::{ARRIVAL, free_port, loopback, wait_until};

const NAME: &str = "localhost";
const USER: &str = "joe@ours.example";
const PASSWORD: &str = "secret";
const RECIPIENT: &str = "ann@far.example";
const MESSAGE: &str =
    "From: joe@ours.example\nTo: ann@far.example\nSubject: hello\n\nfrom a program\n";
const PYTHON: &str = "
import smtplib, ssl, sys
trusted = ssl.create_default_context(cafile='mx.pem')
tls, port, password = sys.argv[1:]
if tls == 'implicit':
    client = smtplib.SMTP_SSL('localhost', int(port), timeout=20, context=trusted)
else:
    client = smtplib.SMTP('localhost', int(port), timeout=20)
    client.starttls(context=trusted)
client.login('joe@ours.example', password)
client.sendmail('joe@ours.example', ['ann@far.example'], sys.stdin.read())
client.quit()
";

/// A daemon that takes submissions of one user, and the next hop of all that it takes.
struct Hosted {
    daemon: Daemon,
    starttls: SocketAddr,
    implicit: SocketAddr,
    store: Store,
}

impl Hosted {
    fn start() -> Self {
        Self::start_with(PASSWORD)
    }

    /// One where the user has this password.
    fn start_with(password: &str) -> Self {
        let site = Site::new();
        let users = site.path("users");
        write_users(&users, password);
        Self::start_at(site, &format!("users = {users:?}"))
    }

    /// One with these keys of `[auth]`.
    fn start_at(site: Site, auth: &str) -> Self {
        let (chain, key) = (site.path("mx.pem"), site.path("mx.key"));
        write_certificate(&chain, &key, NAME);
        let store = Store::tcp(Behaviour::next_hop());
        let (starttls, implicit) = (loopback(free_port()), loopback(free_port()));
        let tables = format!(
            "[[listener]]\nbind = \"{starttls}\"\nrole = \"submission\"\n\
             [[listener]]\nbind = \"{implicit}\"\nrole = \"submission\"\ntls = \"implicit\"\n\
             [[certificate]]\nname = \"mx\"\nchain = {chain:?}\nkey = {key:?}\n\
             [auth]\n{auth}\n\
             [[route]]\nrecipient = \"*\"\nvia = \"{}\"\n",
            store.url()
        );
        let text = site.configuration(&Parts { tables: &tables, ..Parts::default() });
        let daemon = Daemon::start_at(site, &text);
        for place in [starttls, implicit] {
            assert!(wait_until(ARRIVAL, || TcpStream::connect(place).is_ok()));
        }
        Self { daemon, starttls, implicit, store }
    }

    /// Where its certificate and the files of a test are.
    fn folder(&self) -> PathBuf {
        self.daemon.path("")
    }

    /// Gives the user another password.
    fn set_password(&self, password: &str) {
        write_users(&self.daemon.path("users"), password);
    }

    /// Everything that has arrived when nothing is on its way any more: so many messages.
    #[track_caller]
    fn arrived(&self, count: usize) -> Vec<Delivery> {
        self.store.wait_for(count, ARRIVAL);
        self.daemon.drain(ARRIVAL);
        let deliveries = self.store.deliveries();
        assert_eq!(deliveries.len(), count, "{deliveries:?}");
        deliveries
    }

    /// Whether somebody has logged in by this mechanism.
    fn has_seen(&self, mechanism: &str) -> bool {
        self.daemon.log().lines().any(|line| {
            line.contains(r#""event":"logged-in""#)
                && line.contains(&format!(r#""mechanism":"{mechanism}""#))
        })
    }
}

fn write_users(path: &Path, password: &str) {
    let mut account = Account::new(USER, 4096).unwrap();
    account.set(None, password).unwrap();
    let mut accounts = Accounts::default();
    accounts.add(account);
    let new = path.with_extension("new");
    std::fs::write(&new, accounts.text().unwrap()).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// Runs a program in `folder` with the message there as its input: whether it is content, and what
/// it printed.
fn run(folder: &Path, program: &str, arguments: &[&str]) -> (bool, String) {
    let mut command = Command::new("timeout");
    command.args(["30", program]).args(arguments).current_dir(folder);
    let message = std::fs::File::open(folder.join("message")).unwrap();
    let done = command.stdin(Stdio::from(message)).output().unwrap();
    let printed = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    (done.status.success(), printed)
}

/// Panics unless the user's message has come through a login under TLS, with these fields and
/// exactly this body.
#[track_caller]
fn assert_submitted(delivery: &Delivery, fields: &[&str], body: &str) {
    assert_eq!((&*delivery.from, &*delivery.to), (USER, &[RECIPIENT.to_owned()][..]));
    let (_, below) = below_received_by(HOSTNAME, &delivery.content);
    let trace = &delivery.content[..delivery.content.len() - below.len()];
    let trace = String::from_utf8_lossy(trace);
    assert!(trace.contains(" with ESMTPSA id "), "{trace}");
    let content = std::str::from_utf8(below).unwrap();
    let (header, rest) = content.split_once("\r\n\r\n").unwrap();
    for field in fields {
        let found = header.split("\r\n").filter(|line| line == field).count();
        assert_eq!(found, 1, "{field}: {header}");
    }
    assert_eq!(rest, body, "{header}");
}

/// The command lines of programs that submit the message by their own means.
fn programs(hosted: &Hosted, password: &str) -> Vec<String> {
    let (starttls, implicit) = (hosted.starttls.port(), hosted.implicit.port());
    let swaks = format!(
        "swaks --from {USER} --to {RECIPIENT} --data unended --tls-verify --tls-ca-path mx.pem \
         --auth-user {USER} --auth-password {password}"
    );
    let curl = format!(
        "curl -sS --cacert mx.pem --crlf --user {USER}:{password} --mail-from {USER} \
         --mail-rcpt {RECIPIENT} --upload-file message"
    );
    let msmtp = format!(
        "msmtp --host=localhost --tls=on --tls-trust-file=mx.pem --user={USER} \
         --passwordeval=cat<password --from={USER} {RECIPIENT}"
    );
    let nail = format!("s-nail -:/ -Sv15-compat -Stls-ca-file=mx.pem -Sfrom={USER} -t");
    let login = format!("joe%40ours.example:{password}@localhost");
    vec![
        format!("python3 submit.py starttls {starttls} {password}"),
        format!("python3 submit.py implicit {implicit} {password}"),
        format!("{swaks} --server localhost:{starttls} -tls --auth PLAIN"),
        format!("{swaks} --server localhost:{implicit} -tlsc --auth LOGIN"),
        format!("{curl} --ssl-reqd --url smtp://localhost:{starttls}"),
        format!("{curl} --url smtps://localhost:{implicit}"),
        format!("{msmtp} --port={starttls} --tls-starttls=on --auth=scram-sha-256"),
        format!("{msmtp} --port={implicit} --tls-starttls=off --auth=plain"),
        format!("{nail} -Ssmtp-use-starttls -Smta=smtp://{login}:{starttls}"),
        format!("{nail} -Smta=smtps://{login}:{implicit}"),
    ]
}

/// Runs each program with this password, when it is asked for: what it is, whether it is content,
/// what it printed.
fn run_programs(
    hosted: &Hosted,
    password: &str,
) -> impl Iterator<Item = (String, bool, String)> + use<> {
    let folder = hosted.folder();
    std::fs::write(folder.join("message"), MESSAGE).unwrap();
    // swaks adds the last line end.
    std::fs::write(folder.join("unended"), MESSAGE.trim_end()).unwrap();
    std::fs::write(folder.join("submit.py"), PYTHON).unwrap();
    std::fs::write(folder.join("password"), password).unwrap();
    programs(hosted, password).into_iter().map(move |line| {
        let words: Vec<&str> = line.split(' ').collect();
        let (content, printed) = run(&folder, words[0], &words[1..]);
        (line, content, printed)
    })
}

/// Panics unless each program comes through with its message, once.
#[track_caller]
fn assert_programs_submit(hosted: &Hosted, password: &str) {
    let mut count = 0;
    for (line, content, printed) in run_programs(hosted, password) {
        assert!(content, "{line}: {printed}");
        count += 1;
    }
    for delivery in hosted.arrived(count) {
        assert_submitted(&delivery, &["Subject: hello"], "from a program\r\n");
    }
    assert!(hosted.has_seen("SCRAM-SHA-256"));
}

#[test]
fn programs_submit_over_starttls_and_implicit_tls() {
    // Checks: M01
    require_peers!();
    let hosted = Hosted::start();
    assert_programs_submit(&hosted, PASSWORD);
}

#[test]
fn a_wrong_password_leaves_the_message_with_the_program() {
    require_peers!();
    let hosted = Hosted::start();
    for (line, content, printed) in run_programs(&hosted, "wrong") {
        assert!(!content, "{line}: {printed}");
    }
    assert_eq!((hosted.store.count(), hosted.daemon.rows().len()), (0, 0));
    // Some try another mechanism in the same session.
    let log = hosted.daemon.log();
    let denied = log.lines().filter(|line| line.contains(r#""event":"login-denied""#));
    let sessions: HashSet<_> =
        denied.map(|line| line.split(r#""session":"#).nth(1).unwrap().split(',').next()).collect();
    assert_eq!(sessions.len(), 10, "{log}");
}
