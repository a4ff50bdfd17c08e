//! A throw-away Exim: a daemon on a loopback port that sends everything on to where a test says.
//!
//! Promises: it runs without privileges, in a directory of its own, and asks no DNS. It passes on
//! what it gets: no field added or dropped but its own Received, no limit on the length of a line.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{free_port, loopback};
use crate::unpacked::{EXIM_USER, Unpacked};

/// The name that Exim calls itself.
pub(crate) const HOSTNAME: &str = "exim.test";

/// The folder of its package, and the program in it.
pub(crate) const PROGRAM: (&str, &str) = ("exim4-daemon-light", "usr/sbin/exim4");

/// A running Exim.
pub(crate) struct Exim {
    address: SocketAddr,
    peer: Unpacked,
}

impl Exim {
    /// One that sends mail for each domain to the address beside it, and knows no other domain.
    pub(crate) fn start(next_hops: &[(&str, SocketAddr)]) -> Self {
        let address = loopback(free_port());
        let mut peer = Unpacked::new(&["spool", "log"]);
        peer.give("spool", EXIM_USER);
        peer.give("log", EXIM_USER);
        peer.write("exim.conf", &configuration(address, next_hops));
        let (package, program) = PROGRAM;
        let program = format!("/var/program/{program}");
        // A queue run each second tries again what has failed.
        peer.start(package, &[&program, "-C", "/var/exim.conf", "-bdf", "-q1s"], address);
        Self { address, peer }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until its queue is empty: all is delivered, or `limit` has passed and it panics.
    #[track_caller]
    pub(crate) fn drain(&self, limit: Duration) {
        self.peer.drain(&["spool/input"], "log/main", limit);
    }

    /// What it says it has done.
    pub(crate) fn log(&self) -> String {
        self.peer.read("log/main")
    }
}

fn configuration(address: SocketAddr, next_hops: &[(&str, SocketAddr)]) -> String {
    let hops: Vec<String> = next_hops
        .iter()
        .map(|(domain, hop)| format!("{domain} {}::{}", hop.ip(), hop.port()))
        .collect();
    let (hops, ip, port) = (hops.join(" ; "), address.ip(), address.port());
    format!(
        "primary_hostname = {HOSTNAME}\nlocal_interfaces = {ip}.{port}\n\
         spool_directory = /var/spool\nlog_file_path = /var/log/%s\n\
         exim_path = /var/program/{}\nkeep_environment = LD_LIBRARY_PATH\n\
         deliver_drop_privilege = true\nacl_smtp_rcpt = accept\n\
         tls_advertise_hosts =\n\
         smtp_accept_queue_per_connection = 0\nsmtp_accept_max_per_connection = 0\n\
         return_path_remove = false\ndelivery_date_remove = false\nenvelope_to_remove = false\n\
         begin routers\nnext_hops:\n  driver = manualroute\n  route_list = {hops}\n\
         \x20 self = send\n  transport = smtp\n\
         begin transports\nsmtp:\n  driver = smtp\n  allow_localhost\n\
         \x20 message_linelength_limit = 1048576\n\
         begin retry\n* * F,1h,1s\n",
        PROGRAM.1
    )
}
