//! Addresses: one printed form, which is read as the same mailbox.

use angarium::syntax::path::{
    DOMAIN_OCTETS_MAX, ForwardPath, Mailbox, PATH_OCTETS_MAX, ReversePath, check_domain,
    parse_forward_path, parse_reverse_path, take_path,
};
use fastrand::Rng;

use crate::Target;

pub(crate) const TARGET: Target = Target {
    name: "path",
    words: &[
        "<",
        ">",
        "@",
        "\"",
        "\\",
        "\\\"",
        "\\\\",
        ".",
        "..",
        ":",
        ",",
        "[",
        "]",
        "[192.0.2.1]",
        "[IPv6:",
        "IPv6:::1",
        "postmaster",
        "xn--",
        "_",
        "-",
        " ",
        "@one.example:",
        "é",
        "bücher",
        "例子",
        "。",
        "\u{85}",
        "\u{308}",
        "\u{7f}",
    ],
    octets_max: 1_200,
    check,
};

fn check(input: &[u8], _: &mut Rng) {
    let text = String::from_utf8_lossy(input);
    if let Ok((inside, rest)) = take_path(&text) {
        assert!(inside.len() + 2 <= PATH_OCTETS_MAX);
        assert!(text.contains(inside) && text.ends_with(rest));
        if let Ok(ForwardPath::Mailbox(mailbox)) = parse_forward_path(inside) {
            assert_eq!(parse_reverse_path(inside), Ok(ReversePath::Mailbox(mailbox.clone())));
            check_mailbox(&mailbox);
        }
    }
    if let Ok(mailbox) = text.parse::<Mailbox>() {
        check_mailbox(&mailbox);
    }
}

fn check_mailbox(mailbox: &Mailbox) {
    assert!(!mailbox.local_part().is_empty());
    assert!(!mailbox.local_part().contains(char::is_control));
    assert!(mailbox.local_part().is_ascii() || mailbox.local_part().len() <= 64);
    assert_eq!(mailbox.needs_utf8(), !mailbox.local_part().is_ascii());
    assert!(check_domain(mailbox.domain()).is_ok());
    assert!(mailbox.domain().len() <= DOMAIN_OCTETS_MAX);
    // The tag of a literal is written as IANA has it.
    let lower = mailbox.domain().to_ascii_lowercase().replace("[ipv6:", "[IPv6:");
    assert_eq!(mailbox.domain(), lower);
    let printed = mailbox.to_string();
    assert_eq!(printed.parse::<Mailbox>().as_ref(), Ok(mailbox), "{printed}");
    let again = Mailbox::new(mailbox.local_part(), mailbox.domain()).unwrap();
    assert_eq!(again.to_string(), printed);
    // A quote in front of the bracket hides nothing behind it.
    let argument = format!("<{printed}> SIZE=1");
    if printed.len() + 2 <= PATH_OCTETS_MAX {
        assert_eq!(take_path(&argument), Ok((printed.as_str(), " SIZE=1")));
    }
}
