//! How many messages a kept connection carries.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::delivery::dialog::Transaction;
use crate::net::connection::NoContent;

/// How often the next hop heard QUIT.
type Quits = Arc<AtomicUsize>;

/// A next hop that takes everything.
async fn next_hop() -> (NextHop, Quits) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let next_hop = format!("smtp://{}", listener.local_addr().unwrap()).parse().unwrap();
    let quits = Quits::default();
    let heard = Arc::clone(&quits);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, Arc::clone(&heard)));
        }
    });
    (next_hop, quits)
}

async fn serve(mut stream: TcpStream, quits: Quits) {
    let (input, mut output) = stream.split();
    let mut lines = BufReader::new(input).lines();
    let _ = output.write_all(b"220 hi\r\n").await;
    while let Ok(Some(line)) = lines.next_line().await {
        quits.fetch_add(usize::from(line == "QUIT"), Ordering::SeqCst);
        let reply = if line == "DATA" { "354 go\r\n" } else { "250 ok\r\n" };
        if output.write_all(reply.as_bytes()).await.is_err() {
            break;
        }
    }
}

fn at_most(messages: u32) -> Limits {
    Limits { messages_per_connection: Some(messages), ..Limits::default() }
}

fn pool(table: Table) -> (Pool, watch::Sender<Arc<Table>>) {
    let (sender, receiver) = watch::channel(Arc::new(table));
    (Pool::new("mx.example", receiver), sender)
}

async fn open(pool: &Pool, next_hop: &NextHop) -> Connection {
    let minute = Duration::from_secs(60);
    let times = Times {
        connect: minute,
        greeting: minute,
        command: minute,
        data_initiation: minute,
        data_block: minute,
        data_termination: minute,
        keep_idle: minute,
    };
    pool.open(next_hop, &Security::default(), times).await.unwrap()
}

async fn carry(connection: &mut Connection) {
    let transaction = Transaction { probe: false, ..Transaction::probe("a@d.example") };
    let outcomes = connection.transact(transaction, &mut NoContent).await;
    assert!(connection.is_usable(), "{outcomes:?}");
}

#[tokio::test]
async fn a_connection_that_carried_enough_says_quit() {
    let (next_hop, quits) = next_hop().await;
    let (pool, table) = pool(Table::default().with_limits(at_most(2), []));
    let own = Handling::default();
    let mut connection = open(&pool, &next_hop).await;
    connection.ask("a@d.example").await.unwrap();
    carry(&mut connection).await;
    pool.put(&next_hop, &own, connection);
    let mut connection = pool.take(&next_hop, &own).expect("one message, and a question");
    carry(&mut connection).await;
    pool.put(&next_hop, &own, connection);
    assert!(pool.take(&next_hop, &own).is_none(), "two messages");
    while quits.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    table.send_replace(Arc::new(Table::default()));
    let mut connection = open(&pool, &next_hop).await;
    for _ in 0..5 {
        carry(&mut connection).await;
    }
    pool.put(&next_hop, &own, connection);
    assert!(pool.take(&next_hop, &own).is_some(), "no limit any more");
}

#[tokio::test]
async fn the_nearest_limit_holds_for_who_takes_and_for_who_puts() {
    let (next_hop, _) = next_hop().await;
    let site = [(next_hop.clone(), at_most(3))];
    let (pool, _table) = pool(Table::default().with_limits(at_most(1), site));
    let own = Handling::default();
    let strict = Handling { limits: at_most(2), ..Handling::default() };
    let mut connection = open(&pool, &next_hop).await;
    carry(&mut connection).await;
    carry(&mut connection).await;
    pool.put(&next_hop, &own, connection);
    assert!(pool.take(&next_hop, &strict).is_none(), "too many for the stricter route");
    assert!(pool.take(&next_hop, &own).is_none(), "which has closed it");
    let mut connection = open(&pool, &next_hop).await;
    carry(&mut connection).await;
    carry(&mut connection).await;
    pool.put(&next_hop, &strict, connection);
    assert!(pool.take(&next_hop, &own).is_none());
}
