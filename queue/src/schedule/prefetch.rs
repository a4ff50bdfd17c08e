//! Brings memory into the cache before it is read.
//!
//! Promises to change nothing but how long a later read takes. Where there is no instruction for
//! it, it does nothing.

#![allow(unsafe_code, reason = "prefetching is not stable in safe Rust")]

/// Starts to fetch a value, all of its cache lines if it is no larger than one.
#[inline]
pub(super) fn prefetch<T>(value: &T) {
    let first = std::ptr::from_ref(value).cast::<i8>();
    let last = first.wrapping_add(size_of::<T>().saturating_sub(1));
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that the program sees and never faults, whatever the
    // address; every x86-64 processor has the instruction.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(first);
        _mm_prefetch::<_MM_HINT_T0>(last);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (first, last);
}
