//! What of it all is run, and where plots go.

use std::path::PathBuf;

use crate::sim::scenario::Scale;

/// What counts are divided by in a quick run.
const QUICK: u64 = 10;

/// What was asked for.
pub(crate) struct Plan {
    pub(crate) quick: bool,
    /// Where plots are drawn, if they are.
    pub(crate) plots: Option<PathBuf>,
    /// Parts of the names of the figures that are wanted; none for all.
    fragments: Vec<String>,
}

impl Plan {
    /// Reads the command line; what cargo adds is passed over.
    pub(crate) fn new(arguments: &[String]) -> Self {
        let mut plots = None;
        let mut fragments = Vec::new();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--plots" => {
                    let folder = words.next().expect("--plots needs a directory");
                    plots = Some(PathBuf::from(folder));
                }
                word if !word.starts_with("--") => fragments.push(word.to_owned()),
                _ => {}
            }
        }
        if let Some(folder) = &plots {
            std::fs::create_dir_all(folder).unwrap();
        }
        let quick = arguments.iter().any(|argument| argument == "--quick");
        Self { quick, plots, fragments }
    }

    /// How large the scenarios are.
    pub(crate) fn scale(&self) -> Scale {
        Scale(if self.quick { QUICK } else { 1 })
    }

    /// Whether a figure is to be measured.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.fragments.is_empty() || self.fragments.iter().any(|part| name.contains(part.as_str()))
    }

    /// Prints a figure, if it was asked for.
    pub(crate) fn print(&self, name: &str, value: f64, unit: &str) {
        if !self.wants(name) {
            return;
        }
        let digits = match value.abs() {
            size if size >= 100.0 => 0,
            size if size >= 10.0 => 1,
            size if size >= 1.0 => 2,
            _ => 4,
        };
        println!("{}", format!("{name} = {value:.digits$} {unit}").trim_end());
    }
}
