//! One list: patterns, each with the line that says what is done.
//!
//! Promises that a pattern stands once, or else with the same action; that one which could match
//! nothing, or more than it says, is refused when it is added; and that case never counts.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;
use prefix_trie::joint::map::JointPrefixMap;

use super::Match;
use super::action::{Action, parse_action, split_word};
use crate::syntax::domain::{parse_domain, parse_name};
use crate::syntax::local_part::{local_part_fault, lookup_key};
use crate::syntax::path::Mailbox;

/// What a list is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// The client's address.
    Client,
    /// The name of HELO or EHLO.
    Hello,
    /// The reverse-path.
    Sender,
    /// The forward-path.
    Recipient,
}

impl Subject {
    /// Every subject, with the option that names its list.
    pub const NAMES: [(&str, Self); 4] = [
        ("client", Self::Client),
        ("hello", Self::Hello),
        ("sender", Self::Sender),
        ("recipient", Self::Recipient),
    ];

    /// How a reply speaks of it.
    pub(super) fn meant(self) -> &'static str {
        match self {
            Self::Client => "mail from your address",
            Self::Hello => "mail from a host of your name",
            Self::Sender => "mail from this sender",
            Self::Recipient => "mail to this recipient",
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(_, subject)| subject == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// A line of a list, without its pattern.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Rule {
    action: Action,
    line: u32,
}

/// One list.
#[derive(Clone, Debug)]
pub struct List {
    subject: Subject,
    file: String,
    networks: JointPrefixMap<IpNet, Rule>,
    /// By the pattern in lower case: `name`, `.name` for all below it, `local@name`, `local@`, and
    /// `<>`.
    texts: HashMap<Box<str>, Rule>,
    /// The actions so far, by their text: most lines of a list say the same.
    actions: HashMap<Box<str>, Action>,
}

impl PartialEq for List {
    fn eq(&self, other: &Self) -> bool {
        let same_networks = self.networks.iter().eq(other.networks.iter());
        (self.subject, &self.file, &self.texts) == (other.subject, &other.file, &other.texts)
            && same_networks
    }
}

impl List {
    /// An empty list that is read from `file`.
    pub fn new(subject: Subject, file: &str) -> Self {
        let (networks, texts) = (JointPrefixMap::new(), HashMap::new());
        Self { subject, file: file.to_owned(), networks, texts, actions: HashMap::new() }
    }

    /// What it is about.
    pub fn subject(&self) -> Subject {
        self.subject
    }

    /// The file that it was read from.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// How many patterns it has.
    pub fn len(&self) -> usize {
        self.networks.len() + self.texts.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds `pattern action [text]`, which stands on this line. The error says what would be right.
    pub fn add(&mut self, entry: &str, line: u32) -> Result<(), String> {
        let (pattern, said) = split_word(entry);
        let action = self.action(said)?;
        let rule = Rule { action, line };
        let before = match self.subject {
            Subject::Client => {
                let network = network(pattern)?;
                let before = self.networks.get(&network).cloned();
                self.networks.insert(network, rule.clone());
                before
            }
            Subject::Hello => self.texts.insert(name(pattern)?, rule.clone()),
            Subject::Sender if pattern == "<>" => self.texts.insert("<>".into(), rule.clone()),
            Subject::Sender | Subject::Recipient => {
                self.texts.insert(address(pattern)?, rule.clone())
            }
        };
        match before.filter(|before| before.action != rule.action) {
            Some(Rule { line, .. }) => Err(format!(
                "it is already at line {line} with another action; remove one of the two"
            )),
            None => Ok(()),
        }
    }

    /// Ends the adding: what was only for that is given back.
    pub fn finish(&mut self) {
        self.actions = HashMap::new();
        self.texts.shrink_to_fit();
    }

    fn action(&mut self, said: &str) -> Result<Action, String> {
        if let Some(action) = self.actions.get(said) {
            return Ok(action.clone());
        }
        let action = parse_action(self.subject, said)?;
        self.actions.insert(said.into(), action.clone());
        Ok(action)
    }

    /// What is said of a client: the longest prefix decides.
    pub(super) fn client(&self, address: IpAddr) -> Option<&Rule> {
        self.networks.get_lpm(&IpNet::from(address.to_canonical())).map(|(_, rule)| rule)
    }

    /// What is said of a name: itself, or the nearest domain above it.
    pub(super) fn name(&self, name: &str) -> Option<&Rule> {
        self.domain(&name.to_ascii_lowercase())
    }

    /// What is said of a mailbox: `local@name`, `name`, the nearest `.name` above it, `local@`.
    pub(super) fn address(&self, local_part: &str, domain: &str) -> Option<&Rule> {
        let local = lookup_key(local_part);
        let domain = domain.to_ascii_lowercase();
        let whole = format!("{local}@{domain}");
        let any = || self.texts.get(whole.get(..=local.len())?);
        self.texts.get(whole.as_str()).or_else(|| self.domain(&domain)).or_else(any)
    }

    pub(super) fn mailbox(&self, mailbox: &Mailbox) -> Option<&Rule> {
        self.address(mailbox.local_part(), mailbox.domain())
    }

    /// What is said of `<>`.
    pub(super) fn null(&self) -> Option<&Rule> {
        self.texts.get("<>")
    }

    fn domain(&self, name: &str) -> Option<&Rule> {
        let above = || name.match_indices('.').find_map(|(at, _)| self.texts.get(name.get(at..)?));
        self.texts.get(name).or_else(above)
    }

    pub(super) fn matched<'a>(&'a self, rule: &'a Rule) -> Match<'a> {
        Match { list: self, line: rule.line, action: &rule.action }
    }
}

fn network(pattern: &str) -> Result<IpNet, String> {
    let one = || pattern.parse().ok().map(|address: IpAddr| IpNet::from(address.to_canonical()));
    let Some(network) = pattern.parse::<IpNet>().ok().or_else(one) else {
        return Err(
            "write an address or a network: 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32".into()
        );
    };
    if network.trunc() != network {
        let (whole, one) = (network.trunc(), network.addr());
        return Err(format!("it has bits set after the prefix; write {whole} or {one}"));
    }
    Ok(network)
}

/// `name`, or `.name` and `*.name` for all below it, as `.name`.
fn name(pattern: &str) -> Result<Box<str>, String> {
    let lower = pattern.to_ascii_lowercase();
    let literal = lower.starts_with('[') && lower.ends_with(']');
    if literal || lower.parse::<IpAddr>().is_ok() {
        return Ok(lower.into());
    }
    let below = lower.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(&lower);
    if below.contains('*') {
        return Err("`*` begins a name as `*.`: write *.example.org".to_owned());
    }
    // Hosts give themselves names with underscores, which are no domains.
    let plain = below.strip_prefix('.').unwrap_or(below).replace('_', "x");
    match parse_name(&plain) {
        Err(why) => Err(format!("the name `{below}`: {why}")),
        Ok(_) if below.is_ascii() => Ok(below.into()),
        Ok(form) if below.starts_with('.') => Ok(format!(".{form}").into()),
        Ok(form) => Ok(form.into()),
    }
}

/// `local@domain`, `local@`, `domain`, or `.domain` and `*.domain`, as `.domain`.
fn address(pattern: &str) -> Result<Box<str>, String> {
    if pattern == "<>" {
        return Err("only senders can be `<>`".to_owned());
    }
    let Some((local, domain)) = pattern.rsplit_once('@') else {
        let below = pattern.strip_prefix('*').filter(|rest| rest.starts_with('.'));
        return match below.unwrap_or(pattern).strip_prefix('.') {
            Some(domain) => Ok(format!(".{}", domain_key(domain)?).into()),
            None => domain_key(pattern).map(Into::into),
        };
    };
    if local.contains('*') {
        return Err(format!(
            "a part of an address cannot be matched; write {domain} for all of it"
        ));
    }
    if let Some(why) = local_part_fault(local) {
        return Err(format!("the local part `{local}`: {why}"));
    }
    let domain = if domain.is_empty() { String::new() } else { domain_key(domain)? };
    Ok(format!("{}@{domain}", lookup_key(local)).into())
}

/// What a domain or an address literal is looked up by.
fn domain_key(domain: &str) -> Result<String, String> {
    let form = parse_domain(domain).map_err(|why| format!("the domain `{domain}`: {why}"))?;
    Ok(form.to_ascii_lowercase())
}
