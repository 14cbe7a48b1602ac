//! Blocks: runs of decoded instructions, found by where their bytes are.

use std::collections::HashMap;

use super::pages::BlockId;
use crate::exec::Exec;
use crate::int::index;
use crate::ops::Op;
use crate::seg::CS;

/// How many places there are for blocks that were entered lately.
const RECENT: usize = 4096;
/// When there are this many blocks, all are forgotten;
const MOST: usize = 1 << 16;
/// or this many operations, 40 bytes each.
const MOST_OPS: usize = 1 << 20;
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

/// What has to be the same for an offset in the code segment to lead to the same block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    /// Grows whenever the TLB or the cache forgets something.
    generation: u64,
    /// The mode, and the base of the code segment.
    segment: u64,
}

/// A block that was entered at an address.
#[derive(Clone, Copy, Debug)]
struct Link {
    ip: u64,
    context: Context,
    block: BlockId,
}

impl Link {
    const NONE: Link = Link {
        ip: 0,
        context: Context {
            generation: u64::MAX,
            segment: 0,
        },
        block: NONE,
    };
}

/// The blocks.
pub(crate) struct Cache {
    blocks: Vec<Option<Block>>,
    free: Vec<BlockId>,
    by_key: HashMap<Key, BlockId>,
    /// How many operations all blocks have.
    ops: usize,
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
            ops: 0,
            recent: Box::new([Link::NONE; RECENT]),
            generation: 0,
        }
    }

    /// The current context.
    #[inline(always)]
    pub(crate) fn context(&self, exec: &Exec) -> Context {
        let base = if exec.mode.is_64() {
            0
        } else {
            exec.segs[CS].base & 0xffff_ffff
        };
        Context {
            // Both only grow.
            generation: self.generation.wrapping_add(exec.tlb.generation),
            segment: base << 8 | exec.mode.key,
        }
    }

    #[inline(always)]
    pub(crate) fn block(&self, id: BlockId) -> Option<&Block> {
        self.blocks.get(id as usize)?.as_ref()
    }

    /// The block at `ip` after block `from`, if it was that before.
    #[inline(always)]
    pub(crate) fn follow(&self, from: BlockId, ip: u64, context: Context) -> Option<BlockId> {
        let links = &self.block(from)?.links;
        links
            .iter()
            .find(|link| link.ip == ip && link.context == context)
            .map(|link| link.block)
    }

    /// The block at `ip`, if it was entered lately.
    #[inline]
    pub(crate) fn recent(&self, ip: u64, context: Context) -> Option<BlockId> {
        let link = &self.recent[Self::place(ip)];
        (link.ip == ip && link.context == context).then_some(link.block)
    }

    fn place(ip: u64) -> usize {
        index(ip ^ ip >> 12) % RECENT
    }

    /// After `from` came `block`, at `ip`.
    pub(crate) fn entered(&mut self, from: Option<BlockId>, ip: u64, context: Context, block: BlockId) {
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
        self.by_key.len() >= MOST || self.ops >= MOST_OPS
    }

    pub(crate) fn add(&mut self, key: Key, ops: Vec<Op>, len: u64, second: Option<usize>) -> BlockId {
        self.ops += ops.len();
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
                self.ops -= block.ops.len();
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
        self.ops = 0;
        self.generation += 1;
    }
}
