//! Blocks: runs of decoded instructions, found by where their bytes are.

use std::collections::HashMap;

use super::pages::BlockId;
use crate::int::index;
use crate::ops::Op;

/// How many places there are for blocks that were entered lately.
const RECENT: usize = 4096;
/// When there are this many blocks, all are forgotten.
const MOST: usize = 1 << 16;
/// No block.
const NONE: BlockId = BlockId::MAX;

/// Instructions that follow one another.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) ops: Box<[Op]>,
    /// The number of bytes.
    pub(crate) len: u64,
    /// Where the page is that the last bytes come from, if it is another one.
    pub(crate) second: Option<usize>,
    key: Key,
    links: [Link; 2],
}

/// Where code is, and what decoding it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Where its first byte is in this process.
    pub(crate) host: usize,
    /// [`Mode::key`](crate::exec::Mode::key).
    pub(crate) mode: u64,
}

/// A block that was entered at an address, in some context: see [`Cache::context`].
#[derive(Clone, Copy, Debug)]
struct Link {
    ip: u64,
    context: u64,
    block: BlockId,
}

impl Link {
    const NONE: Link = Link {
        ip: 0,
        context: u64::MAX,
        block: NONE,
    };
}

/// The blocks.
pub(crate) struct Cache {
    blocks: Vec<Option<Block>>,
    free: Vec<BlockId>,
    by_key: HashMap<Key, BlockId>,
    recent: Box<[Link; RECENT]>,
    /// Grows when a block is forgotten.
    generation: u64,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("blocks", &self.by_key.len())
            .finish_non_exhaustive()
    }
}

impl Cache {
    pub(crate) fn new() -> Cache {
        Cache {
            blocks: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            recent: Box::new([Link::NONE; RECENT]),
            generation: 0,
        }
    }

    /// What has to be the same for an address to lead to the same block: nothing was forgotten by the TLB or by the
    /// cache, the mode, and the base of the code segment.
    pub(crate) fn context(&self, tlb_generation: u64, mode: u64, cs_base: u64) -> u64 {
        (self.generation.wrapping_add(tlb_generation)) << 35 ^ mode << 32 ^ cs_base
    }

    #[inline(always)]
    pub(crate) fn block(&self, id: BlockId) -> Option<&Block> {
        self.blocks.get(id as usize)?.as_ref()
    }

    /// The block at `ip` after block `from`, if it was that before.
    #[inline(always)]
    pub(crate) fn follow(&self, from: BlockId, ip: u64, context: u64) -> Option<BlockId> {
        let links = &self.block(from)?.links;
        links
            .iter()
            .find(|link| link.ip == ip && link.context == context)
            .map(|link| link.block)
    }

    /// The block at `ip`, if it was entered lately.
    #[inline]
    pub(crate) fn recent(&self, ip: u64, context: u64) -> Option<BlockId> {
        let link = &self.recent[Self::place(ip)];
        (link.ip == ip && link.context == context).then_some(link.block)
    }

    fn place(ip: u64) -> usize {
        index(ip ^ ip >> 12) % RECENT
    }

    /// After `from` came `block`, at `ip`.
    pub(crate) fn entered(&mut self, from: Option<BlockId>, ip: u64, context: u64, block: BlockId) {
        let link = Link { ip, context, block };
        self.recent[Self::place(ip)] = link;
        if let Some(from) = from
            && let Some(Some(from)) = self.blocks.get_mut(from as usize)
        {
            from.links[1] = from.links[0];
            from.links[0] = link;
        }
    }

    pub(crate) fn find(&self, key: Key) -> Option<BlockId> {
        self.by_key.get(&key).copied()
    }

    /// Whether a block can be added; otherwise [`clear`](Self::clear) first.
    pub(crate) fn is_full(&self) -> bool {
        self.by_key.len() >= MOST
    }

    pub(crate) fn add(&mut self, key: Key, ops: Vec<Op>, len: u64, second: Option<usize>) -> BlockId {
        let block = Block {
            ops: ops.into(),
            len,
            second,
            key,
            links: [Link::NONE; 2],
        };
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.blocks.push(None);
                BlockId::try_from(self.blocks.len() - 1).unwrap_or(NONE)
            }
        };
        if let Some(place) = self.blocks.get_mut(id as usize) {
            *place = Some(block);
        }
        self.by_key.insert(key, id);
        id
    }

    /// Forgets blocks whose code is not there any more.
    pub(crate) fn forget(&mut self, blocks: Vec<BlockId>) {
        if blocks.is_empty() {
            return;
        }
        self.generation += 1;
        for id in blocks {
            if let Some(block) = self.blocks.get_mut(id as usize).and_then(Option::take) {
                self.by_key.remove(&block.key);
                self.free.push(id);
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.blocks.clear();
        self.free.clear();
        self.by_key.clear();
        self.generation += 1;
    }
}
