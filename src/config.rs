//! The configuration: one TOML file, read whole and judged before a socket opens.
//!
//! Each option is declared once, in `config/declare.rs`; its type, reading, checks, documentation
//! and the file `conf/angarium.toml` derive from that. A reading yields a configuration that is
//! right, or every fault of the file, each with line, column and remedy; it never yields a part.
//! Unknown keys are refused. Nothing is read later: lists of recipients come with it. A running
//! daemon that reads again keeps what it has if there is any fault.

mod address;
mod certificate;
mod check;
mod credential;
mod declare;
mod door;
mod environment;
mod fault;
mod identity;
mod keyword;
mod option;
mod owners;
mod read;
mod recipients;
mod reference;
mod registry;
mod senders;
mod template;
mod value;
mod word;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use declare::{
    Access, Auth, BlockList, Certificate, Config, Control, Credential, Dns, Domain, Format, Guard,
    Level, Listener, Local, Log, Metrics, Oauth, Probe, Queue, Rates, Registry, Relay, Report,
    Role, Route, SECTIONS, Site, Submission, Tenant, Timeout, Tls, Vrfy,
};
pub use fault::{Fault, Faults};
pub use option::{Absent, Declared, Described, Shape};
pub use reference::reference;
pub use registry::parse_registry;

use crate::local::folder::Ends;
use crate::syntax::domain::parse_domain;
use environment::Overrides;
use fault::Source;
use read::Reading;

impl Config {
    /// Reads the file at `path`, or the built-in defaults, and what `env` overrides.
    ///
    /// # Errors
    /// Every fault of the file, of the lists that it names and of the environment.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Faults> {
        let Some(path) = path else { return Self::parse("", "", env) };
        Self::parse(&path.display().to_string(), &read_text(path)?, env)
    }

    /// Reads `text` as the file `name`, and what `env` overrides.
    ///
    /// # Errors
    /// Every fault of the text, of the lists that it names and of the environment.
    pub fn parse(
        name: &str,
        text: &str,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Faults> {
        let source = Source { name, text };
        let mut faults = Vec::new();
        let variables = environment::ours(env);
        let overrides = Overrides::read(&variables, &mut faults);
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            // What follows from a broken table would be guesses: the syntax comes first.
            faults.extend(source.syntax(&errors));
            return Err(Faults::sorted(faults, name));
        }
        let mut reading = Reading { source, overrides: &overrides, faults };
        let config = reading.config(root.get_ref());
        match config {
            Some(config) if reading.faults.is_empty() => Ok(config),
            _ => Err(Faults::sorted(reading.faults, name)),
        }
    }

    /// The socket of the operator's commands.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.control.socket.clone().unwrap_or_else(|| self.spool.join("control"))
    }

    /// Where programs of this machine hand in mail.
    #[must_use]
    pub fn local_ends(&self) -> Ends {
        local_ends(&self.local, &self.spool)
    }

    /// What completes an address that a program of this machine gives without a domain.
    #[must_use]
    pub fn local_domain(&self) -> &str {
        self.local.domain.as_deref().unwrap_or(&self.hostname)
    }

    /// The domain of ours with this name, however it is written.
    #[must_use]
    pub fn domain(&self, name: &str) -> Option<&Domain> {
        let form = parse_domain(name).ok()?;
        self.domains.iter().find(|domain| domain.name == form)
    }
}

/// What a program needs that hands in mail. It runs as anyone, who may not read the lists that a
/// configuration names, and its mail must not wait for the repair of a section that is not its own.
#[derive(Debug, Clone, PartialEq)]
pub struct HandIn {
    /// The name of this server.
    pub hostname: String,
    spool: PathBuf,
    local: Local,
    control: Control,
}

impl HandIn {
    /// Reads the file at `path`, or the built-in defaults, and what `env` overrides.
    ///
    /// # Errors
    /// A file that can't be read, and faults of these options.
    pub fn load(
        path: Option<&Path>,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Faults> {
        let (name, text) = match path {
            Some(path) => (path.display().to_string(), read_text(path)?),
            None => (String::new(), String::new()),
        };
        let source = Source { name: &name, text: &text };
        let mut faults = Vec::new();
        let variables = environment::ours(env);
        let overrides = Overrides::read(&variables, &mut faults);
        let (root, errors) = DeTable::parse_recoverable(&text);
        if !errors.is_empty() {
            return Err(Faults::sorted(source.syntax(&errors), &name));
        }
        let mut reading = Reading { source, overrides: &overrides, faults: Vec::new() };
        let read = reading.hand_in(root.get_ref());
        read.ok_or_else(|| Faults::sorted(reading.faults, &name))
    }

    /// Where mail is handed in; `None` where it is not taken.
    #[must_use]
    pub fn ends(&self) -> Option<Ends> {
        self.local.enabled.then(|| local_ends(&self.local, &self.spool))
    }

    /// What completes an address without a domain.
    #[must_use]
    pub fn domain(&self) -> &str {
        self.local.domain.as_deref().unwrap_or(&self.hostname)
    }

    /// The largest message, in octets.
    #[must_use]
    pub fn octets_max(&self) -> u64 {
        self.local.max_message_size
    }

    /// The socket of the operator's commands.
    #[must_use]
    pub fn control_socket(&self) -> PathBuf {
        self.control.socket.clone().unwrap_or_else(|| self.spool.join("control"))
    }
}

fn local_ends(local: &Local, spool: &Path) -> Ends {
    Ends::new(local.folder.clone().unwrap_or_else(|| spool.join("local")))
}

/// The text of a configuration file.
fn read_text(path: &Path) -> Result<String, Faults> {
    let name = path.display().to_string();
    let octets = match std::fs::read(path) {
        Ok(octets) => octets,
        Err(error) => {
            let message = format!("cannot be read: {error}; name a file that this user can");
            return Err(Faults(vec![Fault { file: name, line: 0, column: 0, message }]));
        }
    };
    String::from_utf8(octets).map_err(|error| {
        let before = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let text = String::from_utf8_lossy(before);
        let message = "this is not UTF-8; save the file in that encoding".to_owned();
        let source = Source { name: &name, text: &text };
        Faults(vec![source.fault(text.len(), message)])
    })
}

impl Default for Config {
    /// The built-in defaults, as for an empty file.
    fn default() -> Self {
        // Not input: the declarations are ours, and a test reads each of them.
        Self::parse("", "", std::iter::empty()).expect("the declared defaults can be read")
    }
}
