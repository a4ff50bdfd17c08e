//! Values that are read, written and refused.

use proptest::prelude::*;

use super::*;

fn mail(words: &str) -> Result<MailParameters, Reply> {
    MailParameters::parse(words, Parameter::named)
}

fn rcpt(words: &str) -> Result<RcptParameters, Reply> {
    RcptParameters::parse(words, Parameter::named)
}

fn written(parameters: &MailParameters) -> String {
    let mut words = String::new();
    parameters.write(&mut words, |_| true);
    words.trim_start().to_owned()
}

#[test]
fn what_is_right_is_written_as_it_was_said() {
    for words in [
        "",
        "SIZE=10 BODY=BINARYMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb AUTH=e+3Dmc2@example.com",
        "BODY=7BIT RET=FULL AUTH=<>",
        "BY=120;R MT-PRIORITY=-9 REQUIRETLS HOLDFOR=60",
        "BY=-5;NT MT-PRIORITY=9 HOLDUNTIL=2030-12-24T18:00:00Z",
    ] {
        let parameters = mail(words).unwrap();
        assert_eq!(written(&parameters), words);
        let kept = serde_json::to_string(&parameters).unwrap();
        assert_eq!(serde_json::from_str::<MailParameters>(&kept).unwrap(), parameters);
    }
    for words in [
        "NOTIFY=NEVER ORCPT=rfc822;a+2Bb@d.example RRVS=2014-04-03T23:01:00Z",
        "NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=x400;/S+3DDoe/ RRVS=1970-01-01T00:00:00Z;C",
        "NOTIFY=DELAY RRVS=2014-04-03T23:01:00Z;R",
    ] {
        let parameters = rcpt(words).unwrap();
        let kept = serde_json::to_string(&parameters).unwrap();
        assert_eq!(kept, format!("\"{words}\""));
        assert_eq!(serde_json::from_str::<RcptParameters>(&kept).unwrap(), parameters);
    }
}

#[test]
fn other_spellings_are_understood() {
    assert_eq!(written(&mail("by=+9;nt body=8bitmime").unwrap()), "BODY=8BITMIME BY=9;NT");
    let held = mail("HOLDUNTIL=2030-12-24T19:00:00.25+01:00").unwrap();
    assert_eq!(written(&held), "HOLDUNTIL=2030-12-24T18:00:00Z");
    let notify = rcpt("notify=delay,success").unwrap().notify.unwrap();
    assert_eq!(notify.to_string(), "SUCCESS,DELAY");
    let original = rcpt("ORCPT=rfc822;a+2Bb@d.example").unwrap().original.unwrap();
    assert_eq!((original.address_type(), original.address().as_str()), ("rfc822", "a+b@d.example"));
    assert_eq!(
        OriginalRecipient::rfc822("a+b=c@d.example").to_string(),
        "rfc822;a+2Bb+3Dc@d.example"
    );
    assert_eq!(mail("ENVID=a+20b").unwrap().envelope_id.unwrap().decoded(), "a b");
}

#[test]
fn only_what_is_wanted_is_written() {
    let parameters = mail("SIZE=5 RET=FULL ENVID=x SMTPUTF8").unwrap();
    let mut line = "MAIL FROM:<>".to_owned();
    parameters.write(&mut line, |parameter| parameter == Parameter::EnvId);
    assert_eq!(line, "MAIL FROM:<> ENVID=x");
}

/// Bad words for MAIL, with `|` between.
const BAD_FOR_MAIL: &str = "SIZE|SIZE=|SIZE=1x|SIZE=123456789012345678901|SIZE=1 SIZE=1|BODY|\
    SMTPUTF8=1|SMTPUTF8 SMTPUTF8|RET|RET=ALL|RET=FULL RET=FULL|ENVID=|ENVID|ENVID=a=b|ENVID=+0A|\
    ENVID=+C3+A9|AUTH|AUTH=|AUTH=a@|BY=|BY=1|BY=1;|BY=1;X|BY=1;TR|BY=0;R|BY=-1;R|\
    BY=1234567890;N|BY=1.5;N|BY=;N|MT-PRIORITY|MT-PRIORITY=10|MT-PRIORITY=-10|MT-PRIORITY=+1|\
    MT-PRIORITY=-0|REQUIRETLS=|HOLDFOR=|HOLDFOR=-1|HOLDFOR=1234567890|\
    HOLDFOR=1 HOLDUNTIL=2030-12-24T18:00:00Z|HOLDUNTIL=2030-12-24|HOLDUNTIL=tomorrow|\
    HOLDUNTIL=2030-12-24T18:00:00|HOLDUNTIL=1960-12-24T18:00:00Z";

/// The same for RCPT.
const BAD_FOR_RCPT: &str = "NOTIFY|NOTIFY=|NOTIFY=NEVER,DELAY|NOTIFY=SUCCESS,|NOTIFY=ALWAYS|ORCPT|\
    ORCPT=|ORCPT=a@b.example|ORCPT=rfc822;|ORCPT=;a@b.example|ORCPT=rfc822;+0A|\
    ORCPT=rfc822;x ORCPT=rfc822;y|RRVS|RRVS=2014-04-03T23:01:00Z;X|RRVS=2014-04-03T23:01:00Z;|\
    RRVS=yesterday";

#[test]
fn what_is_wrong_is_refused() {
    for words in BAD_FOR_MAIL.split('|') {
        assert_eq!(mail(words).unwrap_err().code, 501, "{words}");
    }
    for words in BAD_FOR_RCPT.split('|') {
        assert_eq!(rcpt(words).unwrap_err().code, 501, "{words}");
    }
    let envelope_id = |octets: usize| mail(&format!("ENVID={}", "x".repeat(octets)));
    assert!(envelope_id(100).is_ok() && envelope_id(101).is_err());
    assert_eq!(mail("BODY=9BIT").unwrap_err().code, 504);
    for words in ["NOTIFY=NEVER", "FOO", "RET=FULL", "ORCPT=rfc822;x"] {
        assert_eq!(MailParameters::parse(words, |_| None).unwrap_err().code, 555, "{words}");
    }
    let misplaced = [mail("NOTIFY=NEVER").unwrap_err(), rcpt("RET=FULL").unwrap_err()];
    assert_eq!(misplaced.map(|refusal| refusal.code), [555, 555]);
}

proptest! {
    #[test]
    fn what_is_read_is_written_and_read_again(
        words in "((SIZE|BODY|RET|ENVID|AUTH|BY|MT-PRIORITY|HOLDFOR|HOLDUNTIL|REQUIRETLS|SMTPUTF8)\
                  (=[-+0-9A-Za-z;:,.@<>]{0,12})? ?){0,3}"
    ) {
        if let Ok(parameters) = mail(&words) {
            prop_assert_eq!(mail(&written(&parameters)), Ok(parameters));
        }
    }

    #[test]
    fn what_recipients_say_is_written_and_read_again(
        words in "((NOTIFY|ORCPT|RRVS)(=[-+0-9A-Za-z;:,.@<>é]{0,24})? ?){0,3}"
    ) {
        if let Ok(parameters) = rcpt(&words) {
            let mut line = String::new();
            parameters.write(&mut line, |_| true);
            prop_assert_eq!(rcpt(&line), Ok(parameters));
        }
    }
}
