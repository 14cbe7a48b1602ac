//! What happens to the machine: accesses, mappings, changes of the map. Each twice, and compared.

use flatview::{AtomicOp, Endianness, MapError, MemTxAttrs, MemTxError, MemoryRegionCache, Word};

use crate::bytes::Bytes;
use crate::device::choose_entry;
use crate::model::{Intent, Kind};
use crate::world::{Cached, Mapped, World};

/// With the space itself, or with the reader that lives all the time.
macro_rules! via {
    ($world:ident, $by_reader:expr, $space:expr, $it:ident => $access:expr) => {
        if $by_reader {
            let $it = &mut $world.readers[$space][0];
            $access
        } else {
            let $it = &$world.spaces[$space];
            $access
        }
    };
}

fn result(error: MemTxError) -> Result<(), MemTxError> {
    if error.is_empty() { Ok(()) } else { Err(error) }
}

fn attrs(bytes: &mut Bytes<'_>) -> MemTxAttrs {
    let bits = bytes.byte();
    MemTxAttrs {
        debug: bits % 8 == 1,
        memory: bits % 8 == 2,
        secure: bits & 16 != 0,
        requester_id: (bits >> 5).into(),
        ..MemTxAttrs::default()
    }
}

fn endianness(bytes: &mut Bytes<'_>) -> Endianness {
    bytes.pick(&[Endianness::Little, Endianness::Big])
}

/// The number that bytes are.
fn number(bytes: &[u8], endianness: Endianness) -> u64 {
    let join = |number, &byte: &u8| number << 8 | u64::from(byte);
    match endianness {
        Endianness::Little => bytes.iter().rev().fold(0, join),
        Endianness::Big => bytes.iter().fold(0, join),
    }
}

fn bytes_of(number: u64, size: usize, endianness: Endianness) -> Vec<u8> {
    match endianness {
        Endianness::Little => number.to_le_bytes()[..size].to_vec(),
        Endianness::Big => number.to_be_bytes()[8 - size..].to_vec(),
    }
}

impl World {
    pub(crate) fn step(&mut self, bytes: &mut Bytes<'_>) {
        let what = match bytes.byte() % 32 {
            0..=12 => match bytes.byte() % 4 {
                0 => self.word::<u8>(bytes),
                1 => self.word::<u16>(bytes),
                2 => self.word::<u32>(bytes),
                _ => self.word::<u64>(bytes),
            },
            13..=19 => self.slice(bytes),
            20 => self.write_rom(bytes),
            21 => self.access_valid(bytes),
            22 => self.copy_to(bytes),
            23 => self.map_some(bytes),
            24 => self.store_in_mapping(bytes),
            25 => self.unmap(bytes),
            26 => self.new_cache(bytes),
            27 => self.remap(bytes),
            28 => {
                let [first, second] = &mut self.readers[bytes.below(2)];
                first.release();
                second.release();
                "release"
            }
            _ => self.change(bytes),
        };
        self.compare(what);
    }

    /// Where: through the cache if there is one, sometimes beyond it.
    fn place(&mut self, bytes: &mut Bytes<'_>) -> (usize, u64, MemTxAttrs) {
        (bytes.below(2), bytes.address(), attrs(bytes))
    }

    fn word<T: Word>(&mut self, bytes: &mut Bytes<'_>) -> &'static str {
        let order = endianness(bytes);
        let how = bytes.byte();
        let value = bytes.word();
        if how & 7 == 0 && self.cache.is_some() {
            return self.cached_word::<T>(bytes, T::truncate(value), order);
        }
        let by_reader = how & 8 != 0;
        let (space, address, attrs) = self.place(bytes);
        let operand = T::truncate(value);
        match how >> 4 {
            0..=6 => {
                let (read, error) = self.model.load(space, address, T::SIZE, attrs);
                let expected = result(error).map(|()| T::truncate(number(&read, order)));
                let loaded = via!(self, by_reader, space, it => it.load::<T>(address, order, attrs));
                assert_eq!(loaded, expected, "load at {address:#x} of {space}");
                "load"
            }
            7..=11 => {
                let written = bytes_of(operand.widen(), T::SIZE, order);
                let expected = self.model.store(space, address, &written, attrs);
                let stored = via!(self, by_reader, space, it => it.store(address, operand, order, attrs));
                assert_eq!(stored, result(expected), "store at {address:#x} of {space}");
                "store"
            }
            12..=13 => {
                let (read, error) = self.model.load(space, address, T::SIZE, attrs);
                let old = T::truncate(number(&read, order));
                let current = if bytes.once_in(3) { operand } else { old };
                let new = T::truncate(!value);
                let mut error = error;
                if error.is_empty() && old == current {
                    let written = bytes_of(new.widen(), T::SIZE, order);
                    error = self.model.store(space, address, &written, attrs);
                }
                let expected = result(error).map(|()| if old == current { Ok(old) } else { Err(old) });
                let exchanged = via!(self, by_reader, space, it => {
                    it.compare_exchange(address, current, new, order, attrs)
                });
                assert_eq!(exchanged, expected, "exchange at {address:#x} of {space}");
                "compare_exchange"
            }
            _ => {
                let op = bytes.pick(&[
                    AtomicOp::Swap,
                    AtomicOp::Add,
                    AtomicOp::And,
                    AtomicOp::Or,
                    AtomicOp::Xor,
                ]);
                let (read, mut error) = self.model.load(space, address, T::SIZE, attrs);
                let old = number(&read, order);
                if error.is_empty() {
                    let new = match op {
                        AtomicOp::Swap => operand.widen(),
                        AtomicOp::Add => old.wrapping_add(operand.widen()),
                        AtomicOp::And => old & operand.widen(),
                        AtomicOp::Or => old | operand.widen(),
                        AtomicOp::Xor => old ^ operand.widen(),
                    };
                    let new = bytes_of(T::truncate(new).widen(), T::SIZE, order);
                    error = self.model.store(space, address, &new, attrs);
                }
                let expected = result(error).map(|()| T::truncate(old));
                let found = via!(self, by_reader, space, it => it.atomic(address, op, operand, order, attrs));
                assert_eq!(found, expected, "{op:?} at {address:#x} of {space}");
                "atomic"
            }
        }
    }

    /// The place of an access of the cache, for the model; `None` beyond its window.
    fn in_cache(&mut self, offset: u64, len: usize) -> (&mut Cached, Option<u64>) {
        let cached = self.cache.as_mut().unwrap();
        let is_within = u128::from(offset) + len as u128 <= u128::from(cached.size);
        let address = cached.place.1.wrapping_add(offset);
        (cached, is_within.then_some(address))
    }

    fn cached_word<T: Word>(&mut self, bytes: &mut Bytes<'_>, value: T, order: Endianness) -> &'static str {
        let is_write = bytes.once_in(2);
        let offset = bytes.below(0x48) as u64;
        let (cached, address) = self.in_cache(offset, T::SIZE);
        let (space, attrs) = (cached.place.0, cached.attrs);
        if is_write {
            let stored = cached.cache.store(offset, value, order);
            let written = bytes_of(value.widen(), T::SIZE, order);
            let expected = match address {
                Some(address) => self.model.store(space, address, &written, attrs),
                None => MemTxError::ACCESS_ERROR,
            };
            assert_eq!(stored, result(expected), "store at {offset:#x} of the cache");
        } else {
            let loaded = cached.cache.load::<T>(offset, order);
            let (read, error) = match address {
                Some(address) => self.model.load(space, address, T::SIZE, attrs),
                None => (Vec::new(), MemTxError::ACCESS_ERROR),
            };
            let expected = result(error).map(|()| T::truncate(number(&read, order)));
            assert_eq!(loaded, expected, "load at {offset:#x} of the cache");
        }
        "a cached word"
    }

    fn slice(&mut self, bytes: &mut Bytes<'_>) -> &'static str {
        let how = bytes.byte();
        let by_reader = how & 8 != 0;
        let len = bytes.below(41);
        if how & 7 == 0 && self.cache.is_some() {
            return self.cached_slice(bytes, len);
        }
        let (space, address, attrs) = self.place(bytes);
        match how >> 4 {
            0..=6 => {
                let expected = self.model.read(space, address, len, attrs);
                let mut buffer = vec![0xcc; len];
                let read = via!(self, by_reader, space, it => it.read(address, &mut buffer, attrs));
                assert_eq!(read, result(expected.1), "read at {address:#x} of {space}");
                assert_eq!(buffer, expected.0, "read at {address:#x} of {space}");
                "read"
            }
            7..=12 => {
                let content = bytes.take(len);
                let expected = self.model.write(space, address, &content, Intent::Write, attrs);
                let written = via!(self, by_reader, space, it => it.write(address, &content, attrs));
                assert_eq!(written, result(expected), "write at {address:#x} of {space}");
                "write"
            }
            _ => {
                let value = bytes.byte();
                let content = vec![value; len];
                let expected = self.model.write(space, address, &content, Intent::Write, attrs);
                let filled = via!(self, by_reader, space, it => it.fill(address, value, len, attrs));
                assert_eq!(filled, result(expected), "fill at {address:#x} of {space}");
                "fill"
            }
        }
    }

    fn cached_slice(&mut self, bytes: &mut Bytes<'_>, len: usize) -> &'static str {
        let is_write = bytes.once_in(2);
        let offset = bytes.below(0x48) as u64;
        let content = bytes.take(len);
        let (cached, address) = self.in_cache(offset, len);
        let (space, attrs) = (cached.place.0, cached.attrs);
        let mut buffer = vec![0xcc; len];
        let done = if is_write {
            cached.cache.write(offset, &content)
        } else {
            cached.cache.read(offset, &mut buffer)
        };
        let Some(address) = address else {
            assert_eq!(done, Err(MemTxError::ACCESS_ERROR), "{offset:#x} of the cache");
            return "a slice beyond the cache";
        };
        if is_write {
            let expected = self.model.write(space, address, &content, Intent::Write, attrs);
            assert_eq!(done, result(expected), "write at {offset:#x} of the cache");
        } else {
            let expected = self.model.read(space, address, len, attrs);
            assert_eq!(done, result(expected.1), "read at {offset:#x} of the cache");
            assert_eq!(buffer, expected.0, "read at {offset:#x} of the cache");
        }
        "a cached slice"
    }

    fn write_rom(&mut self, bytes: &mut Bytes<'_>) -> &'static str {
        let by_reader = bytes.once_in(2);
        let (space, address, _) = self.place(bytes);
        let len = bytes.below(60);
        let content = bytes.take(len);
        let unspecified = MemTxAttrs::UNSPECIFIED;
        self.model
            .write(space, address, &content, Intent::Load, unspecified);
        via!(self, by_reader, space, it => it.write_rom(address, &content));
        "write_rom"
    }

    fn access_valid(&mut self, bytes: &mut Bytes<'_>) -> &'static str {
        let by_reader = bytes.once_in(2);
        let (space, address, attrs) = self.place(bytes);
        let (len, is_write) = (bytes.below(24), bytes.once_in(2));
        let expected = self.model.is_valid(space, address, len, is_write, attrs);
        let valid = via!(self, by_reader, space, it => it.access_valid(address, len, is_write, attrs));
        assert_eq!(valid, expected, "{len} bytes at {address:#x} of {space}");
        "access_valid"
    }

    fn copy_to(&mut self, bytes: &mut Bytes<'_>) -> &'static str {
        let by_reader = bytes.once_in(2);
        let (from, start, attrs) = self.place(bytes);
        let (target, to) = (bytes.below(2), bytes.address());
        // Sometimes more than goes in one piece.
        let len = bytes.below(60) + if bytes.once_in(8) { 4090 } else { 0 };
        let (mut error, mut done) = (MemTxError::empty(), 0);
        while done < len {
            let piece = (len - done).min(4096);
            let (content, failed) = self
                .model
                .read(from, start.wrapping_add(done as u64), piece, attrs);
            let to = to.wrapping_add(done as u64);
            error |= failed | self.model.write(target, to, &content, Intent::Write, attrs);
            done += piece;
        }
        let len = len as u64;
        let copied = if by_reader {
            let [[first, first_too], [second, second_too]] = &mut self.readers;
            let [source, target] = match (from, target) {
                (0, 0) => [first, first_too],
                (0, _) => [first, second],
                (_, 0) => [second, first],
                _ => [second, second_too],
            };
            source.copy_to(start, target, to, len, attrs)
        } else {
            self.spaces[from].copy_to(start, &self.spaces[target], to, len, attrs)
        };
        assert_eq!(copied, result(error), "copy from {start:#x} to {to:#x}");
        "copy_to"
    }

    fn map_some(&mut self, bytes: &mut Bytes<'_>) -> &'static str {
        let (space, address, attrs) = self.place(bytes);
        let (size, is_write) = (bytes.below(0x40), bytes.once_in(2));
        let mapping = self.spaces[space].map(address, size as u64, is_write, attrs);
        if size == 0 {
            assert_eq!(mapping.err(), Some(MapError::Empty { address }));
            return "an empty map";
        }
        let intent = if is_write { Intent::Write } else { Intent::Read };
        let (size, memory) = match self.model.mapped((space, address), size, intent, attrs) {
            Some((block, at, len)) => (len, Ok((block, at))),
            None => {
                let left = 0x30 - self.bounced[space];
                if left == 0 {
                    assert!(matches!(mapping, Err(MapError::NoBounceSpace { .. })));
                    return "a map without bounce space";
                }
                let len = size.min(usize::try_from(left).unwrap());
                self.bounced[space] += len as u64;
                let content = match is_write {
                    true => vec![0; len],
                    false => self.model.read(space, address, len, attrs).0,
                };
                (len, Err(content))
            }
        };
        let mapping = mapping.unwrap();
        assert_eq!(mapping.size(), size as u64, "map at {address:#x} of {space}");
        assert_eq!(mapping.is_bounced(), memory.is_err(), "map at {address:#x}");
        self.mappings.push(Mapped {
            mapping,
            place: (space, address),
            is_write,
            attrs,
            memory,
        });
        "map"
    }

    fn store_in_mapping(&mut self, bytes: &mut Bytes<'_>) -> &'static str {
        let which = bytes.below(self.mappings.len());
        let Some(mapped) = self.mappings.get_mut(which).filter(|mapped| mapped.is_write) else {
            return "no mapping to store in";
        };
        let size = usize::try_from(mapped.mapping.size()).unwrap();
        let at = bytes.below(size);
        let content = bytes.take(size - at);
        mapped.mapping.window().write(at as u64, &content).unwrap();
        match &mut mapped.memory {
            Ok((block, start)) => {
                for (index, &byte) in content.iter().enumerate() {
                    self.model.poke(*block, *start + at + index, byte);
                }
            }
            Err(copy) => copy[at..].copy_from_slice(&content),
        }
        "a store in a mapping"
    }

    fn unmap(&mut self, bytes: &mut Bytes<'_>) -> &'static str {
        if self.mappings.is_empty() {
            return "nothing to unmap";
        }
        let which = bytes.below(self.mappings.len());
        let mapped = self.mappings.swap_remove(which);
        let size = mapped.mapping.size();
        let asked = bytes.below(0x50) as u64;
        let is_dropped = bytes.once_in(4);
        let (space, address) = mapped.place;
        // Rule N8; a drop of memory counts as written all over.
        let written = match (&mapped.memory, mapped.is_write) {
            (_, false) => 0,
            (Ok(_), _) if is_dropped => size,
            (Err(_), _) if is_dropped => 0,
            _ => asked.min(size),
        };
        let mut expected = MemTxError::empty();
        match &mapped.memory {
            Ok((block, _)) => self.model.blocks[*block].dirty |= written > 0,
            Err(copy) => {
                self.bounced[space] -= size;
                let copy = &copy[..usize::try_from(written).unwrap()];
                expected = self
                    .model
                    .write(space, address, copy, Intent::Write, mapped.attrs);
            }
        }
        if is_dropped {
            drop(mapped.mapping);
        } else {
            let unmapped = mapped.mapping.unmap(asked);
            assert_eq!(unmapped, result(expected), "unmap at {address:#x} of {space}");
        }
        "unmap"
    }

    fn new_cache(&mut self, bytes: &mut Bytes<'_>) -> &'static str {
        let (space, address, attrs) = self.place(bytes);
        let size = bytes.below(0x41) as u64;
        self.cache = Some(Cached {
            cache: MemoryRegionCache::new(&self.spaces[space], address, size, attrs),
            place: (space, address),
            size,
            attrs,
        });
        "a new cache"
    }

    fn remap(&mut self, bytes: &mut Bytes<'_>) -> &'static str {
        let page = bytes.below(self.model.table.len());
        let entry = choose_entry(bytes);
        self.model.table[page][bytes.below(2)] = entry;
        *self.iommu.table.lock().unwrap() = self.model.table.clone();
        "another translation"
    }

    /// The map changes under readers, caches and mappings.
    fn change(&mut self, bytes: &mut Bytes<'_>) -> &'static str {
        let number = 2 + bytes.below(self.regions.len() - 2);
        let region = self.regions[number].clone();
        let node = &mut self.model.nodes[number];
        let memory = self.memory.clone();
        match bytes.byte() % 8 {
            0 => {
                node.enabled = !node.enabled;
                let on = node.enabled;
                memory.update(|tx| tx.set_enabled(&region, on)).unwrap();
            }
            1 => {
                node.readonly = !node.readonly;
                let on = node.readonly;
                memory.update(|tx| tx.set_readonly(&region, on)).unwrap();
            }
            2 if matches!(node.kind, Kind::RomDevice(..)) => {
                node.romd = !node.romd;
                let on = node.romd;
                memory.update(|tx| tx.rom_device_set_romd(&region, on)).unwrap();
            }
            3 if matches!(node.kind, Kind::Alias(_)) => {
                node.alias_offset = bytes.below(0x20) as u64;
                let offset = node.alias_offset;
                memory.update(|tx| tx.set_alias_offset(&region, offset)).unwrap();
            }
            // Devices are asked for no more than their bytes.
            4 if matches!(node.kind, Kind::Ram(_) | Kind::Alias(_) | Kind::RamDevice(_)) => {
                node.size = 1 + bytes.below(0x60) as u128;
                let size = u64::try_from(node.size).unwrap();
                memory.update(|tx| tx.set_size(&region, size)).unwrap();
            }
            _ => match node.parent {
                None => {
                    let root = bytes.below(2);
                    let address = bytes.address();
                    node.priority = bytes.below(3) as i32 - 1;
                    self.map(root, number, address);
                }
                Some(parent) if bytes.once_in(3) => {
                    node.parent = None;
                    let container = self.regions[parent].clone();
                    memory.update(|tx| tx.del_subregion(&container, &region)).unwrap();
                    self.model.nodes[parent].children.retain(|&child| child != number);
                }
                Some(parent) => {
                    let address = bytes.address();
                    memory.update(|tx| tx.set_address(&region, address)).unwrap();
                    // Rule B4.
                    if self.model.nodes[number].address != address {
                        self.model.nodes[number].address = address;
                        self.model.put_in_order(parent, number);
                    }
                }
            },
        }
        "a change"
    }
}
