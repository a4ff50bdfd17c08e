//! What a dialogue tells beside its outcomes.

use super::*;

fn probed(replies: &str) -> (Option<ServerReply>, Option<Outcome>) {
    let mut dialog = Dialog::new(Protocol::Lmtp, "mx.example");
    let (mut begun, mut outcome) = (false, None);
    for octets in ["220 hi\r\n", "250-hi\r\n250 PIPELINING\r\n", replies] {
        dialog.handle_input(octets.as_bytes());
        while let Some(output) = dialog.poll_output() {
            match output {
                Output::Ready if !begun => {
                    begun = true;
                    dialog.begin(Transaction::probe("a@d.example"));
                }
                Output::Finished(outcomes) => outcome = outcomes.into_iter().next(),
                _ => {}
            }
        }
    }
    (dialog.take_probe_reply(), outcome)
}

#[test]
fn a_refused_sender_says_nothing_of_the_recipient() {
    let (reply, outcome) = probed("451 4.3.0 later\r\n503 5.5.1 no\r\n250 ok\r\n");
    assert_eq!(reply, None);
    assert!(matches!(outcome, Some(Outcome::Deferred(why)) if why.contains("4.3.0 later")));
    let (reply, outcome) = probed("250 ok\r\n550 5.1.1 nobody\r\n250 ok\r\n");
    assert_eq!(reply.map(|reply| reply.code), Some(550));
    assert!(matches!(outcome, Some(Outcome::Failed(_))));
}
