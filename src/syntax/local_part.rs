//! Local parts as operators write and mean them: their syntax in files, and when two are the same.
//!
//! Only the final host interprets a local part (rfc5321bis 2.4). Where this server is that host, it
//! looks one up without regard to case and in NFC ([`lookup_key`]), and may take what follows a
//! separator for a tag ([`base`]). What is handed on is always what came.

use std::borrow::Cow;

use icu_normalizer::ComposingNormalizerBorrowed;

/// What a local part is looked up by: in NFC and in lower case.
#[must_use]
pub fn lookup_key(local_part: &str) -> Cow<'_, str> {
    if local_part.is_ascii() {
        return if local_part.bytes().any(|octet| octet.is_ascii_uppercase()) {
            Cow::Owned(local_part.to_ascii_lowercase())
        } else {
            Cow::Borrowed(local_part)
        };
    }
    let nfc = const { ComposingNormalizerBorrowed::new_nfc() };
    // Lower case can be without NFC, and the lower case of NFC is the same for equal texts.
    let lower = nfc.normalize(local_part).to_lowercase();
    Cow::Owned(nfc.normalize(&lower).into_owned())
}

/// The local part before the first separator, if it has one and something stands before it.
#[must_use]
pub fn base<'a>(local_part: &'a str, separators: &str) -> Option<&'a str> {
    let (base, _tag) = local_part.split_once(|c: char| separators.contains(c))?;
    (!base.is_empty()).then_some(base)
}

/// What keeps `local` from being a local part that needs no quotes (rfc5321bis 4.1.2: a
/// dot-string, with the octets of RFC 6531 allowed), if anything does.
#[must_use]
pub fn local_part_fault(local: &str) -> Option<String> {
    if local.is_empty() {
        return Some("a local part cannot be empty".to_owned());
    }
    let plain =
        |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c) || !c.is_ascii();
    if let Some(odd) = local.chars().find(|c| !plain(*c)) {
        return Some(format!("`{}` cannot stand in it", odd.escape_debug()));
    }
    if local.split('.').any(str::is_empty) {
        return Some("a dot stands between two other characters".to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use icu_normalizer::DecomposingNormalizerBorrowed;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn case_and_normal_form_do_not_count() {
        for (a, b) in [
            ("Joe", "jOE"),
            ("JOSÉ", "jose\u{301}"),
            ("ΣΊΣΥΦΟΣ", "σίσυφος"),
            ("\u{212b}ngstrom", "ångstrom"),
            ("Ǆ", "ǆ"),
        ] {
            assert_eq!(lookup_key(a), lookup_key(b), "{a} {b}");
        }
        for (a, b) in [("straße", "strasse"), ("josé", "jose"), ("ａ", "a"), ("а", "a")] {
            assert_ne!(lookup_key(a), lookup_key(b), "{a} {b}");
        }
    }

    #[test]
    fn a_tag_begins_at_the_first_separator() {
        assert_eq!(base("joe+list", "+"), Some("joe"));
        assert_eq!(base("joe+a+b", "+"), Some("joe"));
        assert_eq!(base("joe-a+b", "+-"), Some("joe"));
        assert_eq!(base("joe+", "+"), Some("joe"));
        for (whole, separators) in [("joe+list", ""), ("joe+list", "-"), ("+list", "+"), ("", "+")]
        {
            assert_eq!(base(whole, separators), None, "{whole}");
        }
    }

    proptest! {
        #[test]
        fn canonically_equal_texts_have_one_key(text in "\\PC{0,12}") {
            let nfd = const { DecomposingNormalizerBorrowed::new_nfd() };
            let (key, decomposed) = (lookup_key(&text), nfd.normalize(&text));
            prop_assert_eq!(&lookup_key(&decomposed), &key);
            prop_assert_eq!(&lookup_key(&key), &key);
        }
    }
}
