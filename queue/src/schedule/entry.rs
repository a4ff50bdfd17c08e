//! A job as it is kept: 40 octets for one recipient of a message that has no other job. What only
//! some jobs have is in a detail beside it.

use super::job::{Job, Pace, Recipients};
use super::slab::{Link, Linked, NONE};
use super::timing::Timing;
use crate::id::MessageId;

/// Where a job is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// In its flow's line.
    Ready = 1,
    /// In the wheel.
    Waiting = 2,
    /// Being tried.
    Assigned = 3,
    /// Being tried, and to be forgotten then.
    Withdrawn = 4,
    /// With the operator.
    Held = 5,
}

const PLACE: u8 = 0b111;
const DETAILED: u8 = 1 << 3;
const HELD: u8 = 1 << 4;
const UNPROVEN: u8 = 1 << 5;
const TAG_SHIFT: u8 = 6;

const WEIGHT: u8 = 0b1111;
const LIFETIME_SHIFT: u8 = 4;
const LIFETIME: u8 = 0b11;
const NEXT_HOP: u8 = 1 << 6;

/// What a transaction for nobody would cost, in credits. A recipient costs a tenth of that.
pub(super) const UNIT: u32 = 40;
const RECIPIENT: u32 = UNIT / 10;
/// Octets that cost as much as one message.
const SIZE_UNIT: u64 = 256 * 1024;
/// No transaction costs more.
pub(super) const COST_MAX: u32 = 16 * UNIT;
/// What sizes cost, in steps: a job keeps the number of its step.
const SIZE_COSTS: [u32; 16] = [0, 1, 2, 4, 6, 10, 16, 24, 36, 52, 76, 112, 164, 240, 360, 600];

/// The step of a size, rounded down.
fn size_step(size: u64) -> u8 {
    let cost = (size.min(1 << 40) * u64::from(UNIT) / SIZE_UNIT) as u32;
    (SIZE_COSTS.partition_point(|&step| step <= cost) - 1) as u8
}

/// A job as it is kept.
#[derive(Default, Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    link: Link,
    /// The flow it belongs to.
    pub(super) flow: u32,
    /// The only recipient, or the detail.
    target: u32,
    due_low: u32,
    arrived_low: u32,
    due_high: u16,
    arrived_high: u16,
    pub(super) attempts: u16,
    state: u8,
    kind: u8,
}

/// What only some jobs have.
#[derive(Default, Debug)]
pub(super) struct Detail {
    link: Link,
    pub(super) recipients: Recipients,
    /// The neighbours in the list of the message's jobs.
    pub(super) siblings: Link,
    pub(super) timing: Timing,
}

impl Detail {
    pub(super) fn new(recipients: Recipients) -> Self {
        Self { recipients, ..Self::default() }
    }
}

impl Linked for Entry {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

impl Linked for Detail {
    fn link(&mut self) -> &mut Link {
        &mut self.link
    }
}

impl Entry {
    pub(super) fn new(job: &Job, flow: u32, place: Place) -> Self {
        let pace = if job.pace == Pace::NextHop { NEXT_HOP } else { 0 };
        let lifetime = job.lifetime.min(usize::from(LIFETIME)) as u8;
        let mut entry = Self {
            id: job.id.as_u64(),
            flow,
            attempts: u16::try_from(job.attempts).unwrap_or(u16::MAX),
            state: place as u8 | job.tag << TAG_SHIFT,
            kind: size_step(job.size) | lifetime << LIFETIME_SHIFT | pace,
            target: job.recipients.first().copied().unwrap_or(NONE),
            ..Self::default()
        };
        entry.set_arrived_ms(job.arrived_ms);
        entry.set_due_ms(job.due_ms);
        entry.set_flag(HELD, job.held);
        entry
    }

    /// Another part of the same job.
    pub(super) fn part(&self) -> Self {
        Self { link: Link::default(), state: self.state & !DETAILED, ..*self }
    }

    pub(super) fn message(&self) -> MessageId {
        MessageId::from_u64(self.id)
    }

    pub(super) fn place(&self) -> Place {
        match self.state & PLACE {
            1 => Place::Ready,
            2 => Place::Waiting,
            3 => Place::Assigned,
            4 => Place::Withdrawn,
            _ => Place::Held,
        }
    }

    pub(super) fn set_place(&mut self, place: Place) {
        self.state = self.state & !PLACE | place as u8;
    }

    /// The slot holds no job.
    pub(super) fn is_vacant(&self) -> bool {
        self.state & PLACE == 0
    }

    pub(super) fn due_ms(&self) -> u64 {
        u64::from(self.due_high) << 32 | u64::from(self.due_low)
    }

    /// 48 bits of milliseconds last until the year 10889.
    pub(super) fn set_due_ms(&mut self, due_ms: u64) {
        let due_ms = due_ms.min((1 << 48) - 1);
        (self.due_low, self.due_high) = (due_ms as u32, (due_ms >> 32) as u16);
    }

    pub(super) fn arrived_ms(&self) -> u64 {
        u64::from(self.arrived_high) << 32 | u64::from(self.arrived_low)
    }

    fn set_arrived_ms(&mut self, arrived_ms: u64) {
        let arrived_ms = arrived_ms.min((1 << 48) - 1);
        (self.arrived_low, self.arrived_high) = (arrived_ms as u32, (arrived_ms >> 32) as u16);
    }

    /// The operator holds it, whatever its place.
    pub(super) fn is_held(&self) -> bool {
        self.state & HELD != 0
    }

    pub(super) fn set_held(&mut self, held: bool) {
        self.set_flag(HELD, held);
    }

    /// Its site had not proven itself when it was picked.
    pub(super) fn is_unproven(&self) -> bool {
        self.state & UNPROVEN != 0
    }

    pub(super) fn set_unproven(&mut self, unproven: bool) {
        self.set_flag(UNPROVEN, unproven);
    }

    pub(super) fn tag(&self) -> u8 {
        self.state >> TAG_SHIFT
    }

    pub(super) fn lifetime(&self) -> usize {
        usize::from(self.kind >> LIFETIME_SHIFT & LIFETIME)
    }

    pub(super) fn pace(&self) -> Pace {
        if self.kind & NEXT_HOP != 0 { Pace::NextHop } else { Pace::Exchanger }
    }

    fn size_cost(&self) -> u32 {
        SIZE_COSTS.get(usize::from(self.kind & WEIGHT)).copied().unwrap_or(0)
    }

    /// About as many octets as the message has.
    pub(super) fn size(&self) -> u64 {
        (u64::from(self.size_cost()) * SIZE_UNIT).div_ceil(u64::from(UNIT))
    }

    /// What a transaction for so many recipients costs, in credits.
    pub(super) fn cost(&self, recipients: usize) -> u32 {
        let recipients = u32::try_from(recipients).unwrap_or(COST_MAX).min(COST_MAX);
        (UNIT + recipients * RECIPIENT + self.size_cost()).min(COST_MAX)
    }

    /// The only recipient.
    pub(super) fn recipient(&self) -> u32 {
        self.target
    }

    pub(super) fn set_recipient(&mut self, recipient: u32) {
        self.target = recipient;
        self.set_flag(DETAILED, false);
    }

    pub(super) fn detail(&self) -> Option<u32> {
        (self.state & DETAILED != 0).then_some(self.target)
    }

    pub(super) fn set_detail(&mut self, detail: u32) {
        self.target = detail;
        self.set_flag(DETAILED, true);
    }

    fn set_flag(&mut self, flag: u8, on: bool) {
        self.state = self.state & !flag | if on { flag } else { 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::{Band, Class, RouteId, TenantId};
    use super::*;

    #[test]
    fn a_job_takes_forty_octets() {
        assert_eq!(size_of::<Entry>(), 40);
    }

    #[test]
    fn a_cost_grows_with_recipients_and_octets_up_to_its_bound() {
        let job = |size| Job {
            id: MessageId::from_u64(1),
            route: RouteId(0),
            tenant: TenantId(0),
            class: Class::default(),
            band: Band::default(),
            stream: 0,
            pace: Pace::NextHop,
            recipients: [7].into_iter().collect(),
            size,
            attempts: 0,
            due_ms: 0,
            arrived_ms: 0,
            lifetime: 9,
            timing: Timing::default(),
            held: false,
            tag: 3,
        };
        let cost = |size, recipients| Entry::new(&job(size), 0, Place::Ready).cost(recipients);
        assert_eq!((cost(0, 0), cost(0, 1), cost(0, 10), cost(0, 100)), (40, 44, 80, 440));
        assert_eq!((cost(4_000, 1), cost(256 * 1024, 1), cost(u64::MAX, 100)), (44, 80, 640));
        for size in (0..40).map(|bits| 1 << bits) {
            let kept = Entry::new(&job(size), 0, Place::Ready).size();
            assert!(kept <= size + 1 && kept * 2 + 6_554 > size.min(3_000_000), "{size} {kept}");
            assert_eq!(cost(kept, 1), cost(size, 1), "the same when it is taken out and put back");
        }
        let entry = Entry::new(&job(0), 5, Place::Held);
        assert_eq!((entry.place(), entry.tag(), entry.lifetime()), (Place::Held, 3, 3));
        assert_eq!((entry.detail(), entry.recipient(), entry.flow), (None, 7, 5));
    }
}
