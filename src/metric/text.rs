//! The exposition: OpenMetrics 1.0, or the older text format of Prometheus for who asks for that.
//!
//! The two differ in the names of counters and infos, in units and in the end mark. Label values and
//! help are escaped, so that a name from a configuration can't break the form.

use std::collections::HashMap;
use std::fmt::Write;

use super::kind::Family;
use super::{ALL, Metric};

/// Labels with their values.
type LabelValues = Vec<(&'static str, String)>;

/// Which text is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus 0.0.4.
    Prometheus,
}

impl Form {
    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// A text under way.
#[derive(Debug)]
pub struct Exposition {
    form: Form,
    given: HashMap<&'static str, Vec<(LabelValues, f64)>>,
    text: String,
}

impl Exposition {
    /// An empty one.
    pub fn new(form: Form) -> Self {
        Self { form, given: HashMap::new(), text: String::new() }
    }

    /// Gives a value of what is known elsewhere.
    pub fn give(&mut self, metric: &dyn Metric, labels: LabelValues, value: f64) {
        self.given.entry(metric.family().name).or_default().push((labels, value));
    }

    /// The whole text: every metric, with what was given.
    pub fn write(mut self) -> String {
        for metric in ALL {
            metric.expose(&mut self);
        }
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.into_text()
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    pub(super) fn given(&mut self, name: &'static str) -> Option<Vec<(LabelValues, f64)>> {
        self.given.remove(name)
    }

    /// The lines before the samples of a metric.
    pub(super) fn begin(&mut self, family: &Family, ty: &str) {
        // In the older form the name of a metric is that of its samples.
        let (suffix, ty) = match (self.form, ty) {
            (Form::Prometheus, "counter") => ("_total", ty),
            (Form::Prometheus, "info") => ("_info", "gauge"),
            _ => ("", ty),
        };
        let name = family.name;
        let help: String = family.help.iter().flat_map(|line| [" ", line.trim()]).collect();
        let help = escape(help.trim_start(), self.form == Form::OpenMetrics);
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name}{suffix} {help}");
        let _ = writeln!(self.text, "# TYPE {name}{suffix} {ty}");
        if self.form == Form::OpenMetrics && !family.unit.is_empty() {
            let _ = writeln!(self.text, "# UNIT {name} {}", family.unit);
        }
    }

    pub(super) fn sample(
        &mut self,
        family: &Family,
        suffix: &str,
        labels: &[(&'static str, String)],
        value: &str,
    ) {
        let _ = write!(self.text, "{}{suffix}", family.name);
        for (number, (name, text)) in labels.iter().enumerate() {
            let before = if number == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{name}=\"{}\"", escape(text, true));
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn escape(text: &str, quotes: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '"' if quotes => escaped.push_str("\\\""),
            other => escaped.push(other),
        }
    }
    escaped
}
