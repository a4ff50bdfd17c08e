//! The cells: a base, and one factor varied at a time.
//!
//! Promises a name for each that says what is varied, and that the base comes first.

use std::net::SocketAddr;

use crate::source::Load;

/// A load, without the place it goes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    /// In names of figures.
    pub(crate) name: &'static str,
    /// Octets of a message.
    pub(crate) octets: usize,
    sessions: usize,
    single: bool,
}

/// What the others differ from.
const BASE: Cell = Cell { name: "4k.s20", octets: 4096, sessions: 20, single: false };

/// All of them.
pub(crate) const ALL: [Cell; 6] = [
    BASE,
    Cell { name: "64k.s20", octets: 64 * 1024, ..BASE },
    Cell { name: "1m.s20", octets: 1024 * 1024, ..BASE },
    Cell { name: "4k.s1", sessions: 1, ..BASE },
    Cell { name: "4k.s100", sessions: 100, ..BASE },
    Cell { name: "4k.s20.single", single: true, ..BASE },
];

impl Cell {
    /// Whether it is the one that the others differ from.
    pub(crate) fn is_base(&self) -> bool {
        self.name == BASE.name
    }

    /// The load of this cell towards a server.
    pub(crate) fn load(&self, to: SocketAddr) -> Load {
        let Self { octets, sessions, single, .. } = *self;
        Load { to, hello: "EHLO", sessions, single, octets }
    }
}
