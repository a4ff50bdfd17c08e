//! Nodemailer, as an application's contact form has it.

use super::{Hosted, PASSWORD, assert_submitted, run};
use crate::require_peers;

const SCRIPT: &str = "
const [port, tls, method, pass] = process.argv.slice(2);
const transport = require('nodemailer').createTransport({
  host: '127.0.0.1', port: Number(port), secure: tls === 'implicit', requireTLS: true,
  authMethod: method, auth: { user: 'joe@ours.example', pass },
  tls: { ca: require('fs').readFileSync('mx.pem'), servername: 'localhost' },
});
transport.sendMail({
  from: 'Joe <joe@ours.example>', to: 'ann@far.example', subject: tls,
  text: 'from a form\\n.\\n..\\n',
}).then(
  (sent) => console.log(sent.response),
  (fault) => { console.log(fault.code, fault.response); process.exitCode = 1; },
);
";

#[test]
fn nodemailer_submits_over_both_kinds_of_tls() {
    // Checks: M01
    require_peers!();
    let hosted = Hosted::start();
    let folder = hosted.folder();
    std::fs::write(folder.join("message"), "").unwrap();
    std::fs::write(folder.join("submit.js"), SCRIPT).unwrap();
    let send = |tls: &str, port: u16, method: &str, password: &str| {
        let port = port.to_string();
        let script = ["submit.js", &port, tls, method, password];
        // Where Debian puts it, even for a node of another maker.
        run(&folder, "env", &[&["NODE_PATH=/usr/share/nodejs", "nodejs"][..], &script].concat())
    };
    let ways = [("starttls", hosted.starttls, "PLAIN"), ("implicit", hosted.implicit, "LOGIN")];
    for (before, (tls, place, method)) in ways.into_iter().enumerate() {
        let (sent, printed) = send(tls, place.port(), method, "wrong");
        assert!(!sent && printed.starts_with("EAUTH 535 5.7.8 "), "{printed}");
        let (sent, printed) = send(tls, place.port(), method, PASSWORD);
        assert!(sent && printed.starts_with("250 2.0.0 "), "{printed}");
        let delivery = hosted.arrived(before + 1).pop().unwrap();
        let subject = format!("Subject: {tls}");
        let fields = ["From: Joe <joe@ours.example>", "To: ann@far.example", &subject];
        assert_submitted(&delivery, &fields, "from a form\r\n.\r\n..\r\n");
        assert!(hosted.has_seen(method));
    }
}
