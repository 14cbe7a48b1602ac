//! Which pages of memory have decoded code in them, and how to find out that it changed.
//!
//! A page is known by where it is in this process, so that code is found through every alias of it and whatever the
//! memory map does. Two ways lead to a change:
//!
//! - The CPU stores to the page. The TLB lets such stores go the slow way, which [asks here](CodePages::stored)
//!   whether they hit the bytes of a block. It is *killed*: whoever runs blocks forgets it before the next one.
//! - A device writes there by DMA. The page's dirty bit for [`DirtyClients::CODE`] tells. The bits are looked at
//!   [after I/O](CodePages::may_have_changed) and whenever the CPU comes back to its loop. A page that was written
//!   is compared with what it was, because the CPU's own stores beside code set the bit as well.

use std::collections::HashMap;
use std::ops::Range;

use flatview::{AddressRange, DirtyBitmap, DirtyClients, RamBlock, RamWindow, Size};

use crate::exec::tlb::{PAGE, PAGE_BYTES};
use crate::int::index;

/// The number of a block: its place in the cache.
pub(crate) type BlockId = u32;

/// When there are this many pages, all are forgotten. Each has a copy of its bytes.
const MOST: usize = 1 << 13;

/// Which bytes of a page a block comes from.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u64,
    end: u64,
    block: BlockId,
}

impl Span {
    fn bytes(&self) -> Range<usize> {
        index(self.start)..index(self.end)
    }
}

/// A page with code.
#[derive(Debug)]
struct CodePage {
    window: RamWindow,
    spans: Vec<Span>,
    /// One bit for each 64 bytes that a span touches.
    touched: u64,
    /// The page as it was when the bytes of the spans were read.
    copy: Box<[u8]>,
}

impl CodePage {
    fn bytes(&self) -> Option<AddressRange> {
        AddressRange::new(self.window.offset_in_block(), Size::from(PAGE))
    }

    /// Forgets which stores were seen: from now on the dirty bit tells.
    fn watch(&self) {
        if let Some(bytes) = self.bytes() {
            let mut taken = DirtyBitmap::new(bytes);
            self.window
                .block()
                .take_dirty(bytes, DirtyClients::CODE, &mut taken);
        }
    }

    fn is_dirty(&self) -> bool {
        self.bytes()
            .is_none_or(|bytes| self.window.block().is_dirty(bytes, DirtyClients::CODE))
    }

    /// Kills the blocks whose bytes are hit.
    fn kill(&mut self, killed: &mut Vec<BlockId>, is_hit: impl Fn(&[u8], &Span) -> bool) {
        let copy = &self.copy;
        self.spans.retain(|span| {
            let hit = is_hit(copy, span);
            if hit {
                killed.push(span.block);
            }
            !hit
        });
        self.touched = self
            .spans
            .iter()
            .fold(0, |all, span| all | granules(span.start, span.end));
    }

    /// Reads the page again and kills the blocks whose bytes are different.
    fn refresh(&mut self, killed: &mut Vec<BlockId>) {
        let mut now = vec![0; PAGE_BYTES].into_boxed_slice();
        // Cannot fail: the window is a page.
        if self.window.read(0, &mut now).is_ok() {
            self.kill(killed, |copy, span| copy[span.bytes()] != now[span.bytes()]);
            self.copy = now;
        }
    }
}

/// Pages that follow one another in a block of RAM, so that all their dirty bits are looked at together.
#[derive(Debug)]
struct Stretch {
    block: RamBlock,
    first: u64,
    last: u64,
    hosts: Vec<usize>,
}

/// The pages with code.
#[derive(Debug, Default)]
pub(crate) struct CodePages {
    pages: HashMap<usize, CodePage>,
    /// All of them; empty if there are pages that were not put in yet.
    stretches: Vec<Stretch>,
    killed: Vec<BlockId>,
    /// Somebody else may have written to memory.
    suspicious: bool,
}

/// One bit for each 64 bytes of a page between two offsets.
fn granules(start: u64, end: u64) -> u64 {
    if start >= end {
        return 0;
    }
    let (first, last) = (start / 64 % 64, (end - 1) / 64 % 64);
    (u64::MAX << first) & (u64::MAX >> (63 - last))
}

impl CodePages {
    /// Whether there is code in the page at `host`.
    pub(crate) fn is_code(&self, host: usize) -> bool {
        self.pages.contains_key(&host)
    }

    /// Whether there are too many: [`clear`](Self::clear) first.
    pub(crate) fn is_full(&self) -> bool {
        self.pages.len() >= MOST
    }

    /// Forgets the pages of blocks of RAM that are not seen any more, or they would stay for their sake.
    pub(crate) fn retain(&mut self, is_seen: impl Fn(&RamBlock) -> bool) {
        if self.stretches.is_empty() {
            self.stretch();
        }
        let gone: Vec<usize> = self
            .stretches
            .iter()
            .filter(|stretch| !is_seen(&stretch.block))
            .flat_map(|stretch| stretch.hosts.iter().copied())
            .collect();
        if !gone.is_empty() {
            self.stretches.clear();
        }
        for page in gone.iter().filter_map(|host| self.pages.remove(host)) {
            self.killed.extend(page.spans.iter().map(|span| span.block));
        }
    }

    /// The bytes of a page, which are watched from now on.
    pub(crate) fn read(&mut self, window: &RamWindow) -> &[u8] {
        let page = self.pages.entry(window.as_ptr().addr()).or_insert_with(|| {
            let page = CodePage {
                window: window.clone(),
                spans: Vec::new(),
                touched: 0,
                copy: Box::default(),
            };
            page.watch();
            self.stretches.clear();
            page
        });
        page.refresh(&mut self.killed);
        &page.copy
    }

    /// A block comes from these bytes of the page at `host`.
    pub(crate) fn add(&mut self, host: usize, start: u64, end: u64, block: BlockId) {
        if let Some(page) = self.pages.get_mut(&host) {
            page.spans.push(Span { start, end, block });
            page.touched |= granules(start, end);
        }
    }

    /// Bytes of the page at `host` were stored to. Tells whether a block is killed.
    pub(crate) fn stored(&mut self, host: usize, offset: u64, size: u64) -> bool {
        let Some(page) = self.pages.get_mut(&host) else {
            return false;
        };
        let end = offset.saturating_add(size);
        if page.touched & granules(offset, end) == 0 {
            return false;
        }
        let before = self.killed.len();
        page.kill(&mut self.killed, |_, span| span.start < end && offset < span.end);
        if page.spans.is_empty() {
            // No code is left: stores need not go the slow way any more.
            self.pages.remove(&host);
            self.stretches.clear();
        }
        self.killed.len() > before
    }

    /// Somebody else may have written to memory.
    pub(crate) fn may_have_changed(&mut self) {
        self.suspicious = true;
    }

    /// Looks for what others wrote, if they may have.
    pub(crate) fn look(&mut self) {
        if !std::mem::take(&mut self.suspicious) {
            return;
        }
        if self.stretches.is_empty() {
            self.stretch();
        }
        let mut has_empty = false;
        for stretch in &self.stretches {
            let bytes = AddressRange::from_bounds(stretch.first, stretch.last);
            if bytes.is_some_and(|bytes| !stretch.block.is_dirty(bytes, DirtyClients::CODE)) {
                continue;
            }
            for host in &stretch.hosts {
                if let Some(page) = self.pages.get_mut(host)
                    && page.is_dirty()
                {
                    page.watch();
                    page.refresh(&mut self.killed);
                    has_empty |= page.spans.is_empty();
                }
            }
        }
        if has_empty {
            self.pages.retain(|_, page| !page.spans.is_empty());
            self.stretches.clear();
        }
    }

    /// Puts the pages together that follow one another.
    fn stretch(&mut self) {
        let mut hosts: Vec<usize> = self.pages.keys().copied().collect();
        hosts.sort_unstable();
        for host in hosts {
            let Some(page) = self.pages.get(&host) else {
                continue;
            };
            let (block, first) = (page.window.block(), page.window.offset_in_block());
            match self.stretches.last_mut() {
                Some(stretch) if stretch.block == *block && stretch.last.wrapping_add(1) == first => {
                    stretch.last = first + (PAGE - 1);
                    stretch.hosts.push(host);
                }
                _ => self.stretches.push(Stretch {
                    block: block.clone(),
                    first,
                    last: first + (PAGE - 1),
                    hosts: vec![host],
                }),
            }
        }
    }

    /// The blocks that do not exist any more since this was asked last.
    pub(crate) fn take_killed(&mut self) -> Vec<BlockId> {
        std::mem::take(&mut self.killed)
    }

    /// Forgets all pages.
    pub(crate) fn clear(&mut self) {
        self.pages.clear();
        self.stretches.clear();
        self.killed.clear();
    }
}
