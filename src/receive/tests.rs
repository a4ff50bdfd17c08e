//! Sessions whose client has a backlog, over a stream in memory.

use std::time::Duration;

use angarium_queue::disk::RealDisk;
use angarium_queue::spool::{Options, Spool};
use tokio::io::{AsyncBufReadExt, BufReader, DuplexStream};
use tokio::sync::mpsc;

use super::*;
use crate::limits;
use crate::metric::{Exposition, Form};
use crate::net::resolver;
use crate::policy::tenant::{Limits, Tenants};
use crate::pool::Pool;
use crate::probe::Cache;
use crate::registry::offer::{Listener, Offer, Protocol, Terms};
use crate::session::limit;
use crate::syntax::content::BareLineEnds;

const LATER: &str = "452 4.3.1 too much of your mail is still waiting here, try again later\r\n";

struct House {
    services: Services,
    rules: Arc<Rules>,
    stop: watch::Sender<bool>,
    _folder: tempfile::TempDir,
}

impl House {
    /// Everybody may have five jobs waiting.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = Arc::new(RealDisk::open(folder.path()).unwrap());
        let options = Options { min_free: 0, ..Options::default() };
        let (spool, _) = Spool::open(disk, options, Box::new(|_| {})).unwrap();
        let (accepted, _) = mpsc::unbounded_channel();
        let pool = Arc::new(Pool::new("mx.example", watch::channel(Arc::default()).1));
        let minute = Duration::from_secs(60);
        let cache = Cache::open(&folder.path().join("recipients"), minute, 0);
        let each = Limits { backlog: Some(5), ..Limits::default() };
        let dns =
            resolver::Settings { servers: vec![], timeout: minute, attempts: 1, cache_entries: 1 };
        let file = folder.path().join("limits");
        let services = Services {
            intake: Arc::new(Intake::new(spool, "mx.example", 1 << 20, accepted)),
            prober: Arc::new(Prober::new(pool, cache)),
            backlog: Arc::new(Backlog::new(Tenants::new(each, []))),
            door: Arc::new(Door::new(dns).unwrap()),
            limits: Arc::new(limits::Limits::open(&file, limits::Settings::default()).0),
        };
        let stop = watch::Sender::new(false);
        Self { services, rules: Arc::new(rules(minute)), stop, _folder: folder }
    }

    /// A session of this client that has said EHLO.
    async fn client(&self, address: &str) -> BufReader<DuplexStream> {
        let (ours, theirs) = tokio::io::duplex(4096);
        let client = SocketAddr::new(address.parse().unwrap(), 4711);
        let (rules, services) = (Arc::clone(&self.rules), self.services.clone());
        let stop = self.stop.subscribe();
        tokio::spawn(serve(Link::Clear(theirs), client, "s1".to_owned(), rules, services, stop));
        let mut client = BufReader::new(ours);
        assert!(heard(&mut client).await.starts_with("220 "));
        client.write_all(b"EHLO c.example\r\n").await.unwrap();
        while heard(&mut client).await.starts_with("250-") {}
        client
    }
}

fn rules(minute: Duration) -> Rules {
    let offer = Arc::new(Offer::new(&Terms::new(Protocol::Smtp, 1000)));
    Rules {
        settings: Settings {
            hostname: "mx.example".into(),
            protocol: Protocol::Smtp,
            offer,
            limits: limit::Limits {
                message_octets_max: 1000,
                recipients_max: 100,
                transactions_max: None,
                errors_max: 5,
                idle: minute,
            },
            bare_line_ends: BareLineEnds::Refuse,
            strict: false,
            domain: None,
            verify: false,
            service: session::Service::Open,
            standing: session::Standing::default(),
        },
        offers: Offers::new(Protocol::Smtp, 1000, false, &[], Listener::default()),
        proxies: Vec::new(),
        verify_for_relay: false,
        received_for: true,
        hide_client_address: false,
        submission: None,
        bare_line_ends_from: Vec::new(),
        relay_from: Vec::new(),
        timing: timing::Rules::default(),
        table: Arc::default(),
        soft_bounce: false,
        door: Arc::default(),
        lifetimes: Lifetimes {
            positive: minute,
            refresh: minute,
            negative: minute,
            answer: minute,
        },
        times: Times {
            connect: minute,
            greeting: minute,
            command: minute,
            data_initiation: minute,
            data_block: minute,
            data_termination: minute,
            keep_idle: minute,
        },
        tls: None,
        authority: None,
        clear_passwords: false,
        message_octets_max: Arc::default(),
    }
}

async fn heard(client: &mut BufReader<DuplexStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).await.unwrap();
    line
}

async fn mail(client: &mut BufReader<DuplexStream>) -> String {
    client.write_all(b"MAIL FROM:<a@c.example>\r\n").await.unwrap();
    heard(client).await
}

/// How often MAIL was refused for want of room.
fn counted() -> u64 {
    let text = Exposition::new(Form::OpenMetrics).write();
    let line = text.lines().find_map(|line| {
        line.strip_prefix(
            "angarium_smtpd_rejects_total{stage=\"mail\",code=\"452\",status=\"4.3.1\"} ",
        )
    });
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test]
async fn who_has_too_much_waiting_is_told_so_and_nobody_else() {
    let house = House::new();
    let before = counted();
    house.services.backlog.set("192.0.2.7", 5);
    house.services.backlog.set("2001:db8:0:7::/64", 9);
    for full in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8:0:7::1", "2001:db8:0:7:8::2"] {
        assert_eq!(mail(&mut house.client(full).await).await, LATER, "{full}");
    }
    for free in ["192.0.2.8", "2001:db8:0:8::1"] {
        assert!(mail(&mut house.client(free).await).await.starts_with("250 2.1.0 "), "{free}");
    }
    assert_eq!(counted() - before, 4);
}

#[tokio::test]
async fn a_session_goes_on_when_there_is_room_again() {
    let house = House::new();
    house.services.backlog.set("192.0.2.7", 6);
    let mut client = house.client("192.0.2.7").await;
    // More often than a session may err: who waits does nothing wrong.
    for _ in 0..10 {
        assert_eq!(mail(&mut client).await, LATER);
    }
    house.services.backlog.set("192.0.2.7", 4);
    assert!(mail(&mut client).await.starts_with("250 2.1.0 "));
}
