//! Sites that can't be reached: closed at once, looked at now and then, opened slowly.
//!
//! Promises that an outage is an event of the site: whatever waits for it stays where it is, no
//! attempt is counted, and nothing is written. A probe is a connection and a greeting without a
//! message, so that no message can keep a site shut.

use std::sync::Arc;

use super::flow::Level;
use super::job::{RouteId, SiteId};
use super::pick::Pick;
use super::site::Outage;
use super::{Scheduler, Timer};

/// How long after its first failure a site is looked at.
const PROBE_DELAY_MS: u64 = 1_000;

impl Scheduler {
    /// Ends a probe: why the site still can't be reached, or none if it answers.
    pub fn probed(&mut self, site: SiteId, failure: Option<Arc<str>>, now_ms: u64) {
        self.steps = 1;
        let Some(reply) = failure else { return self.is_back(site.0, now_ms) };
        let site = site.0;
        let Some(outage) = self.sites[site].rare().outage.as_mut() else { return };
        outage.probing = false;
        outage.probes = outage.probes.saturating_add(1);
        (outage.failed_ms, outage.reply) = (now_ms, reply);
        let probes = outage.probes;
        let probe_ms = now_ms.saturating_add(self.probe_delay_ms(probes));
        if let Some(outage) = self.sites[site].rare().outage.as_mut() {
            outage.probe_ms = probe_ms;
        }
        self.refresh(site, now_ms);
    }

    /// Closes a site, or remembers that it failed again.
    pub(super) fn close(&mut self, site: u32, route: u32, reply: Arc<str>, now_ms: u64) {
        let probe_ms = now_ms + self.probe_delay_ms(0);
        let rare = self.sites[site].rare();
        if let Some(outage) = &mut rare.outage {
            (outage.failed_ms, outage.reply) = (now_ms, reply);
            return;
        }
        rare.outage = Some(Outage {
            route,
            since_ms: now_ms,
            probe_ms,
            probes: 0,
            probing: false,
            failed_ms: now_ms,
            reply,
        });
        self.outages += 1;
        self.refresh(site, now_ms);
    }

    /// A site answers.
    pub(super) fn is_back(&mut self, site: u32, now_ms: u64) {
        if self.sites[site].outage().is_some() {
            self.outages -= 1;
            self.sites[site].reopen();
            self.refresh(site, now_ms);
        }
    }

    /// Looks at a closed site soon, if its time has come and something waits for it.
    pub(super) fn plan_probe(&mut self, site: u32, now_ms: u64) {
        let Some(route) = self.waiting_route(site) else { return };
        let Some(outage) = self.sites[site].rare().outage.as_mut() else { return };
        if !outage.probing && outage.probe_ms <= now_ms {
            (outage.probing, outage.route) = (true, route);
            outage.probe_ms = u64::MAX;
            self.probes.push_back(site);
        }
    }

    /// A route on which something waits for a site.
    fn waiting_route(&self, site: u32) -> Option<u32> {
        let mut rings = self.sites[site].rings;
        loop {
            let line = if rings.fresh.is_empty() { rings.old } else { rings.fresh };
            let flow = (!line.is_empty()).then(|| &self.flows.slab[line.head])?;
            if flow.level == Level::Stream {
                return Some(flow.route);
            }
            rings = flow.rings;
        }
    }

    pub(super) fn next_probe(&mut self) -> Option<Pick> {
        while !self.options.paused {
            let site = self.probes.pop_front()?;
            if let Some(outage) = self.sites[site].outage().filter(|outage| outage.probing) {
                return Some(Pick::Probe(SiteId(site), RouteId(outage.route)));
            }
        }
        None
    }

    /// Looks at a site at once, where an outage keeps mail from it.
    pub(super) fn hurry_probe(&mut self, site: u32, now_ms: u64) {
        let Some(rare) = &mut self.sites[site].rare else { return };
        if let Some(outage) = rare.outage.as_mut().filter(|outage| !outage.probing) {
            outage.probe_ms = now_ms;
            self.wake(now_ms, Timer::Site(site));
        }
    }

    /// How long until the next look, after so many that failed: a second, then twice as long each
    /// time, with an eighth left to chance.
    fn probe_delay_ms(&mut self, probes: u32) -> u64 {
        let delay_ms = PROBE_DELAY_MS << probes.min(20);
        let delay_ms = delay_ms.min(self.options.probe_delay_max_ms);
        delay_ms + self.random.u64(0..=delay_ms / 8)
    }
}
