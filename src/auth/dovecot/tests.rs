//! The backend beside a small Dovecot that follows a script.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn channel() -> Channel {
    let client = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
    Channel { client, tls: true, binding: None, clear_allowed: false }
}

async fn listen() -> (TcpListener, Place) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, Place::Tcp { host: "127.0.0.1".to_owned(), port })
}

/// The side of Dovecot.
struct Peer(BufReader<TcpStream>);

impl Peer {
    /// Takes a connection, and offers these mechanisms.
    async fn accept(listener: &TcpListener, offered: &[&str]) -> Self {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.unwrap().unwrap();
        let mut peer = Self(BufReader::new(stream));
        assert_eq!(peer.line().await, "VERSION\t1\t2");
        assert!(peer.line().await.starts_with("CPID\t"));
        let offered: String = offered.iter().map(|name| format!("MECH\t{name}\tx\n")).collect();
        peer.say(&format!("VERSION\t1\t2\n{offered}SPID\t1\nCUID\t1\nCOOKIE\t00\nDONE")).await;
        peer
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        timeout(PATIENCE, self.0.read_line(&mut line)).await.unwrap().unwrap();
        line.trim_end().to_owned()
    }

    /// The id of the next line, which begins with this command.
    async fn id(&mut self, command: &str) -> String {
        let line = self.line().await;
        let mut fields = line.split('\t');
        assert_eq!(fields.next(), Some(command), "{line}");
        fields.next().unwrap().to_owned()
    }

    async fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(format!("{text}\n").as_bytes()).await.unwrap();
    }
}

async fn step(exchange: &mut Box<dyn Exchange>, response: Option<&[u8]>) -> Step {
    timeout(PATIENCE, exchange.step(response)).await.unwrap()
}

fn granted(user: &str) -> Step {
    Step::Granted(Login { user: user.into(), label: None })
}

#[tokio::test]
async fn what_is_offered_follows_the_handshake() {
    let (listener, place) = listen().await;
    let dovecot = Dovecot::start(place);
    assert_eq!(dovecot.mechanisms(), [Mechanism::Plain, Mechanism::Login]);
    let offers = ["PLAIN", "CRAM-MD5", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"];
    let mut peer = Peer::accept(&listener, &offers).await;
    let mut exchange = dovecot.begin(Mechanism::Plain, &channel());
    let asked = tokio::spawn(async move { step(&mut exchange, Some(b"\0joe\0pw")).await });
    let id = peer.id("AUTH").await;
    assert_eq!(dovecot.mechanisms(), [Mechanism::ScramSha256, Mechanism::Plain]);
    peer.say(&format!("OK\t{id}\tuser=joe")).await;
    assert_eq!(asked.await.unwrap(), granted("joe"));
    // Dovecot restarts with another configuration.
    drop(peer);
    let _peer = Peer::accept(&listener, &["LOGIN"]).await;
    let seen = async {
        while dovecot.mechanisms() != [Mechanism::Login] {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, seen).await.unwrap();
}

#[tokio::test]
async fn exchanges_share_a_connection_and_keep_their_replies() {
    let (listener, place) = listen().await;
    let dovecot = Dovecot::start(place);
    let mut peer = Peer::accept(&listener, &["SCRAM-SHA-256", "LOGIN"]).await;
    let mut one = dovecot.begin(Mechanism::ScramSha256, &channel());
    let mut two = dovecot.begin(Mechanism::Login, &channel());
    let script = async {
        let first = peer.id("AUTH").await;
        let second = peer.id("AUTH").await;
        assert_ne!(first, second);
        // In the other order.
        peer.say(&format!("CONT\t{second}\tVXNlcm5hbWU6\nCONT\t{first}\tcj0x")).await;
        (first, second)
    };
    let ((first, second), challenge_one, challenge_two) =
        tokio::join!(script, step(&mut one, Some(b"n,,n=ann,r=x")), step(&mut two, None));
    assert_eq!(challenge_one, Step::Challenge(b"r=1".to_vec()));
    assert_eq!(challenge_two, Step::Challenge(b"Username:".to_vec()));
    assert_eq!((one.claimed(), two.claimed()), (Some("ann"), None));

    let script = async {
        assert_eq!(peer.line().await, format!("CONT\t{first}\tcD0x"));
        peer.say(&format!("OK\t{first}\tuser=ann@example.org\tresp=dj0x")).await;
    };
    let ((), last) = tokio::join!(script, step(&mut one, Some(b"p=1")));
    assert_eq!(last, Step::Challenge(b"v=1".to_vec()));
    assert_eq!(step(&mut one, Some(b"")).await, granted("ann@example.org"));

    let script = async {
        assert_eq!(peer.line().await, format!("CONT\t{second}\tam9l"));
        peer.say(&format!("FAIL\t{second}\tuser=joe@example.org")).await;
    };
    let ((), denied) = tokio::join!(script, step(&mut two, Some(b"joe")));
    assert_eq!(denied, Step::Denied(Denial::Credentials));
    assert_eq!(two.claimed(), Some("joe@example.org"));
}

#[tokio::test]
async fn who_hangs_up_is_cancelled_and_a_late_answer_harms_nobody() {
    let (listener, place) = listen().await;
    let dovecot = Dovecot::start(place);
    let mut peer = Peer::accept(&listener, &["PLAIN", "LOGIN"]).await;
    let mut gone = dovecot.begin(Mechanism::Login, &channel());
    let script = async {
        let id = peer.id("AUTH").await;
        peer.say(&format!("CONT\t{id}\tVXNlcm5hbWU6")).await;
        id
    };
    let (id, _) = tokio::join!(script, step(&mut gone, None));
    drop(gone);
    assert_eq!(peer.line().await, format!("CANCEL\t{id}"));
    let mut next = dovecot.begin(Mechanism::Plain, &channel());
    let script = async {
        peer.say(&format!("OK\t{id}\tuser=gone")).await;
        let other = peer.id("AUTH").await;
        peer.say(&format!("OK\t{id}\tuser=gone\nOK\t{other}\tuser=joe")).await;
    };
    let ((), end) = tokio::join!(script, step(&mut next, Some(b"\0joe\0pw")));
    assert_eq!(end, granted("joe"));
}

#[tokio::test]
async fn a_break_refuses_nobody_for_good_and_is_mended() {
    let (listener, place) = listen().await;
    let dovecot = Dovecot::start(place);
    let mut peer = Peer::accept(&listener, &["PLAIN"]).await;
    let mut lost = dovecot.begin(Mechanism::Plain, &channel());
    let script = async {
        peer.id("AUTH").await;
        drop(peer);
    };
    let ((), denied) = tokio::join!(script, step(&mut lost, Some(b"\0joe\0pw")));
    assert!(matches!(denied, Step::Denied(Denial::Unavailable(_))), "{denied:?}");

    let mut again = dovecot.begin(Mechanism::Plain, &channel());
    let script = async {
        let mut peer = Peer::accept(&listener, &["PLAIN"]).await;
        let id = peer.id("AUTH").await;
        peer.say(&format!("OK\t{id}\tuser=joe")).await;
        peer
    };
    let (_peer, end) = tokio::join!(script, step(&mut again, Some(b"\0joe\0pw")));
    assert_eq!(end, granted("joe"));
}

#[tokio::test]
async fn one_that_is_not_there_is_unavailable() {
    let place = Place::Unix("/nonexistent/auth-client".into());
    let dovecot = Dovecot::start(place);
    let mut exchange = dovecot.begin(Mechanism::Plain, &channel());
    match step(&mut exchange, Some(b"\0joe\0pw")).await {
        Step::Denied(Denial::Unavailable(why)) => assert!(why.contains("auth-client"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_silent_connection_is_not_used_again() {
    let (listener, place) = listen().await;
    let dovecot = Dovecot::start_with(place, Duration::from_millis(100));
    let mut peer = Peer::accept(&listener, &["PLAIN"]).await;
    let mut waiting = dovecot.begin(Mechanism::Plain, &channel());
    let denied = waiting.step(Some(b"\0joe\0pw")).await;
    assert!(matches!(denied, Step::Denied(Denial::Unavailable(_))), "{denied:?}");
    peer.id("AUTH").await;
    assert_eq!(peer.line().await, "");
}
