//! What a device should see of an access: rules K3, K4, K7 to K11 and K14.

use flatview::{AccessSizes, MemTxAttrs, MemTxError};

use crate::device::Call;
use crate::model::Model;

/// An access that the device implements: where, how wide, and which of its bytes are wanted.
struct Part {
    offset: u64,
    width: usize,
    skip: usize,
    len: usize,
}

impl Model {
    /// Rules K3 and K5.
    pub(crate) fn takes(
        &self,
        device: usize,
        offset: u64,
        size: usize,
        is_write: bool,
        attrs: MemTxAttrs,
    ) -> bool {
        let shape = &self.shapes[device];
        let is_aligned = offset.is_multiple_of(size as u64);
        let (unaligned, sizes) = match shape.rules.valid {
            None => (false, 1..=8),
            Some(AccessSizes {
                max: 0, unaligned, ..
            }) => (unaligned, 1..=8),
            Some(AccessSizes { min, max, unaligned }) => (unaligned, min.into()..=max.into()),
        };
        let asked = shape.accepts(offset, u32::try_from(size).unwrap(), is_write, attrs);
        asked && (is_aligned || unaligned) && sizes.contains(&size)
    }

    /// Ascending; each as wide as the device can and as is wanted (K7, K8, K11). What is too narrow for the device is
    /// a part of something aligned (K10).
    fn parts(&self, device: usize, offset: u64, size: usize) -> Vec<Part> {
        let AccessSizes { min, max, unaligned } = self.shapes[device].rules.implemented;
        let min = usize::from(min.max(1));
        let max = usize::from(if max == 0 { 4 } else { max });
        let mut parts = Vec::new();
        let mut done = 0;
        while done < size {
            let (at, left) = (offset + done as u64, size - done);
            let fits = |&width: &usize| {
                (min..=max).contains(&width)
                    && width <= left
                    && (unaligned || at.is_multiple_of(width as u64))
            };
            let part = match [8, 4, 2, 1].into_iter().find(fits) {
                Some(width) => Part {
                    offset: at,
                    width,
                    skip: 0,
                    len: width,
                },
                None => {
                    let skip = usize::try_from(at % min as u64).unwrap();
                    Part {
                        offset: at - skip as u64,
                        width: min,
                        skip,
                        len: left.min(min - skip),
                    }
                }
            };
            done += part.len;
            parts.push(part);
        }
        parts
    }

    fn call(
        &mut self,
        device: usize,
        offset: u64,
        width: usize,
        written: Option<&[u8]>,
        attrs: MemTxAttrs,
    ) -> Result<Vec<u8>, MemTxError> {
        let size = u32::try_from(width).unwrap();
        let shape = &self.shapes[device];
        self.calls.push(Call {
            device,
            offset,
            size,
            written: written.map(|bytes| shape.number(bytes)),
            attrs,
        });
        shape.fault(offset, size, written.is_some())?;
        let at = usize::try_from(offset).unwrap();
        let bytes = &mut self.device_bytes[device][at..at + width];
        if let Some(written) = written {
            bytes.copy_from_slice(written);
        }
        Ok(bytes.to_vec())
    }

    /// The bytes in the order of their addresses.
    pub(crate) fn device_read(
        &mut self,
        device: usize,
        offset: u64,
        size: usize,
        attrs: MemTxAttrs,
    ) -> (Vec<u8>, MemTxError) {
        if !self.takes(device, offset, size, false, attrs) {
            self.note("refused by the device");
            return (vec![0; size], MemTxError::DECODE_ERROR);
        }
        let (mut bytes, mut error) = (Vec::new(), MemTxError::empty());
        for part in self.parts(device, offset, size) {
            if part.len < part.width {
                self.note("a part of a read (K10)");
            }
            if !error.is_empty() {
                self.note("on after an error (K14)");
            }
            match self.call(device, part.offset, part.width, None, attrs) {
                Ok(read) => bytes.extend_from_slice(&read[part.skip..part.skip + part.len]),
                Err(failed) => {
                    bytes.resize(bytes.len() + part.len, 0);
                    error |= failed;
                }
            }
        }
        (bytes, error)
    }

    pub(crate) fn device_write(
        &mut self,
        device: usize,
        offset: u64,
        bytes: &[u8],
        attrs: MemTxAttrs,
    ) -> MemTxError {
        if !self.takes(device, offset, bytes.len(), true, attrs) {
            return MemTxError::DECODE_ERROR;
        }
        let (mut done, mut error) = (0, MemTxError::empty());
        for part in self.parts(device, offset, bytes.len()) {
            if !part.offset.is_multiple_of(part.width as u64) {
                self.note("unaligned to the device");
            } else if part.len == part.width && part.width < bytes.len() {
                self.note("aligned pieces (K8, K11)");
            }
            let wanted = &bytes[done..done + part.len];
            done += part.len;
            let whole = if part.len == part.width {
                Ok(wanted.to_vec())
            } else {
                let around = self.call(device, part.offset, part.width, None, attrs);
                self.note(match around {
                    Ok(_) => "read, modify, write (K10)",
                    Err(_) => "read, fail (K10)",
                });
                around.map(|mut around| {
                    around[part.skip..part.skip + part.len].copy_from_slice(wanted);
                    around
                })
            };
            let written =
                whole.and_then(|whole| self.call(device, part.offset, part.width, Some(&whole), attrs));
            error |= written.err().unwrap_or(MemTxError::empty());
        }
        error
    }
}
