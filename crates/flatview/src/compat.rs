//! Where QEMU's behaviour and good sense differ, and somebody needs QEMU's.

use bitflags::bitflags;

bitflags! {
    /// Latent bugs of QEMU that a [`Memory`](crate::Memory) copies on request: to compare with what a real
    /// QEMU printed. None is copied unless asked for.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Compat: u8 {
        /// Choose the root of a space's view as QEMU does, even where readonly, nonvolatile or unmergeable
        /// marks (rule C32) or the region's own address (rule C33) are lost by it.
        ///
        /// In QEMU a `device-memory` space at 4 GiB shows a single DIMM at address 0, and two DIMMs at 4 GiB.
        const LOSSY_VIEW_ROOTS = 1;
    }
}
