//! The registry in words and columns.

use crate::registry::change::Difference;
use crate::registry::export;
use crate::registry::extension::Extension;
use crate::registry::status::Code;

/// One line an extension.
pub(super) fn list(built_in: &[Extension], local: &[Extension]) -> String {
    let line = |entry: &Extension, method: &str| {
        let Extension { keyword, support, status, reason, .. } = entry;
        format!("{keyword:<20} {method:<9} {status:<10} {support:<8}  {reason}")
            .trim_end()
            .to_owned()
            + "\n"
    };
    let head =
        format!("{:<20} {:<9} {:<10} {:<8}  {}\n", "KEYWORD", "METHOD", "STATUS", "HERE", "WHY");
    let built_in = built_in.iter().map(|entry| line(entry, entry.method.word()));
    let local = local.iter().map(|entry| line(entry, "local"));
    std::iter::once(head).chain(built_in).chain(local).collect()
}

/// Every field that says something.
pub(super) fn entry(entry: &Extension) -> String {
    let said = export::fields(entry).filter(|(_, value)| !value.is_empty());
    said.map(|(name, value)| format!("{:<18} {value}\n", name.replace('_', " "))).collect()
}

/// One line a code.
pub(super) fn codes(codes: &[Code]) -> String {
    let head = format!("{:<10} {:<24} {:<24} {}\n", "CODE", "REFERENCES", "CONTROLLER", "NAME");
    let each = codes.iter().map(|row| {
        let Code { code, references, change_controller, name, .. } = row;
        format!("{code:<10} {references:<24} {change_controller:<24} {name}\n")
    });
    std::iter::once(head).chain(each).collect()
}

/// One line a difference: what it is, whether it may be, and why.
pub(super) fn differences(found: &[Difference]) -> String {
    if found.is_empty() {
        return "no difference\n".to_owned();
    }
    let each = found.iter().map(|difference| {
        let Difference { keyword, change, fields, possible, needs, why } = difference;
        let fields =
            if fields.is_empty() { String::new() } else { format!(" ({})", fields.join(", ")) };
        let needs: Vec<&str> = needs.iter().map(|consent| consent.word()).collect();
        let verdict = match (possible, needs.is_empty()) {
            (false, _) => "forbidden".to_owned(),
            (true, true) => "allowed".to_owned(),
            (true, false) => format!("allowed with {}", needs.join(" and ")),
        };
        format!("{keyword} {change}{fields}: {verdict}: {why}\n")
    });
    each.collect()
}
