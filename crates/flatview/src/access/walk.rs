//! From the addresses of an access to pieces of memory and words of devices, through IOMMUs.

use super::answer::{Answer, Intent, Look, answer, gap};
use super::dispatch::{Device, MAX_SIZE};
use super::{MemTxAttrs, MemTxError};
use crate::iommu::IommuStep;
use crate::ram::{RamBlock, RamWindow};
use crate::space::ViewRef;
use crate::view::FlatView;

/// One piece of a transfer.
pub(crate) enum Step<'a> {
    /// Memory, from this byte of the block on.
    Direct { block: &'a RamBlock, offset: u64 },
    /// Memory that is accessed as a word of the step's size.
    Exact { block: &'a RamBlock, offset: u64 },
    /// A device, accessed with the step's size.
    Device { device: Device<'a>, offset: u64 },
    /// Nobody, or nobody who may be accessed so.
    Nothing(MemTxError),
}

/// What a step is done to: which bytes of the transfer.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) done: usize,
    pub(crate) len: usize,
}

impl Part {
    /// The part of a buffer for the whole transfer.
    pub(super) fn of(self, buffer: &[u8]) -> &[u8] {
        &buffer[self.done..self.done + self.len]
    }

    pub(super) fn of_mut(self, buffer: &mut [u8]) -> &mut [u8] {
        &mut buffer[self.done..self.done + self.len]
    }

    /// Steps to devices are words.
    pub(super) fn size(self) -> u8 {
        u8::try_from(self.len).unwrap_or(MAX_SIZE)
    }
}

/// One transfer of many bytes.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) address: u64,
    pub(super) part: Part,
    pub(super) intent: Intent,
    pub(super) attrs: MemTxAttrs,
    pub(super) iommus: usize,
}

impl Run {
    /// Does `step` for each piece, in ascending order, also after errors (rule L1). Addresses wrap at 2^64.
    pub(super) fn each(
        mut self,
        look: &mut impl Look,
        step: &mut dyn FnMut(Step<'_>, Part) -> MemTxError,
    ) -> MemTxError {
        let mut result = MemTxError::empty();
        let end = self.part.done + self.part.len;
        while self.part.done < end {
            self.part.len = end - self.part.done;
            let (len, error) = self.first(look, step);
            result |= error;
            self.part.done += len;
            self.address = self.address.wrapping_add(len as u64);
        }
        result
    }

    /// Does the first piece. Returns how long it was.
    fn first(
        self,
        look: &mut impl Look,
        step: &mut dyn FnMut(Step<'_>, Part) -> MemTxError,
    ) -> (usize, MemTxError) {
        let len = self.part.len;
        let clip = |left: u64| usize::try_from(left).map_or(len, |left| left.min(len));
        // Rule K17.
        let nobody = Step::Nothing(match self.attrs.memory {
            true => MemTxError::ACCESS_ERROR,
            false => MemTxError::DECODE_ERROR,
        });
        let mut finish = |len, what: Step<'_>| (len, step(what, Part { len, ..self.part }));
        let Some(range) = look.look(self.address) else {
            let left = gap(look.looked_at(), self.address);
            return finish(clip(left), nobody);
        };
        match answer(range, self.address, self.intent, self.attrs) {
            Answer::Direct { block, offset, left } => finish(clip(left), Step::Direct { block, offset }),
            Answer::Exact { block, offset, left } => {
                let len = clip(left).min(MAX_SIZE.into());
                finish(1 << len.ilog2(), Step::Exact { block, offset })
            }
            // Not cut at the end of the range (rule K22).
            Answer::Device { device, offset } => {
                let len = device.device.rules.copy_size(offset, len);
                match self.attrs.memory {
                    true => finish(len.into(), nobody),
                    false => finish(len.into(), Step::Device { device, offset }),
                }
            }
            // RAM that refuses is RAM.
            Answer::Nothing { left } => match range.region().kind().is_ram() {
                true => finish(clip(left), Step::Nothing(MemTxError::DECODE_ERROR)),
                false => finish(clip(left), nobody),
            },
            Answer::Iommu { region, offset, left } => {
                let onward = match self.iommus {
                    IommuStep::MAX.. => IommuStep::refused(),
                    _ => region.iommu_step(offset, self.intent.wanted(), self.attrs),
                };
                let len = clip(onward.size().min(left));
                let Some(target) = onward.target else {
                    return finish(len, nobody);
                };
                let beyond = Run {
                    address: onward.address,
                    part: Part { len, ..self.part },
                    iommus: self.iommus + 1,
                    ..self
                };
                (len, beyond.each(&mut &*target.view(), step))
            }
        }
    }
}

/// Where an access goes on behind all IOMMUs, and for how many of its bytes one translation of each holds: in another
/// view, or in the same if there is none. `None` if it is refused.
pub(super) fn beyond_iommus(
    look: &mut impl Look,
    mut address: u64,
    mut size: u64,
    intent: Intent,
    attrs: MemTxAttrs,
) -> Option<(Option<ViewRef>, u64, u64)> {
    let mut beyond: Option<ViewRef> = None;
    for iommus in 0..=IommuStep::MAX {
        let range = match &beyond {
            None => look.look(address)?,
            Some(view) => view.find(address)?,
        };
        let Answer::Iommu { region, offset, left } = answer(range, address, intent, attrs) else {
            return Some((beyond, address, size));
        };
        if iommus == IommuStep::MAX {
            return None;
        }
        let step = region.iommu_step(offset, intent.wanted(), attrs);
        size = size.min(left).min(step.size());
        (address, beyond) = (step.address, Some(step.target?.view()));
    }
    None
}

/// The memory that begins at `address`, up to `size` bytes, and the view it was found in: the given one, or one
/// behind IOMMUs. `None` if it is not memory for that intent.
pub(super) fn resolve(
    view: ViewRef,
    address: u64,
    size: u64,
    intent: Intent,
    attrs: MemTxAttrs,
) -> Option<(ViewRef, RamWindow)> {
    let (beyond, address, size) = beyond_iommus(&mut &*view, address, size, intent, attrs)?;
    let view = beyond.unwrap_or(view);
    let window = resolve_here(&view, address, size, intent, attrs)?;
    Some((view, window))
}

/// As [`resolve`], without IOMMUs: across ranges, as long as one continues the other (rule N1).
pub(crate) fn resolve_here(
    view: &FlatView,
    address: u64,
    size: u64,
    intent: Intent,
    attrs: MemTxAttrs,
) -> Option<RamWindow> {
    let mut found: Option<(&RamBlock, u64, u64)> = None;
    while found.is_none_or(|(_, _, len)| len < size) {
        let at = found.map_or(Some(address), |(_, _, len)| address.checked_add(len));
        let Some((range, at)) = at.and_then(|at| Some((view.find(at)?, at))) else {
            break;
        };
        let Answer::Direct { block, offset, left } = answer(range, at, intent, attrs) else {
            break;
        };
        found = match found {
            None => Some((block, offset, left)),
            Some((first, start, len)) if first == block && start + len == offset => {
                Some((first, start, len + left))
            }
            Some(_) => break,
        };
    }
    let (block, offset, len) = found?;
    block.window(offset, len.min(size))
}
