//! The messages of the demonstration: made here, so that it needs no file and no network.

/// The domain whose mail goes to the mailstore.
pub(super) const OUR_DOMAIN: &str = "home.example";
/// The mailboxes of the mailstore.
pub(super) const USERS: &[&str] = &["ada", "grace", "postmaster"];

/// Which way a message goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Way {
    /// By LMTP to the mailstore.
    Mailstore,
    /// By SMTP to the sink.
    Relay,
}

/// A message to send.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) what: &'static str,
    pub(super) sender: &'static str,
    pub(super) recipients: Vec<String>,
    pub(super) content: Vec<u8>,
    pub(super) way: Way,
}

impl Message {
    /// The copies that must arrive: one a recipient at the mailstore, one in all at the sink.
    pub(super) fn copies(&self) -> Vec<(String, &Self)> {
        match self.way {
            Way::Mailstore => self.recipients.iter().map(|to| (to.clone(), self)).collect(),
            Way::Relay => vec![(self.recipients.join(" "), self)],
        }
    }
}

pub(super) fn all() -> Vec<Message> {
    let ours = |users: &[&str]| users.iter().map(|user| format!("{user}@{OUR_DOMAIN}")).collect();
    let theirs = |users: &[&str]| users.iter().map(|user| format!("{user}@away.example")).collect();
    let mut all = vec![
        message("a note to one", "charles@engine.example", ours(&["ada"]), note()),
        message(
            "a note to two, one copy in the queue",
            "charles@engine.example",
            ours(&["ada", "grace"]),
            thread(),
        ),
        message("mail with an attachment", "shop@market.example", ours(&["grace"]), attachment()),
        message("8-bit text, names in UTF-8", "ase@fjord.example", ours(&["ada"]), eight_bit()),
        message("a report with a null reverse-path", "", ours(&["postmaster"]), report()),
        message("lines that are dots", "ops@cron.example", ours(&["grace"]), dots()),
        message("a scan of 1.5 MB", "scanner@office.example", ours(&["ada"]), scan()),
    ];
    for relayed in [
        message("relayed to one", "ada@home.example", theirs(&["mary"]), note()),
        message(
            "relayed to three",
            "grace@home.example",
            theirs(&["mary", "john", "kay"]),
            thread(),
        ),
    ] {
        all.push(Message { way: Way::Relay, ..relayed });
    }
    all
}

fn message(
    what: &'static str,
    sender: &'static str,
    recipients: Vec<String>,
    content: Vec<u8>,
) -> Message {
    Message { what, sender, recipients, content, way: Way::Mailstore }
}

fn lines(text: &str) -> Vec<u8> {
    text.lines().flat_map(|line| [line.as_bytes(), b"\r\n"].concat()).collect()
}

fn note() -> Vec<u8> {
    lines(
        "From: Charles <charles@engine.example>
To: Ada <ada@home.example>
Subject: The mill
Date: Tue, 24 Nov 2026 09:12:00 +0000
Message-ID: <mill.1@engine.example>

Dear Ada,

the mill has turned all night. Your note on the Bernoulli numbers came
with the last post; I shall try it tomorrow.

Yours
Charles
",
    )
}

fn thread() -> Vec<u8> {
    lines(
        "Received: from desk.engine.example ([192.0.2.17]) by mx.engine.example
\twith ESMTP id 4F2A; Tue, 24 Nov 2026 09:30:11 +0000
From: Charles <charles@engine.example>
To: Ada <ada@home.example>, Grace <grace@home.example>
Subject: Re: Re: The first actual case of a bug
In-Reply-To: <moth.2@harvard.example>
References: <moth.1@harvard.example>
 <moth.2@harvard.example>
Date: Tue, 24 Nov 2026 09:30:10 +0000
Message-ID: <moth.3@engine.example>
List-Id: Machines <machines.engine.example>

On Monday Grace wrote:
> We have found it in relay 70, panel F.
> It is taped to the log.

Frame it.
",
    )
}

fn attachment() -> Vec<u8> {
    let mut text = "From: Market <shop@market.example>
To: grace@home.example
Subject: =?UTF-8?Q?Your_order_=E2=80=93_invoice?=
MIME-Version: 1.0
Date: Tue, 24 Nov 2026 10:00:00 +0000
Message-ID: <order.7@market.example>
Content-Type: multipart/mixed; boundary=\"=_part\"

This is a message in several parts.
--=_part
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: quoted-printable

Thank you. One moth, dried: 1,00 =E2=82=AC
--=_part
Content-Type: application/pdf; name=invoice.pdf
Content-Disposition: attachment; filename=invoice.pdf
Content-Transfer-Encoding: base64

"
    .to_owned();
    text.push_str(&base64_like(600));
    text.push_str("--=_part--\n");
    lines(&text)
}

fn eight_bit() -> Vec<u8> {
    let text = "From: Åse <ase@fjord.example>
To: Ada <ada@home.example>
Subject: Blåbærsyltetøy
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

Takk for sist – vi ses i Ålesund.
";
    let mut octets = lines(text);
    octets.extend_from_slice(b"Raw octets: \xff\xfe\x80\r\n");
    octets
}

fn report() -> Vec<u8> {
    lines(
        "From: Mail Delivery System <mailer-daemon@far.example>
To: postmaster@home.example
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary=r

--r

I'm sorry to have to tell you that your message could not be delivered.
--r
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.far.example

Final-Recipient: rfc822; nobody@far.example
Action: failed
Status: 5.1.1
--r--
",
    )
}

fn dots() -> Vec<u8> {
    lines("Subject: backup\n\n.\n..\n...\n.hidden\n done .\n.\n")
}

fn scan() -> Vec<u8> {
    let mut text = "From: scanner@office.example\nTo: ada@home.example\nSubject: Scan 0042\n\
                    MIME-Version: 1.0\nContent-Type: image/tiff\n\
                    Content-Transfer-Encoding: base64\n\n"
        .to_owned();
    text.push_str(&base64_like(20_000));
    lines(&text)
}

/// Lines of 76 characters that look like base64, the same at each start.
fn base64_like(count: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = fastrand::Rng::with_seed(7);
    let mut text = String::with_capacity(count * 77);
    for _ in 0..count {
        text.extend(
            (0..76).filter_map(|_| random.choice(ALPHABET)).map(|&octet| char::from(octet)),
        );
        text.push('\n');
    }
    text
}
