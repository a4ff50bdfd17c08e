//! Certificates in use: each replaced when its files change, and chosen by the name that a client
//! asks for.
//!
//! Promises that new files are taken only once both have rested, that files which can't be taken
//! leave the old certificate in use and are told once, and that a client always gets a certificate.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::{Certificate, Fit, Unfit};
use super::pem::{Chain, Key, Stamp};

/// The versions of a chain and of a key.
type Stamps = (Option<Stamp>, Option<Stamp>);

/// A named certificate, as its files have it.
#[derive(Debug)]
pub struct Kept {
    /// What the configuration calls it.
    pub name: String,
    chain: PathBuf,
    key: PathBuf,
    current: ArcSwap<Certificate>,
    watched: Mutex<Watched>,
}

#[derive(Debug)]
struct Watched {
    /// What was last taken or refused.
    judged: Stamps,
    /// What was there at the last look.
    seen: Stamps,
}

impl Kept {
    /// What was just read.
    ///
    /// # Errors
    /// Which file is wrong.
    pub fn new(name: &str, chain: &Chain, key: &Key) -> Result<Self, Unfit> {
        let certificate = Certificate::new(chain, key)?;
        let stamps = (chain.stamp, key.stamp);
        Ok(Self {
            name: name.to_owned(),
            chain: chain.path.clone(),
            key: key.path.clone(),
            current: ArcSwap::from_pointee(certificate),
            watched: Mutex::new(Watched { judged: stamps, seen: stamps }),
        })
    }

    /// The certificate in use.
    #[must_use]
    pub fn current(&self) -> Arc<Certificate> {
        self.current.load_full()
    }

    /// Looks at the files, and takes them if they have changed and are the same as at the last look:
    /// a pair may be half written now. Blocks on the disk. `None` where there is nothing new.
    ///
    /// # Errors
    /// Why what is new can't be taken, as a sentence.
    pub fn look(&self) -> Option<Result<Arc<Certificate>, String>> {
        let now = (Stamp::of(&self.chain), Stamp::of(&self.key));
        {
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            let rested = watched.seen == now;
            watched.seen = now;
            if !rested || watched.judged == now {
                return None;
            }
            watched.judged = now;
        }
        Some(self.read().map(|read| {
            let read = Arc::new(read);
            self.current.store(Arc::clone(&read));
            read
        }))
    }

    fn read(&self) -> Result<Certificate, String> {
        let at = |path: &PathBuf, why| format!("{}: {why}", path.display());
        let chain = Chain::read(&self.chain).map_err(|why| at(&self.chain, why))?;
        let key = Key::read(&self.key).map_err(|why| at(&self.key, why))?;
        Certificate::new(&chain, &key).map_err(|unfit| match unfit {
            Unfit::Chain(why) => at(&self.chain, why),
            Unfit::Key(why) => at(&self.key, why),
        })
    }
}

/// The certificates of a listener, in their order.
#[derive(Debug)]
pub(super) struct Choice(pub(super) Vec<Arc<Kept>>);

impl Choice {
    /// The best for a client: one whose key it can check, then one of the name that it asks for, by
    /// wildcard or exactly, then the first.
    fn choose(
        &self,
        name: Option<&str>,
        suits: impl Fn(&Certificate) -> bool,
    ) -> Option<Arc<Certificate>> {
        let mut best: Option<((bool, Fit), Arc<Certificate>)> = None;
        for kept in &self.0 {
            let certificate = kept.current();
            let rank = (suits(&certificate), name.map_or(Fit::Other, |name| certificate.fit(name)));
            if best.as_ref().is_none_or(|(before, _)| rank > *before) {
                best = Some((rank, certificate));
            }
        }
        best.map(|(_, certificate)| certificate)
    }
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let chosen = self.choose(hello.server_name(), |certificate| certificate.suits(schemes))?;
        Some(Arc::clone(&chosen.certified))
    }
}
