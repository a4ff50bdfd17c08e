//! The labels of metrics, each with all the values that it may have.
//!
//! Promises that their number is known when the program is built: nothing that a peer says becomes
//! the value of a label.

use crate::registry::reply::{self, Reply};
use crate::registry::status::EnhancedStatus;

/// Labels of one metric: a combination of values, with a number.
pub trait Labels: Copy {
    /// How many combinations there are.
    const COUNT: usize;
    /// Combinations that never happened are not told.
    const SPARSE: bool = false;
    /// The number of this one, below `COUNT`.
    fn cell(self) -> usize;
    /// Names and values of a number.
    fn describe(cell: usize) -> Vec<(&'static str, String)>;
}

impl Labels for () {
    const COUNT: usize = 1;

    fn cell(self) -> usize {
        0
    }

    fn describe(_: usize) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

impl<A: Labels, B: Labels> Labels for (A, B) {
    const COUNT: usize = A::COUNT * B::COUNT;
    const SPARSE: bool = A::SPARSE || B::SPARSE;

    fn cell(self) -> usize {
        self.0.cell() * B::COUNT + self.1.cell()
    }

    fn describe(cell: usize) -> Vec<(&'static str, String)> {
        let mut labels = A::describe(cell / B::COUNT);
        labels.extend(B::describe(cell % B::COUNT));
        labels
    }
}

macro_rules! labels {
    ($(
        $(#[$about:meta])*
        $Name:ident = $label:literal { $( $(#[$doc:meta])* $Value:ident = $text:literal, )+ }
    )+) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum $Name { $( $(#[$doc])* $Value, )+ }

        impl $Name {
            const VALUES: &'static [&'static str] = &[$($text),+];
            /// How many values there are.
            pub const COUNT: usize = Self::VALUES.len();
        }

        impl Labels for $Name {
            const COUNT: usize = Self::VALUES.len();

            fn cell(self) -> usize {
                self as usize
            }

            fn describe(cell: usize) -> Vec<(&'static str, String)> {
                let value = Self::VALUES.get(cell).copied().unwrap_or_default();
                vec![($label, value.to_owned())]
            }
        }
    )+};
}

labels! {
    /// What became of a TLS handshake with a client.
    Handshake = "result" {
        /// A whole one.
        Full = "full",
        /// An earlier session was taken up.
        Resumed = "resumed",
        /// It failed.
        Failed = "failed",
        /// It took too long.
        Late = "late",
        /// It was the oldest of too many.
        GivenUp = "given_up",
    }

    /// What became of an attempt to log in.
    Login = "result" {
        /// The client is in.
        Granted = "granted",
        /// Wrong user or secret.
        Credentials = "credentials",
        /// Another refusal: a disabled account, a mechanism that is too weak, a broken exchange.
        Refused = "refused",
        /// It could not be told.
        Unavailable = "unavailable",
    }

    /// What became of a connection.
    Admission = "result" {
        /// It got a session.
        Served = "served",
        /// Its listener or its client has too many.
        Refused = "refused",
    }

    /// A kind of rule of the front door.
    DoorRule = "rule" {
        /// The operator's list of clients.
        Client = "client",
        /// That of names in HELO and EHLO.
        Hello = "hello",
        /// That of senders.
        Sender = "sender",
        /// That of recipients.
        Recipient = "recipient",
        /// A block list in the DNS.
        BlockList = "blocklist",
        /// Waiting for the greeting.
        Greeting = "greeting",
        /// Connections in a time.
        ConnectionRate = "connection-rate",
        /// Messages in a time.
        MessageRate = "message-rate",
        /// Recipients in a time.
        RecipientRate = "recipient-rate",
        /// Commands in a time.
        CommandRate = "command-rate",
    }

    /// A limit of what a user may send.
    Meter = "limit" {
        /// Messages in an hour.
        MessagesPerHour = "messages_per_hour",
        /// Messages in a day.
        MessagesPerDay = "messages_per_day",
        /// Recipients in an hour.
        RecipientsPerHour = "recipients_per_hour",
        /// Recipients in a day.
        RecipientsPerDay = "recipients_per_day",
    }

    /// What a client asked for.
    Stage = "stage" {
        /// Nothing: the session ends it.
        Connection = "connection",
        /// HELO, EHLO.
        Hello = "hello",
        /// MAIL.
        Mail = "mail",
        /// RCPT.
        Recipient = "rcpt",
        /// DATA.
        Data = "data",
        /// The end of the content.
        Content = "content",
        /// Another command.
        Other = "other",
        /// What can't be read as a command.
        Unknown = "unknown",
    }

    /// The class of a reply.
    ReplyClass = "class" {
        /// Done.
        Positive = "2xx",
        /// Go on.
        Intermediate = "3xx",
        /// Not now.
        Transient = "4xx",
        /// Never.
        Permanent = "5xx",
    }

    /// What reading the configuration again came to.
    Reload = "result" {
        /// It is in force.
        Taken = "ok",
        /// The old one is.
        Refused = "refused",
    }

    /// What a mailstore said of a recipient.
    Answer = "answer" {
        /// It has such a mailbox.
        Exists = "exists",
        /// It has not.
        Unknown = "unknown",
        /// The mailbox takes no mail.
        Refused = "refused",
        /// Nothing that tells.
        None = "none",
    }

    /// How mail leaves.
    Transport = "transport" {
        /// LMTP.
        Lmtp = "lmtp",
        /// SMTP.
        Smtp = "smtp",
        /// Not at all: discarded, refused by a route, or without one.
        None = "none",
    }

    /// What an attempt made of a recipient.
    Outcome = "result" {
        /// The next hop has it.
        Delivered = "delivered",
        /// It is tried again.
        Deferred = "deferred",
        /// The next hop does not take it.
        Failed = "failed",
        /// It was tried for long enough.
        Expired = "expired",
    }
}

impl DoorRule {
    /// The value of the label.
    pub fn name(self) -> &'static str {
        Self::VALUES.get(self as usize).copied().unwrap_or_default()
    }
}

impl Meter {
    /// All of them.
    pub const ALL: [Self; Self::COUNT] = [
        Self::MessagesPerHour,
        Self::MessagesPerDay,
        Self::RecipientsPerHour,
        Self::RecipientsPerDay,
    ];

    /// The value of the label, and the name in the configuration.
    pub fn name(self) -> &'static str {
        Self::VALUES.get(self as usize).copied().unwrap_or_default()
    }
}

impl ReplyClass {
    /// The class of a reply.
    pub fn of(reply: &Reply) -> Self {
        match reply.code {
            0..300 => Self::Positive,
            300..400 => Self::Intermediate,
            400..500 => Self::Transient,
            _ => Self::Permanent,
        }
    }
}

/// A reply that refuses: its code and status, whatever its text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal(usize);

impl Refusal {
    /// A number for each reply that is registered; those of one code and status share the first.
    pub const COUNT: usize = reply::ALL.len();

    /// The refusal in a reply; none if it does not refuse.
    pub fn of(reply: &Reply) -> Option<Self> {
        let same =
            |(_, other): &(_, Reply)| (other.code, other.status) == (reply.code, reply.status);
        (reply.code >= 400).then(|| reply::ALL.iter().position(same))?.map(Self)
    }
}

impl Labels for Refusal {
    const COUNT: usize = reply::ALL.len();
    const SPARSE: bool = true;

    fn cell(self) -> usize {
        self.0
    }

    fn describe(cell: usize) -> Vec<(&'static str, String)> {
        let Some((_, reply)) = reply::ALL.get(cell) else { return Vec::new() };
        let status = reply.status.as_ref().map_or_else(String::new, EnhancedStatus::to_string);
        vec![("code", reply.code.to_string()), ("status", status)]
    }
}
