//! Whether a sender and a recipient are taken: the questions of a session, put to those who know.
//!
//! Promises that each refusal is logged with what it refuses, and that what counts against a user's
//! limits is reserved before it is accepted.

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use super::caller::Caller;
use super::{Ending, Receiver, Services};
use crate::event;
use crate::limits::Reserved;
use crate::net::clock;
use crate::policy::owner;
use crate::policy::recipient::{self, Judgement};
use crate::registry::reply::Reply;
use crate::syntax::parameter::validity::Validity;
use crate::syntax::path::{ForwardPath, Mailbox, ReversePath};

impl<S: AsyncRead + AsyncWrite + Unpin> Receiver<S> {
    /// Whether a user may send as this.
    fn judge_binding(&self, path: &ReversePath) -> Result<(), Reply> {
        match (&self.rules.submission, &self.peer.login) {
            (Some(rules), Some(login)) => rules.senders.judge_path(&login.user, path),
            _ => Ok(()),
        }
    }

    /// Whether there is room for a message, and for one more of this tenant.
    pub(super) fn judge_sender(
        &mut self,
        reverse_path: ReversePath,
        size: u64,
    ) -> Result<(), Reply> {
        // Whatever was begun before is over.
        self.reserved = None;
        let Services { intake, backlog, .. } = &self.services;
        let may = |caller: &Caller| caller.judge_sender(&reverse_path);
        let verdict = self
            .caller
            .as_ref()
            .map_or(Ok(()), may)
            .and_then(|()| self.judge_binding(&reverse_path))
            .and_then(|()| backlog.check(&self.peer.tenant))
            .and_then(|()| intake.check_room(size))
            .and_then(|()| self.count_message());
        if let Err(refusal) = &verdict {
            event::sender_refused(&self.name, reverse_path, refusal);
        }
        verdict
    }

    /// Counts a message of a user. Programs of this machine are no users: they can't come again.
    fn count_message(&mut self) -> Result<(), Reply> {
        let user = self.peer.login.as_ref().filter(|_| self.caller.is_none());
        let limits = || Arc::clone(&self.services.limits);
        self.reserved = user.map(|login| Reserved::new(limits(), &login.user));
        self.count(|reserved| reserved.take_message(clock::now_ms()))
    }

    fn count(
        &mut self,
        take: impl FnOnce(&mut Reserved) -> Result<(), Reply>,
    ) -> Result<(), Reply> {
        let taken = self.reserved.as_mut().map_or(Ok(()), take);
        taken.map_err(|reply| if self.rules.soft_bounce { reply.softened() } else { reply })
    }

    /// Whether a recipient may be added.
    pub(super) async fn judge_recipient(
        &mut self,
        path: &ForwardPath,
        validity: Option<Validity>,
    ) -> Result<Result<Mailbox, Reply>, Ending> {
        if self.visit.must_ask() {
            self.flush().await?;
        }
        if let Err(refusal) = self.visit.judge_recipient(path).await {
            return Ok(Err(self.turned_away(&refusal, path)));
        }
        let found = match self.find_recipient(path).await? {
            Ok(mailbox) => mailbox,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if let Err(refusal) = self.judge_owner(&found, validity) {
            event::recipient_refused(&self.name, path, &refusal);
            return Ok(Err(refusal));
        }
        let is_local = self.rules.table.is_ours(&found);
        let taken = self.count(|reserved| reserved.take_recipient(is_local, clock::now_ms()));
        if let Err(refusal) = &taken {
            event::recipient_refused(&self.name, path, refusal);
        }
        Ok(taken.map(|()| found))
    }

    /// Whether a recipient still is who the sender means.
    fn judge_owner(&self, found: &Mailbox, validity: Option<Validity>) -> Result<(), Reply> {
        let judged = validity.map_or(Ok(()), |one| owner::judge(&self.rules.table, found, one));
        judged.map_err(|reply| if self.rules.soft_bounce { reply.softened() } else { reply })
    }

    /// Whether there is a way to a recipient, and a mailbox where it is known.
    pub(super) async fn find_recipient(
        &mut self,
        path: &ForwardPath,
    ) -> Result<Result<Mailbox, Reply>, Ending> {
        let table = Arc::clone(&self.rules.table);
        let mut judgement = recipient::judge(&table, self.peer.may_relay, path);
        let verdict = loop {
            match judgement {
                Judgement::Accept(mailbox) => break Ok(mailbox),
                Judgement::Refuse(refusal) => break Err(refusal),
                Judgement::Verify { next_hop, security, mailbox } => {
                    self.flush().await?;
                    let (lifetimes, times) = (self.rules.lifetimes, self.rules.times);
                    let prober = &self.services.prober;
                    match prober.verify((&next_hop, &security), &mailbox, lifetimes, times).await {
                        Ok(()) => break Ok(mailbox),
                        // A program of this machine can't come again; the queue waits for it.
                        Err(refusal) if self.caller.is_some() && !refusal.is_permanent() => {
                            break Ok(mailbox);
                        }
                        Err(refusal) => judgement = recipient::refused(&table, &mailbox, refusal),
                    }
                }
            }
        };
        let soft = self.rules.soft_bounce;
        let verdict = verdict.map_err(|refusal| if soft { refusal.softened() } else { refusal });
        if let Err(refusal) = &verdict {
            event::recipient_refused(&self.name, path, refusal);
        }
        Ok(verdict)
    }
}
