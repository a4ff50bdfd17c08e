//! BINARYMIME (RFC 3030 3): content of any octets goes by BDAT, and only to who offers it; never by
//! DATA. Elsewhere it has to be converted before.

use super::Way;
use crate::envelope::Envelope;
use crate::syntax::parameter::body::Body;

/// Whether a message may hold any octets.
pub fn is_binary(envelope: &Envelope) -> bool {
    envelope.parameters.body == Some(Body::BinaryMime)
}

/// Whether it may go this way as it is.
pub fn passes(way: &Way<'_>) -> bool {
    way.features.offers("BINARYMIME") && way.features.offers("CHUNKING")
}
