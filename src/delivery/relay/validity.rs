//! RRVS (RFC 7293 5.2): who gets mail that must not reach a later owner.
//!
//! Mail for our own domains was judged when it came. The header field that `;C` would let stand for
//! the parameter is not written: with it, nobody says before delivery that the next hop heeds it.

use super::Way;
use crate::delivery::outcome::Outcome;
use crate::envelope::Recipient;

/// What asks for the judgement of the next hop goes only where it is judged.
pub(super) fn obstacle(recipient: &Recipient, way: &Way<'_>) -> Option<Outcome> {
    recipient.parameters.validity?;
    (!way.features.offers("RRVS")).then(|| {
        let why = "5.3.3 it must not reach a later owner, and the next hop offers no RRVS";
        Outcome::Failed(why.to_owned())
    })
}
