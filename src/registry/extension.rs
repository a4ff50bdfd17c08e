//! The SMTP service extensions that this server offers, as rows of the IANA registry.
//!
//! Promises that EHLO is generated from this table, that MAIL and RCPT parameters belong to a row,
//! and that each row has the fields that rfc5321bis 8.1.1.3 asks for. A keyword that is not here
//! cannot be offered.

/// How an entry came into the registry (rfc5321bis 8.1.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RegMethod {
    /// Model 1: IETF review and approval.
    Ietf,
    /// Model 2: first come, first served.
    Fcfs,
    /// Registered before either model, and immutable.
    Legacy,
}

/// A parameter of MAIL or RCPT.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Parameter {
    /// MAIL SIZE=octets (RFC 1870 3).
    Size,
    /// MAIL BODY=7BIT or 8BITMIME (RFC 6152 2).
    Body,
}

/// One registered service extension.
#[derive(Clone, Copy, Debug)]
pub struct Extension {
    /// The EHLO keyword.
    pub keyword: &'static str,
    /// What it does, and its impact.
    pub description: &'static str,
    /// The defining document.
    pub reference: &'static str,
    /// How it was registered.
    pub method: RegMethod,
    /// Whom to ask.
    pub contact: &'static str,
    /// Who may change the entry.
    pub change_controller: &'static str,
    /// The parameters it adds to MAIL, by name.
    pub mail_parameters: &'static [(&'static str, Parameter)],
    /// The EHLO parameter, where one is sent.
    pub ehlo_parameter: EhloParameter,
}

/// What follows the keyword in the EHLO reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EhloParameter {
    /// Nothing.
    None,
    /// The largest message accepted, in octets (RFC 1870 4).
    MaxMessageOctets,
}

const fn ietf(
    keyword: &'static str,
    description: &'static str,
    reference: &'static str,
) -> Extension {
    Extension {
        keyword,
        description,
        reference,
        method: RegMethod::Ietf,
        contact: "IETF",
        change_controller: "IETF",
        mail_parameters: &[],
        ehlo_parameter: EhloParameter::None,
    }
}

/// The extensions offered, in the order of the EHLO reply.
pub const OFFERED: &[Extension] = &[
    ietf("PIPELINING", "commands may come in batches", "RFC 2920"),
    Extension {
        mail_parameters: &[("SIZE", Parameter::Size)],
        ehlo_parameter: EhloParameter::MaxMessageOctets,
        ..ietf("SIZE", "messages of declared and limited size", "RFC 1870")
    },
    Extension {
        mail_parameters: &[("BODY", Parameter::Body)],
        ..ietf("8BITMIME", "content with the eighth bit set, passed on unchanged", "RFC 6152")
    },
    ietf("ENHANCEDSTATUSCODES", "replies carry class.subject.detail", "RFC 2034"),
    ietf("HELP", "lists the commands", "rfc5321bis 4.1.1.8"),
];

/// The lines of the EHLO reply after the first.
pub fn ehlo_lines(max_message_octets: u64) -> impl Iterator<Item = String> {
    OFFERED.iter().map(move |extension| match extension.ehlo_parameter {
        EhloParameter::None => extension.keyword.to_owned(),
        EhloParameter::MaxMessageOctets => format!("{} {max_message_octets}", extension.keyword),
    })
}

/// The MAIL parameter called `name` in any letter case, if an offered extension has it.
pub fn mail_parameter(name: &str) -> Option<Parameter> {
    OFFERED
        .iter()
        .flat_map(|extension| extension.mail_parameters)
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|&(_, parameter)| parameter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_unique_and_well_formed() {
        for (index, extension) in OFFERED.iter().enumerate() {
            let keyword = extension.keyword.as_bytes();
            assert!(keyword.first().is_some_and(u8::is_ascii_alphanumeric));
            assert!(keyword.iter().all(|octet| octet.is_ascii_alphanumeric() || *octet == b'-'));
            let same = |other: &Extension| other.keyword.eq_ignore_ascii_case(extension.keyword);
            assert_eq!(OFFERED.iter().position(same), Some(index));
            assert!(!extension.reference.is_empty() && !extension.change_controller.is_empty());
        }
    }

    #[test]
    fn ehlo_tells_the_size() {
        assert!(ehlo_lines(1000).any(|line| line == "SIZE 1000"));
        assert_eq!(mail_parameter("body"), Some(Parameter::Body));
        assert_eq!(mail_parameter("RET"), None);
    }
}
