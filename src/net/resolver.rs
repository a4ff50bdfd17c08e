//! Questions to the DNS.
//!
//! Promises that "there is no such record" is an answer, and that everything else which is none, a
//! refusal, a broken reply or silence, is a failure in words. Answers are kept for their time to live,
//! up to a number of them; failures are not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver as Hickory, TokioResolver};

/// Whom to ask, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The servers; those of the system if there are none.
    pub servers: Vec<SocketAddr>,
    /// How long one of them may take.
    pub timeout: Duration,
    /// How often a question is asked.
    pub attempts: usize,
    /// How many answers are kept.
    pub cache_entries: u64,
}

/// A resolver with its cache.
pub struct Resolver {
    hickory: TokioResolver,
}

impl Resolver {
    /// A resolver with an empty cache. The error is a sentence for the operator.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let provider = TokioRuntimeProvider::default();
        let mut builder = if settings.servers.is_empty() {
            Hickory::builder(provider.clone()).unwrap_or_else(|_| {
                // As the C library does where there is no /etc/resolv.conf.
                let server = NameServerConfig::udp_and_tcp(IpAddr::V4(Ipv4Addr::LOCALHOST));
                Hickory::builder_with_config(of(vec![server]), provider)
            })
        } else {
            let servers = settings.servers.iter().map(server).collect();
            Hickory::builder_with_config(of(servers), provider)
        };
        let options = builder.options_mut();
        options.timeout = settings.timeout;
        // The library counts those after the first.
        options.attempts = settings.attempts.saturating_sub(1);
        options.cache_size = settings.cache_entries;
        let hickory = builder.build().map_err(|error| format!("the resolver: {error}"))?;
        Ok(Self { hickory })
    }

    /// The IPv4 addresses of a name; none if it has none. The error says why nobody knows.
    pub async fn ipv4(&self, name: &str) -> Result<Vec<Ipv4Addr>, String> {
        let of = |data: &RData| match data {
            RData::A(address) => Some(address.0),
            _ => None,
        };
        self.ask(name, RecordType::A, of).await
    }

    /// The texts of a name, each in one piece; none if it has none.
    pub async fn texts(&self, name: &str) -> Result<Vec<String>, String> {
        let of = |data: &RData| match data {
            RData::TXT(text) => Some(String::from_utf8_lossy(&text.txt_data.concat()).into_owned()),
            _ => None,
        };
        self.ask(name, RecordType::TXT, of).await
    }

    async fn ask<T>(
        &self,
        name: &str,
        kind: RecordType,
        of: impl Fn(&RData) -> Option<T>,
    ) -> Result<Vec<T>, String> {
        match self.hickory.lookup(name, kind).await {
            Ok(found) => Ok(found.answers().iter().filter_map(|record| of(&record.data)).collect()),
            Err(error) if error.is_no_records_found() => Ok(Vec::new()),
            Err(NetError::Timeout) => Err("no answer in time".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

fn of(servers: Vec<NameServerConfig>) -> ResolverConfig {
    ResolverConfig::from_parts(None, Vec::new(), servers)
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        let ConnectionConfig { port, .. } = connection;
        *port = address.port();
    }
    server
}
