//! A throw-away Dovecot: LMTP on a Unix socket and on TCP, IMAP on TCP, one Maildir a mailbox.
//!
//! Promises: everything lies in a temporary directory and listens on loopback; nothing of the
//! machine's own Dovecot is read or touched. An address without a mailbox gets 550 5.1.1 at RCPT.
//! `stop` and `start` keep mailboxes and ports.

use std::fmt::Write;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Command;

use nix::unistd::User;

use crate::imap::Imap;
use crate::support::process::{Process, tail};
use crate::support::socket::{Place, Socket};
use crate::support::{START, free_port, loopback, temporary_directory, wait_until};

/// The domain of every mailbox.
pub(crate) const DOMAIN: &str = "store.example";
const PASSWORD: &str = "courier";

/// The server and its mailboxes.
pub(crate) struct Dovecot {
    lmtp: SocketAddr,
    imap: SocketAddr,
    process: Option<Process>,
    // Last, so that it goes when the process has ended.
    directory: tempfile::TempDir,
}

impl Dovecot {
    /// Starts one with a mailbox for each of these local parts.
    pub(crate) fn start_new<Name: AsRef<str>>(mailboxes: &[Name]) -> Self {
        let directory = temporary_directory();
        let (lmtp, imap) = (loopback(free_port()), loopback(free_port()));
        let mut dovecot = Self { directory, process: None, lmtp, imap };
        dovecot.write_users(mailboxes);
        std::fs::write(dovecot.path("dovecot.conf"), dovecot.configuration()).unwrap();
        dovecot.start();
        dovecot
    }

    /// All mail belongs to one user that every Debian has.
    fn write_users<Name: AsRef<str>>(&self, mailboxes: &[Name]) {
        let owner = User::from_name("nobody").unwrap().unwrap();
        let home = self.path("mail");
        std::fs::create_dir(&home).unwrap();
        chown(&home, Some(owner.uid.as_raw()), Some(owner.gid.as_raw())).unwrap();
        let mut users = String::new();
        for name in mailboxes {
            let (name, uid, gid) = (name.as_ref(), owner.uid, owner.gid);
            let home = home.join(name);
            writeln!(
                users,
                "{name}@{DOMAIN}:{{PLAIN}}{PASSWORD}:{uid}:{gid}::{}::",
                home.display()
            )
            .unwrap();
        }
        std::fs::write(self.path("users"), users).unwrap();
    }

    fn configuration(&self) -> String {
        let directory = self.directory.path().display();
        let (lmtp, imap) = (self.lmtp.port(), self.imap.port());
        format!(
            "base_dir = {directory}/run\nstate_dir = {directory}/state\n\
             log_path = {directory}/dovecot.log\nprotocols = imap lmtp\nlisten = 127.0.0.1\n\
             hostname = dovecot.test\nssl = no\ndisable_plaintext_auth = no\n\
             first_valid_uid = 1\nmail_location = maildir:~/Maildir\n\
             mail_max_userip_connections = 0\npostmaster_address = postmaster@{DOMAIN}\n\
             passdb {{\n driver = passwd-file\n args = username_format=%u {directory}/users\n}}\n\
             userdb {{\n driver = passwd-file\n args = username_format=%u {directory}/users\n}}\n\
             service imap-login {{\n inet_listener imap {{\n address = 127.0.0.1\n port = {imap}\n }}\n \
             inet_listener imaps {{\n port = 0\n }}\n}}\n\
             service lmtp {{\n unix_listener {directory}/lmtp {{\n mode = 0666\n }}\n \
             inet_listener lmtp {{\n address = 127.0.0.1\n port = {lmtp}\n }}\n}}\n"
        )
    }

    /// Starts it, again after a `stop`, and waits until LMTP and IMAP answer.
    pub(crate) fn start(&mut self) {
        let mut command = Command::new("dovecot");
        command.arg("-F").arg("-c").arg(self.path("dovecot.conf"));
        let mut process = Process::start(&mut command, &self.path("output"), &self.path("error"));
        let places = [Place::Tcp(self.lmtp), Place::Tcp(self.imap), Place::Unix(self.lmtp_path())];
        let up = wait_until(START, || {
            process.has_ended() || places.iter().all(|place| place.connect().is_ok())
        });
        let good = up && !process.has_ended();
        assert!(good, "Dovecot does not start:\n{}\n{}", process.error(), self.log_tail());
        self.process = Some(process);
    }

    /// Ends it with all its processes; its sockets refuse from then on.
    pub(crate) fn stop(&mut self) {
        self.process = None;
        let places = [Place::Tcp(self.lmtp), Place::Unix(self.lmtp_path())];
        let down = wait_until(START, || places.iter().all(|place| place.connect().is_err()));
        assert!(down, "Dovecot still answers");
    }

    /// The address of a mailbox.
    pub(crate) fn address(name: &str) -> String {
        format!("{name}@{DOMAIN}")
    }

    /// The Unix socket of LMTP.
    pub(crate) fn lmtp_path(&self) -> PathBuf {
        self.path("lmtp")
    }

    /// `deliver` for LMTP over the Unix socket.
    pub(crate) fn lmtp_unix_url(&self) -> String {
        format!("lmtp:unix:{}", self.lmtp_path().display())
    }

    /// `deliver` for LMTP over TCP.
    pub(crate) fn lmtp_tcp_url(&self) -> String {
        format!("lmtp://{}", self.lmtp)
    }

    /// Every message in the INBOX of a mailbox, as IMAP gives it.
    pub(crate) fn messages(&self, name: &str) -> Vec<Vec<u8>> {
        let socket: Socket = Place::Tcp(self.imap).connect().unwrap();
        let mut imap = Imap::over(socket);
        imap.login(&Self::address(name), PASSWORD);
        let messages = imap.fetch_all("INBOX");
        imap.logout();
        messages
    }

    /// The one message of a mailbox; panics when there are more or fewer.
    #[track_caller]
    pub(crate) fn only_message(&self, name: &str) -> Vec<u8> {
        let mut messages = self.messages(name);
        assert_eq!(messages.len(), 1, "messages of {name}; the log ends:\n{}", self.log_tail());
        messages.remove(0)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log_tail(&self) -> String {
        tail(&crate::support::process::read(&self.path("dovecot.log")), 20)
    }
}
