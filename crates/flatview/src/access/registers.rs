//! Devices that are a row of registers.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use thiserror::Error;

use super::{AccessRules, Endianness, MemTxAttrs, MemTxError, MemoryRegionOps};

/// What is written down of a register (QEMU's `RegisterAccessInfo`). Masks have a bit for each bit of the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterInfo {
    /// The name, for messages.
    pub name: &'static str,
    /// The first byte, an offset in the region.
    pub offset: u64,
    /// The number of bytes: 1, 2, 4 or 8.
    pub size: u8,
    /// What it is after a reset.
    pub reset: u64,
    /// Bits that writes do not change.
    pub read_only: u64,
    /// Bits that are cleared by writing a one to them.
    pub write_one_to_clear: u64,
    /// Bits that are cleared by reading them.
    pub clear_on_read: u64,
}

impl RegisterInfo {
    /// A register that is zero after a reset and can be written.
    pub const fn new(name: &'static str, offset: u64, size: u8) -> RegisterInfo {
        RegisterInfo {
            name,
            offset,
            size,
            reset: 0,
            read_only: 0,
            write_one_to_clear: 0,
            clear_on_read: 0,
        }
    }

    /// With this value after a reset.
    #[must_use]
    pub const fn reset(self, reset: u64) -> RegisterInfo {
        RegisterInfo { reset, ..self }
    }

    /// With these bits that writes do not change.
    #[must_use]
    pub const fn read_only(self, read_only: u64) -> RegisterInfo {
        RegisterInfo { read_only, ..self }
    }

    /// With these bits cleared by writing ones.
    #[must_use]
    pub const fn write_one_to_clear(self, write_one_to_clear: u64) -> RegisterInfo {
        RegisterInfo {
            write_one_to_clear,
            ..self
        }
    }

    /// With these bits cleared by reading.
    #[must_use]
    pub const fn clear_on_read(self, clear_on_read: u64) -> RegisterInfo {
        RegisterInfo {
            clear_on_read,
            ..self
        }
    }

    /// The bits of the bytes that an access of `size` bytes at `offset` has of it; `None` if it has none.
    fn touched(&self, offset: u64, size: u64, endianness: Endianness) -> Option<Touched> {
        let first = offset.max(self.offset);
        let end = (offset.checked_add(size)?).min(self.offset + u64::from(self.size));
        if first >= end {
            return None;
        }
        let place = |at: u64, of: u64, len: u64| match endianness {
            Endianness::Little => at - of,
            Endianness::Big => (of + len) - (at + (end - first)),
        };
        Some(Touched {
            mask: u64::MAX >> (64 - 8 * (end - first)),
            in_register: 8 * place(first, self.offset, self.size.into()),
            in_access: 8 * place(first, offset, size),
        })
    }

    fn mask(&self) -> u64 {
        u64::MAX >> (64 - 8 * u32::from(self.size))
    }
}

/// A run of bytes that an access and a register share.
struct Touched {
    /// As many low bits.
    mask: u64,
    /// How many bits of the register are below.
    in_register: u64,
    /// How many bits of the access are below.
    in_access: u64,
}

/// What a device does when its registers are accessed. Registers have the numbers of their places in the list.
///
/// All of it happens under the lock of the [`RegisterMap`], so none of it does DMA: see
/// [`MemoryRegionOps`](MemoryRegionOps#devices-that-do-dma). It notes what is to be done, for a thread of the device.
pub trait RegisterHandler: Send {
    /// A register is about to be read. Returns what it is: `value`, unless the device knows better.
    fn pre_read(&mut self, _register: usize, value: u64) -> u64 {
        value
    }

    /// A register was written and is about to be `new`. Returns what it shall be.
    fn pre_write(&mut self, _register: usize, _old: u64, new: u64) -> u64 {
        new
    }

    /// A register was written.
    fn post_write(&mut self, _register: usize, _value: u64) {}

    /// All registers were reset.
    fn reset(&mut self) {}
}

/// Why a list of registers is none.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum RegisterError {
    /// Sizes are 1, 2, 4 and 8 bytes, and no register goes beyond 2^64.
    #[error("register `{name}` cannot have {size} bytes at {offset:#x}")]
    Size {
        /// The register.
        name: &'static str,
        /// Where it begins.
        offset: u64,
        /// How many bytes it should have.
        size: u8,
    },
    /// Two registers share a byte.
    #[error("registers `{first}` and `{second}` overlap at {offset:#x}")]
    Overlap {
        /// The one that begins first.
        first: &'static str,
        /// The other.
        second: &'static str,
        /// Where the other begins.
        offset: u64,
    },
}

/// A device that is a row of registers: answers accesses of every width and alignment, parts of registers and
/// several at once, without reading what was not asked for. Bytes that no register has are zero.
///
/// ```
/// use std::sync::Arc;
/// use flatview::{Endianness, MemTxAttrs, Memory, RegisterHandler, RegisterInfo, RegisterMap};
///
/// const STATUS: usize = 0;
/// static REGISTERS: [RegisterInfo; 2] = [
///     RegisterInfo::new("status", 0, 4).reset(0x8000_0001).write_one_to_clear(1).read_only(!1),
///     RegisterInfo::new("control", 4, 2),
/// ];
///
/// #[derive(Default)]
/// struct Timer {
///     enabled: bool,
/// }
///
/// impl RegisterHandler for Timer {
///     fn post_write(&mut self, register: usize, value: u64) {
///         self.enabled |= register != STATUS && value & 1 != 0;
///     }
/// }
///
/// let timer = Arc::new(RegisterMap::new(&REGISTERS, Endianness::Little, Timer::default())?);
/// let memory = Memory::new();
/// let region = memory.region("timer").io(8, timer.clone());
/// let space = memory.create_address_space("cpu", &region)?;
/// let attrs = MemTxAttrs::UNSPECIFIED;
/// assert_eq!(space.load::<u8>(3, Endianness::Little, attrs)?, 0x80);
/// space.store(0, 0x0001_0000_0001_u64, Endianness::Little, attrs)?;
/// assert_eq!(space.load::<u32>(0, Endianness::Little, attrs)?, 0x8000_0000);
/// assert!(timer.with(|timer, _| timer.enabled));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RegisterMap<H> {
    registers: &'static [RegisterInfo],
    /// Their numbers by offset.
    order: Box<[usize]>,
    endianness: Endianness,
    state: Mutex<State<H>>,
}

struct State<H> {
    values: Vec<u64>,
    handler: H,
}

impl<H: RegisterHandler> RegisterMap<H> {
    /// A device with these registers, as after a reset.
    ///
    /// # Errors
    ///
    /// [`RegisterError`].
    pub fn new(
        registers: &'static [RegisterInfo],
        endianness: Endianness,
        handler: H,
    ) -> Result<RegisterMap<H>, RegisterError> {
        for &RegisterInfo {
            name, offset, size, ..
        } in registers
        {
            if !matches!(size, 1 | 2 | 4 | 8) || offset.checked_add(size.into()).is_none() {
                return Err(RegisterError::Size { name, offset, size });
            }
        }
        let mut order: Box<[usize]> = (0..registers.len()).collect();
        order.sort_by_key(|&index| registers[index].offset);
        for pair in order.windows(2) {
            let (first, second) = (&registers[pair[0]], &registers[pair[1]]);
            if first.offset + u64::from(first.size) > second.offset {
                return Err(RegisterError::Overlap {
                    first: first.name,
                    second: second.name,
                    offset: second.offset,
                });
            }
        }
        let values = registers.iter().map(|info| info.reset & info.mask()).collect();
        Ok(RegisterMap {
            registers,
            order,
            endianness,
            state: Mutex::new(State { values, handler }),
        })
    }

    /// Lets the device itself look at, and change, its handler and its registers, in the order of the list.
    pub fn with<T>(&self, work: impl FnOnce(&mut H, &mut [u64]) -> T) -> T {
        let State { values, handler } = &mut *self.state.lock().unwrap_or_else(PoisonError::into_inner);
        work(handler, values)
    }

    /// Lets all registers be what they are after a reset, then tells the handler.
    pub fn reset(&self) {
        self.with(|handler, values| {
            for (value, info) in values.iter_mut().zip(self.registers) {
                *value = info.reset & info.mask();
            }
            handler.reset();
        });
    }

    /// The registers that an access has bytes of, ascending.
    fn touched(
        &self,
        offset: u64,
        size: u32,
    ) -> impl Iterator<Item = (usize, &'static RegisterInfo, Touched)> {
        let reaches =
            |&index: &usize| self.registers[index].offset + u64::from(self.registers[index].size) <= offset;
        let first = self.order.partition_point(reaches);
        self.order[first..].iter().map_while(move |&index| {
            let info = &self.registers[index];
            let touched = info.touched(offset, size.into(), self.endianness)?;
            Some((index, info, touched))
        })
    }
}

impl<H: RegisterHandler> MemoryRegionOps for RegisterMap<H> {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(self.with(|handler, values| {
            let mut read = 0;
            for (index, info, touched) in self.touched(offset, size) {
                let value = handler.pre_read(index, values[index]) & info.mask();
                read |= (value >> touched.in_register & touched.mask) << touched.in_access;
                values[index] = value & !(info.clear_on_read & (touched.mask << touched.in_register));
            }
            read
        }))
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        self.with(|handler, values| {
            for (index, info, touched) in self.touched(offset, size) {
                let old = values[index];
                let written = (value >> touched.in_access & touched.mask) << touched.in_register;
                let bits = touched.mask << touched.in_register;
                let writable = bits & !info.read_only & !info.write_one_to_clear;
                let new = (old & !writable | written & writable) & !(written & info.write_one_to_clear);
                values[index] = handler.pre_write(index, old, new) & info.mask();
                handler.post_write(index, values[index]);
            }
        });
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        AccessRules::any(self.endianness)
    }
}

impl<H> fmt::Debug for RegisterMap<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut map = f.debug_map();
        for (info, value) in self.registers.iter().zip(&state.values) {
            map.entry(&info.name, &format_args!("{value:#x}"));
        }
        map.finish()
    }
}
