//! The writers: a closed loop, each with one message in flight.
//!
//! As the tasks of a server, many writers share few threads: an answer comes over a channel to the
//! thread that owns the writer, and there the writer's next message is begun.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;
use std::time::Instant;

use bytes::Bytes;

use angarium_queue::entry::Change;
use angarium_queue::id::MessageId;
use angarium_queue::spool::{CommitError, NewBody, NewMessage, Op, Spool};

use crate::PATIENCE;
use crate::raw::noise;

/// Threads that the writers share.
pub(crate) const THREADS: usize = 2;

/// What a staged body is written in.
const STAGED_PIECE: usize = 64 << 10;

/// About as long as one recipient makes it.
const ENVELOPE: &str = "reverse-path=<bounces+3f9a1c@newsletter.example.org> body=8bitmime size=8192 \
     recipient=<somebody.else@mail.example.com> notify=f";

type Answer = (MessageId, Result<(), CommitError>);

/// What becomes of a message once it has been accepted.
pub(crate) trait Keep {
    /// Called in the writers' thread.
    fn keep(&mut self, id: MessageId, spool: &Spool);
}

/// It stays, and is forgotten here.
impl Keep for () {
    fn keep(&mut self, _: MessageId, _: &Spool) {}
}

/// It stays.
impl Keep for Vec<MessageId> {
    fn keep(&mut self, id: MessageId, _: &Spool) {
        self.push(id);
    }
}

/// It is completed after some later ones.
#[derive(Default)]
pub(crate) struct Complete {
    waiting: VecDeque<MessageId>,
    later: usize,
}

impl Complete {
    /// After so many.
    pub(crate) fn after(later: usize) -> Self {
        Self { waiting: VecDeque::new(), later }
    }

    /// Completes what waits.
    pub(crate) fn end(&mut self, spool: &Spool) {
        self.waiting.drain(..).for_each(|id| complete(spool, id));
    }
}

impl Keep for Complete {
    fn keep(&mut self, id: MessageId, spool: &Spool) {
        self.waiting.push_back(id);
        if self.waiting.len() > self.later
            && let Some(first) = self.waiting.pop_front()
        {
            complete(spool, first);
        }
    }
}

/// Ends a message as a delivery does; nobody waits for it.
pub(crate) fn complete(spool: &Spool, id: MessageId) {
    spool.record(vec![Op::Update { id, changes: vec![(0, Change::Delivered)] }]);
}

/// Waits until all that was committed and recorded is durable.
pub(crate) fn flush(spool: &Spool) {
    let (tell, told) = mpsc::channel();
    spool.commit(Vec::new(), Box::new(move |result| tell.send(result).unwrap()));
    told.recv_timeout(PATIENCE).expect("an answer in time").expect("a flush");
}

/// What is accepted, and where.
#[derive(Clone)]
pub(crate) struct Load {
    pub(crate) spool: Spool,
    body: Bytes,
    envelope: Bytes,
    tenant: Arc<str>,
}

impl Load {
    /// Bodies of so many octets.
    pub(crate) fn new(spool: Spool, octets: usize) -> Self {
        let envelope = Bytes::from_static(ENVELOPE.as_bytes());
        Self { spool, body: noise(octets).into(), envelope, tenant: "127.0.0.1".into() }
    }

    /// Accepts so many messages by so many writers, on one thread for each keeper; how long it
    /// took, in seconds.
    pub(crate) fn run<K: Keep + Send>(
        &self,
        writers: usize,
        count: usize,
        keepers: &mut [K],
    ) -> f64 {
        let threads = keepers.len();
        assert!(writers.is_multiple_of(threads) && count.is_multiple_of(threads));
        let begin = Instant::now();
        thread::scope(|scope| {
            for keeper in keepers {
                scope.spawn(move || self.drive(writers / threads, count / threads, keeper));
            }
        });
        begin.elapsed().as_secs_f64()
    }

    /// One thread: begins a message for each writer, and with each answer the writer's next.
    fn drive<K: Keep>(&self, writers: usize, count: usize, keeper: &mut K) {
        let (tell, told) = mpsc::channel();
        let mut begun = writers.min(count);
        for _ in 0..begun {
            self.begin(&tell);
        }
        for _ in 0..count {
            let id = answer(&told);
            if begun < count {
                self.begin(&tell);
                begun += 1;
            }
            keeper.keep(id, &self.spool);
        }
    }

    fn begin(&self, tell: &Sender<Answer>) {
        let id = self.spool.next_id().unwrap();
        self.commit(id, NewBody::Inline(vec![self.body.clone()]), tell);
    }

    fn commit(&self, id: MessageId, body: NewBody, tell: &Sender<Answer>) {
        let message = NewMessage {
            id,
            arrived_ms: 1_700_000_000_000,
            tenant: self.tenant.clone(),
            held: false,
            recipients: 1,
            envelope: self.envelope.clone(),
            body,
        };
        let tell = tell.clone();
        let done = move |result| tell.send((id, result)).unwrap();
        self.spool.commit(vec![Op::Append(message)], Box::new(done));
    }

    /// Accepts one message, and waits for it.
    pub(crate) fn one(&self) -> MessageId {
        let (tell, told) = mpsc::channel();
        self.begin(&tell);
        answer(&told)
    }

    /// Stages the body of one message piece by piece, and then accepts it.
    pub(crate) fn staged(&self) -> MessageId {
        let id = self.spool.next_id().unwrap();
        let mut staging = self.spool.stage(id).unwrap();
        for piece in self.body.chunks(STAGED_PIECE) {
            staging.write(piece).unwrap();
        }
        let body = NewBody::Staged(staging.finish().unwrap());
        let (tell, told) = mpsc::channel();
        self.commit(id, body, &tell);
        answer(&told)
    }
}

/// The next message that was accepted.
fn answer(told: &Receiver<Answer>) -> MessageId {
    let (id, result) = told.recv_timeout(PATIENCE).expect("an answer in time");
    result.expect("an accept");
    id
}
