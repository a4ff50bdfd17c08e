//! Who waits for an answer to content: one client, or in LMTP each recipient (RFC 2033 4.2).

use super::State;
use super::command::Hello;
use super::turn::Turn;
use crate::registry::reply::Reply;
use crate::syntax::path::ForwardPath;

/// The answers that are due after the content, and what the session goes on with.
#[derive(Debug)]
pub(super) struct Answers {
    hello: Hello,
    /// In LMTP, each path that was accepted, in their order.
    each: Option<Vec<ForwardPath>>,
}

impl Answers {
    /// The one answer of SMTP.
    pub(super) fn one(hello: Hello) -> Self {
        Self { hello, each: None }
    }

    /// An answer for each of these.
    pub(super) fn each(hello: Hello, paths: Vec<ForwardPath>) -> Self {
        Self { hello, each: Some(paths) }
    }

    /// Takes the hello back: nobody waits any more.
    pub(super) fn into_hello(self) -> Hello {
        self.hello
    }

    /// Gives what became of the content. A message is kept for all of its recipients or for none.
    pub(super) fn give(self, reply: &Reply, turn: &mut Turn<'_>) -> State {
        match self.each {
            None => turn.answer(reply.clone()),
            Some(paths) => {
                for path in paths {
                    turn.answer(reply.with_text(format!("<{path}> {}", reply.text())));
                }
            }
        }
        State::Ready(self.hello)
    }
}
