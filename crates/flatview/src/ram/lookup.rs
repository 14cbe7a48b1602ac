//! What a memory knows of its blocks.

use std::sync::Arc;

use super::{RamBlock, RamBlockNotifier, RamBlockRegistration, RamError};
use crate::memory::Memory;
use crate::region::Region;

impl Memory {
    /// The blocks that regions of this memory were made of and that are still there, the largest first, then in
    /// order of arrival (rule Q6).
    pub fn ram_blocks(&self) -> Vec<RamBlock> {
        self.shared().ram.blocks()
    }

    /// The first block of a name, in the order of [`ram_blocks`](Self::ram_blocks) (rule Q26).
    pub fn ram_block_by_name(&self, name: &str) -> Option<RamBlock> {
        let mut blocks = self.ram_blocks().into_iter();
        blocks.find(|block| block.name() == name)
    }

    /// The RAM address of the first byte of a block: its place among all blocks of this memory (rule Q5). It has
    /// one from when the first region is made of it; none if it has no bytes, or there is no room left.
    ///
    /// ```
    /// use flatview::{Memory, RamBlock};
    /// let memory = Memory::new();
    /// let (ram, rom) = (RamBlock::unbacked(0x800_0000), RamBlock::unbacked(0x2_0000));
    /// memory.region("pc.ram").ram(ram.clone());
    /// memory.region("pc.rom").rom(rom.clone());
    /// assert_eq!((memory.ram_addr(&ram), memory.ram_addr(&rom)), (Some(0), Some(0x800_0000)));
    /// assert_eq!(memory.ram_block_at(0x800_1234)?, (rom, 0x1234));
    /// # Ok::<(), flatview::RamError>(())
    /// ```
    pub fn ram_addr(&self, block: &RamBlock) -> Option<u64> {
        self.shared().ram.ram_addr(block)
    }

    /// The block that has a RAM address, and which of its bytes that is.
    ///
    /// # Errors
    ///
    /// [`RamError::NoBlockAt`] (rule Q7).
    pub fn ram_block_at(&self, ram_addr: u64) -> Result<(RamBlock, u64), RamError> {
        self.shared().ram.at(ram_addr)
    }

    /// The block that has a byte at this address of the process, and which of its bytes that is (rule Q26).
    pub fn ram_block_from_host(&self, host_address: usize) -> Option<(RamBlock, u64)> {
        self.shared().ram.at_host(host_address)
    }

    /// A region that is made of the byte at this address of the process, and which of its bytes that is (rule
    /// A27). If there are several, it is any of them.
    pub fn region_from_host(&self, host_address: usize) -> Option<(Region, u64)> {
        let (block, offset) = self.ram_block_from_host(host_address)?;
        let shared = self.shared();
        shared.take_out_dropped();
        let made_of_blocks = shared.tree.lock().regions_with_blocks();
        let mut regions = made_of_blocks.into_iter();
        let region = regions.find(|region| region.ram_block() == Some(&block));
        region.map(|region| (region, offset))
    }

    /// Lets a notifier hear of the host memory of blocks (rule Q25): of all that are there, before this returns, and
    /// of all that come. When the registration is dropped it hears that they go.
    pub fn add_ram_block_notifier(&self, notifier: Arc<dyn RamBlockNotifier>) -> RamBlockRegistration {
        self.shared().ram.register(&notifier)
    }
}
