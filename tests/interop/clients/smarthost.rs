//! Postfix with Angarium as its smarthost: it logs in by Cyrus SASL, and checks our certificate.

use super::{Hosted, NAME, PASSWORD, RECIPIENT, USER};
use crate::compare::below_received_by;
use crate::postfix::{self, Postfix};
use crate::require_peers;
use crate::support::daemon::HOSTNAME;
use crate::support::store::{Behaviour, Delivery, Store};
use crate::support::{ARRIVAL, wait_until};

const FIELDS: &str = "\
From: Joe <joe@ours.example>
To: ann@far.example
Subject: hello
Date: Thu, 1 Jan 2026 00:00:00 +0000
Message-ID: <1@ours.example>
";
const RESENT: &str = "\
Resent-From: Joe <joe@ours.example>
Resent-To: ann@far.example
Resent-Date: Thu, 1 Jan 2026 00:00:00 +0000
Resent-Message-ID: <2@ours.example>
From: Eve <eve@elsewhere.example>
To: joe@ours.example
Date: Thu, 1 Jan 2026 00:00:00 +0000
Message-ID: <2@elsewhere.example>
";
const BODY: &str = "\nfrom a machine\n.\n..\n\u{e4}\n";

/// How Postfix reaches the smarthost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tls {
    Starttls,
    Implicit,
}

/// A Postfix that sends everything through the smarthost, but the mail of its own senders to where
/// their mailboxes are.
fn start(hosted: &Hosted, tls: Tls, mailboxes: &Store) -> Postfix {
    // Of all mechanisms Cyrus SASL takes the strongest that it can do.
    let (place, wrapper, mechanisms) = match tls {
        Tls::Starttls => (hosted.starttls, "no", ""),
        Tls::Implicit => (hosted.implicit, "yes", "plain"),
    };
    let (port, folder) = (place.port(), hosted.folder());
    let lmtp = mailboxes.url().replacen("lmtp://127.0.0.1", "lmtp:[127.0.0.1]", 1);
    Postfix::start_with(&format!(
        "relayhost = [127.0.0.1]:{port}\nsmtp_tls_wrappermode = {wrapper}\n\
         smtp_tls_security_level = verify\nsmtp_tls_loglevel = 1\n\
         smtp_tls_verify_cert_match = {NAME}\n\
         smtp_tls_CAfile = {}\nsmtp_sasl_auth_enable = yes\n\
         smtp_sasl_mechanism_filter = {mechanisms}\nsmtp_sasl_security_options = noanonymous\n\
         smtp_sasl_password_maps = inline:{{ {{ [127.0.0.1]:{port} = {USER}:{PASSWORD} }} }}\n\
         transport_maps = inline:{{ {{ ours.example = {lmtp} }}, {{ other.example = {lmtp} }} }}\n\
         minimal_backoff_time = 1s\nmaximal_backoff_time = 2s\nqueue_run_delay = 1s\n",
        folder.join("mx.pem").display()
    ))
}

/// Panics unless the message of Postfix's client has come whole, through a login under TLS.
#[track_caller]
fn assert_relayed(delivery: &Delivery, message: &str) {
    assert_eq!((&*delivery.from, &*delivery.to), (USER, &[RECIPIENT.to_owned()][..]));
    let (above, below) = below_received_by(HOSTNAME, &delivery.content);
    let ours = String::from_utf8_lossy(&delivery.content[..delivery.content.len() - below.len()]);
    assert!(above == 0 && ours.contains(" with ESMTPSA id "), "{ours}");
    let (above, below) = below_received_by(postfix::HOSTNAME, below);
    assert_eq!((above, String::from_utf8_lossy(below)), (0, message.replace('\n', "\r\n").into()));
}

#[test]
fn postfix_submits_over_both_kinds_of_tls() {
    // Checks: M01
    require_peers!();
    let hosted = Hosted::start();
    let mailboxes = Store::tcp(Behaviour::default());
    let (own, resent) = (format!("{FIELDS}{BODY}"), format!("{RESENT}{BODY}"));
    for (tls, before) in [(Tls::Starttls, 0), (Tls::Implicit, 2)] {
        let postfix = start(&hosted, tls, &mailboxes);
        for (number, message) in [(1, &own), (2, &resent)] {
            postfix.sendmail(USER, RECIPIENT, message.as_bytes());
            postfix.drain(ARRIVAL);
            let delivery = hosted.arrived(before + number).pop().unwrap();
            assert_relayed(&delivery, message);
        }
        assert!(postfix.log().contains("Verified TLS connection established"), "{tls:?}");
    }
    assert_eq!(mailboxes.count(), 0);
    assert!(hosted.has_seen("SCRAM-SHA-256") && hosted.has_seen("PLAIN"));
}

#[test]
fn postfix_keeps_its_mail_while_the_password_is_wrong() {
    require_peers!();
    let mailboxes = Store::tcp(Behaviour::default());
    let message = format!("{FIELDS}{BODY}");
    for tls in [Tls::Starttls, Tls::Implicit] {
        let hosted = Hosted::start_with("an old one");
        let postfix = start(&hosted, tls, &mailboxes);
        postfix.sendmail(USER, RECIPIENT, message.as_bytes());
        // It has tried, and tried again.
        let refused = "SASL authentication failed; server 127.0.0.1[127.0.0.1] said: 535 5.7.8 ";
        let tried = || postfix.log().matches(refused).count() >= 2;
        assert!(wait_until(ARRIVAL, tried), "{tls:?}: {}", postfix.log());
        let log = postfix.log();
        assert!(log.contains("status=deferred") && !log.contains("status=bounced"), "{log}");
        assert_eq!(hosted.store.count(), 0);

        hosted.set_password(PASSWORD);
        postfix.drain(ARRIVAL);
        assert_relayed(&hosted.arrived(1).pop().unwrap(), &message);
    }
    assert_eq!(mailboxes.count(), 0);
}

#[test]
fn postfix_tells_a_foreign_sender_why() {
    require_peers!();
    let hosted = Hosted::start();
    let mailboxes = Store::tcp(Behaviour::default());
    let postfix = start(&hosted, Tls::Starttls, &mailboxes);
    let foreign = FIELDS.replace("joe@ours.example", "eve@other.example");
    // The first is refused for its reverse-path, the second for its From.
    for (number, sender) in ["eve@other.example", USER].into_iter().enumerate() {
        postfix.sendmail(sender, RECIPIENT, format!("{foreign}{BODY}").as_bytes());
        postfix.drain(ARRIVAL);
        let report = mailboxes.wait_for(number + 1, ARRIVAL).pop().unwrap();
        assert_eq!((&*report.from, &*report.to), ("", &[sender.to_owned()][..]));
        let text = String::from_utf8(report.content).unwrap();
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "Final-Recipient: rfc822; ann@far.example",
            "Action: failed",
            "Status: 5.7.1",
            "Diagnostic-Code: smtp; 550 5.7.1 \
             joe@ours.example may not send as <eve@other.example>",
            "Subject: hello",
        ] {
            assert!(words.contains(part), "{part}: {text}");
        }
    }
    assert_eq!((hosted.store.count(), hosted.daemon.rows().len(), mailboxes.count()), (0, 0, 2));
}
