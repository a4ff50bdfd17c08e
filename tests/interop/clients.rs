//! What people's programs submit with: swaks, msmtp, s-nail, curl and Python's smtplib, over
//! STARTTLS and implicit TLS.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};

use angarium::auth::users::{Account, Accounts};

use crate::require_peers;
use crate::support::daemon::{Daemon, Parts, Site};
use crate::support::store::{Behaviour, Store};
use crate::support::tls::write_certificate;
use crate::support::{ARRIVAL, free_port, loopback, wait_until};

const NAME: &str = "mx.example";
const MESSAGE: &str =
    "From: joe@ours.example\nTo: ann@far.example\nSubject: hello\n\nfrom a program\n";
const PYTHON: &str = "
import smtplib, ssl, sys
trusted = ssl.create_default_context(cafile='mx.pem')
trusted.check_hostname = False
starttls, implicit = int(sys.argv[1]), int(sys.argv[2])
clear = smtplib.SMTP('127.0.0.1', starttls, timeout=20)
clear.starttls(context=trusted)
for client in clear, smtplib.SMTP_SSL('127.0.0.1', implicit, timeout=20, context=trusted):
    client.login('joe@ours.example', 'secret')
    client.sendmail('joe@ours.example', ['ann@far.example'], sys.stdin.read() if client is clear
                    else 'From: joe@ours.example\\r\\nSubject: hello\\r\\n\\r\\nfrom a program\\r\\n')
    client.quit()
";

struct Hosted {
    daemon: Daemon,
    starttls: SocketAddr,
    implicit: SocketAddr,
    store: Store,
}

fn host() -> Hosted {
    let site = Site::new();
    let (chain, key) = (site.path("mx.pem"), site.path("mx.key"));
    write_certificate(&chain, &key, NAME);
    let mut account = Account::new("joe@ours.example", 4096).unwrap();
    account.set(None, "secret").unwrap();
    let mut accounts = Accounts::default();
    accounts.add(account);
    let users = site.path("users");
    std::fs::write(&users, accounts.text().unwrap()).unwrap();
    let store = Store::tcp(Behaviour::next_hop());
    let (starttls, implicit) = (loopback(free_port()), loopback(free_port()));
    let tables = format!(
        "[[listener]]\nbind = \"{starttls}\"\nrole = \"submission\"\n\
         [[listener]]\nbind = \"{implicit}\"\nrole = \"submission\"\ntls = \"implicit\"\n\
         [[certificate]]\nname = \"mx\"\nchain = {chain:?}\nkey = {key:?}\n\
         [auth]\nusers = {users:?}\n\
         [[route]]\nrecipient = \"*\"\nvia = \"{}\"\n",
        store.url()
    );
    let text = site.configuration(&Parts { tables: &tables, ..Parts::default() });
    let daemon = Daemon::start_at(site, &text);
    for place in [starttls, implicit] {
        assert!(wait_until(ARRIVAL, || TcpStream::connect(place).is_ok()));
    }
    Hosted { daemon, starttls, implicit, store }
}

/// Runs a program in `folder` with the message as its input; panics unless it is content.
fn run(folder: &Path, program: &str, arguments: &[&str]) {
    let mut command = Command::new("timeout");
    command.args(["30", program]).args(arguments).current_dir(folder);
    let message = std::fs::File::open(folder.join("message")).unwrap();
    let done = command.stdin(Stdio::from(message)).output().unwrap();
    let said = [done.stdout, done.stderr].concat();
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&said));
}

#[test]
fn programs_submit_over_starttls_and_implicit_tls() {
    // Checks: M01
    require_peers!();
    let hosted = host();
    let folder = hosted.daemon.path("");
    std::fs::write(folder.join("message"), MESSAGE).unwrap();
    std::fs::write(folder.join("submit.py"), PYTHON).unwrap();
    let (starttls, implicit) = (hosted.starttls.port(), hosted.implicit.port());
    let (starttls_port, implicit_port) = (starttls.to_string(), implicit.to_string());

    run(&folder, "python3", &["submit.py", &starttls_port, &implicit_port]);
    for (tls, port, way) in [("-tls", starttls, "PLAIN"), ("-tlsc", implicit, "LOGIN")] {
        let server = format!("127.0.0.1:{port}");
        let server = ["--server", &server, tls, "--auth", way, "--auth-user", "joe@ours.example"];
        let rest = ["--auth-password", "secret", "--from", "joe@ours.example"];
        let to = ["--to", "ann@far.example", "--data", "message"];
        run(&folder, "swaks", &[&server[..], &rest, &to].concat());
    }
    for (url, required) in [
        (format!("smtp://127.0.0.1:{starttls}"), "--ssl-reqd"),
        (format!("smtps://127.0.0.1:{implicit}"), "--ssl"),
    ] {
        let who = ["--user", "joe@ours.example:secret", "--mail-from", "joe@ours.example"];
        let what = ["--mail-rcpt", "ann@far.example", "--upload-file", "message"];
        let crlf = ["-sSk", required, "--crlf", "--url", &url];
        run(&folder, "curl", &[&crlf[..], &who, &what].concat());
    }
    for (port, tls, way) in [
        (&starttls_port, "--tls-starttls=on", "scram-sha-256"),
        (&implicit_port, "--tls-starttls=off", "plain"),
    ] {
        let (port, way) = (format!("--port={port}"), format!("--auth={way}"));
        let place = ["--host=127.0.0.1", &port, "--tls=on", tls, "--tls-certcheck=off", &way];
        let who = ["--user=joe@ours.example", "--passwordeval=echo secret"];
        let what = ["--from=joe@ours.example", "ann@far.example"];
        run(&folder, "msmtp", &[&place[..], &who, &what].concat());
    }
    let mta = format!("-Smta=smtps://joe%40ours.example:secret@127.0.0.1:{implicit}");
    let settings = ["-:/", "-Sv15-compat", &mta, "-Stls-verify=ignore", "-Sfrom=joe@ours.example"];
    run(&folder, "s-nail", &[&settings[..], &["-s", "hello", "ann@far.example"]].concat());

    for delivery in hosted.store.wait_for(9, ARRIVAL) {
        let content = String::from_utf8(delivery.content).unwrap();
        assert!(content.contains(" with ESMTPSA id "), "{content}");
        assert!(content.contains("\r\nSubject: hello\r\n"), "{content}");
        assert!(content.contains("from a program\r\n"), "{content}");
    }
    assert!(hosted.daemon.log().contains(r#""mechanism":"SCRAM-SHA-256""#));
}
