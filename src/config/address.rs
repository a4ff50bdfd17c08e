//! Kinds of values that name a place or a tenant: domains, mailboxes, paths, sockets, networks.
//!
//! What could be meant in two ways is refused rather than guessed: a network with bits set after
//! its prefix, a path of a socket that depends on the folder of the day. Domains get their form
//! (lower case, A-labels); the local part of a mailbox stays as it is written.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::value::{Kind, Site, Written, string};
use crate::local::folder::Ends;
use crate::net::socket::Bind;
use crate::policy::tenant;
use crate::route::next_hop::socket_path_fault;
use crate::syntax::domain::{parse_domain, parse_name};
use crate::syntax::local_part::local_part_fault;

/// A domain name, in its form.
pub(super) enum DomainName {}

impl Kind for DomainName {
    type Value = String;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<String> {
        let text = string(value, site, "a domain in quotes")?;
        checked(parse_name(text), "no domain", text, value, site)
    }
}

/// A domain name or an address literal, in its form.
pub(super) enum DomainOrLiteral {}

impl Kind for DomainOrLiteral {
    type Value = String;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<String> {
        let text = string(value, site, "a domain in quotes")?;
        checked(parse_domain(text), "no domain", text, value, site)
    }
}

/// A mailbox `local@domain`.
pub(super) enum Mailbox {}

impl Kind for Mailbox {
    type Value = String;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<String> {
        let text = string(value, site, "a mailbox in quotes")?;
        checked(parse_mailbox(text), "no mailbox", text, value, site)
    }
}

/// A mailbox, or only its local part.
pub(super) enum LocalPartOrMailbox {}

impl Kind for LocalPartOrMailbox {
    type Value = String;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<String> {
        let text = string(value, site, "a local part or a mailbox in quotes")?;
        let parsed = if text.contains('@') { parse_mailbox(text) } else { parse_local_part(text) };
        checked(parsed, "no mailbox", text, value, site)
    }
}

/// What was read, or its fault: that `text` is not what it should be, and why.
fn checked(
    parsed: Result<String, String>,
    what: &str,
    text: &str,
    value: &Written<'_>,
    site: &mut Site<'_>,
) -> Option<String> {
    parsed.map_err(|why| site.fault(value, &format!("is {what}: \"{text}\"; {why}"))).ok()
}

/// `local@domain`, its domain in its form.
fn parse_mailbox(text: &str) -> Result<String, String> {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return Err("write it with its domain, as in postmaster@example.org".to_owned());
    };
    let local =
        parse_local_part(local).map_err(|why| format!("the local part `{local}`: {why}"))?;
    let domain = parse_domain(domain).map_err(|why| format!("the domain `{domain}`: {why}"))?;
    Ok(format!("{local}@{domain}"))
}

/// A local part that mail can be sent to.
fn parse_local_part(local: &str) -> Result<String, String> {
    match local_part_fault(local) {
        Some(why) => Err(why),
        None if local.is_ascii() => Ok(local.to_owned()),
        None => {
            Err("it needs SMTPUTF8, which this version cannot send; write it in ASCII".to_owned())
        }
    }
}

/// Characters that separate a local part from a tag, or nothing for none.
pub(super) enum Separators {}

impl Kind for Separators {
    type Value = String;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<String> {
        if value.get_ref().as_str() == Some("") {
            return Some(String::new());
        }
        let text = string(value, site, "characters in quotes")?;
        // What may stand in a local part without quotes, and is no letter and no digit.
        match text.chars().find(|c| !"!#$%&'*+-/=?^_`{|}~.".contains(*c)) {
            Some(odd) => {
                let odd = odd.escape_debug();
                let right = "it must be of marks such as \"+\", \"-\" or \"=\"";
                site.fault(value, &format!("has `{odd}`; {right}"));
                None
            }
            None => Some(text.to_owned()),
        }
    }
}

/// A path of a file or folder.
pub(super) enum File {}

impl Kind for File {
    type Value = PathBuf;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<PathBuf> {
        string(value, site, "a path in quotes").map(PathBuf::from)
    }
}

/// Where systemd keeps the credentials of the service, for commands that it did not start.
const CREDENTIALS: &str = "/run/credentials/angarium.service";

/// The path of a file to be read: absolute, or `credential:NAME` for what the service manager hands
/// over (systemd.exec(5), LoadCredential=).
pub(super) fn readable(value: &Written<'_>, site: &mut Site<'_>) -> Option<PathBuf> {
    let text = string(value, site, "an absolute path in quotes")?;
    let folder = || std::env::var_os("CREDENTIALS_DIRECTORY").unwrap_or_else(|| CREDENTIALS.into());
    match place(text, || folder().into()) {
        Ok(path) => Some(path),
        Err(why) => {
            site.fault(value, &format!("cannot be \"{text}\"; {why}"));
            None
        }
    }
}

fn place(text: &str, credentials: impl FnOnce() -> PathBuf) -> Result<PathBuf, &'static str> {
    match text.strip_prefix("credential:") {
        Some("" | "." | "..") => Err("a name must follow, as in \"credential:mx.key\""),
        Some(name) if name.contains('/') => Err("the name of a credential has no `/`"),
        Some(name) => Ok(credentials().join(name)),
        None if text.starts_with('/') => Ok(text.into()),
        None => Err("the path must be absolute: it begins with `/`"),
    }
}

/// The path of a Unix socket.
pub(super) enum SocketPath {}

impl Kind for SocketPath {
    type Value = PathBuf;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<PathBuf> {
        let path = PathBuf::from(string(value, site, "an absolute path in quotes")?);
        if let Some(why) = socket_path_fault(&path) {
            site.fault(value, &format!("cannot be \"{}\"; {why}", path.display()));
            return None;
        }
        Some(path)
    }
}

/// The path of a folder that has a Unix socket in it.
pub(super) enum SocketFolder {}

impl Kind for SocketFolder {
    type Value = PathBuf;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<PathBuf> {
        let path = PathBuf::from(string(value, site, "an absolute path in quotes")?);
        let shown = path.display();
        if !path.is_absolute() {
            site.fault(value, &format!("cannot be \"{shown}\"; it must begin with `/`"));
        } else if let Some(why) = socket_path_fault(&Ends::new(path.clone()).socket()) {
            site.fault(value, &format!("cannot be \"{shown}\": a socket is in it; {why}"));
        } else {
            return Some(path);
        }
        None
    }
}

/// Where a listener is: an IP address and a port, or the path of a Unix socket.
pub(super) enum ListensOn {}

impl Kind for ListensOn {
    type Value = Bind;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Bind> {
        let Some(path) = value.get_ref().as_str().and_then(|text| text.strip_prefix("unix:"))
        else {
            return SocketAddress::read(value, site).map(Bind::Tcp);
        };
        let path = PathBuf::from(path);
        if let Some(why) = socket_path_fault(&path) {
            site.fault(value, &format!("cannot be \"unix:{}\"; {why}", path.display()));
            return None;
        }
        Some(Bind::Unix(path))
    }
}

/// An IP address and a port to listen on.
enum SocketAddress {}

impl Kind for SocketAddress {
    type Value = SocketAddr;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<SocketAddr> {
        let text = string(value, site, "an IP address with a port in quotes")?;
        if let Ok(bind) = text.parse() {
            return Some(bind);
        }
        let port = text.rsplit_once(':').map_or(text, |(_, port)| port);
        let right = match port.parse::<u16>() {
            Ok(port) => format!("\"0.0.0.0:{port}\" or \"[::]:{port}\" for every address"),
            Err(_) => "an IP address with a port, as in \"0.0.0.0:25\" or \"[::]:25\"".to_owned(),
        };
        site.fault(value, &format!("is no address to listen on: \"{text}\"; write {right}"));
        None
    }
}

/// An IP address and a port to listen on, or nothing for not at all.
pub(super) enum BindOrNot {}

impl Kind for BindOrNot {
    type Value = Option<SocketAddr>;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<Option<SocketAddr>> {
        match value.get_ref().as_str() {
            Some("") => Some(None),
            _ => SocketAddress::read(value, site).map(Some),
        }
    }
}

/// The permissions of a file, in octal digits.
pub(super) enum FileMode {}

impl Kind for FileMode {
    type Value = u32;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<u32> {
        let text = string(value, site, "permissions in quotes")?;
        let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
        if mode.is_none() {
            let right = "write them in octal, \"0660\" for the owner and the group";
            site.fault(value, &format!("has no permissions: \"{text}\"; {right}"));
        }
        mode
    }
}

/// A network in CIDR form; a bare address is a network of one.
pub(super) enum Network {}

impl Kind for Network {
    type Value = IpNet;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<IpNet> {
        let text = string(value, site, "a list of networks in quotes")?;
        let net = text
            .parse::<IpNet>()
            .ok()
            .or_else(|| text.parse().ok().map(|address: IpAddr| IpNet::from(address)));
        let Some(net) = net else {
            let right = "write \"192.0.2.0/24\", \"2001:db8::/32\" or a single address";
            site.fault(value, &format!("has no network here: \"{text}\"; {right}"));
            return None;
        };
        // 10.1.2.3/8 is either 10.0.0.0/8 or 10.1.2.3/32: not for us to guess which.
        if net.trunc() != net {
            let (whole, one) = (net.trunc(), net.addr());
            let why = format!("has \"{text}\", with bits set after the prefix");
            site.fault(value, &format!("{why}; write \"{whole}\" or \"{one}\""));
            return None;
        }
        Some(net)
    }
}

/// A tenant: an address, a /64 or a login; always by the name that it has elsewhere.
pub(super) enum TenantName {}

impl Kind for TenantName {
    type Value = String;

    fn read(value: &Written<'_>, site: &mut Site<'_>) -> Option<String> {
        let text = string(value, site, "an address or a login in quotes")?;
        match tenant::parse_name(text) {
            Ok(name) => Some(name),
            Err(why) => {
                site.fault(value, &format!("cannot be \"{text}\"; {why}"));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_is_one_file_of_the_service_manager() {
        let place = |text| place(text, || PathBuf::from("/run/credentials/x"));
        assert_eq!(place("credential:mx.key"), Ok("/run/credentials/x/mx.key".into()));
        assert_eq!(place("/etc/mx.key"), Ok("/etc/mx.key".into()));
        for wrong in ["credential:", "credential:..", "credential:../a", "mx.key", "Credential:a"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
