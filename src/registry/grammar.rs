//! The grammar of what EHLO, MAIL and RCPT name (rfc5321bis 4.1.1.1, 4.1.2).
//!
//! Promises yes or no for any text, and nothing else.

/// `ehlo-keyword` and `esmtp-keyword`: letters, digits and hyphens, none of these in front.
pub fn is_keyword(text: &str) -> bool {
    let octets = text.as_bytes();
    octets.first().is_some_and(u8::is_ascii_alphanumeric)
        && octets.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-')
}

/// `ehlo-param`: printable ASCII without spaces.
pub fn is_ehlo_parameter(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic())
}

/// `esmtp-value`: the same without `=`.
pub fn is_esmtp_value(text: &str) -> bool {
    is_ehlo_parameter(text) && !text.contains('=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_what_is_written_right() {
        for keyword in ["SIZE", "8BITMIME", "MT-PRIORITY", "a", "X-"] {
            assert!(is_keyword(keyword), "{keyword}");
        }
        for other in ["", "-A", "A B", "A=1", "A_B", "\u{e4}"] {
            assert!(!is_keyword(other), "{other}");
        }
        assert!(is_ehlo_parameter("RCPTMAX=100") && !is_esmtp_value("RCPTMAX=100"));
        assert!(is_esmtp_value("<a@b.example>") && !is_esmtp_value(""));
        assert!(!is_ehlo_parameter("a b") && !is_ehlo_parameter("\u{e4}"));
    }
}
