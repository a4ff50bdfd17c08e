//! How many recipients of a message go over one connection in one transaction.
//!
//! Promises that no transaction has more recipients than its next hop and the configuration allow,
//! and that recipients whose domain is one too many for a connection are left for another.

use crate::envelope::Envelope;
use crate::net::connection::Connection;

/// Splits `open` into those that go now and those that go later, each in its order.
pub(super) fn split(
    connection: &Connection,
    envelope: &Envelope,
    open: &[u32],
    recipients_max: usize,
) -> (Vec<u32>, Vec<u32>) {
    let limits = connection.limits();
    let stated = limits.recipients.map_or(usize::MAX, |limit| limit as usize);
    let mut room = recipients_max.min(stated);
    let mut spent = connection.spent().clone();
    open.iter().partition(|&&index| {
        let recipient = envelope.recipients.get(index as usize);
        let domain = recipient.map_or("", |recipient| recipient.address.domain());
        let goes = room > 0 && spent.take(domain, limits);
        room -= usize::from(goes);
        goes
    })
}
