//! What should happen, byte by byte: from the rules, not from the code.

use std::cell::RefCell;
use std::collections::BTreeSet;

use flatview::{IommuAccess, MemTxAttrs, MemTxError};

use crate::device::{Call, PAGE_MASK, Shape, Table};

/// Regions begin below this, or end at 2^64.
pub(crate) const LOW: usize = 0x140;

/// How many IOMMUs an access goes through.
const MAX_IOMMUS: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Container,
    /// These, and those below, with the number of a block or a device.
    Ram(usize),
    RamDevice(usize),
    RomDevice(usize, usize),
    Mmio(usize),
    Reservation,
    Iommu,
    Alias(usize),
}

/// A region.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) size: u128,
    pub(crate) readonly: bool,
    pub(crate) enabled: bool,
    pub(crate) romd: bool,
    pub(crate) alias_offset: u64,
    pub(crate) parent: Option<usize>,
    pub(crate) address: u64,
    pub(crate) priority: i32,
    /// As rule B3 has them: who is first is seen.
    pub(crate) children: Vec<usize>,
}

impl Node {
    pub(crate) fn new(kind: Kind, size: u128) -> Node {
        Node {
            kind,
            size,
            readonly: false,
            enabled: true,
            romd: true,
            alias_offset: 0,
            parent: None,
            address: 0,
            priority: 0,
            children: Vec::new(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Empty if there is no memory.
    pub(crate) bytes: Vec<u8>,
    /// Whether it was written since somebody asked, as far as that is logged.
    pub(crate) dirty: bool,
}

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) nodes: Vec<Node>,
    /// The roots of the two spaces.
    pub(crate) roots: [usize; 2],
    pub(crate) blocks: Vec<Block>,
    pub(crate) shapes: Vec<Shape>,
    pub(crate) device_bytes: Vec<Vec<u8>>,
    pub(crate) table: Table,
    pub(crate) calls: Vec<Call>,
    /// What happened at all: stories that reach nothing prove nothing.
    pub(crate) reached: RefCell<BTreeSet<&'static str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    node: usize,
    offset: u64,
    readonly: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intent {
    Read,
    Write,
    /// As a loader does (rule L9).
    Load,
}

/// Who answers for one byte.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Memory {
        block: usize,
        at: usize,
        /// Whether it may be mapped: all but that of RAM devices (rules A11, N12).
        direct: bool,
    },
    Device {
        device: usize,
        offset: u64,
    },
    Iommu(Seen),
    Nothing(MemTxError),
}

/// Some bytes that have one answer.
enum Piece {
    Memory { block: usize, at: usize },
    Device { device: usize, offset: u64 },
    Nothing(MemTxError),
}

impl Model {
    pub(crate) fn note(&self, what: &'static str) {
        self.reached.borrow_mut().insert(what);
    }

    /// Rules C1 to C16: who is seen at a byte.
    fn look(&self, node: usize, at: u128, readonly: bool) -> Option<Seen> {
        let this = &self.nodes[node];
        if !this.enabled || at >= this.size {
            return None;
        }
        let readonly = readonly || this.readonly;
        if let Kind::Alias(target) = this.kind {
            return self.look(target, at + u128::from(this.alias_offset), readonly);
        }
        for &child in &this.children {
            let found = at.checked_sub(self.nodes[child].address.into());
            if let Some(found) = found.and_then(|at| self.look(child, at, readonly)) {
                return Some(found);
            }
        }
        (this.kind != Kind::Container).then(|| Seen {
            node,
            offset: u64::try_from(at).unwrap(),
            readonly,
        })
    }

    fn seen(&self, space: usize, address: u64) -> Option<Seen> {
        self.look(self.roots[space], address.into(), false)
    }

    fn answer(&self, space: usize, address: u64, intent: Intent, attrs: MemTxAttrs) -> Answer {
        // Rules K17 and K19.
        let nobody = if attrs.memory {
            MemTxError::ACCESS_ERROR
        } else {
            MemTxError::DECODE_ERROR
        };
        let Some(seen) = self.seen(space, address) else {
            return Answer::Nothing(nobody);
        };
        let node = &self.nodes[seen.node];
        // Rules K18 and L9.
        let forced = attrs.debug || intent == Intent::Load;
        // Rules L5, L7 and D2.
        let writable = intent == Intent::Read || !seen.readonly || forced;
        // RAM without memory, or that refuses, is RAM (rule K17).
        let ram_refuses = Answer::Nothing(MemTxError::DECODE_ERROR);
        let memory = |block: usize, direct, otherwise| {
            let at = usize::try_from(seen.offset).unwrap();
            match at < self.blocks[block].bytes.len() {
                true => Answer::Memory { block, at, direct },
                false => otherwise,
            }
        };
        match node.kind {
            Kind::Ram(_) | Kind::RamDevice(_) if !writable => ram_refuses,
            Kind::Ram(block) => memory(block, true, ram_refuses),
            // Loaders do not know them.
            Kind::RamDevice(_) if intent == Intent::Load => Answer::Nothing(nobody),
            Kind::RamDevice(block) => memory(block, false, ram_refuses),
            // Rules L8, K18 and L9.
            Kind::RomDevice(block, _) if node.romd && (intent == Intent::Read || forced) => {
                memory(block, true, Answer::Nothing(nobody))
            }
            Kind::RomDevice(_, device) | Kind::Mmio(device) if intent != Intent::Load => Answer::Device {
                device,
                offset: seen.offset,
            },
            Kind::Iommu => Answer::Iommu(seen),
            _ => Answer::Nothing(nobody),
        }
    }

    /// Where an access to the IOMMU goes on, and for how many of `most` bytes (rules O2, O4).
    fn translate(
        &self,
        (space, address): (usize, u64),
        seen: Seen,
        most: usize,
        intent: Intent,
        attrs: MemTxAttrs,
    ) -> (Option<(usize, u64)>, usize) {
        let follows = |&next: &usize| {
            let address = address.checked_add(next as u64);
            let found = address.and_then(|address| self.seen(space, address));
            let offset = seen.offset + next as u64;
            found == Some(Seen { offset, ..seen }) && offset & PAGE_MASK != 0
        };
        let len = 1 + (1..most).take_while(follows).count();
        let page = usize::try_from(seen.offset / (PAGE_MASK + 1)).unwrap();
        let entry = self
            .table
            .get(page)
            .and_then(|entry| entry[usize::from(attrs.secure)]);
        let wanted = match intent {
            Intent::Read => IommuAccess::READ,
            _ => IommuAccess::WRITE,
        };
        let entry = entry.filter(|entry| entry.permission.contains(wanted));
        if entry.is_none() {
            self.note("refused by the IOMMU");
        }
        let beyond = entry.map(|entry| (entry.space, entry.address | seen.offset & PAGE_MASK));
        (beyond, len)
    }

    /// What a copy does next.
    fn piece(
        &self,
        mut place: (usize, u64),
        mut left: usize,
        intent: Intent,
        attrs: MemTxAttrs,
    ) -> (Piece, usize) {
        let nobody = Piece::Nothing(match attrs.memory {
            true => MemTxError::ACCESS_ERROR,
            false => MemTxError::DECODE_ERROR,
        });
        for _ in 0..=MAX_IOMMUS {
            match self.answer(place.0, place.1, intent, attrs) {
                Answer::Memory { block, at, .. } => return (Piece::Memory { block, at }, 1),
                Answer::Nothing(error) => return (Piece::Nothing(error), 1),
                Answer::Device { device, offset } => {
                    let len = self.copy_size(device, offset, left);
                    let piece = if attrs.memory {
                        nobody
                    } else {
                        Piece::Device { device, offset }
                    };
                    return (piece, len);
                }
                Answer::Iommu(seen) => {
                    let (beyond, len) = self.translate(place, seen, left, intent, attrs);
                    left = len;
                    match beyond {
                        Some(beyond) => place = beyond,
                        None => return (nobody, 1),
                    }
                }
            }
        }
        self.note("round and round");
        (nobody, 1)
    }

    /// Rule L3.
    fn copy_size(&self, device: usize, offset: u64, left: usize) -> usize {
        let rules = &self.shapes[device].rules;
        let most = match rules.valid {
            Some(valid) if valid.max != 0 => valid.max,
            _ => 4,
        };
        let fits = |size: &usize| {
            let aligned = rules.implemented.unaligned || offset.is_multiple_of(*size as u64);
            *size <= most.into() && *size <= left && aligned
        };
        [8, 4, 2, 1].into_iter().find(fits).unwrap()
    }

    /// Rules L1 and K19.
    pub(crate) fn read(
        &mut self,
        space: usize,
        address: u64,
        len: usize,
        attrs: MemTxAttrs,
    ) -> (Vec<u8>, MemTxError) {
        let (mut bytes, mut error) = (Vec::new(), MemTxError::empty());
        while bytes.len() < len {
            let place = (space, address.wrapping_add(bytes.len() as u64));
            if place.1 < address {
                self.note("round 2^64");
            }
            let (piece, size) = self.piece(place, len - bytes.len(), Intent::Read, attrs);
            match piece {
                Piece::Memory { block, at } => {
                    self.note("memory");
                    bytes.push(self.blocks[block].bytes[at]);
                }
                Piece::Device { device, offset } => {
                    if !bytes.is_empty() {
                        self.note("a device after something else");
                    }
                    let (read, failed) = self.device_read(device, offset, size, attrs);
                    bytes.extend(read);
                    error |= failed;
                }
                Piece::Nothing(failed) => {
                    self.note("a hole");
                    bytes.resize(bytes.len() + size, 0);
                    error |= failed;
                }
            }
        }
        (bytes, error)
    }

    /// Rules L1, L7, L9 and L10.
    pub(crate) fn write(
        &mut self,
        space: usize,
        address: u64,
        bytes: &[u8],
        intent: Intent,
        attrs: MemTxAttrs,
    ) -> MemTxError {
        let (mut done, mut error) = (0, MemTxError::empty());
        while done < bytes.len() {
            let place = (space, address.wrapping_add(done as u64));
            let (piece, size) = self.piece(place, bytes.len() - done, intent, attrs);
            match piece {
                Piece::Memory { block, at } => self.poke(block, at, bytes[done]),
                Piece::Device { device, offset } => {
                    error |= self.device_write(device, offset, &bytes[done..done + size], attrs);
                }
                Piece::Nothing(failed) => error |= failed,
            }
            done += size;
        }
        error
    }

    pub(crate) fn poke(&mut self, block: usize, at: usize, byte: u8) {
        self.blocks[block].bytes[at] = byte;
        self.blocks[block].dirty = true;
    }

    /// The device that gets a load or store whole (rules L11 and K22).
    fn whole(
        &self,
        mut place: (usize, u64),
        size: usize,
        intent: Intent,
        attrs: MemTxAttrs,
    ) -> Option<(usize, u64)> {
        for _ in 0..=MAX_IOMMUS {
            match self.answer(place.0, place.1, intent, attrs) {
                Answer::Device { device, offset } if !attrs.memory => {
                    if size as u128 > self.nodes_left(place) {
                        self.note("whole beyond the end (K22)");
                    }
                    return Some((device, offset));
                }
                Answer::Iommu(seen) => match self.translate(place, seen, size, intent, attrs) {
                    (Some(beyond), len) if len == size => {
                        self.note("a word behind the IOMMU");
                        place = beyond;
                    }
                    (Some(_), _) => {
                        self.note("a word across pages");
                        return None;
                    }
                    _ => return None,
                },
                _ => return None,
            }
        }
        None
    }

    /// How many bytes of the region that is seen there are left.
    fn nodes_left(&self, (space, address): (usize, u64)) -> u128 {
        let left = |seen: Seen| self.nodes[seen.node].size - u128::from(seen.offset);
        self.seen(space, address).map_or(0, left)
    }

    /// Rules L11 and K23.
    pub(crate) fn load(
        &mut self,
        space: usize,
        address: u64,
        size: usize,
        attrs: MemTxAttrs,
    ) -> (Vec<u8>, MemTxError) {
        match self.whole((space, address), size, Intent::Read, attrs) {
            Some((device, offset)) => self.device_read(device, offset, size, attrs),
            None => self.read(space, address, size, attrs),
        }
    }

    pub(crate) fn store(
        &mut self,
        space: usize,
        address: u64,
        bytes: &[u8],
        attrs: MemTxAttrs,
    ) -> MemTxError {
        match self.whole((space, address), bytes.len(), Intent::Write, attrs) {
            Some((device, offset)) => self.device_write(device, offset, bytes, attrs),
            None => self.write(space, address, bytes, Intent::Write, attrs),
        }
    }

    /// Rule L16.
    pub(crate) fn is_valid(
        &self,
        space: usize,
        address: u64,
        len: usize,
        is_write: bool,
        attrs: MemTxAttrs,
    ) -> bool {
        let intent = if is_write { Intent::Write } else { Intent::Read };
        let mut done = 0;
        while done < len {
            let place = (space, address.wrapping_add(done as u64));
            let (piece, size) = self.piece(place, len - done, intent, attrs);
            let fine = match piece {
                Piece::Memory { .. } => true,
                Piece::Device { device, offset } => self.takes(device, offset, size, is_write, attrs),
                Piece::Nothing(_) => false,
            };
            if !fine {
                return false;
            }
            done += size;
        }
        true
    }

    /// The memory that a mapping shows: block, first byte, length (rules N1, N7 and N12).
    pub(crate) fn mapped(
        &self,
        mut place: (usize, u64),
        mut size: usize,
        intent: Intent,
        attrs: MemTxAttrs,
    ) -> Option<(usize, usize, usize)> {
        for _ in 0..=MAX_IOMMUS {
            match self.answer(place.0, place.1, intent, attrs) {
                Answer::Iommu(seen) => match self.translate(place, seen, size, intent, attrs) {
                    (Some(beyond), len) => {
                        self.note("a mapping behind the IOMMU");
                        (place, size) = (beyond, len);
                    }
                    _ => return None,
                },
                Answer::Memory {
                    block: first,
                    at: start,
                    direct: true,
                } => {
                    let follows = |&next: &usize| {
                        let Some(address) = place.1.checked_add(next as u64) else {
                            return false;
                        };
                        match self.answer(place.0, address, intent, attrs) {
                            Answer::Memory { block, at, direct } => {
                                direct && block == first && at == start + next
                            }
                            _ => false,
                        }
                    };
                    return Some((first, start, 1 + (1..size).take_while(follows).count()));
                }
                _ => return None,
            }
        }
        None
    }
}
