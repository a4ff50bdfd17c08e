//! A throw-away Postfix: smtpd on a loopback port, everything sent on to where a test says.
//!
//! It starts as an administrator starts it in the foreground, with its integrity check. Promises:
//! configuration, queue, data and log are in a temporary directory; nothing of the machine's own
//! Postfix is changed, DNS is never asked. It is set so that it passes on what it gets: no
//! rewriting, no conversion, no field added or dropped but its own Received.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{Pid, getpgid};

use crate::support::process::{Process, read, tail};
use crate::support::socket::Place;
use crate::support::{START, free_port, loopback, temporary_directory, wait_until};

/// The name that Postfix calls itself.
pub(crate) const HOSTNAME: &str = "postfix.test";

/// Its administrator's command.
pub(crate) const COMMAND: &str = "/usr/sbin/postfix";

/// Name, type, wake-up interval and command of each service beside smtpd; none in a chroot.
const SERVICES: &str = "\
pickup    unix       n - n 1 1 pickup
cleanup   unix       n - n - 0 cleanup
qmgr      unix       n - n 1 1 qmgr
tlsmgr    unix       - - n 1000? 1 tlsmgr
rewrite   unix       - - n - - trivial-rewrite
bounce    unix       - - n - 0 bounce
defer     unix       - - n - 0 bounce
trace     unix       - - n - 0 bounce
flush     unix       n - n - 0 flush
proxymap  unix       - - n - - proxymap
smtp      unix       - - n - - smtp
relay     unix       - - n - - smtp
lmtp      unix       - - n - - lmtp
showq     unix       n - n - - showq
error     unix       - - n - - error
retry     unix       - - n - - error
discard   unix       - - n - - discard
anvil     unix       - - n - 1 anvil
scache    unix       - - n - 1 scache
postlog   unix-dgram n - n - 1 postlogd
";

/// A running Postfix.
pub(crate) struct Postfix {
    address: SocketAddr,
    process: Process,
    // Last, so that it goes when the process has ended.
    directory: tempfile::TempDir,
}

impl Postfix {
    /// One that sends mail for each domain to the address beside it, and knows no other domain.
    pub(crate) fn start(next_hops: &[(&str, SocketAddr)]) -> Self {
        Self::start_with(&passing_on(next_hops))
    }

    /// One with lines of main.cf beside those for its places, and no next hop but those named there.
    pub(crate) fn start_with(settings: &str) -> Self {
        let directory = temporary_directory();
        let address = loopback(free_port());
        // The integrity check makes the rest.
        for name in ["config", "queue"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        let config = directory.path().join("config");
        std::fs::write(config.join("main.cf"), main_cf(directory.path(), settings)).unwrap();
        let services = format!("{address} inet n - n - - smtpd\n{SERVICES}");
        std::fs::write(config.join("master.cf"), services).unwrap();
        let mut command = Command::new(COMMAND);
        command.arg("-c").arg(&config).arg("start-fg");
        let (output, error) = (directory.path().join("output"), directory.path().join("error"));
        let process = Process::start(&mut command, &output, &error);
        let mut postfix = Self { directory, process, address };
        postfix.await_listener();
        postfix
    }

    fn await_listener(&mut self) {
        let place = Place::Tcp(self.address);
        // The check looks at all that is installed.
        let up = wait_until(3 * START, || self.process.has_ended() || place.connect().is_ok());
        let good = up && !self.process.has_ended();
        assert!(good, "Postfix does not start:\n{}\n{}", self.process.error(), self.log_tail());
    }

    /// Where its smtpd listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The process id of its master: below it is all that serves mail, and nothing of the start.
    #[allow(dead_code, reason = "the benchmark asks for it")]
    pub(crate) fn pid(&self) -> u32 {
        u32::try_from(self.master().unwrap().as_raw()).unwrap()
    }

    /// Its master: the leader of a session that has all the other daemons.
    fn master(&self) -> Option<Pid> {
        let written = read(&self.directory.path().join("queue/pid/master.pid"));
        let master = Pid::from_raw(written.trim().parse().ok()?);
        (getpgid(Some(master)) == Ok(master)).then_some(master)
    }

    /// How many messages it holds on its administrator's order.
    #[allow(dead_code, reason = "the benchmark asks for it")]
    pub(crate) fn held(&self) -> usize {
        count_files(&self.directory.path().join("queue/hold"))
    }

    /// Submits a message with its sendmail command; lines end in LF there.
    pub(crate) fn sendmail(&self, from: &str, to: &str, message: &[u8]) {
        let mut sendmail = Command::new("/usr/sbin/sendmail")
            .arg("-C")
            .arg(self.directory.path().join("config"))
            .args(["-i", "-f", from, to])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        sendmail.stdin.take().unwrap().write_all(message).unwrap();
        let status = sendmail.wait().unwrap();
        assert!(status.success(), "sendmail: {status}\n{}", self.log_tail());
    }

    /// Waits until its queue is empty: all is delivered, or `limit` has passed and it panics.
    #[track_caller]
    pub(crate) fn drain(&self, limit: Duration) {
        let queue = self.directory.path().join("queue");
        let busy = ["maildrop", "incoming", "active", "deferred"];
        let empty = || busy.iter().all(|name| count_files(&queue.join(name)) == 0);
        assert!(wait_until(limit, empty), "Postfix keeps mail:\n{}", self.log_tail());
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        read(&self.directory.path().join("maillog"))
    }

    fn log_tail(&self) -> String {
        tail(&self.log(), 30)
    }
}

impl Drop for Postfix {
    /// The master would outlive `start-fg`, so it goes first, with its session. While `start-fg`
    /// waits for it, nothing else can have its number.
    fn drop(&mut self) {
        let waits = !self.process.has_ended();
        if let Some(master) = self.master().filter(|_| waits) {
            let _ = killpg(master, Signal::SIGKILL);
        }
        self.process.end();
    }
}

/// Its places, loopback and no DNS; then what the caller sets.
fn main_cf(directory: &Path, settings: &str) -> String {
    let directory = directory.display();
    format!(
        "compatibility_level = 3.6\nqueue_directory = {directory}/queue\n\
         data_directory = {directory}/data\nmaillog_file = {directory}/maillog\n\
         maillog_file_prefixes = /\nmyhostname = {HOSTNAME}\nmyorigin = {HOSTNAME}\n\
         inet_interfaces = 127.0.0.1\ninet_protocols = ipv4\nmydestination =\n\
         mynetworks = 127.0.0.0/8\nalias_maps =\nalias_database =\nlocal_recipient_maps =\n\
         smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination\n\
         smtp_host_lookup = native\ndisable_dns_lookups = yes\n\
         smtpd_client_connection_count_limit = 0\n{settings}"
    )
}

/// Passes mail on as it is: to the address beside its domain.
fn passing_on(next_hops: &[(&str, SocketAddr)]) -> String {
    let hops: Vec<String> = next_hops
        .iter()
        .map(|(domain, address)| {
            format!("{{ {domain} = smtp:[{}]:{} }}", address.ip(), address.port())
        })
        .collect();
    let hops = hops.join(", ");
    format!(
        "default_transport = error:no such route in this test\n\
         transport_maps = inline:{{ {hops} }}\nsmtputf8_enable = no\n\
         local_header_rewrite_clients =\nremote_header_rewrite_domain =\n\
         always_add_missing_headers = no\nmessage_drop_headers =\n\
         disable_mime_input_processing = yes\ndisable_mime_output_conversion = yes\n\
         header_size_limit = 1048576\nline_length_limit = 1048576\nsmtp_line_length_limit = 0\n\
         in_flow_delay = 0\n\
         minimal_backoff_time = 5s\nqueue_run_delay = 5s\nmaximal_backoff_time = 10s\n"
    )
}

/// Files in a queue directory and the hashed directories below it.
pub(crate) fn count_files(directory: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries
        .flatten()
        .map(|entry| if entry.path().is_dir() { count_files(&entry.path()) } else { 1 })
        .sum()
}
