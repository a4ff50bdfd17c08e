//! Whether a header section may be sent by a login, and what it lacks.
//!
//! Two readers look at each field that names a sender: a strict one, which must be able to read it
//! whole, and mail-parser, which finds what lenient programs find. All that either finds must be
//! allowed.

use mail_parser::MessageParser;

use super::address::{self, Named};
use super::header::{Changes, Field};
use super::{Rules, Unqualified};
use crate::policy::sender::{self, Check};
use crate::registry::reply::{self, Reply};

/// The fields whose addresses are qualified.
const ADDRESSES: [&str; 10] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Resent-From",
    "Resent-Sender",
    "Resent-Reply-To",
    "Resent-To",
    "Resent-Cc",
];

/// What is to be changed in a header section that `login` may send.
pub(super) fn judge(rules: &Rules, login: &str, fields: &[Field<'_>]) -> Result<Changes, Reply> {
    let own = rules.senders.own_address(login);
    let own_domain = own.as_ref().map(|own| own.domain().to_owned());
    let domain = rules.senders.login_domain.clone().or(own_domain);
    let judge = Judge { rules, login, domain: domain.unwrap_or_default() };
    let own = own.map(|own| own.to_string());
    let mut changes = Changes { domain: judge.domain.clone(), ..Changes::default() };
    let block = newest_resent_block(fields);
    if !block.is_empty() && !block.iter().any(|place| is(fields, *place, "Resent-Date")) {
        changes.resent_date = block.first().copied();
    }
    let missing = !fields.iter().any(|field| field.is("From"));
    if missing {
        changes.from = Some(own.clone().ok_or_else(|| judge.unreadable("From"))?);
    }
    match rules.senders.check {
        Check::Off => {}
        Check::Bind if block.is_empty() => judge.sender(fields, "From", "Sender", missing)?,
        Check::Bind => {
            let newest: Vec<_> =
                block.iter().filter_map(|place| fields.get(*place).copied()).collect();
            judge.sender(&newest, "Resent-From", "Resent-Sender", false)?;
        }
        Check::AddSender => {
            if judge.sender(fields, "From", "Sender", missing).is_err() {
                changes.sender = Some(own.ok_or_else(|| judge.unreadable("From"))?);
            }
        }
    }
    for (place, field) in fields.iter().enumerate() {
        let ends = judge.unqualified(field)?;
        if !ends.is_empty() {
            changes.qualify.push((place, ends));
        }
    }
    Ok(changes)
}

fn is(fields: &[Field<'_>], place: usize, name: &str) -> bool {
    fields.get(place).is_some_and(|field| field.is(name))
}

/// The places of the first Resent fields in a row in which no name comes twice.
fn newest_resent_block(fields: &[Field<'_>]) -> Vec<usize> {
    let mut block: Vec<usize> = Vec::new();
    for (place, field) in fields.iter().enumerate() {
        let name = String::from_utf8_lossy(field.name);
        let again = block.iter().any(|known| is(fields, *known, &name));
        if field.is_resent() && !again {
            block.push(place);
        } else if !block.is_empty() {
            break;
        }
    }
    block
}

struct Judge<'a> {
    rules: &'a Rules,
    login: &'a str,
    domain: String,
}

impl Judge<'_> {
    /// All mailboxes of the one field `from` must be allowed, and those of the field `sender`. Of
    /// several authors one is enough where the sender is told (RFC 5322 3.6.2).
    fn sender(
        &self,
        fields: &[Field<'_>],
        from: &str,
        sender: &str,
        missing: bool,
    ) -> Result<(), Reply> {
        let told = fields.iter().any(|field| field.is(sender));
        if told {
            self.allowed(&self.mailboxes(fields, sender)?)?;
        }
        if missing {
            return Ok(());
        }
        let authors = self.mailboxes(fields, from)?;
        let one = told && authors.iter().any(|author| self.allows(author));
        if one { Ok(()) } else { self.allowed(&authors) }
    }

    fn allowed(&self, mailboxes: &[(String, String)]) -> Result<(), Reply> {
        match mailboxes.iter().find(|mailbox| !self.allows(mailbox)) {
            Some((local, domain)) => Err(sender::refusal(self.login, &format!("{local}@{domain}"))),
            None => Ok(()),
        }
    }

    fn allows(&self, (local, domain): &(String, String)) -> bool {
        self.rules.senders.allows(self.login, local, domain)
    }

    /// What either reader finds in the one field of a name.
    fn mailboxes(&self, fields: &[Field<'_>], name: &str) -> Result<Vec<(String, String)>, Reply> {
        let mut named = fields.iter().filter(|field| field.is(name));
        let (Some(field), None) = (named.next(), named.next()) else {
            return Err(self.unreadable(name));
        };
        let strict = address::parse(field.value()).map_err(|_| self.unreadable(name))?;
        let mut found: Vec<_> = strict.into_iter().map(|one| self.whole(one)).collect();
        if found.is_empty() {
            return Err(self.unreadable(name));
        }
        for address in lenient(field.value()) {
            // It loses a quoted local part; what is left names nobody.
            if let Some((local, domain)) = address.rsplit_once('@')
                && !local.is_empty()
            {
                found.push((local.trim_matches('"').to_owned(), domain.to_owned()));
            }
        }
        Ok(found)
    }

    fn whole(&self, named: Named) -> (String, String) {
        (named.local, named.domain.unwrap_or_else(|| self.domain.clone()))
    }

    fn unreadable(&self, name: &str) -> Reply {
        let text = format!("{} must send with one {name} field that can be read", self.login);
        reply::NOT_YOUR_ADDRESS.with_text(text)
    }

    /// Where a field's addresses lack their domain. One that can't be read is left as it is.
    fn unqualified(&self, field: &Field<'_>) -> Result<Vec<usize>, Reply> {
        if !ADDRESSES.iter().any(|name| field.is(name)) {
            return Ok(Vec::new());
        }
        let named = address::parse(field.value()).unwrap_or_default();
        let bare: Vec<_> = named.into_iter().filter(|one| one.domain.is_none()).collect();
        match bare.first() {
            Some(first)
                if self.rules.unqualified == Unqualified::Refuse || self.domain.is_empty() =>
            {
                let name = String::from_utf8_lossy(field.name);
                let text = format!("the address <{}> in {name} has no domain", first.local);
                Err(reply::BAD_HEADER.with_text(text))
            }
            _ => Ok(bare.into_iter().map(|one| one.end).collect()),
        }
    }
}

/// The addresses that a lenient reader finds.
fn lenient(value: &[u8]) -> Vec<String> {
    let field = [b"From:", value, b"\r\n\r\n"].concat();
    let message = MessageParser::new().with_address_headers().parse_headers(&field);
    let from = message.as_ref().and_then(|message| message.from());
    let addresses = from.into_iter().flat_map(|from| from.iter());
    addresses.filter_map(|address| address.address().map(str::to_owned)).collect()
}
