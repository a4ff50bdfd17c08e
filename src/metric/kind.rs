//! The types of metrics: counters, gauges, histograms, and what is asked for.
//!
//! A metric with labels has one cell for each combination of their values, made at the start of the
//! program; a combination without a cell counts nowhere, and never panics.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use super::label::Labels;
use super::text::Exposition;

/// Microseconds of a second.
const US: u64 = 1_000_000;
/// The most bounds of a histogram.
const BOUNDS_MAX: usize = 15;

/// What all types have in common.
#[derive(Debug)]
pub struct Family {
    /// The name, with the unit and without the suffix of the type.
    pub name: &'static str,
    /// The base unit; empty where there is none.
    pub unit: &'static str,
    /// One sentence or more, a line of text each.
    pub help: &'static [&'static str],
}

/// What can be exposed.
pub trait Metric: Sync {
    /// Its declaration.
    fn family(&self) -> &Family;
    /// Appends it, as it is now.
    fn expose(&self, out: &mut Exposition);
}

/// Something that only grows.
#[derive(Debug)]
pub struct Counter<L, const CELLS: usize> {
    family: Family,
    cells: [AtomicU64; CELLS],
    labels: PhantomData<fn(L)>,
}

impl<L: Labels, const CELLS: usize> Counter<L, CELLS> {
    pub(super) const fn new(family: Family) -> Self {
        assert!(CELLS == L::COUNT, "one cell for each combination of labels");
        Self { family, cells: [const { AtomicU64::new(0) }; CELLS], labels: PhantomData }
    }

    /// Adds to the cell of these labels.
    pub fn add(&self, labels: L, count: u64) {
        if let Some(cell) = self.cells.get(labels.cell()) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }
}

impl<L: Labels, const CELLS: usize> Metric for Counter<L, CELLS> {
    fn family(&self) -> &Family {
        &self.family
    }

    fn expose(&self, out: &mut Exposition) {
        out.begin(&self.family, "counter");
        for (cell, count) in self.cells.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 || !L::SPARSE {
                out.sample(&self.family, "_total", &L::describe(cell), &count.to_string());
            }
        }
    }
}

/// Something that grows and shrinks.
#[derive(Debug)]
pub struct Gauge {
    family: Family,
    value: AtomicI64,
}

impl Gauge {
    pub(super) const fn new(family: Family) -> Self {
        Self { family, value: AtomicI64::new(0) }
    }

    /// One more.
    pub fn increase(&self) {
        self.value.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn decrease(&self) {
        self.value.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Metric for Gauge {
    fn family(&self) -> &Family {
        &self.family
    }

    fn expose(&self, out: &mut Exposition) {
        out.begin(&self.family, "gauge");
        out.sample(&self.family, "", &[], &self.value.load(Ordering::Relaxed).to_string());
    }
}

/// How often something was how large.
#[derive(Debug)]
pub struct Histogram<L, const CELLS: usize> {
    family: Family,
    bounds: &'static [u64],
    cells: [Cell; CELLS],
    labels: PhantomData<fn(L)>,
}

/// One histogram: a count for each bound and one for what is beyond, and the sum.
#[derive(Debug)]
struct Cell {
    counts: [AtomicU64; BOUNDS_MAX + 1],
    sum: AtomicU64,
}

impl Cell {
    const fn new() -> Self {
        Self { counts: [const { AtomicU64::new(0) }; BOUNDS_MAX + 1], sum: AtomicU64::new(0) }
    }
}

impl<L: Labels, const CELLS: usize> Histogram<L, CELLS> {
    pub(super) const fn new(family: Family, bounds: &'static [u64]) -> Self {
        assert!(CELLS == L::COUNT, "one cell for each combination of labels");
        assert!(bounds.len() <= BOUNDS_MAX, "a count for each bound");
        Self { family, bounds, cells: [const { Cell::new() }; CELLS], labels: PhantomData }
    }

    /// Takes a count in, or a time in microseconds.
    pub fn observe(&self, labels: L, value: u64) {
        let Some(cell) = self.cells.get(labels.cell()) else { return };
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = cell.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
            cell.sum.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// Takes a time in.
    pub fn observe_time(&self, labels: L, time: Duration) {
        self.observe(labels, u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// A value as it is exposed: times are kept in microseconds and told in seconds.
    fn told(&self, value: u64) -> f64 {
        let scale = if self.family.unit == "seconds" { US } else { 1 };
        value as f64 / scale as f64
    }
}

impl<L: Labels, const CELLS: usize> Metric for Histogram<L, CELLS> {
    fn family(&self) -> &Family {
        &self.family
    }

    fn expose(&self, out: &mut Exposition) {
        out.begin(&self.family, "histogram");
        for (number, cell) in self.cells.iter().enumerate() {
            let labels = L::describe(number);
            let mut labels_le = labels.clone();
            labels_le.push(("le", String::new()));
            let sum = cell.sum.load(Ordering::Relaxed);
            let mut total = 0;
            let ends = self.bounds.iter().map(|bound| format!("{:?}", self.told(*bound)));
            let ends = ends.chain(["+Inf".to_owned()]);
            for (end, count) in ends.zip(&cell.counts) {
                total += count.load(Ordering::Relaxed);
                if let Some((_, le)) = labels_le.last_mut() {
                    *le = end;
                }
                out.sample(&self.family, "_bucket", &labels_le, &total.to_string());
            }
            out.sample(&self.family, "_sum", &labels, &format!("{:?}", self.told(sum)));
            out.sample(&self.family, "_count", &labels, &total.to_string());
        }
    }
}

/// Something that is not counted but known elsewhere; whoever exposes it gives its values.
#[derive(Debug)]
pub struct Asked {
    family: Family,
    ty: &'static str,
}

impl Asked {
    pub(super) const fn new(family: Family, ty: &'static str) -> Self {
        Self { family, ty }
    }
}

impl Metric for Asked {
    fn family(&self) -> &Family {
        &self.family
    }

    /// Without values that were given there is nothing to tell.
    fn expose(&self, out: &mut Exposition) {
        let Some(values) = out.given(self.family.name) else { return };
        out.begin(&self.family, self.ty);
        let suffix = match self.ty {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        for (labels, value) in values {
            out.sample(&self.family, suffix, &labels, &value.to_string());
        }
    }
}
