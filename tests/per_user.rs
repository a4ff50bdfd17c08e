//! What holds for one user alone: how large a message may be, and who submitted it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a panic fails the test")]

mod support;

use std::net::{SocketAddr, TcpStream};

use angarium::auth::users::{Account, Accounts};
use support::daemon::{Daemon, Parts, Site};
use support::smtp::Client;
use support::store::{Behaviour, Store};
use support::{ARRIVAL, free_port, loopback, wait_until};

/// `\0joe@ours.example\0secret`, and the same of ann and of the relay.
const JOE: &str = "AUTH PLAIN AGpvZUBvdXJzLmV4YW1wbGUAc2VjcmV0";
const ANN: &str = "AUTH PLAIN AGFubkBvdXJzLmV4YW1wbGUAc2VjcmV0";

struct Hosted {
    daemon: Daemon,
    submission: SocketAddr,
    store: Store,
}

/// A daemon that takes mail of users without TLS, from this machine.
fn host(behaviour: Behaviour, more: &str) -> Hosted {
    let site = Site::new();
    let (users, senders) = (site.path("users"), site.path("senders"));
    let mut accounts = Accounts::default();
    for name in ["joe@ours.example", "ann@ours.example"] {
        let mut account = Account::new(name, 4096).unwrap();
        account.set(None, "secret").unwrap();
        accounts.add(account);
    }
    std::fs::write(&users, accounts.text().unwrap()).unwrap();
    std::fs::write(&senders, "ann@ours.example *@lists.example\n").unwrap();
    let store = Store::tcp(behaviour);
    let submission = loopback(free_port());
    let tables = format!(
        "[[listener]]\nbind = \"{submission}\"\nrole = \"submission\"\ntls = \"off\"\n\
         clear_passwords = true\nmax_message_size = \"64KiB\"\n\
         [auth]\nusers = {users:?}\n[submission]\nsenders = \"file:{}\"\n\
         [[credential]]\nname = \"up\"\nuser = \"us\"\npassword = \"secret\"\n\
         [[route]]\nrecipient = \"*\"\nvia = \"{}\"\n{more}",
        senders.display(),
        store.url()
    );
    let text = site.configuration(&Parts { tables: &tables, ..Parts::default() });
    let daemon = Daemon::start_at(site, &text);
    assert!(wait_until(ARRIVAL, || TcpStream::connect(submission).is_ok()));
    Hosted { daemon, submission, store }
}

impl Hosted {
    /// Logs in and says EHLO again; the SIZE before and after.
    fn user(&self, login: &str) -> (Client, [String; 2]) {
        let mut client = Client::connect(self.submission);
        let before = size(&client.try_hello("EHLO c.example").unwrap().lines);
        client.command(login).is(235, "2.7.0");
        let after = size(&client.command("EHLO c.example").lines);
        (client, [before, after])
    }
}

fn size(lines: &[String]) -> String {
    lines.iter().find(|line| line.starts_with("SIZE ")).unwrap().clone()
}

#[test]
fn a_user_may_send_larger_or_smaller_messages_than_others() {
    let hosted = host(
        Behaviour::next_hop(),
        "[[tenant]]\nname = \"joe@ours.example\"\nmax_message_size = \"128KiB\"\n",
    );
    let (mut joe, sizes) = hosted.user(JOE);
    assert_eq!(sizes, ["SIZE 65536", "SIZE 131072"]);
    let content = |octets: usize| {
        let line = [b'x'; 78].as_slice();
        let body = [line, b"\r\n"].concat().repeat(octets / 80);
        [b"Subject: x\r\n\r\n".as_slice(), &body].concat()
    };
    joe.send_message("joe@ours.example", &["u@d.example"], &content(100_000)).queue_id();
    assert_eq!(hosted.store.wait_for(1, ARRIVAL).len(), 1);
    joe.command("MAIL FROM:<joe@ours.example> SIZE=131073").is(552, "5.3.4");
    joe.envelope("joe@ours.example", &["u@d.example"]);
    joe.data(&content(140_000)).is(552, "5.3.4");

    let (mut ann, sizes) = hosted.user(ANN);
    assert_eq!(sizes, ["SIZE 65536", "SIZE 65536"]);
    ann.command("MAIL FROM:<ann@ours.example> SIZE=65537").is(552, "5.3.4");
    ann.envelope("ann@ours.example", &["u@d.example"]);
    ann.data(&content(100_000)).is(552, "5.3.4");
    assert_eq!(hosted.store.count(), 1);
    drop(hosted.daemon);
}

/// The parameters of the message that a next hop got, where the user said `said` at MAIL.
fn relayed(hosted: &Hosted, login: &str, from: &str, said: &str) -> String {
    let (mut client, _) = hosted.user(login);
    client.command(&format!("MAIL FROM:<{from}>{said}")).is(250, "2.1.0");
    client.command("RCPT TO:<u@d.example>").is(250, "2.1.5");
    let before = hosted.store.count();
    let content = format!("From: {from}\r\nSubject: x\r\n\r\nx\r\n");
    client.data(content.as_bytes()).queue_id();
    hosted.store.wait_for(before + 1, ARRIVAL);
    let said = hosted.store.transcript();
    let mail = said.iter().rfind(|line| line.starts_with("MAIL ")).unwrap();
    mail.split_once('>').unwrap().1.split(' ').filter(|word| !word.starts_with("SIZE=")).collect()
}

#[test]
fn who_submitted_a_message_is_believed_of_who_may_send_as_that() {
    // Checks: A03
    let offers = vec!["AUTH PLAIN".to_owned()];
    let logged_in = Behaviour { offers, ..Behaviour::next_hop() };
    let hosted = host(logged_in.clone(), "credentials = \"up\"\n");
    let joe = "joe@ours.example";
    for (login, from, said, gets) in [
        (JOE, joe, "", "AUTH=joe@ours.example"),
        (JOE, joe, " AUTH=<>", "AUTH=<>"),
        (JOE, joe, " AUTH=joe+2Bmobile@ours.example", "AUTH=joe+2Bmobile@ours.example"),
        (JOE, joe, " AUTH=ann@ours.example", "AUTH=joe@ours.example"),
        (ANN, "ann@ours.example", " AUTH=news@lists.example", "AUTH=news@lists.example"),
    ] {
        assert_eq!(relayed(&hosted, login, from, said), gets, "{said}");
    }
    // Where nobody is logged in, nobody is told, whatever is offered.
    let hosted = host(logged_in, "");
    assert_eq!(relayed(&hosted, JOE, joe, ""), "");
}
