//! Cylinders, heads and sectors (ATA-6, 6.2.1 and annex on CHS).

/// How a disk's sectors are numbered by cylinder, head and sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Cylinders.
    pub cylinders: u16,
    /// Heads, that is sides: 1 to 16.
    pub heads: u8,
    /// Sectors of a track: 1 to 255. The first has number 1.
    pub sectors: u8,
}

/// How a BIOS makes a geometry fit the ten bits that INT 13h has for cylinders. The numbers are what SeaBIOS finds in
/// CMOS byte 0x39, two bits a drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Translation {
    /// It fits.
    None = 0,
    /// Whatever has 63 sectors a track.
    Lba = 1,
    /// Fewer cylinders with more heads.
    Large = 2,
}

impl Geometry {
    /// What a disk of so many sectors says of itself: 16 heads of 63 sectors, and no more cylinders than an IDENTIFY
    /// says of any large disk (QEMU's rule).
    pub fn of_disk(sectors: u64) -> Geometry {
        let cylinders = (sectors / (16 * 63)).clamp(2, 16383);
        Geometry {
            cylinders: u16::try_from(cylinders).unwrap_or(16383),
            heads: 16,
            sectors: 63,
        }
    }

    /// With other heads and sectors a track (INITIALIZE DEVICE PARAMETERS), a disk of `total` sectors has this many
    /// cylinders.
    pub(super) fn with(heads: u8, sectors: u8, total: u64) -> Geometry {
        let cylinders = total / (u64::from(heads) * u64::from(sectors)).max(1);
        Geometry {
            cylinders: u16::try_from(cylinders).unwrap_or(u16::MAX),
            heads,
            sectors,
        }
    }

    /// How a BIOS translates it (QEMU's rule).
    pub fn translation(&self) -> Translation {
        if self.cylinders <= 1024 {
            Translation::None
        } else if u32::from(self.cylinders) * u32::from(self.heads) <= 0x2_0000 {
            Translation::Large
        } else {
            Translation::Lba
        }
    }

    /// The LBA of a cylinder, head and sector; `None` if there is no such head or sector.
    pub(super) fn lba(&self, (cylinder, head, sector): (u16, u8, u8)) -> Option<u64> {
        let in_track = sector.checked_sub(1)?;
        if head >= self.heads || sector > self.sectors {
            return None;
        }
        let track = u64::from(cylinder) * u64::from(self.heads) + u64::from(head);
        Some(track * u64::from(self.sectors) + u64::from(in_track))
    }

    /// The cylinder, head and sector of an LBA; the cylinder modulo 65,536, as the registers hold it.
    pub(super) fn chs(&self, lba: u64) -> (u16, u8, u8) {
        let track = lba / u64::from(self.sectors);
        let byte = |number: u64| number.to_le_bytes()[0];
        let [low, high, ..] = (track / u64::from(self.heads)).to_le_bytes();
        (
            u16::from_le_bytes([low, high]),
            byte(track % u64::from(self.heads)),
            byte(lba % u64::from(self.sectors) + 1),
        )
    }

    /// How many sectors it numbers.
    pub(super) fn capacity(&self) -> u32 {
        u32::from(self.cylinders) * u32::from(self.heads) * u32::from(self.sectors)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn every_sector_has_one_place_and_counting_finds_it() {
        let geometry = Geometry {
            cylinders: 5,
            heads: 3,
            sectors: 4,
        };
        let mut lba = 0;
        for cylinder in 0..5 {
            for head in 0..3 {
                for sector in 1..=4 {
                    assert_eq!(geometry.lba((cylinder, head, sector)), Some(lba));
                    assert_eq!(geometry.chs(lba), (cylinder, head, sector));
                    lba += 1;
                }
            }
        }
        assert_eq!(u64::from(geometry.capacity()), lba);
        for nowhere in [(0, 0, 0), (0, 0, 5), (0, 3, 1)] {
            assert_eq!(geometry.lba(nowhere), None, "{nowhere:?}");
        }
    }

    #[test]
    fn disks_of_all_sizes_have_a_geometry_and_a_translation() {
        let cases = [
            (1, 2, Translation::None),
            (10_000, 9, Translation::None),
            (1024 * 1008, 1024, Translation::None),
            (1025 * 1008, 1025, Translation::Large),
            (8192 * 1008, 8192, Translation::Large),
            (8193 * 1008, 8193, Translation::Lba),
            (1 << 48, 16383, Translation::Lba),
        ];
        for (sectors, cylinders, translation) in cases {
            let geometry = Geometry::of_disk(sectors);
            assert_eq!(
                (geometry.cylinders, geometry.translation()),
                (cylinders, translation)
            );
        }
    }
}
