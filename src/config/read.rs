//! From a parsed file to a configuration, with every fault on the way.
//!
//! A key that no section declares is a fault, never ignored: a misspelt `max_recipients` would
//! otherwise be a limit that nobody has. Options are asked for by their declarations; the
//! environment comes before the file, the file before the default.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::HandIn;
use super::address::{DomainName, File};
use super::certificate;
use super::check;
use super::credential;
use super::declare::{
    self, BlockList, Certificate, Config, Domain, Listener, Oauth, Route, SECTIONS, Tenant,
};
use super::environment::Overrides;
use super::fault::{Fault, Origin, Source, nearest};
use super::identity;
use super::option::{Declared, Described, Section, Shape};
use super::value::{Kind, Site};

/// What all sections of one reading share.
pub(super) struct Reading<'a> {
    pub(super) source: Source<'a>,
    pub(super) overrides: &'a Overrides<'a>,
    pub(super) faults: Vec<Fault>,
}

/// One section while it is read.
pub(super) struct Table<'a> {
    section: &'static Described,
    /// What the file has of it, and where it begins.
    written: Option<(&'a DeTable<'a>, Range<usize>)>,
    source: Source<'a>,
    overrides: &'a Overrides<'a>,
    faults: &'a mut Vec<Fault>,
}

impl Table<'_> {
    /// An option with a default.
    pub(super) fn default<K: Kind>(&mut self, option: &'static Declared) -> Option<K::Value> {
        self.given::<K>(option).unwrap_or_else(|| built_in::<K>(option))
    }

    /// An option that may be absent.
    pub(super) fn optional<K: Kind>(
        &mut self,
        option: &'static Declared,
    ) -> Option<Option<K::Value>> {
        match self.given::<K>(option) {
            None => Some(None),
            Some(read) => read.map(Some),
        }
    }

    /// An option that must be there.
    pub(super) fn required<K: Kind>(&mut self, option: &'static Declared) -> Option<K::Value> {
        if let Some(read) = self.given::<K>(option) {
            return read;
        }
        let (section, name, text) = (self.section.written(), option.name, option.text);
        let span = self.written.as_ref().map_or(0..0, |(_, span)| span.clone());
        let message = format!("this {section} has no `{name}`; add one, as in {name} = {text}");
        self.faults.push(Origin::File(self.source).fault(span, message));
        None
    }

    /// An option whose default is the name of this machine.
    pub(super) fn machine_name<K: Kind<Value = String>>(
        &mut self,
        option: &'static Declared,
    ) -> Option<String> {
        self.given::<K>(option).unwrap_or_else(|| Some(super::environment::machine_name()))
    }

    /// What was written for the option: `None` nothing, `Some(None)` something faulty.
    fn given<K: Kind>(&mut self, option: &'static Declared) -> Option<Option<K::Value>> {
        let faults = &mut *self.faults;
        if let Some((variable, value)) = self.overrides.find(self.section.name, option.name) {
            let origin = Origin::Variable(variable);
            return Some(K::read(value, &mut Site { option, origin, faults }));
        }
        let (table, _) = self.written.as_ref()?;
        let value = table.get(option.name)?;
        let origin = Origin::File(self.source);
        Some(K::read(value, &mut Site { option, origin, faults }))
    }
}

/// The declared default; a unit test reads all of them.
fn built_in<K: Kind>(option: &'static Declared) -> Option<K::Value> {
    let value = DeValue::parse(option.text).ok()?;
    let mut faults = Vec::new();
    let origin = Origin::Variable(option.name);
    K::read(&value, &mut Site { option, origin, faults: &mut faults })
}

/// One table of a `[[section]]`: what was read, and where from.
pub(super) struct Item<'a, T> {
    pub(super) read: Option<T>,
    pub(super) table: &'a DeTable<'a>,
    pub(super) line: usize,
}

impl<T> Item<'_, T> {
    /// Whether the key was written.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Where the value of a key stands.
    pub(super) fn span(&self, key: &str) -> Range<usize> {
        self.table.get(key).map_or(0..0, Spanned::span)
    }
}

impl<'a> Reading<'a> {
    /// Reads the whole file.
    pub(super) fn config(&mut self, root: &'a DeTable<'a>) -> Option<Config> {
        self.unknown_sections(root);
        let mut listeners = self.array::<Listener>(root);
        if listeners.is_empty() {
            let read = self.table(Some((root_of_nothing(), 0..0)), (Some(0),));
            listeners.push(Item { read, table: root_of_nothing(), line: 0 });
        }
        let certificates = self.array::<Certificate>(root);
        check::certificates(self, &certificates);
        certificate::check(self, &certificates, &listeners);
        let domains = self.array::<Domain>(root);
        let routes = self.array::<Route>(root);
        let sites = self.array::<declare::Site>(root);
        let tenants = self.array::<Tenant>(root);
        let credentials = self.array::<declare::Credential>(root);
        credential::check(self, &credentials, &domains, &routes);
        check::domains(self, &domains);
        check::sites(self, &sites, &domains, &routes);
        check::tenants(self, &tenants);
        check::listeners(self, &listeners);
        check::next_hops(self, &listeners, &domains, &routes);
        let block_lists = self.array::<BlockList>(root);
        check::block_lists(self, &block_lists);
        let issuers = self.array::<Oauth>(root);
        check::issuers(self, &issuers);
        identity::check(self, root);
        let relay = self.section(root);
        let probe = self.section(root);
        let metrics = self.section(root);
        check::relay(self, root, relay.as_ref());
        check::probe(self, root, probe.as_ref());
        check::metrics(self, root, &listeners, metrics.as_ref());
        let file = self.source.name.to_owned();
        let beside = (
            Some(file),
            all(listeners),
            all(certificates),
            all(domains),
            relay,
            self.section(root),
            all(issuers),
            self.section(root),
            self.section(root),
            self.section(root),
            all(block_lists),
            self.section(root),
            all(routes),
            all(credentials),
            all(sites),
            all(tenants),
            self.section(root),
            self.section(root),
            probe,
            self.section(root),
            self.section(root),
            self.section(root),
            self.section(root),
            self.section(root),
            metrics,
            self.section(root),
        );
        self.table(Some((root, 0..0)), beside)
    }

    /// Reads what a program needs that hands in mail, whatever the rest may be.
    pub(super) fn hand_in(&mut self, root: &'a DeTable<'a>) -> Option<HandIn> {
        let (local, control) = (self.section(root), self.section(root));
        let mut top = Table {
            section: describe::<Config>(),
            written: Some((root, 0..0)),
            source: self.source,
            overrides: self.overrides,
            faults: &mut self.faults,
        };
        let option = |name| describe::<Config>().options.iter().find(|option| option.name == name);
        let hostname = top.machine_name::<DomainName>(option("hostname")?);
        let spool = top.default::<File>(option("spool")?);
        Some(HandIn { hostname: hostname?, spool: spool?, local: local?, control: control? })
    }

    /// Reads one `[section]`.
    fn section<T: Section<Beside = ()>>(&mut self, root: &'a DeTable<'a>) -> Option<T> {
        let value = root.get(T::DESCRIBED.name);
        let written = value.and_then(|value| Some((value.get_ref().as_table()?, value.span())));
        if let Some((table, _)) = &written {
            self.unknown_keys(describe::<T>(), table);
        }
        self.table(written, ())
    }

    /// Reads every `[[section]]`.
    fn array<T: Section<Beside = (Option<usize>,)>>(
        &mut self,
        root: &'a DeTable<'a>,
    ) -> Vec<Item<'a, T>> {
        let array = root.get(T::DESCRIBED.name).and_then(|value| value.get_ref().as_array());
        let mut items = Vec::new();
        for value in array.into_iter().flat_map(|array| array.iter()) {
            let Some(table) = value.get_ref().as_table() else { continue };
            self.unknown_keys(describe::<T>(), table);
            let (line, _) = self.source.position(value.span().start);
            let read = self.table(Some((table, value.span())), (Some(line),));
            items.push(Item { read, table, line });
        }
        items
    }

    fn table<T: Section>(
        &mut self,
        written: Option<(&'a DeTable<'a>, Range<usize>)>,
        beside: T::Beside,
    ) -> Option<T> {
        let mut table = Table {
            section: describe::<T>(),
            written,
            source: self.source,
            overrides: self.overrides,
            faults: &mut self.faults,
        };
        T::read(&mut table, beside)
    }

    /// Reports keys of the top level that are neither option nor section, and sections that are
    /// written in the wrong brackets.
    fn unknown_sections(&mut self, root: &DeTable<'_>) {
        let top = describe::<Config>();
        for (key, value) in root {
            let section = SECTIONS.iter().find(|section| section.name == key.get_ref().as_ref());
            match section {
                Some(section) => self.wrong_shape(section, key, value),
                None if top.has(key.get_ref()) => {}
                None => self.unknown(top, key, is_section(value)),
            }
        }
    }

    fn wrong_shape(
        &mut self,
        section: &Described,
        key: &Spanned<DeString<'_>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        let name = section.name;
        let fits = match (section.shape, value.get_ref()) {
            (Shape::Table, DeValue::Table(_)) => true,
            (Shape::Array, DeValue::Array(list)) => list.iter().all(|e| e.get_ref().is_table()),
            _ => false,
        };
        if fits {
            return;
        }
        let written = section.written();
        let why = match (section.shape, is_section(value)) {
            (Shape::Array, true) => format!("there can be several; write {written}"),
            (_, true) => format!("there is only one; write {written}"),
            (_, false) => format!("it is a section; write {written} and its keys below"),
        };
        self.report(key.span(), format!("`{name}` is not written like this: {why}"));
    }

    fn unknown_keys(&mut self, section: &'static Described, table: &DeTable<'_>) {
        for key in table.keys().filter(|key| !section.has(key.get_ref())) {
            self.unknown(section, key, false);
        }
    }

    /// Reports a key that `section` does not have, with what was probably meant.
    fn unknown(&mut self, section: &Described, key: &Spanned<DeString<'_>>, as_section: bool) {
        let name = key.get_ref().as_ref();
        let message = if as_section {
            unknown_section(name)
        } else {
            let place = match section.shape {
                Shape::Top => "at the top level".to_owned(),
                Shape::Table | Shape::Array => format!("in {}", section.written()),
            };
            format!("unknown key `{name}` {place}; {}", meant(section, name))
        };
        self.report(key.span(), message);
    }

    /// Reports a fault of a key, wherever it was given.
    pub(super) fn report_key(
        &mut self,
        root: &DeTable<'_>,
        section: &str,
        key: &str,
        message: String,
    ) {
        let origin = match self.overrides.find(section, key) {
            Some((variable, _)) => Origin::Variable(variable),
            None => Origin::File(self.source),
        };
        let span = value_at(root, section, key).map_or(0..0, Spanned::span);
        self.faults.push(origin.fault(span, message));
    }

    /// Whether a key is given, in the file or by the environment.
    pub(super) fn gives(&self, root: &DeTable<'_>, section: &str, key: &str) -> bool {
        self.overrides.find(section, key).is_some() || value_at(root, section, key).is_some()
    }

    /// Reports a fault of the file.
    pub(super) fn report(&mut self, span: Range<usize>, message: String) {
        self.faults.push(Origin::File(self.source).fault(span, message));
    }
}

fn describe<T: Section>() -> &'static Described {
    const { &T::DESCRIBED }
}

/// A table without keys, for a section that the file does not have.
fn root_of_nothing() -> &'static DeTable<'static> {
    static NOTHING: std::sync::LazyLock<DeTable<'static>> = std::sync::LazyLock::new(DeTable::new);
    &NOTHING
}

/// All values, or `None` if one could not be read.
fn all<T>(items: Vec<Item<'_, T>>) -> Option<Vec<T>> {
    items.into_iter().map(|item| item.read).collect()
}

fn value_at<'t>(
    root: &'t DeTable<'_>,
    section: &str,
    key: &str,
) -> Option<&'t Spanned<DeValue<'t>>> {
    root.get(section)?.get_ref().as_table()?.get(key)
}

fn is_section(value: &Spanned<DeValue<'_>>) -> bool {
    match value.get_ref() {
        DeValue::Table(_) => true,
        DeValue::Array(list) => list.iter().any(|element| element.get_ref().is_table()),
        _ => false,
    }
}

fn unknown_section(name: &str) -> String {
    let sections = || SECTIONS.iter().filter(|section| section.shape != Shape::Top);
    let near = nearest(name, sections().map(|section| section.name));
    let right = match sections().find(|section| Some(section.name) == near) {
        Some(section) => format!("did you mean {}?", section.written()),
        None => {
            let known: Vec<_> = sections().map(Described::written).collect();
            format!("there are {}", known.join(", "))
        }
    };
    format!("unknown section `{name}`; {right}")
}

/// What was probably meant by a key that `section` does not have: a key of another section under
/// the same name, a near name, or else the list of what there is.
fn meant(section: &Described, name: &str) -> String {
    let elsewhere = SECTIONS.iter().find(|other| other.has(name));
    if let Some(other) = elsewhere {
        return match other.shape {
            Shape::Top => "it belongs to the top level: move it above the first section".to_owned(),
            Shape::Table | Shape::Array => {
                format!("it belongs to {}: move it there", other.written())
            }
        };
    }
    let keys = || section.options.iter().map(|option| option.name);
    match nearest(name, keys()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("its keys are {}", keys().collect::<Vec<_>>().join(", ")),
    }
}
