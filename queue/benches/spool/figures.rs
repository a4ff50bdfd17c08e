//! What is printed: one `name = value unit` a line, with comments that say what it means.

const LEGEND: &str = "\
# Raw is a bare file: the same padded size, written and synced (fdatasync) into space that was
# written before, in the same run and on the same disk. A raw_share is ours over raw: 1 is the disk.
# Figures are medians of three, ours and raw in turns; a ratio is the median of those of each turn.
# accept: durable accepts of 8 KiB bodies, one in flight a writer (.w64: 64 writers on 2 threads;
# .w1: one), each completed some 2,000 messages later, in a spool whose space has been round. Raw is
# 256 KiB a sync, octets of bodies for octets, beside .w64; 12 KiB a sync, messages for syncs,
# beside .w1. overhead_bytes: what is written in the whole life of a message but its body.
# large: 10 MiB messages, one after the other, staged, committed and completed; raw is 1 MiB a write
# and one sync a message. small: 8 KiB, one at a time, alone and beside a stream of such messages.
# rss_per_message, restart, curve: 512-octet bodies, one recipient; the page cache is warm. rss is
# of one process: resident after the fill less resident before, over the messages. restart:
# until the spool has been opened, all messages known; after a crash: the process that filled it was
# killed at its last answer. first_250: until a new message has been accepted. curve: accepts by 64
# writers and mean time of one load, with so many in the spool; the depths take turns.";

/// What the lines mean.
pub(crate) fn legend() {
    println!("{LEGEND}");
}

/// Prints one figure.
pub(crate) fn print(name: &str, value: f64, unit: &str) {
    let digits = match value {
        _ if value >= 100.0 => 0,
        _ if value >= 10.0 => 1,
        _ if value >= 1.0 => 2,
        _ => 4,
    };
    println!("{name} = {value:.digits$} {unit}");
}

/// The middle of an odd number of values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The medians of two series, and of the ratio of each pair: what is measured side by side is
/// compared side by side.
pub(crate) fn beside(values: Vec<f64>, others: Vec<f64>) -> (f64, f64, f64) {
    let ratios = values.iter().zip(&others).map(|(value, other)| value / other).collect();
    (median(values), median(others), median(ratios))
}

/// What 99 of 100 values do not exceed.
pub(crate) fn p99(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() * 99 / 100]
}

/// A number of messages, as names of figures have it.
pub(crate) fn label(count: usize) -> String {
    if count >= 1_000_000 {
        format!("{}m", count / 1_000_000)
    } else {
        format!("{}k", count / 1000)
    }
}
