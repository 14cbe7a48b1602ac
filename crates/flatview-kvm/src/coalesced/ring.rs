//! The ring of collected writes.
//!
//! ```text
//!   word 0: first   the oldest entry; whoever takes writes it
//!   word 1: last    behind the youngest; the kernel writes it
//!   word 2 …        170 entries of 6 words: address (2), length, is it a port, bytes (2)
//! ```
//!
//! `struct kvm_coalesced_mmio_ring` of the kernel's `include/uapi/linux/kvm.h`. It is full with 169 entries, since it is
//! empty when `first == last`; what does not fit comes out of the guest.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use kvm_bindings::{kvm_coalesced_mmio, kvm_coalesced_mmio_ring};
use kvm_ioctls::VcpuFd;

use crate::io::Bus;
use crate::lock::lock;
use crate::sys::{PAGE, SharedPages};

const HEADER_WORDS: usize = size_of::<kvm_coalesced_mmio_ring>() / 4;
const ENTRY_WORDS: usize = size_of::<kvm_coalesced_mmio>() / 4;
/// As many as there is room for in a page.
const ENTRIES: u32 = 170;

/// The ring of a virtual machine. Any thread may take from it, one at a time.
#[derive(Debug)]
pub(super) struct Ring {
    page: SharedPages,
    taking: Mutex<()>,
}

/// A write that was collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) bus: Bus,
    pub(super) address: u64,
    bytes: [u8; 8],
    len: usize,
}

impl Entry {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn of(words: [u32; ENTRY_WORDS]) -> Entry {
        let [low, high, len, is_port, data_low, data_high] = words;
        let wide = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        Entry {
            bus: if is_port == 0 { Bus::Memory } else { Bus::Ports },
            address: wide(low, high),
            bytes: wide(data_low, data_high).to_le_bytes(),
            len: len.min(8) as usize,
        }
    }
}

impl Ring {
    /// Maps page `page` of a vCPU.
    pub(super) fn map(vcpu: &VcpuFd, page: u32) -> io::Result<Ring> {
        Ok(Ring {
            page: SharedPages::map(vcpu, page, PAGE)?,
            taking: Mutex::default(),
        })
    }

    fn first(&self) -> &AtomicU32 {
        &self.page[0]
    }

    fn last(&self) -> &AtomicU32 {
        &self.page[1]
    }

    /// Whether there is nothing to take. What was written by a vCPU that has come out since is seen.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first().load(Ordering::Relaxed) == self.last().load(Ordering::Acquire)
    }

    /// Takes the oldest entry out.
    pub(super) fn take(&self) -> Option<Entry> {
        let _taking = lock(&self.taking);
        let first = self.first().load(Ordering::Relaxed);
        let last = self.last().load(Ordering::Acquire);
        if first == last || first.max(last) >= ENTRIES {
            return None;
        }
        let start = HEADER_WORDS + first as usize * ENTRY_WORDS;
        let words = std::array::from_fn(|index| self.page[start + index].load(Ordering::Relaxed));
        // The kernel may write the entry anew once it sees this.
        self.first().store((first + 1) % ENTRIES, Ordering::Release);
        Some(Entry::of(words))
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn an_entry_is_what_the_kernel_writes() {
        assert_eq!((HEADER_WORDS, ENTRY_WORDS), (2, 6));
        assert_eq!(ENTRIES as usize, (1024 - HEADER_WORDS) / ENTRY_WORDS);
        let port = Entry::of([0x70, 0, 1, 1, 0xaa, 0]);
        assert_eq!(
            (port.bus, port.address, port.bytes()),
            (Bus::Ports, 0x70, &[0xaa][..])
        );
        let memory = Entry::of([0x1000, 2, 8, 0, 0x0403_0201, 0x0807_0605]);
        let expected = (Bus::Memory, 0x2_0000_1000, &[1, 2, 3, 4, 5, 6, 7, 8][..]);
        assert_eq!((memory.bus, memory.address, memory.bytes()), expected);
    }

    #[test]
    fn an_entry_has_no_more_bytes_than_there_are() {
        assert_eq!(Entry::of([0, 0, u32::MAX, 7, 0, 0]).bytes().len(), 8);
    }
}
