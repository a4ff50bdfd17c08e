//! Kinds of values: how a text in TOML becomes a value of its type, and what is refused.
//!
//! A kind refuses with a sentence that shows the right form. Ranges come from the declaration of
//! the option, so that the sentence, the reference file and the check cannot differ. Durations
//! and sizes always carry their unit: a bare number would leave it to a guess.

use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use toml::Spanned;
use toml::de::DeValue;

use super::fault::{Fault, Origin, nearest};
use super::option::Declared;
use crate::route::limit::Rate;

/// A value as it stands in the file, with its place.
pub(super) type Written<'a> = Spanned<DeValue<'a>>;

/// The option that is being read, and where its faults go.
pub(super) struct Site<'a> {
    pub(super) option: &'static Declared,
    pub(super) origin: Origin<'a>,
    pub(super) faults: &'a mut Vec<Fault>,
}

impl Site<'_> {
    /// Reports a fault of `value`, as a sentence about the option.
    pub(super) fn fault(&mut self, value: &Written<'_>, why: &str) {
        let message = format!("`{}` {why}", self.option.name);
        self.faults.push(self.origin.fault(value.span(), message));
    }

    fn wrong_type(&mut self, value: &Written<'_>, wanted: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let example = match (self.option.text, value.get_ref()) {
            // An empty list shows nobody how one is written; what was given does.
            ("[]", DeValue::String(given)) => format!("[\"{given}\"]"),
            ("[]", _) => "[\"192.0.2.0/24\"]".to_owned(),
            (text, _) => text.to_owned(),
        };
        let name = self.option.name;
        self.fault(value, &format!("is {found}; it must be {wanted}, as in {name} = {example}"));
    }
}

/// How an option is read.
pub(super) trait Kind {
    /// What comes of it.
    type Value;

    /// The value, or `None` after its faults were reported.
    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Self::Value>;
}

/// The string of a value, or its fault.
pub(super) fn string<'v>(
    value: &'v Written<'_>,
    site: &mut Site<'_>,
    wanted: &str,
) -> Option<&'v str> {
    let text = value.get_ref().as_str();
    match text {
        Some("") => site.fault(value, &format!("is empty; it must be {wanted}")),
        None => site.wrong_type(value, wanted),
        Some(_) => {}
    }
    text.filter(|text| !text.is_empty())
}

/// The value if it lies in the range that the option declares; `parse` reads the bounds too.
fn in_range<T: PartialOrd>(
    found: T,
    parse: fn(&str) -> Option<T>,
    value: &Written<'_>,
    site: &mut Site<'_>,
) -> Option<T> {
    let Some((least, most)) = site.option.range else { return Some(found) };
    let rule = site.option.rfc.map(|rfc| format!("; see {rfc}")).unwrap_or_default();
    if parse(least).is_some_and(|least| found < least) {
        site.fault(value, &format!("is too small; it must be at least {least}{rule}"));
        return None;
    }
    if parse(most).is_some_and(|most| found > most) {
        site.fault(value, &format!("is too large; it must be at most {most}"));
        return None;
    }
    Some(found)
}

/// Any string that is not empty.
pub(super) enum Text {}

impl Kind for Text {
    type Value = String;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<String> {
        string(value, site, "a name in quotes").map(str::to_owned)
    }
}

/// `true` or `false`.
pub(super) enum Flag {}

impl Kind for Flag {
    type Value = bool;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<bool> {
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            site.wrong_type(value, "true or false without quotes");
        }
        flag
    }
}

/// A whole number.
pub(super) enum Count {}

impl Kind for Count {
    type Value = usize;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<usize> {
        let Some(integer) = value.get_ref().as_integer() else {
            site.wrong_type(value, "a whole number without quotes");
            return None;
        };
        match i128::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) => {
                let parse = |text: &str| text.parse().ok();
                let number = in_range(number, parse, value, site)?;
                usize::try_from(number).ok()
            }
            Err(_) => {
                site.fault(value, "is far too large a number");
                None
            }
        }
    }
}

/// A duration with its unit: "30s", "5m", "1h 30m", "5d".
pub(super) enum Span {}

impl Kind for Span {
    type Value = Duration;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Duration> {
        let wanted = "a duration with its unit (s, m, h or d) in quotes";
        let text = string(value, site, wanted)?;
        match humantime::parse_duration(text) {
            // "5M" is five months to the library, and five minutes to whoever wrote it.
            Ok(_) if text.contains('M') => {
                let right = text.replace('M', "m");
                site.fault(value, &format!("has `M`, months; write \"{right}\" for minutes"));
                None
            }
            Ok(span) => {
                let parse = |text: &str| humantime::parse_duration(text).ok();
                in_range(span, parse, value, site)
            }
            Err(_) => {
                let right = "write \"30s\", \"5m\", \"2h\" or \"5d\"";
                site.fault(value, &format!("is no duration: \"{text}\"; {right}"));
                None
            }
        }
    }
}

/// A size in octets with its unit: "64KiB", "50MiB".
pub(super) enum Size {}

impl Kind for Size {
    type Value = u64;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<u64> {
        let parse = |text: &str| ByteSize::from_str(text).ok().map(|size| size.as_u64());
        let text = string(value, site, "a size with its unit (KiB, MiB or GiB) in quotes")?;
        match parse(text) {
            Some(octets) => in_range(octets, parse, value, site),
            None => {
                let why =
                    format!("is no size: \"{text}\"; write \"512KiB\", \"50MiB\" or \"1GiB\"");
                site.fault(value, &why);
                None
            }
        }
    }
}

/// So many in a time: "1000/s", "600/m".
pub(super) enum PerTime {}

impl Kind for PerTime {
    type Value = Rate;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Rate> {
        match value.get_ref().as_str() {
            None | Some("") => {
                site.fault(value, &format!("is no rate in quotes; {}", Rate::FORMS));
                None
            }
            Some(_) => Parsed::<Rate>::read(value, site),
        }
    }
}

/// So many in a time, or nothing for no limit.
pub(super) enum PerTimeOrNot {}

impl Kind for PerTimeOrNot {
    type Value = Option<Rate>;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Option<Rate>> {
        match value.get_ref().as_str() {
            Some("") => Some(None),
            _ => PerTime::read(value, site).map(Some),
        }
    }
}

/// What is read by its own `FromStr`, whose error is a sentence with what would be right.
pub(super) struct Parsed<T>(PhantomData<T>);

impl<T> Kind for Parsed<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    type Value = T;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<T> {
        let text = string(value, site, "a string in quotes")?;
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(why) => {
                site.fault(value, &format!("cannot be \"{text}\"; {why}"));
                None
            }
        }
    }
}

/// A type of which the file names one of a few values.
pub(super) trait Named: Copy + 'static {
    /// Every value with its name.
    const NAMES: &'static [(&'static str, Self)];
}

/// One of a few words.
pub(super) struct OneOf<T>(PhantomData<T>);

impl<T: Named> Kind for OneOf<T> {
    type Value = T;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<T> {
        let names = || T::NAMES.iter().map(|(name, _)| *name);
        let choices = names().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
        let wanted = match T::NAMES.len() {
            1 => choices,
            _ => format!("one of {choices}"),
        };
        let text = string(value, site, &wanted)?;
        if let Some((_, found)) = T::NAMES.iter().find(|(name, _)| *name == text) {
            return Some(*found);
        }
        let right = match nearest(text, names()) {
            Some(near) => format!("did you mean \"{near}\"? It must be {wanted}"),
            None => format!("it must be {wanted}"),
        };
        site.fault(value, &format!("cannot be \"{text}\"; {right}"));
        None
    }
}

/// A list, perhaps empty.
pub(super) struct List<K>(PhantomData<K>);

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Self::Value> {
        let Some(elements) = value.get_ref().as_array() else {
            site.wrong_type(value, "a list in square brackets");
            return None;
        };
        // Every element is read before any is missed, so that each fault is reported.
        let read: Vec<_> = elements.iter().map(|element| K::read(element, site)).collect();
        read.into_iter().collect()
    }
}

/// A list of at least one.
pub(super) struct NotEmpty<K>(PhantomData<K>);

impl<K: Kind> Kind for NotEmpty<K> {
    type Value = Vec<K::Value>;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Self::Value> {
        let list = List::<K>::read(value, site)?;
        if list.is_empty() {
            let (name, text) = (site.option.name, site.option.text);
            site.fault(value, &format!("is empty; it must have an entry, as in {name} = {text}"));
            return None;
        }
        Some(list)
    }
}
