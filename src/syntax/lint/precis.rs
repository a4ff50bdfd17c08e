//! Which code points an identifier may hold: the classes of PRECIS (RFC 8264 8, 9).
//!
//! Derived from the properties of the Unicode version at hand, as RFC 8264 wants it, so that a script
//! that was added since its tables were made is known. Context rules are those of RFC 5892 appendix A.

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{
    CanonicalCombiningClass, DefaultIgnorableCodePoint, GeneralCategory, HangulSyllableType,
    JoiningType, NoncharacterCodePoint, Script,
};
use icu_properties::{CodePointMapData, CodePointSetData};

const ZWNJ: char = '\u{200c}';
const ZWJ: char = '\u{200d}';

/// What a code point is to an identifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// Valid in the IdentifierClass.
    Valid,
    /// Valid where its neighbours allow it: see [`is_in_context`].
    Context,
    /// A letter or digit that the IdentifierClass leaves out: it has a compatible form, or is a Jamo
    /// of old Hangul.
    Letter,
    /// Anything else.
    Disallowed,
}

/// The class of a code point.
#[must_use]
pub fn class(c: char) -> Class {
    if let Some(class) = exception(c) {
        return class;
    }
    if c.is_ascii_graphic() {
        return Class::Valid;
    }
    if matches!(c, ZWNJ | ZWJ) {
        return Class::Context;
    }
    let ignorable = CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || CodePointSetData::new::<NoncharacterCodePoint>().contains(c);
    if ignorable || !is_letter_or_digit(c) {
        return Class::Disallowed;
    }
    let nfkc = const { ComposingNormalizerBorrowed::new_nfkc() };
    let has_compatible = !nfkc.is_normalized(c.encode_utf8(&mut [0; 4]));
    if has_compatible || is_old_hangul(c) { Class::Letter } else { Class::Valid }
}

/// RFC 8264 9.6, the same as RFC 5892 2.6.
fn exception(c: char) -> Option<Class> {
    Some(match c {
        '\u{df}' | '\u{3c2}' | '\u{6fd}' | '\u{6fe}' | '\u{f0b}' | '\u{3007}' => Class::Valid,
        '\u{b7}' | '\u{375}' | '\u{5f3}' | '\u{5f4}' | '\u{30fb}' => Class::Context,
        '\u{660}'..='\u{669}' | '\u{6f0}'..='\u{6f9}' => Class::Context,
        '\u{640}' | '\u{7fa}' | '\u{302e}' | '\u{302f}' | '\u{3031}'..='\u{3035}' | '\u{303b}' => {
            Class::Disallowed
        }
        _ => return None,
    })
}

/// RFC 8264 9.1.
fn is_letter_or_digit(c: char) -> bool {
    use GeneralCategory as Category;
    matches!(
        CodePointMapData::<Category>::new().get(c),
        Category::LowercaseLetter
            | Category::UppercaseLetter
            | Category::OtherLetter
            | Category::DecimalNumber
            | Category::ModifierLetter
            | Category::NonspacingMark
            | Category::SpacingMark
    )
}

/// RFC 8264 9.9.
fn is_old_hangul(c: char) -> bool {
    matches!(
        CodePointMapData::<HangulSyllableType>::new().get(c),
        HangulSyllableType::LeadingJamo
            | HangulSyllableType::VowelJamo
            | HangulSyllableType::TrailingJamo
    )
}

/// The script of a code point.
#[must_use]
pub fn script(c: char) -> Script {
    CodePointMapData::<Script>::new().get(c)
}

/// Whether the one of class [`Class::Context`] between `before` and `after` may stand there (RFC 5892
/// appendix A.1 to A.9).
#[must_use]
pub fn is_in_context(before: &str, c: char, after: &str) -> bool {
    let (previous, next) = (before.chars().next_back(), after.chars().next());
    let any = |test: fn(char) -> bool| before.chars().chain(after.chars()).any(test);
    match c {
        ZWNJ => previous.is_some_and(is_virama) || joins(before, after),
        ZWJ => previous.is_some_and(is_virama),
        '\u{b7}' => previous == Some('l') && next == Some('l'),
        '\u{375}' => next.is_some_and(|next| script(next) == Script::Greek),
        '\u{5f3}' | '\u{5f4}' => previous.is_some_and(|before| script(before) == Script::Hebrew),
        '\u{30fb}' => {
            any(|c| matches!(script(c), Script::Hiragana | Script::Katakana | Script::Han))
        }
        '\u{660}'..='\u{669}' => !any(|c| matches!(c, '\u{6f0}'..='\u{6f9}')),
        '\u{6f0}'..='\u{6f9}' => !any(|c| matches!(c, '\u{660}'..='\u{669}')),
        _ => false,
    }
}

fn is_virama(c: char) -> bool {
    let class = CodePointMapData::<CanonicalCombiningClass>::new().get(c);
    class == CanonicalCombiningClass::Virama
}

/// Whether the letters around a zero-width non-joiner would join without it.
fn joins(before: &str, after: &str) -> bool {
    let joining = |c: &char| CodePointMapData::<JoiningType>::new().get(*c);
    let visible = |c: &char| joining(c) != JoiningType::Transparent;
    let previous = before.chars().rev().find(visible);
    let next = after.chars().find(visible);
    let left = previous.as_ref().map(joining);
    let right = next.as_ref().map(joining);
    matches!(left, Some(JoiningType::LeftJoining | JoiningType::DualJoining))
        && matches!(right, Some(JoiningType::RightJoining | JoiningType::DualJoining))
}

#[cfg(test)]
mod tests {
    use precis_core::DerivedPropertyValue as Property;
    use precis_core::{IdentifierClass, StringClass};

    use super::*;

    /// What IANA's tables, which are of Unicode 6.3, say of a code point.
    fn registered(c: char) -> Option<Class> {
        match IdentifierClass::default().get_value_from_char(c) {
            Property::PValid | Property::SpecClassPval => Some(Class::Valid),
            Property::ContextJ | Property::ContextO => Some(Class::Context),
            Property::Disallowed | Property::SpecClassDis => Some(Class::Disallowed),
            Property::Unassigned => None,
        }
    }

    #[test]
    fn classes_are_those_that_iana_has_registered() {
        let differs = |c: &char| {
            registered(*c).is_some_and(|registered| {
                let ours = class(*c);
                registered != if ours == Class::Letter { Class::Disallowed } else { ours }
            })
        };
        let assigned = ('\0'..='\u{2fa1f}').chain('\u{e0000}'..='\u{e01ef}');
        let differing: String = assigned.filter(differs).collect();
        assert_eq!(differing, "");
    }

    #[test]
    fn contexts_are_those_of_the_rules() {
        let beside = [
            '\u{94d}', 'a', 'l', 'L', 'α', 'א', 'ア', 'あ', '中', '\u{628}', '\u{627}', '\u{64b}',
            '\u{660}', '\u{6f0}', '1', '\u{a872}',
        ];
        // Alone and across a mark that lets letters join.
        let sides: Vec<(String, String)> = beside
            .iter()
            .flat_map(|c| {
                [(c.to_string(), c.to_string()), (format!("{c}\u{64b}"), format!("\u{64b}{c}"))]
            })
            .chain([(String::new(), String::new())])
            .collect();
        let allowed = |text: &str| {
            text.char_indices().all(|(at, c)| {
                let (before, rest) = text.split_at(at);
                class(c) != Class::Context || is_in_context(before, c, &rest[c.len_utf8()..])
            })
        };
        let one_a_rule = |c: &char| class(*c) == Class::Context && !c.is_numeric();
        let contextual = ('\0'..='\u{ffff}').filter(one_a_rule).chain(['\u{660}', '\u{6f0}']);
        for c in contextual {
            for (before, after) in
                sides.iter().flat_map(|(a, _)| sides.iter().map(move |(_, b)| (a, b)))
            {
                let text = format!("{before}{c}{after}");
                let registered = IdentifierClass::default().allows(&text).is_ok();
                assert_eq!(
                    allowed(&text),
                    registered,
                    "{before:?} U+{:04X} {after:?}",
                    u32::from(c)
                );
            }
        }
    }
}
