//! An access meets a device: is it allowed, in which pieces does the device take it, in which order of bytes.
//!
//! Within this module the bytes of an access are a number whose low byte is the one at the lowest address; a
//! device's number is turned into that by its endianness alone (rules K8, K9, L4).

use tracing::level_filters::LevelFilter;
use tracing::{debug, trace};

use super::guard::Engaging;
use super::{AccessRules, AccessSizes, Endianness, MemTxAttrs, MemTxError};
use crate::region::{Backing, DeviceOps, Region};

/// The widest access.
pub(crate) const MAX_SIZE: u8 = 8;

/// How wide the pieces of a copy are, and those that a device implements, where it does not say (rules L3, K7).
const DEFAULT_MAX: u8 = 4;

impl AccessRules {
    /// The same rules with sizes that exist: 1, 2, 4 or 8, and the least not above the most.
    pub(crate) fn normalized(self) -> AccessRules {
        let sizes = |sizes: AccessSizes| {
            let max = floor_power_of_two(sizes.max.clamp(1, MAX_SIZE));
            let min = sizes.min.clamp(1, MAX_SIZE).next_power_of_two().min(max);
            AccessSizes { min, max, ..sizes }
        };
        AccessRules {
            valid: self.valid.map(|valid| match valid.max {
                0 => valid,
                _ => sizes(valid),
            }),
            implemented: sizes(AccessSizes {
                max: match self.implemented.max {
                    0 => DEFAULT_MAX,
                    max => max,
                },
                ..self.implemented
            }),
            ..self
        }
    }

    fn allows_unaligned(&self) -> bool {
        self.valid.is_some_and(|valid| valid.unaligned)
    }

    /// How many of `left` bytes at `offset` go to the device in one piece of a copy (rule L3): a power of two.
    pub(crate) fn copy_size(&self, offset: u64, left: usize) -> u8 {
        let max = self.valid.map_or(0, |valid| valid.max);
        let max = if max == 0 { DEFAULT_MAX } else { max };
        let left = u8::try_from(left).unwrap_or(MAX_SIZE);
        self.widest(offset, max, left.max(1))
    }

    /// How many of `left` bytes at `offset`, at least one, the device takes at once if it takes up to `max`, a power of
    /// two.
    fn widest(&self, offset: u64, max: u8, left: u8) -> u8 {
        let aligned = match self.implemented.unaligned {
            true => max,
            false => 1 << offset.trailing_zeros().min(max.trailing_zeros()),
        };
        floor_power_of_two(aligned.min(left))
    }
}

fn floor_power_of_two(value: u8) -> u8 {
    1 << value.ilog2()
}

/// Why an access does not reach a device (rule K3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Invalid {
    Rejected,
    Unaligned,
    Size,
}

/// A device, and the rules by which it is accessed.
#[derive(Clone, Copy)]
pub(crate) struct Device<'a> {
    pub(crate) region: &'a Region,
    pub(crate) device: &'a DeviceOps,
}

impl<'a> Device<'a> {
    /// The device behind a region. A ROM device is asked itself, whatever its mode.
    pub(crate) fn of(region: &'a Region) -> Option<Device<'a>> {
        match region.backing() {
            Backing::Mmio(device) | Backing::RomDevice(_, device) => Some(Device { region, device }),
            _ => None,
        }
    }

    /// Rule K3, in its order; rule K5: the device is asked first.
    #[inline]
    fn check(self, offset: u64, size: u8, is_write: bool, attrs: MemTxAttrs) -> Result<(), Invalid> {
        if !self.device.ops.accepts(offset, size.into(), is_write, attrs) {
            return Err(Invalid::Rejected);
        }
        if offset & u64::from(size - 1) != 0 && !self.device.rules.allows_unaligned() {
            return Err(Invalid::Unaligned);
        }
        match self.device.rules.valid {
            Some(valid) if valid.max != 0 && !(valid.min..=valid.max).contains(&size) => Err(Invalid::Size),
            _ => Ok(()),
        }
    }

    /// Whether the device takes an access of `size` bytes, 1, 2, 4 or 8, at `offset`, from this thread now.
    pub(crate) fn is_valid(self, offset: u64, size: u8, is_write: bool, attrs: MemTxAttrs) -> bool {
        Engaging::new(self.region.guard_key())
            .is_some_and(|_engaged| self.check(offset, size, is_write, attrs).is_ok())
    }

    /// The guard comes before the question (unlike K3): a device that holds its own lock cannot answer either.
    #[inline(always)]
    fn enter(self, offset: u64, size: u8, is_write: bool, attrs: MemTxAttrs) -> Result<Engaging, MemTxError> {
        let Some(engaged) = Engaging::new(self.region.guard_key()) else {
            self.log_reentrant(offset);
            return Err(MemTxError::ACCESS_ERROR);
        };
        match self.check(offset, size, is_write, attrs) {
            Ok(()) => Ok(engaged),
            Err(why) => {
                self.log_invalid(offset, size, is_write, why);
                Err(MemTxError::DECODE_ERROR)
            }
        }
    }

    /// Whether the device implements an access as it is.
    #[inline]
    fn implements(self, offset: u64, size: u8) -> bool {
        let implemented = self.device.rules.implemented;
        (implemented.min..=implemented.max).contains(&size)
            && (implemented.unaligned || offset & u64::from(size - 1) == 0)
    }

    /// Reads `size` bytes, 1, 2, 4 or 8. What could not be read is zero (rule K4).
    #[inline]
    pub(crate) fn read(self, offset: u64, size: u8, attrs: MemTxAttrs) -> (u64, MemTxError) {
        let _engaged = match self.enter(offset, size, false, attrs) {
            Ok(engaged) => engaged,
            Err(error) => return (0, error),
        };
        if self.implements(offset, size) {
            return self.read_piece(offset, size, attrs);
        }
        self.read_pieces(offset, size, attrs)
    }

    /// Writes the low `size` bytes, 1, 2, 4 or 8, of `bytes`.
    #[inline]
    pub(crate) fn write(self, offset: u64, size: u8, bytes: u64, attrs: MemTxAttrs) -> MemTxError {
        let _engaged = match self.enter(offset, size, true, attrs) {
            Ok(engaged) => engaged,
            Err(error) => return error,
        };
        // Whoever takes ioeventfds over has done so before a write gets here (rule I11).
        if let Some(notifier) = self.region.signalled(offset, size, self.in_order(bytes, size)) {
            return match notifier.set() {
                Ok(()) => MemTxError::empty(),
                Err(_) => MemTxError::ERROR,
            };
        }
        if self.implements(offset, size) {
            return self.write_piece(offset, size, bytes, attrs);
        }
        self.write_pieces(offset, size, bytes, attrs)
    }

    #[inline]
    fn read_piece(self, offset: u64, size: u8, attrs: MemTxAttrs) -> (u64, MemTxError) {
        let read = self.device.ops.read(offset, size.into(), attrs);
        if LevelFilter::current() == LevelFilter::TRACE {
            self.trace_read(offset, size, read);
        }
        match read {
            Ok(value) => (self.in_order(value, size), MemTxError::empty()),
            Err(error) => (0, error),
        }
    }

    #[inline]
    fn write_piece(self, offset: u64, size: u8, bytes: u64, attrs: MemTxAttrs) -> MemTxError {
        let value = self.in_order(bytes, size);
        if LevelFilter::current() == LevelFilter::TRACE {
            self.trace_write(offset, size, value);
        }
        match self.device.ops.write(offset, size.into(), value, attrs) {
            Ok(()) => MemTxError::empty(),
            Err(error) => error,
        }
    }

    /// From the order of the device to that of addresses, or back; `size` is 1, 2, 4 or 8.
    #[inline]
    pub(crate) fn in_order(self, value: u64, size: u8) -> u64 {
        match self.device.rules.endianness {
            Endianness::Little => value & mask(size),
            Endianness::Big => value.swap_bytes() >> (64 - 8 * u32::from(size)),
        }
    }

    /// How the bytes of an access that the device does not implement as it is are reached: each item is an access
    /// that it does implement, and the bytes wanted of it. Ascending, as few as possible (rules K7, K8); a piece
    /// that is narrower than what the device implements lies within one that is not (K10), and unaligned
    /// accesses are made of aligned ones (K11).
    fn pieces(self, offset: u64, size: u8) -> impl Iterator<Item = Piece> {
        let rules = self.device.rules;
        let AccessSizes { min, max, .. } = rules.implemented;
        let mut done = 0;
        std::iter::from_fn(move || {
            let left = size.checked_sub(done).filter(|&left| left > 0)?;
            // A region has no byte beyond 2^64.
            let at = offset.wrapping_add(done.into());
            let width = rules.widest(at, max, left);
            let piece = if width >= min {
                Piece {
                    at,
                    width,
                    skip: 0,
                    done,
                    len: width,
                }
            } else {
                let skip = u8::try_from(at & u64::from(min - 1)).unwrap_or_default();
                Piece {
                    at: at - u64::from(skip),
                    width: min,
                    skip,
                    done,
                    len: left.min(min - skip),
                }
            };
            done += piece.len;
            Some(piece)
        })
    }

    #[cold]
    fn read_pieces(self, offset: u64, size: u8, attrs: MemTxAttrs) -> (u64, MemTxError) {
        let mut bytes = 0;
        let mut error = MemTxError::empty();
        for piece in self.pieces(offset, size) {
            let (value, failed) = self.read_piece(piece.at, piece.width, attrs);
            bytes |= (value >> (8 * piece.skip) & mask(piece.len)) << (8 * piece.done);
            error |= failed;
        }
        (bytes, error)
    }

    #[cold]
    fn write_pieces(self, offset: u64, size: u8, bytes: u64, attrs: MemTxAttrs) -> MemTxError {
        let mut error = MemTxError::empty();
        for piece in self.pieces(offset, size) {
            let mut value = bytes >> (8 * piece.done) & mask(piece.len);
            if piece.len < piece.width {
                let (around, failed) = self.read_piece(piece.at, piece.width, attrs);
                if !failed.is_empty() {
                    // What lies around would be lost.
                    error |= failed;
                    continue;
                }
                let hole = mask(piece.len) << (8 * piece.skip);
                value = around & !hole | value << (8 * piece.skip);
            }
            error |= self.write_piece(piece.at, piece.width, value, attrs);
        }
        error
    }

    /// Rule K24. Apart, so that accesses stay short where nobody listens.
    #[cold]
    fn trace_read(self, offset: u64, size: u8, read: Result<u64, MemTxError>) {
        trace!(target: "flatview::ops", region = self.region.name(), offset, size, ?read);
    }

    #[cold]
    fn trace_write(self, offset: u64, size: u8, value: u64) {
        trace!(target: "flatview::ops", region = self.region.name(), offset, size, value, "write");
    }

    #[cold]
    fn log_invalid(self, offset: u64, size: u8, is_write: bool, why: Invalid) {
        let access = if is_write { "write" } else { "read" };
        let name = self.region.name();
        match (why, self.device.rules.valid) {
            (Invalid::Size, Some(AccessSizes { min, max, .. })) => debug!(
                target: "flatview::invalid_mem",
                "invalid {access} at {offset:#x}, size {size}, region `{name}`, reason: invalid size (min:{min} max:{max})"
            ),
            (why, _) => {
                let why = if why == Invalid::Unaligned {
                    "unaligned"
                } else {
                    "rejected"
                };
                debug!(
                    target: "flatview::invalid_mem",
                    "invalid {access} at {offset:#x}, size {size}, region `{name}`, reason: {why}"
                );
            }
        }
    }

    #[cold]
    fn log_reentrant(self, offset: u64) {
        tracing::warn!(
            target: "flatview::invalid_mem",
            "blocked re-entrant access to region `{}` at {offset:#x}",
            self.region.name()
        );
    }
}

/// A part of an access.
struct Piece {
    /// Where the device is accessed, and how wide.
    at: u64,
    width: u8,
    /// How many of those bytes lie before the ones that are wanted.
    skip: u8,
    /// How many bytes of the whole access come before.
    done: u8,
    /// How many of them this is.
    len: u8,
}

/// The low `size` bytes.
fn mask(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(size))
}
