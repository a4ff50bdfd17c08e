//! Whether an address is one that mail systems and people can handle.
//!
//! After draft-ietf-mailmaint-smtputf8-syntax (rules for mail systems; broken: an error) and
//! draft-ietf-mailmaint-interoperable-addresses (rules for addresses that people are given; broken: a
//! warning). Beyond the first draft's rule of one script, Chinese, Japanese and Korean may mix theirs,
//! as its later versions have it, and code points that are never seen are refused, letters or not.
//! What is no address at all (rfc5321bis 4.1.2, RFC 6531 3.3) is an error too. Promises to name each
//! broken rule once, with the first code point that breaks it.

pub mod precis;

use std::collections::BTreeSet;

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::CodePointMapData;
use icu_properties::props::{BidiClass, Script};

use super::domain::{a_labels, check_domain, parse_domain};
use super::local_part::local_part_fault;
use super::mailbox::take_quoted;
use precis::{Class, class, is_in_context, script};

/// What an address breaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// It has the form of an address.
    Syntax,
    /// No atom is an A-label.
    ALabel,
    /// Only letters, digits, ASCII and joiners.
    CodePoints,
    /// Some code points only beside others.
    Context,
    /// One script beside ASCII.
    Scripts,
    /// DNS can hold the domain.
    Idna,
    /// Plain ASCII passes the address fields of web forms.
    TypeEmail,
    /// Only code points of the PRECIS IdentifierClass.
    IdentifierClass,
    /// Normalization Form C.
    Nfc,
    /// Right-to-left letters mix only with digits.
    Direction,
    /// One script in all, or one that people mix with ASCII.
    OneScript,
    /// A local part of 64 octets (rfc5321bis 4.5.3.1.1).
    Length,
}

/// Rule, name, whether it is for mail systems, and what it says.
const RULES: [(Rule, &str, bool, &str); 12] = [
    (Rule::Syntax, "syntax", true, "it is no address"),
    (Rule::ALabel, "a-label", true, "an A-label is for the wire; write what it stands for"),
    (Rule::CodePoints, "code-points", true, "no letter, digit, joiner or ASCII character"),
    (Rule::Context, "context", true, "it may not stand beside these code points"),
    (Rule::Scripts, "scripts", true, "a second script beside ASCII"),
    (Rule::Idna, "idna", false, "the domain has no A-label, so DNS cannot hold it"),
    (Rule::TypeEmail, "type-email", false, "address fields of web forms refuse it"),
    (Rule::IdentifierClass, "identifier-class", false, "not in the PRECIS IdentifierClass"),
    (Rule::Nfc, "nfc", false, "not in Normalization Form C"),
    (Rule::Direction, "direction", false, "left-to-right letters beside right-to-left ones"),
    (Rule::OneScript, "one-script", false, "a script that people do not mix with the others"),
    (Rule::Length, "length", false, "the local part is longer than 64 octets"),
];

impl Rule {
    fn row(self) -> (&'static str, bool, &'static str) {
        let row = RULES.iter().find(|(rule, ..)| *rule == self);
        row.map_or(("", true, ""), |&(_, name, system, says)| (name, system, says))
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().0
    }

    /// Whether mail systems may refuse what breaks it; otherwise it makes people trouble.
    #[must_use]
    pub fn is_error(self) -> bool {
        self.row().1
    }
}

/// A rule that an address breaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The rule.
    pub rule: Rule,
    /// The first code point that breaks it, where it is one.
    pub code_point: Option<char>,
    /// What is wrong.
    pub why: String,
}

/// The rules that an address breaks, in the order of [`Rule`]; none if it is fine.
#[must_use]
pub fn lint(address: &str) -> Vec<Finding> {
    let parts = split(address);
    let mut findings = Findings(Vec::new());
    if let Err(why) = &parts {
        findings.0.push(Finding { rule: Rule::Syntax, code_point: None, why: why.clone() });
    }
    for_systems(address, &mut findings);
    // People's rules ask for the parts, and an error says enough.
    if let (Ok(parts), true) = (&parts, findings.0.is_empty()) {
        for_people(address, parts, &mut findings);
    }
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn code_point(&mut self, rule: Rule, code_point: Option<char>) {
        if code_point.is_some() {
            self.0.push(Finding { rule, code_point, why: rule.row().2.to_owned() });
        }
    }

    fn check(&mut self, rule: Rule, kept: bool) {
        if !kept {
            self.0.push(Finding { rule, code_point: None, why: rule.row().2.to_owned() });
        }
    }
}

struct Parts<'a> {
    local_part: &'a str,
    quoted: bool,
    domain: &'a str,
}

/// The local part, quoted or not, and the domain; the error says why there are none.
fn split(address: &str) -> Result<Parts<'_>, String> {
    let quoted = address.starts_with('"');
    let (local_part, domain) = match address.strip_prefix('"') {
        Some(inside) => {
            let (local_part, rest) = take_quoted(inside).map_err(|error| error.0.to_owned())?;
            if local_part.is_empty() {
                return Err("a local part cannot be empty".to_owned());
            }
            let octets = address.len() - rest.len();
            (address.get(..octets).unwrap_or(address), rest.strip_prefix('@'))
        }
        None => match address.rsplit_once('@') {
            Some((local_part, domain)) => (local_part, Some(domain)),
            None => (address, None),
        },
    };
    let domain = domain.ok_or("there is no `@` with a domain behind it")?;
    if let (false, Some(why)) = (quoted, local_part_fault(local_part)) {
        return Err(format!("the local part: {why}"));
    }
    match domain_fault(domain) {
        Some(why) => Err(format!("the domain: {why}")),
        None => Ok(Parts { local_part, quoted, domain }),
    }
}

/// What keeps a domain from being one. That of another script may have no A-label, which is a rule of
/// its own.
fn domain_fault(domain: &str) -> Option<String> {
    if domain.is_ascii() || a_labels(domain).is_some_and(|form| check_domain(&form).is_err()) {
        return parse_domain(domain).err();
    }
    domain.split('.').any(str::is_empty).then(|| "it has an empty label".to_owned())
}

/// The atoms that an address is made of.
fn atoms(address: &str) -> impl Iterator<Item = &str> {
    address.split(['.', '@', '"', ' ']).filter(|atom| !atom.is_empty())
}

/// draft-ietf-mailmaint-smtputf8-syntax, section "Rules".
fn for_systems(address: &str, findings: &mut Findings) {
    let is_a_label =
        |atom: &str| atom.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--"));
    findings.check(Rule::ALabel, !atoms(address).any(is_a_label));
    let odd = address.chars().find(|&c| c != ' ' && class(c) == Class::Disallowed);
    findings.code_point(Rule::CodePoints, odd);
    let out_of_context = atoms(address).find_map(|atom| {
        let misplaced = |&(at, c): &(usize, char)| {
            let (before, rest) = atom.split_at(at);
            let after = rest.get(c.len_utf8()..).unwrap_or("");
            class(c) == Class::Context && !is_in_context(before, c, after)
        };
        atom.char_indices().find(misplaced).map(|(_, c)| c)
    });
    findings.code_point(Rule::Context, out_of_context);
    let foreign = || address.chars().filter(|c| !c.is_ascii());
    findings.code_point(Rule::Scripts, second_script(foreign(), &MIXED));
}

/// Scripts that are one script to those who write them: Chinese, Japanese, Korean.
const MIXED: [&[Script]; 3] = [
    &[Script::Han, Script::Bopomofo],
    &[Script::Han, Script::Hiragana, Script::Katakana],
    &[Script::Han, Script::Hangul],
];

/// The first code point by which a text needs more than one script, or more than one of the sets.
/// Common and inherited code points go with every script.
fn second_script(text: impl Iterator<Item = char>, mixed: &[&[Script]]) -> Option<char> {
    let mut scripts: BTreeSet<Script> = BTreeSet::new();
    for c in text {
        let script = script(c);
        if matches!(script, Script::Common | Script::Inherited) {
            continue;
        }
        scripts.insert(script);
        let together = |set: &&[Script]| scripts.iter().all(|script| set.contains(script));
        if scripts.len() > 1 && !mixed.iter().any(together) {
            return Some(c);
        }
    }
    None
}

/// draft-ietf-mailmaint-interoperable-addresses, section "Rules for interoperable email addresses".
fn for_people(address: &str, parts: &Parts<'_>, findings: &mut Findings) {
    let ascii = address.is_ascii();
    findings.check(Rule::Idna, ascii || a_labels(parts.domain).is_some());
    findings.check(Rule::TypeEmail, !ascii || is_type_email(parts));
    let odd = address.chars().find(|&c| class(c) == Class::Letter);
    findings.code_point(Rule::IdentifierClass, odd);
    findings.code_point(Rule::Nfc, not_composed(address));
    findings.code_point(Rule::Direction, left_among_right(address));
    findings.code_point(Rule::OneScript, unreadable(parts, address));
    findings.check(Rule::Length, parts.local_part.len() <= 64);
}

/// The first code point with which a text is no longer in NFC.
fn not_composed(text: &str) -> Option<char> {
    let nfc = const { ComposingNormalizerBorrowed::new_nfc() };
    let (_, rest) = nfc.split_normalized(text);
    let ends_nfc = |&(at, c): &(usize, char)| {
        rest.get(..at + c.len_utf8()).is_some_and(|begin| !nfc.is_normalized(begin))
    };
    rest.char_indices().find(ends_nfc).map(|(_, c)| c)
}

/// The grammar of the WHATWG's `input type=email`, for what has been found to be an address: no
/// quotes and no address literal.
fn is_type_email(parts: &Parts<'_>) -> bool {
    !parts.quoted && !parts.domain.starts_with('[')
}

/// The first left-to-right code point of a text that has right-to-left ones.
fn left_among_right(text: &str) -> Option<char> {
    let direction = |c: char| CodePointMapData::<BidiClass>::new().get(c);
    let right = |c| matches!(direction(c), BidiClass::RightToLeft | BidiClass::ArabicLetter);
    let left = |c: &char| direction(*c) == BidiClass::LeftToRight;
    if text.chars().any(right) { text.chars().find(left) } else { None }
}

/// What makes an address hard to read where it is not plain ASCII: rule 6, by its three exits.
fn unreadable(parts: &Parts<'_>, address: &str) -> Option<char> {
    let foreign = address.chars().filter(|c| !c.is_ascii());
    let only_han = second_script(foreign.chain(['中']), &[]).is_none();
    if address.is_ascii() || only_han {
        return None;
    }
    if parts.local_part.is_ascii() {
        return second_script(parts.domain.chars(), &[]);
    }
    second_script(address.chars(), &[])
}
