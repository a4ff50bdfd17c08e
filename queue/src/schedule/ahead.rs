//! What the next steps will read, fetched while others are made: with a million jobs nearly nothing
//! is in the cache, and a walk from a site to its next job waits for memory at each step.
//!
//! Promises to change nothing but the speed.

use super::Scheduler;
use super::slab::NONE;

impl Scheduler {
    /// Fetches a route and the stream that got a job of it last, which is told.
    pub(super) fn fetch_route(&self, route: u32) -> u32 {
        let latest = self.latest[route].0;
        self.routes.prefetch(route);
        self.flows.slab.prefetch(latest);
        latest
    }

    /// Fetches what the next picks will read while this one is made: of the third site after this
    /// one its line, of the second its stream, of the first its route and job. What leads there was
    /// fetched by the picks before.
    pub(super) fn look_ahead(&self, site: u32) {
        let first = self.sites[site].next();
        if first == NONE {
            return;
        }
        let second = self.sites[first].next();
        if let Some(stream) = self.sites[first].only_stream() {
            let flow = &self.flows.slab[stream];
            self.jobs.prefetch(flow.rings.old.head);
            self.routes.prefetch(flow.route);
        }
        if second == NONE {
            return;
        }
        if let Some(stream) = self.sites[second].only_stream() {
            self.flows.slab.prefetch(stream);
        }
        self.sites.prefetch(self.sites[second].next());
    }
}
