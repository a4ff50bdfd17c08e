//! Probes, and content that is not what it was, against a next hop that says what it is told to.

use std::sync::Arc;
use std::time::Duration;

use angarium_queue::disk::RealDisk;
use angarium_queue::spool::{Options, Spool};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::delivery::dialog::Addressee;
use crate::net::connection::Source;
use crate::syntax::parameter::MailParameters;

fn times() -> Times {
    let second = Duration::from_secs(1);
    Times {
        connect: second,
        greeting: second,
        command: second,
        data_initiation: second,
        data_block: second,
        data_termination: second,
        keep_idle: second,
    }
}

struct Tried {
    agent: Agent,
    pool: Arc<Pool>,
    next_hop: NextHop,
    /// What the next hop heard.
    heard: JoinHandle<Vec<String>>,
    _folder: tempfile::TempDir,
}

/// An agent, and a next hop that says one of `replies` at the beginning and to each line. It closes
/// the connection after the last; an empty one is silence.
async fn tried(scheme: &str, replies: &'static [&'static str]) -> Tried {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(RealDisk::open(folder.path()).unwrap());
    let options = Options { min_free: 0, ..Options::default() };
    let (spool, _) = Spool::open(disk, options, Box::new(|_| {})).unwrap();
    let pool = Arc::new(Pool::new("mx.example", watch::channel(Arc::default()).1));
    let agent = Agent::new(spool, Arc::clone(&pool));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let next_hop = format!("{scheme}://{}", listener.local_addr().unwrap()).parse().unwrap();
    let heard = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (input, mut output) = stream.into_split();
        let (mut lines, mut heard) = (BufReader::new(input).lines(), Vec::new());
        for reply in replies {
            if !reply.is_empty() {
                output.write_all(format!("{reply}\r\n").as_bytes()).await.unwrap();
            }
            let Ok(Some(line)) = lines.next_line().await else { break };
            heard.push(line);
        }
        heard
    });
    Tried { agent, pool, next_hop, heard, _folder: folder }
}

impl Tried {
    async fn probe(&self) -> Result<(), String> {
        let destination = Destination::Hop(self.next_hop.clone(), Handling::default());
        self.agent.probe(&destination, times()).await
    }
}

async fn failure(replies: &'static [&'static str]) -> String {
    let tried = tried("smtp", replies).await;
    let failed = tried.probe().await.unwrap_err();
    assert!(
        tried.pool.take(&tried.next_hop, &Handling::default()).is_none(),
        "{failed}: the connection was kept"
    );
    failed
}

#[tokio::test]
async fn a_probe_says_noop_and_keeps_the_connection() {
    for (scheme, hello) in [("smtp", "EHLO mx.example"), ("lmtp", "LHLO mx.example")] {
        let tried = tried(scheme, &["220 hi", "250 hi", "299 still here", "221 bye"]).await;
        assert_eq!(tried.probe().await, Ok(()));
        let kept =
            tried.pool.take(&tried.next_hop, &Handling::default()).expect("a connection is kept");
        kept.quit().await;
        assert_eq!(tried.heard.await.unwrap(), [hello, "NOOP", "QUIT"]);
    }
}

#[tokio::test]
async fn a_probe_fails_where_a_delivery_would() {
    assert_eq!(failure(&["421 later"]).await, "said 421 later (at its greeting)");
    assert_eq!(failure(&["554 no"]).await, "said 554 no (at its greeting)");
    assert_eq!(failure(&["220 hi", "451 no"]).await, "said 451 no (in reply to the hello)");
    let silence = "it said nothing for too long";
    assert_eq!(failure(&["", ""]).await, format!("{silence} (at its greeting)"));
    assert_eq!(
        failure(&["220 hi", "250 hi", "", ""]).await,
        format!("{silence} (in reply to NOOP)")
    );
    for refusal in ["502 what", "421 bye", "354 go"] {
        let replies = Vec::leak(vec!["220 hi", "250 hi", refusal]);
        assert_eq!(failure(replies).await, format!("said {refusal} (in reply to NOOP)"));
    }
}

#[tokio::test]
async fn a_probe_of_nobody_fails_and_of_nowhere_does_not() {
    let tried = tried("smtp", &[]).await;
    tried.heard.abort();
    let _ = tried.heard.await;
    let nobody = Destination::Hop(tried.next_hop, Handling::default());
    let failed = tried.agent.probe(&nobody, times()).await.unwrap_err();
    assert!(failed.starts_with("can't connect to 127.0.0.1:"), "{failed}");
    for nowhere in [Destination::Discard, Destination::Reject, Destination::Unroutable] {
        assert_eq!(tried.agent.probe(&nowhere, times()).await, Ok(()));
    }
}

/// Content that comes in these pieces, and then fails or ends.
struct Pieces(Vec<&'static [u8]>, Result<(), &'static str>);

impl Source for Pieces {
    fn rewind(&mut self) {}

    fn next_piece(&mut self) -> Result<Option<bytes::Bytes>, String> {
        match (self.0.is_empty(), self.1) {
            (false, _) => Ok(Some(bytes::Bytes::from_static(self.0.remove(0)))),
            (true, end) => end.map(|()| None).map_err(str::to_owned),
        }
    }
}

/// What becomes of ten octets that come so, and the last command that the next hop heard.
async fn carried(mut content: Pieces) -> (Outcome, String) {
    const REPLIES: &[&str] = &["220 hi", "250-hi\r\n250 CHUNKING", "250 ok", "250 ok", "250 taken"];
    let tried = tried("smtp", REPLIES).await;
    let opened = tried.pool.open(&tried.next_hop, &Handling::default().security, times()).await;
    let transaction = Transaction {
        reverse_path: "s@c.example".to_owned(),
        parameters: MailParameters::default(),
        recipients: vec![Addressee::new("a@d.example")],
        size: 10,
        probe: false,
    };
    let mut connection = opened.unwrap();
    let outcomes = connection.transact(transaction, &mut content).await;
    drop(connection);
    let outcome = outcomes.into_iter().next().unwrap();
    (outcome, tried.heard.await.unwrap().pop().unwrap())
}

#[tokio::test]
async fn a_last_chunk_of_other_content_than_was_stored_is_not_sent() {
    let deferred = |why: &str| Outcome::Deferred(format!("{why} (while content was sent)"));
    let rcpt = "RCPT TO:<a@d.example>".to_owned();
    for (pieces, end, why) in [
        (vec![&b"12345"[..], b"678"], Ok(()), "the content is cut short"),
        (vec![b"12345", b"67890", b"1"], Ok(()), "the content is longer than it was"),
        (vec![b"12345678901"], Ok(()), "the content is longer than it was"),
        (vec![b"12345"], Err("a checksum is wrong"), "a checksum is wrong"),
        (vec![b"12345", b"67890"], Err("a checksum is wrong"), "a checksum is wrong"),
    ] {
        assert_eq!(carried(Pieces(pieces, end)).await, (deferred(why), rcpt.clone()));
    }
    let whole = Pieces(vec![b"12345", b"", b"678\r\n"], Ok(()));
    let (outcome, last) = carried(whole).await;
    assert_eq!((outcome, &*last), (Outcome::Delivered("250 taken".to_owned()), "12345678"));
}
