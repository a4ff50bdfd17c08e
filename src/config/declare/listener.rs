//! The options of where clients connect, and of what holds for them there.

use std::time::Duration;

use ipnet::IpNet;

use crate::config::address::{FileMode, ListensOn, Network};
use crate::config::keyword::Keyword;
use crate::config::option::sections;
use crate::config::value::{Count, Flag, List, OneOf, Size, Span, Text};
use crate::config::word::{Role, Tls, Vrfy};
use crate::net::socket::Bind;
use crate::session::Service;

sections! {
    /// An address where mail is taken. Without any `[[listener]]` there is one with these
    /// defaults.
    Array Listener = "listener" {
        /// The IP address and port, or unix:/path for a Unix socket, whose clients count as
        /// 127.0.0.1.
        bind: Bind as ListensOn = default r#""127.0.0.1:2525""#;

        /// The permissions of a Unix socket.
        socket_mode: u32 as FileMode = default r#""0666""#;

        /// What is done here. "mx": mail for the domains of this server is taken from anyone, and
        /// mail for others from the networks of `[relay]`, by SMTP. "lmtp": the same by LMTP,
        /// with one answer for each recipient (RFC 2033); never on port 25. "submission": mail for
        /// anyone is taken from users who have logged in, see [auth], and from nobody else, under
        /// TLS: 587 with tls = "starttls", 465 with "implicit" (RFC 6409, RFC 8314).
        role: Role as OneOf<Role> = default r#""mx""#;

        /// Whether and how the connection is secured: "off"; "starttls", when the client asks for it;
        /// or "implicit", from the first octet on, as on port 465. Without it, "starttls"; but "off"
        /// on a Unix socket, and on a loopback address unless the role is "submission".
        tls: Option<Tls> as OneOf<Tls> = optional r#""starttls""#, by "RFC 3207, RFC 8314 3.3";

        /// The names of the [[certificate]]s that are shown here, the first to whoever asks for no
        /// name that one of them has. An empty list: all of them, in their order.
        certificates: Vec<String> as List<Text> = default "[]";

        /// How long a TLS handshake may take.
        handshake_timeout: Duration as Span = default r#""30s""#, in "1s" to "5m";

        /// The most TLS handshakes at a time. Nobody waits for them: where there is one too many, the
        /// oldest is given up. With implicit TLS they count as connections only afterwards.
        max_handshakes: usize as Count = default "1024", in "1" to "1000000";

        /// The most TLS handshakes at a time with one client, an IPv6 client being its /64; where
        /// there is one too many, its oldest is given up.
        max_handshakes_per_client: usize as Count = default "64", in "1" to "1000000";

        /// Whether clients of this machine may show their passwords without TLS, where the role is
        /// "submission". Nobody else ever may.
        clear_passwords: bool as Flag = default "false", by "RFC 4954 4";

        /// Whether mail is taken: "open"; "closed", it is refused with 554 from the greeting on;
        /// or "none", 521 and the end, which tells others not to try this host again.
        service: Service as OneOf<Service> = default r#""open""#, by "rfc5321bis 3.1";

        /// Refuses what many harmless clients get wrong: a space after `FROM:` and `TO:`, paths
        /// without brackets, source routes (else read and dropped), host names with underscores
        /// and the like in EHLO.
        strict_syntax: bool as Flag = default "false", by "rfc5321bis 4.1.1";

        /// Extensions that are not offered, nor taken where a client uses them all the same, such as
        /// "CHUNKING": for clients that get one wrong.
        discard_ehlo_keywords: Vec<String> as List<Keyword> = default "[]", by "rfc5321bis 2.2.1";

        /// Whether SMTPUTF8 is offered: addresses and header fields may be in UTF-8. Without it: where
        /// the role is not "mx". There it is right only if every mailstore offers it, too; Dovecot
        /// 2.3 does not, and what it can't take would have to be returned to strangers.
        smtputf8: Option<bool> as Flag = optional "true", by "RFC 6531";

        /// Whom VRFY tells which mailboxes there are: "nobody", "relay" for the networks of
        /// `[relay]`, or "anyone". Others get 252.
        vrfy: Vrfy as OneOf<Vrfy> = default r#""nobody""#, by "rfc5321bis 3.5.3";

        /// Whether the trace field names the recipient where a transaction has one. It is left out
        /// where there are several.
        received_for: bool as Flag = default "true", by "rfc5321bis 7.6";

        /// Whether the trace field keeps silent on where a user is who has logged in.
        hide_client_address: bool as Flag = default "false", by "rfc5321bis 7.6";

        /// Proxies that name the client first, by a PROXY header of version 1 or 2: HAProxy with
        /// send-proxy, and load balancers of clouds. From these addresses nothing else is taken, and
        /// from others no header. The client counts as if it had connected itself; where the header
        /// names none, or one of the proxy's own machine, the address earns no trust.
        proxy_from: Vec<IpNet> as List<Network> = default "[]";

        /// Proxies that may speak for other clients by XCLIENT, which is offered to them alone.
        xclient_from: Vec<IpNet> as List<Network> = default "[]";

        /// The largest content of a message, announced in EHLO (RFC 1870).
        max_message_size: u64 as Size = default r#""50MiB""#, in "64KiB" to "4GiB",
            by "rfc5321bis 4.5.3.1.7";

        /// The most recipients of one transaction; the next ones get 452 and can be sent in
        /// another.
        max_recipients: usize as Count = default "1000", in "100" to "100000",
            by "rfc5321bis 4.5.3.1.8";

        /// The most messages of one session; the next MAIL gets 421, and clients that know LIMITS
        /// open another session in time. 0 for no limit.
        max_messages_per_session: usize as Count = default "0", in "0" to "999999",
            by "RFC 9422";

        /// The most connections at a time, from all clients together; further ones get 421.
        max_connections: usize as Count = default "4096", in "1" to "1000000";

        /// The most connections at a time from one client address; further ones get 421.
        max_connections_per_client: usize as Count = default "256", in "1" to "1000000";

        /// How long a client may be silent before it gets 421. The RFC asks for 5 minutes or more;
        /// less may cut off slow senders.
        idle_timeout: Duration as Span = default r#""5m""#, in "1s" to "1h",
            by "rfc5321bis 4.5.3.2.7";

        /// How many commands are refused in one session before it gets 421.
        max_errors: usize as Count = default "20", in "1" to "10000";

        /// How long the greeting is held back. A client that speaks before it gets 421 4.5.0 and is
        /// let go, as programs do that send and never listen. Not for the networks of `[relay]` and
        /// clients that `[access]` accepts.
        greet_delay: Duration as Span = default r#""0s""#, in "0s" to "1m", by "rfc5321bis 4.3.1";

        /// Clients whose lines may end in a bare CR or LF: it is turned into CRLF. All others are
        /// refused for it, since a stray line end can smuggle a second message into the first.
        bare_line_ends_from: Vec<IpNet> as List<Network> = default "[]", by "rfc5321bis 2.3.8";
    } and {
        /// The line of its header; 0 where it was not written.
        line: usize;
    }
}
