//! A throw-away OpenSMTPD: a listener on a loopback port, everything sent on to where a test says.
//!
//! Promises: it runs in a directory of its own and asks no DNS. Its listener has a backlog of
//! five, and between a hundred messages and the next it rests for seconds: it gets the corpus, a
//! connection or two at a time, and no load.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{free_port, loopback};
use crate::unpacked::Unpacked;

/// The name that OpenSMTPD calls itself.
pub(crate) const HOSTNAME: &str = "opensmtpd.test";

/// The folder of its package, and the program in it.
pub(crate) const PROGRAM: (&str, &str) = ("opensmtpd", "usr/sbin/smtpd");

/// A running OpenSMTPD.
pub(crate) struct OpenSmtpd {
    address: SocketAddr,
    peer: Unpacked,
}

impl OpenSmtpd {
    /// One that sends mail for each domain to the address beside it, and knows no other domain.
    pub(crate) fn start(next_hops: &[(&str, SocketAddr)]) -> Self {
        let address = loopback(free_port());
        let mut peer = Unpacked::new(&["spool", "run", "lib/opensmtpd/empty"]);
        peer.write("smtpd.conf", &configuration(address, next_hops));
        let (package, program) = PROGRAM;
        let program = format!("/var/program/{program}");
        peer.start(package, &[&program, "-d", "-f", "/var/smtpd.conf"], address);
        Self { address, peer }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until its queue is empty: all is delivered, or `limit` has passed and it panics.
    #[track_caller]
    pub(crate) fn drain(&self, limit: Duration) {
        let queue = ["spool/smtpd/incoming", "spool/smtpd/queue"];
        self.peer.drain(&queue, "output", limit);
    }
}

fn configuration(address: SocketAddr, next_hops: &[(&str, SocketAddr)]) -> String {
    let hops: Vec<String> = next_hops
        .iter()
        .map(|(domain, hop)| {
            format!(
                "action \"{domain}\" relay host \"smtp+notls://{hop}\"\n\
                 match from any for domain \"{domain}\" action \"{domain}\"\n"
            )
        })
        .collect();
    let (ip, port) = (address.ip(), address.port());
    format!(
        "smtp limit max-mails 10000\nlisten on {ip} port {port} hostname {HOSTNAME}\n{}",
        hops.concat()
    )
}
