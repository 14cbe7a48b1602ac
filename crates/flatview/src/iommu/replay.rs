//! Telling a notifier what is mapped already (rule O14).

use super::registered::IommuRegistration;
use super::step::translate;
use super::{IommuAccess, IommuError, IommuEvents, IotlbEntry, IotlbEvent, page_size};
use crate::access::Engaging;
use crate::address::AddressRange;
use crate::region::Region;

/// How many translations one replay asks for.
const MAX_TRANSLATIONS: u64 = 1 << 24;

impl IommuRegistration {
    /// Tells the notifier what is mapped within its range now, as [map events](IotlbEvent::map).
    ///
    /// A device that has its [own way](super::IommuOps::replay) does it. Otherwise the part of the region that the
    /// notifier is for is translated, from block to block: of mapped ones it hears, and where nothing is permitted
    /// the whole [block](IotlbEntry::address_mask) is skipped. An IOMMU that says how large its holes are is
    /// replayed soon, however large it is.
    ///
    /// What changes meanwhile is told by the device as ever, and may come before or after what is told here: who
    /// needs them in order replays while the device stands still.
    ///
    /// # Errors
    ///
    /// [`IommuError::Gone`]; [`IommuError::Reentered`] within a translation by the same IOMMU;
    /// [`IommuError::ReplayTooLong`] after 2^24 translations; what the device's own replay says.
    pub fn replay(&self) -> Result<(), IommuError> {
        let region = self.region.upgrade().ok_or(IommuError::Gone)?;
        let iommu = region.iommu()?;
        let reentered = || IommuError::Reentered {
            region: region.name().into(),
        };
        if let Some(own) = iommu.ops.replay() {
            let _engaged = Engaging::new(region.key()).ok_or_else(reentered)?;
            return own.replay(&self.notifier);
        }
        let Some(range) = self.replayed(&region)? else {
            return Ok(());
        };
        let smallest = page_size(&*iommu.ops) - 1;
        let mut next = Some(range.start());
        for _ in 0..MAX_TRANSLATIONS {
            let Some(iova) = next.filter(|&iova| iova <= range.last()) else {
                return Ok(());
            };
            let everything = IommuAccess::empty();
            let entry = translate(&*iommu.ops, &region, iova, everything, self.notifier.index())
                .ok_or_else(reentered)?;
            let mask = entry.address_mask;
            if let Some(event) = mapped(entry, iova, range) {
                self.notifier.notify(&event)?;
                next = (iova | mask).checked_add(1);
            } else {
                next = (iova | mask | smallest).checked_add(1);
            }
        }
        match next.filter(|&iova| iova <= range.last()) {
            None => Ok(()),
            Some(reached) => Err(IommuError::ReplayTooLong {
                region: region.name().into(),
                reached,
                limit: MAX_TRANSLATIONS,
            }),
        }
    }

    /// The part of the region that is to be told of.
    fn replayed(&self, region: &Region) -> Result<Option<AddressRange>, IommuError> {
        let size = region.state().map_err(|_| IommuError::Gone)?.size;
        let all = AddressRange::new(0, size);
        let wants_it = self.notifier.events().contains(IommuEvents::MAP);
        Ok(all
            .filter(|_| wants_it)
            .and_then(|all| all.intersection(self.notifier.range())))
    }
}

/// The event for the block around `iova`, if it is mapped, cut to `range`.
fn mapped(entry: IotlbEntry, iova: u64, range: AddressRange) -> Option<IotlbEvent> {
    if entry.permission.is_empty() || entry.target.is_none() {
        return None;
    }
    let mask = entry.address_mask;
    let whole = IotlbEntry {
        iova: iova & !mask,
        translated_address: entry.translated_address & !mask,
        ..entry
    };
    let part = AddressRange::from_bounds(iova & !mask, iova | mask)?.intersection(range)?;
    Some(IotlbEvent::map(whole.cut(part)))
}
