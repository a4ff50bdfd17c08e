//! What became of the mail: one end for each recipient, and when.

use super::SECOND;
use super::discipline::{Mail, Start, Verdict};

/// What is known of all mail of a flow.
#[derive(Default)]
pub struct Flow {
    /// Mails that came, and that have ended.
    pub arrived: u64,
    pub ended: u64,
    /// Recipients.
    pub delivered: u64,
    pub expired: u64,
    /// Transactions, by how they went.
    pub served: u64,
    pub unreachable: u64,
    pub limited: u64,
    pub late: u64,
    pub warned: u64,
    pub first_us: Option<u64>,
    pub last_us: u64,
    /// Seconds of arrival and milliseconds until the end, of each mail.
    pub sojourns: Vec<(f32, f32)>,
    /// Mails that came and ended, and recipients delivered, in each second.
    arrived_in: Vec<u32>,
    ended_in: Vec<u32>,
    delivered_in: Vec<u32>,
}

impl Flow {
    /// What this share of the mail did not exceed, in milliseconds.
    pub fn sojourn_ms(&self, share: f64) -> f64 {
        quantile(self.sojourns.iter().map(|(_, ms)| *ms).collect(), share)
    }

    /// The same of mail that came in each stretch of so many seconds.
    pub fn sojourn_curve(&self, share: f64, stretch_s: f64) -> Vec<(f64, f64)> {
        let mut stretches: Vec<Vec<f32>> = Vec::new();
        for (arrived_s, ms) in &self.sojourns {
            let at = (f64::from(*arrived_s) / stretch_s) as usize;
            stretches.resize(stretches.len().max(at + 1), Vec::new());
            stretches[at].push(*ms);
        }
        let filled = stretches.into_iter().enumerate().filter(|(_, sojourns)| !sojourns.is_empty());
        filled.map(|(at, ms)| ((at as f64 + 0.5) * stretch_s, quantile(ms, share))).collect()
    }

    /// Recipients delivered a second, in each stretch of so many seconds.
    pub fn rate_curve(&self, stretch_s: usize) -> Vec<(f64, f64)> {
        let rate = |chunk: &[u32]| f64::from(chunk.iter().sum::<u32>()) / chunk.len() as f64;
        let chunks = self.delivered_in.chunks(stretch_s).enumerate();
        chunks.map(|(at, chunk)| ((at as f64 + 0.5) * stretch_s as f64, rate(chunk))).collect()
    }

    /// Mails that have come and not ended, every so many seconds.
    pub fn backlog_curve(&self, stretch_s: usize) -> Vec<(f64, f64)> {
        let seconds = self.arrived_in.len().max(self.ended_in.len());
        let in_second = |counts: &[u32], at| i64::from(counts.get(at).copied().unwrap_or(0));
        let mut waiting = 0;
        let all = (0..seconds).map(|at| {
            waiting += in_second(&self.arrived_in, at) - in_second(&self.ended_in, at);
            (at as f64 + 1.0, waiting as f64)
        });
        let all: Vec<_> = all.collect();
        let every = all.iter().copied().step_by(stretch_s);
        every.chain(all.last().copied()).collect()
    }
}

/// What this share of the values does not exceed; not a number when there are none.
pub fn quantile(mut values: Vec<f32>, share: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let at = ((values.len() as f64 * share) as usize).min(values.len() - 1);
    f64::from(*values.select_nth_unstable_by(at, f32::total_cmp).1)
}

/// Jain's index: 1 when all have the same, 1/n when one has everything.
pub fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    sum * sum / (shares.len() as f64 * squares)
}

/// What a transaction costs, as issue and design count: recipients and octets beside the one.
pub fn cost(recipients: usize, size: u32) -> f64 {
    (1.0 + recipients as f64 / 10.0 + f64::from(size) / 262_144.0).min(16.0)
}

/// All mail and what became of it.
#[derive(Default)]
pub struct Ledger {
    pub mails: Vec<Mail>,
    pub flows: Vec<Flow>,
    /// Tenant and cost of each transaction, in the order of their start, if wanted.
    pub services: Option<Vec<(u32, f32)>>,
    /// The cost of all transactions.
    pub service: f64,
    /// Where the recipients of a mail begin in `ends`, and how many have not ended.
    places: Vec<(usize, u32)>,
    ends: Vec<bool>,
}

impl Ledger {
    /// Takes a mail down; its number.
    pub fn arrived(&mut self, mail: Mail) -> u32 {
        let number = self.mails.len() as u32;
        self.places.push((self.ends.len(), mail.recipients));
        self.ends.resize(self.ends.len() + mail.recipients as usize, false);
        let flow = self.flow_mut(mail.flow);
        flow.arrived += 1;
        count(&mut flow.arrived_in, mail.arrived_us);
        self.mails.push(mail);
        number
    }

    pub fn mail(&self, number: u32) -> &Mail {
        &self.mails[number as usize]
    }

    pub fn flow(&self, flow: u8) -> &Flow {
        &self.flows[usize::from(flow)]
    }

    pub fn flow_mut(&mut self, flow: u8) -> &mut Flow {
        let at = usize::from(flow);
        self.flows.resize_with(self.flows.len().max(at + 1), Flow::default);
        &mut self.flows[at]
    }

    pub fn flow_of(&mut self, number: u32) -> &mut Flow {
        self.flow_mut(self.mail(number).flow)
    }

    /// A transaction starts.
    pub fn started(&mut self, start: &Start, now_us: u64) {
        let mail = &self.mails[start.mail as usize];
        assert!(now_us >= mail.due_us, "mail {} goes before its time", start.mail);
        assert!(!start.recipients.is_empty(), "a transaction without recipients");
        let cost = cost(start.recipients.len(), mail.size);
        self.service += cost;
        if let Some(services) = &mut self.services {
            services.push((mail.tenant, cost as f32));
        }
        let flow = self.flow_of(start.mail);
        flow.first_us.get_or_insert(now_us);
    }

    /// A transaction has come to an end like this.
    pub fn tried(&mut self, number: u32, verdict: Verdict) {
        let flow = self.flow_of(number);
        match verdict {
            Verdict::Served | Verdict::Broken => flow.served += 1,
            Verdict::Unreachable => flow.unreachable += 1,
            Verdict::Limited | Verdict::TurnedAway => flow.limited += 1,
        }
    }

    /// A recipient ends: delivered, or too old.
    pub fn ended(&mut self, number: u32, recipient: u32, delivered: bool, now_us: u64) {
        let (begin, left) = &mut self.places[number as usize];
        let end = &mut self.ends[*begin + recipient as usize];
        assert!(!*end, "recipient {recipient} of mail {number} ends twice");
        *end = true;
        *left -= 1;
        let done = *left == 0;
        let mail = &self.mails[number as usize];
        let arrived_us = mail.arrived_us;
        let late = mail.deadline_in_us.is_some_and(|within| now_us > arrived_us + within);
        let flow = self.flow_of(number);
        if delivered {
            flow.delivered += 1;
            count(&mut flow.delivered_in, now_us);
        } else {
            flow.expired += 1;
        }
        if done {
            flow.ended += 1;
            flow.last_us = now_us;
            let sojourn_ms = (now_us - arrived_us) as f64 / 1000.0;
            flow.sojourns.push(((arrived_us / SECOND) as f32, sojourn_ms as f32));
            flow.late += u64::from(late);
            count(&mut flow.ended_in, now_us);
        }
    }

    /// Mails that have not ended.
    pub fn left(&self) -> u64 {
        self.flows.iter().map(|flow| flow.arrived - flow.ended).sum()
    }

    /// Counts what a flow still waits for as if it ended now, so that a wait without end shows.
    pub fn give_up(&mut self, flow: u8, now_us: u64) {
        let waiting = self.mails.iter().zip(&self.places);
        let waiting = waiting.filter(|(mail, (_, left))| mail.flow == flow && *left > 0);
        let sojourn = |mail: &Mail| {
            let waited_ms = (now_us - mail.arrived_us) as f64 / 1000.0;
            ((mail.arrived_us / SECOND) as f32, waited_ms as f32)
        };
        let sojourns: Vec<_> = waiting.map(|(mail, _)| sojourn(mail)).collect();
        self.flow_mut(flow).sojourns.extend(sojourns);
    }

    /// The most that the service of two of these tenants was apart, as long as all have something
    /// to do.
    pub fn gap(&self, tenants: u32) -> f64 {
        let mut shares = vec![0.0_f64; tenants as usize];
        let mut gap = 0.0_f64;
        for (tenant, cost) in self.services.as_ref().unwrap() {
            shares[*tenant as usize] += f64::from(*cost);
            let lowest = shares.iter().copied().fold(f64::INFINITY, f64::min);
            gap = gap.max(shares[*tenant as usize] - lowest);
        }
        gap
    }

    /// Jain's index of these tenants in each stretch of so much service.
    pub fn jain(&self, tenants: u32, stretch: f64) -> Vec<f64> {
        let mut shares = vec![0.0; tenants as usize];
        let (mut sum, mut indices) = (0.0, Vec::new());
        for (tenant, cost) in self.services.as_ref().unwrap() {
            shares[*tenant as usize] += f64::from(*cost);
            sum += f64::from(*cost);
            if sum >= stretch {
                indices.push(jain(&shares));
                shares.fill(0.0);
                sum = 0.0;
            }
        }
        indices
    }
}

fn count(seconds: &mut Vec<u32>, now_us: u64) {
    let at = (now_us / SECOND) as usize;
    seconds.resize(seconds.len().max(at + 1), 0);
    seconds[at] += 1;
}
