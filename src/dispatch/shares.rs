//! How evenly tenants are served: what each got where others waited beside it.
//!
//! Promises that only tenants that had mail here over the whole time count, as one that wants little
//! gets little; and that only the busiest are named.

use std::collections::HashMap;
use std::sync::Arc;

use angarium_queue::schedule::Share;

/// Tenants told by name.
const NAMED_MAX: usize = 20;

/// What tenants got since somebody asked last.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Shares {
    /// Jain's index of the parts: 1 is all alike, 1/n is one for all. None without two tenants.
    pub jain: Option<f64>,
    /// The part of each of those that got most, from 0 to 1.
    pub parts: Vec<(Arc<str>, f64)>,
    before: HashMap<Arc<str>, u64>,
}

impl Shares {
    /// Measures the time since it measured last.
    pub(super) fn measure(&mut self, shares: impl Iterator<Item = Share>) {
        let (mut now, mut got) = (HashMap::new(), Vec::new());
        for share in shares.filter(|share| share.jobs > 0) {
            if let Some(&before) = self.before.get(&share.tenant) {
                got.push((Arc::clone(&share.tenant), share.contended.saturating_sub(before)));
            }
            now.insert(share.tenant, share.contended);
        }
        self.before = now;
        got.retain(|&(_, cost)| cost > 0);
        got.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        self.jain = jain(got.iter().map(|&(_, cost)| cost as f64));
        let all: u64 = got.iter().map(|&(_, cost)| cost).sum();
        got.truncate(NAMED_MAX);
        self.parts =
            got.into_iter().map(|(tenant, cost)| (tenant, cost as f64 / all as f64)).collect();
    }
}

fn jain(parts: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum, squares) = parts.fold((0.0, 0.0, 0.0), |(count, sum, squares), part| {
        (count + 1.0, sum + part, squares + part * part)
    });
    (count > 1.0).then(|| sum * sum / (count * squares))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(tenant: &str, contended: u64, jobs: u32) -> Share {
        Share { tenant: tenant.into(), jobs, assigned: 0, served: contended, contended }
    }

    #[test]
    fn only_those_who_waited_all_the_time_count() {
        let mut shares = Shares::default();
        shares.measure([share("a", 100, 5), share("b", 7, 1)].into_iter());
        assert_eq!((shares.jain, shares.parts.len()), (None, 0));
        shares.measure([share("a", 130, 5), share("b", 17, 1), share("c", 900, 1)].into_iter());
        assert_eq!(shares.parts, [("a".into(), 0.75), ("b".into(), 0.25)]);
        assert!((shares.jain.unwrap() - 0.8).abs() < 1e-9);
        shares.measure([share("a", 131, 0), share("b", 18, 9)].into_iter());
        assert_eq!(shares.jain, None);
    }
}
