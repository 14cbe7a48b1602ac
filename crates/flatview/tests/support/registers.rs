//! A device that is a row of bytes, and writes down how it is accessed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use flatview::{AccessRules, AccessSizes, Endianness, MemTxAttrs, MemTxError, MemoryRegionOps};

/// Byte `i` of the device is `i` at first; a byte beyond the end reads as zero.
pub(crate) struct Registers {
    rules: AccessRules,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    bytes: Vec<u8>,
    calls: Vec<String>,
    fails: Vec<(u64, MemTxError)>,
    refuses: Vec<u64>,
}

/// From `min` to `max` bytes, aligned.
pub(crate) fn sizes(min: u8, max: u8) -> AccessSizes {
    AccessSizes {
        min,
        max,
        unaligned: false,
    }
}

/// From `min` to `max` bytes, anywhere.
pub(crate) fn unaligned(min: u8, max: u8) -> AccessSizes {
    AccessSizes {
        unaligned: true,
        ..sizes(min, max)
    }
}

pub(crate) fn rules(
    valid: Option<AccessSizes>,
    implemented: AccessSizes,
    endianness: Endianness,
) -> AccessRules {
    AccessRules {
        valid,
        implemented,
        endianness,
    }
}

/// Beyond the end if it is too far.
fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

impl Registers {
    pub(crate) fn new(rules: AccessRules) -> Arc<Registers> {
        let inner = Inner {
            bytes: (0..=255).collect(),
            ..Inner::default()
        };
        Arc::new(Registers {
            rules,
            inner: Mutex::new(inner),
        })
    }

    /// Any access of up to 8 bytes, as it is.
    pub(crate) fn plain() -> Arc<Registers> {
        Registers::new(rules(Some(unaligned(1, 8)), unaligned(1, 8), Endianness::Little))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets every access that begins at `offset` fail.
    pub(crate) fn fail_at(&self, offset: u64, error: MemTxError) {
        self.inner().fails.push((offset, error));
    }

    /// Lets every access that begins at `offset` not be accepted.
    pub(crate) fn refuse_at(&self, offset: u64) {
        self.inner().refuses.push(offset);
    }

    /// What was called since the last time: `r4@10` is a read of four bytes at 0x10, `w2@8=1234` a write.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.inner().calls)
    }

    pub(crate) fn bytes(&self, range: std::ops::Range<usize>) -> Vec<u8> {
        self.inner().bytes[range].to_vec()
    }

    fn check(inner: &Inner, offset: u64) -> Result<(), MemTxError> {
        let fails = inner.fails.iter().find(|&&(at, _)| at == offset);
        fails.map_or(Ok(()), |&(_, error)| Err(error))
    }
}

impl MemoryRegionOps for Registers {
    fn read(&self, offset: u64, size: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        let mut inner = self.inner();
        inner.calls.push(format!("r{size}@{offset:x}"));
        Registers::check(&inner, offset)?;
        let bytes = (offset..).take(size as usize);
        let bytes = bytes.map(|at| u64::from(*inner.bytes.get(place(at)).unwrap_or(&0)));
        Ok(match self.rules.endianness {
            Endianness::Little => bytes
                .zip(0..)
                .fold(0, |value, (byte, place)| value | byte << (8 * place)),
            Endianness::Big => bytes.fold(0, |value, byte| value << 8 | byte),
        })
    }

    fn write(&self, offset: u64, size: u32, value: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        let mut inner = self.inner();
        inner.calls.push(format!("w{size}@{offset:x}={value:x}"));
        Registers::check(&inner, offset)?;
        for index in 0..u64::from(size) {
            let place = match self.rules.endianness {
                Endianness::Little => index,
                Endianness::Big => u64::from(size) - 1 - index,
            };
            if let Some(byte) = inner.bytes.get_mut(self::place(offset + index)) {
                *byte = value.to_le_bytes()[usize::try_from(place).unwrap_or(0)];
            }
        }
        Ok(())
    }

    fn access_rules(&self) -> AccessRules {
        self.rules
    }

    fn accepts(&self, offset: u64, _: u32, _: bool, _: MemTxAttrs) -> bool {
        !self.inner().refuses.contains(&offset)
    }
}
