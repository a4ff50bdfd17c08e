//! The registry as files for other programs: TOML, JSON, CSV, and the columns that IANA publishes.
//!
//! Promises that TOML reads back to the same entries, and that IANA's form has its columns in their
//! order and no entry that is not registered.

use super::extension::Extension;
use super::file::{About, File};
use super::word::words;

words! {
    /// The form of an export.
    Format {
        /// As the table is written.
        Toml = "toml",
        /// One object.
        Json = "json",
        /// All fields, a line an entry.
        Csv = "csv",
        /// IANA's columns as CSV, the registered entries alone.
        Iana = "iana",
    }
}

/// IANA's columns, in their order.
const IANA_COLUMNS: [&str; 12] = [
    "EHLO Keyword",
    "Description",
    "Reference",
    "EHLO Parameters",
    "Additional Verbs",
    "MAIL/RCPT Parameter Values",
    "RegMethod",
    "Message Submission Use and Values",
    "Length Added",
    "Note",
    "Contact",
    "Change Controller",
];

/// Writes a file in a format.
///
/// # Errors
/// What the writer of the format says.
pub fn export(file: &File, format: Format) -> Result<String, String> {
    match format {
        Format::Toml => toml::to_string(file).map_err(|error| error.to_string()),
        Format::Json => serde_json::to_string_pretty(file)
            .map(|text| text + "\n")
            .map_err(|error| error.to_string()),
        Format::Csv => csv(&FIELDS.map(|(name, _)| name), file.extensions.iter().map(all_fields)),
        Format::Iana => {
            let registered = file.extensions.iter().filter(|entry| !entry.is_bilateral());
            csv(&IANA_COLUMNS, registered.map(|entry| iana(entry, file.about.as_ref())))
        }
    }
}

fn csv<const N: usize>(
    header: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> Result<String, String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let written = writer
        .write_record(header)
        .and_then(|()| rows.into_iter().try_for_each(|row| writer.write_record(row)));
    written.map_err(|error| error.to_string())?;
    let octets = writer.into_inner().map_err(|error| error.to_string())?;
    String::from_utf8(octets).map_err(|error| error.to_string())
}

type Field = fn(&Extension) -> String;

/// All fields, as a file writes them.
const FIELDS: [(&str, Field); 17] = [
    ("keyword", |entry| entry.keyword.clone()),
    ("description", |entry| entry.description.clone()),
    ("status", |entry| entry.status.to_string()),
    ("references", |entry| entry.references.join("; ")),
    ("reg_method", |entry| entry.method.to_string()),
    ("contact", |entry| entry.contact.clone()),
    ("change_controller", |entry| entry.change_controller.clone()),
    ("note", |entry| entry.note.clone()),
    ("ehlo_parameters", |entry| entry.ehlo_parameters.clone()),
    ("verbs", |entry| entry.verbs.join("; ")),
    ("mail_parameters", |entry| entry.mail_parameters.join("; ")),
    ("rcpt_parameters", |entry| entry.rcpt_parameters.join("; ")),
    ("length_added", lengths),
    ("iana_submission", |entry| entry.iana_submission.clone()),
    ("submission_rfc", |entry| entry.submission_rfc.clone()),
    ("support", |entry| entry.support.to_string()),
    ("reason", |entry| entry.reason.clone()),
];

/// The names of all fields with their values as text, in the order of a file.
pub fn fields(entry: &Extension) -> impl Iterator<Item = (&'static str, String)> {
    FIELDS.iter().map(move |(name, value)| (*name, value(entry)))
}

fn all_fields(entry: &Extension) -> [String; 17] {
    FIELDS.map(|(_, value)| value(entry))
}

fn lengths(entry: &Extension) -> String {
    let each = entry.length_added.iter().map(|(verb, octets)| format!("{verb} {octets}"));
    each.collect::<Vec<_>>().join("; ")
}

fn iana(entry: &Extension, about: Option<&About>) -> [String; 12] {
    let references = entry.references.iter().map(|name| format!("[{}]", document(name, about)));
    let mail = entry.mail_parameters.iter().map(|form| format!("MAIL: {form}"));
    let rcpt = entry.rcpt_parameters.iter().map(|form| format!("RCPT: {form}"));
    [
        entry.keyword.clone(),
        entry.description.clone(),
        references.collect(),
        entry.ehlo_parameters.clone(),
        entry.verbs.join("; "),
        mail.chain(rcpt).collect::<Vec<_>>().join("; "),
        entry.method.to_string(),
        entry.iana_submission.clone(),
        lengths(entry),
        entry.note.clone(),
        entry.contact.clone(),
        entry.change_controller.clone(),
    ]
}

/// What a reference is called now.
pub fn document<'a>(name: &'a str, about: Option<&'a About>) -> &'a str {
    match about {
        Some(about) if name == "rfc5321bis" => &about.rfc5321bis,
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::super::extension::{find, table};
    use super::super::{change, file};
    use super::*;

    #[test]
    fn toml_reads_back_to_the_same() {
        let text = export(table(), Format::Toml).unwrap();
        let again = file::parse_table(&text).unwrap();
        assert_eq!(&again, table());
        assert_eq!(change::diff(&table().extensions, &again.extensions), []);
    }

    #[test]
    fn json_has_every_entry() {
        let text = export(table(), Format::Json).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let entries = value["extension"].as_array().unwrap();
        assert_eq!(entries.len(), 37);
        assert_eq!(entries[8]["length_added"]["MAIL"], 26);
        assert_eq!(entries[8]["reg_method"], "IETF");
    }

    #[test]
    fn iana_has_its_columns_and_no_other_entries() {
        let text = export(table(), Format::Iana).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(reader.headers().unwrap(), IANA_COLUMNS.as_slice());
        let rows: Vec<csv::StringRecord> = reader.records().collect::<Result<_, _>>().unwrap();
        assert_eq!(rows.len(), 35);
        let vrfy = rows.iter().find(|row| &row[0] == "VRFY").unwrap();
        assert_eq!(&vrfy[2], "[RFC-ietf-emailcore-rfc5321bis-44]");
        assert_eq!((&vrfy[4], &vrfy[6], &vrfy[8]), ("VRFY mailbox", "IETF", "VRFY 0"));
        let size = rows.iter().find(|row| &row[0] == "SIZE").unwrap();
        assert_eq!((&size[5], &size[7], &size[11]), ("MAIL: SIZE=1*20DIGIT", "MAY", "IETF"));
    }

    #[test]
    fn csv_has_all_fields() {
        let text = export(table(), Format::Csv).unwrap();
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let names = reader.headers().unwrap().clone();
        let written: Vec<&str> = fields(find("SIZE").unwrap()).map(|(name, _)| name).collect();
        assert_eq!(names, written);
        assert_eq!(written, file::KEYS, "what is read and what is written are the same fields");
        assert_eq!(reader.records().count(), 37);
    }
}
