//! The configuration: one TOML file, read whole and judged before a socket opens.
//!
//! Each option is declared once, in `config/declare.rs`; its type, reading, checks, documentation
//! and the file `conf/angarium.toml` derive from that. A reading yields a configuration that is
//! right, or every fault of the file, each with line, column and remedy; it never yields a part.
//! Unknown keys are refused. Nothing is read later: lists of recipients come with it. A running
//! daemon that reads again keeps what it has if there is any fault.

mod address;
mod check;
mod declare;
mod door;
mod environment;
mod fault;
mod option;
mod read;
mod recipients;
mod reference;
mod registry;
mod template;
mod value;
mod word;

use std::path::{Path, PathBuf};

use toml::de::DeTable;

pub use declare::{
    Access, BlockList, Config, Control, Dns, Domain, Format, Level, Listener, Log, Metrics, Probe,
    Queue, Rates, Registry, Relay, Report, Role, Route, SECTIONS, Site, Tenant, Timeout, Vrfy,
};
pub use fault::{Fault, Faults};
pub use option::{Absent, Declared, Described, Shape};
pub use reference::reference;
pub use registry::parse_registry;

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
        let name = path.display().to_string();
        let octets = match std::fs::read(path) {
            Ok(octets) => octets,
            Err(error) => {
                let message = format!("cannot be read: {error}; name a file that this user can");
                return Err(Faults(vec![Fault { file: name, line: 0, column: 0, message }]));
            }
        };
        match std::str::from_utf8(&octets) {
            Ok(text) => Self::parse(&name, text, env),
            Err(error) => {
                let before = octets.get(..error.valid_up_to()).unwrap_or_default();
                let text = String::from_utf8_lossy(before);
                let message = "this is not UTF-8; save the file in that encoding".to_owned();
                let source = Source { name: &name, text: &text };
                Err(Faults(vec![source.fault(text.len(), message)]))
            }
        }
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

    /// The domain of ours with this name, however it is written.
    #[must_use]
    pub fn domain(&self, name: &str) -> Option<&Domain> {
        let form = parse_domain(name).ok()?;
        self.domains.iter().find(|domain| domain.name == form)
    }
}

impl Default for Config {
    /// The built-in defaults, as for an empty file.
    fn default() -> Self {
        // Not input: the declarations are ours, and a test reads each of them.
        Self::parse("", "", std::iter::empty()).expect("the declared defaults can be read")
    }
}
