//! The rules of the registry (rfc5321bis 8.1.1): what an entry must carry.
//!
//! Pure functions over entries. A fault names the field that it is of.

use super::extension::{Extension, RegMethod, Support, head};
use super::grammar;

/// What is wrong with an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The field, as a file writes it.
    pub field: &'static str,
    /// What is wrong, and what would be right.
    pub why: String,
}

fn fault(field: &'static str, why: impl Into<String>) -> Option<Fault> {
    Some(Fault { field, why: why.into() })
}

/// What is wrong with an entry whatever others there are.
pub fn faults_alone(entry: &Extension) -> Vec<Fault> {
    let mut faults = Vec::new();
    faults.extend(missing(entry));
    faults.extend(model(entry));
    faults.extend(forms(entry));
    faults.extend(promise(entry));
    faults
}

/// Every model asks for these (rfc5321bis 8.1.1.3).
fn missing(entry: &Extension) -> impl Iterator<Item = Fault> {
    let keyword = if grammar::is_keyword(&entry.keyword) {
        None
    } else {
        fault("keyword", "must be letters, digits and hyphens, beginning with no hyphen")
    };
    let needed = [
        ("description", &entry.description, "say what it does, and its impact"),
        ("contact", &entry.contact, "say whom to ask"),
        ("change_controller", &entry.change_controller, "say who may change the entry"),
    ];
    let needed = needed
        .into_iter()
        .filter(|(_, value, _)| value.trim().is_empty())
        .filter_map(|(field, _, right)| fault(field, format!("must be there: {right}")));
    keyword.into_iter().chain(needed)
}

/// An entry of the IETF has its document, and belongs to the IETF.
fn model(entry: &Extension) -> impl Iterator<Item = Fault> {
    let ietf = entry.method == RegMethod::Ietf;
    let reference = (ietf && !has_rfc(entry))
        .then(|| fault("references", "must name an RFC: the entry is the IETF's"));
    let controller =
        (ietf && !entry.change_controller.is_empty() && entry.change_controller != "IETF")
            .then(|| fault("change_controller", "must be \"IETF\": the entry is the IETF's"));
    [reference, controller].into_iter().flatten().flatten()
}

/// Whether an entry refers to a document of the IETF.
pub fn has_rfc(entry: &Extension) -> bool {
    entry.references.iter().any(|name| name.to_ascii_uppercase().starts_with("RFC"))
}

/// Names of verbs and parameters are keywords, and none comes twice.
fn forms(entry: &Extension) -> Vec<Fault> {
    let fields = [
        ("verbs", &entry.verbs),
        ("mail_parameters", &entry.mail_parameters),
        ("rcpt_parameters", &entry.rcpt_parameters),
    ];
    let mut faults = Vec::new();
    for (field, forms) in fields {
        for (index, form) in forms.iter().enumerate() {
            let name = head(form);
            if !grammar::is_keyword(name) {
                faults.extend(fault(field, format!("`{form}` begins with no name")));
            }
            if forms.iter().take(index).any(|other| head(other).eq_ignore_ascii_case(name)) {
                faults.extend(fault(field, format!("`{name}` is there twice")));
            }
        }
    }
    for verb in entry.length_added.keys().filter(|verb| !grammar::is_keyword(verb)) {
        faults.extend(fault("length_added", format!("`{verb}` is no verb")));
    }
    faults
}

/// What is offered says how much longer it makes the lines of commands (rfc5321bis 2.2.1).
fn promise(entry: &Extension) -> Vec<Fault> {
    if entry.support != Support::Offered {
        return Vec::new();
    }
    let adds = [("MAIL", &entry.mail_parameters), ("RCPT", &entry.rcpt_parameters)];
    let unsaid = adds
        .into_iter()
        .filter(|(verb, forms)| !forms.is_empty() && !entry.length_added.contains_key(*verb))
        .filter_map(|(verb, _)| fault("length_added", format!("must say how much {verb} grows")));
    let reason = entry.reason.is_empty().then(|| fault("reason", "must be there")).flatten();
    unsaid.chain(reason).collect()
}
