//! What drives say of themselves: IDENTIFY DEVICE and IDENTIFY PACKET DEVICE (ATA-6, 8.15 and 8.16).

use super::geometry::Geometry;

/// The 256 words.
pub(super) struct Identification([u16; 256]);

/// What both kinds of drive say: their names, PIO mode 4, and the DMA modes up to Ultra DMA 5.
pub(super) fn common(model: &str, unit: usize, mode: u8) -> Identification {
    let mut words = Identification([0; 256]);
    words.text(10, 20, &format!("FV{:05}", unit + 1));
    words.text(23, 8, env!("CARGO_PKG_VERSION"));
    words.text(27, 40, model);
    // Word 53: words 54-58, 64-70 and 88 are valid. 64: PIO modes 3 and 4. 65-68: cycle times in nanoseconds.
    words.set(53, &[0x0007]);
    words.set(64, &[0x0003, 120, 120, 120, 120]);
    // Bits 0-7: the modes that there are; 8-15: the one that is set (SET FEATURES, table 45).
    let set = |kind: u8| {
        if mode & 0xf8 == kind {
            0x100 << (mode & 7)
        } else {
            0
        }
    };
    words.set(63, &[0x0007 | set(0x20)]);
    words.set(88, &[0x003f | set(0x40)]);
    // ATA-4 to ATA-7; hardware reset: the drive found itself by its jumper, on a cable with 80 conductors.
    words.set(80, &[0x00f0]);
    words.set(93, &[0x6001]);
    words
}

/// What a disk says besides.
pub(super) struct DiskFacts {
    pub(super) sectors: u64,
    pub(super) geometry: Geometry,
    pub(super) current: Geometry,
    /// The most sectors of a block of READ MULTIPLE, and how many are set.
    pub(super) most_multiple: u8,
    pub(super) multiple: u8,
    pub(super) write_cache: bool,
}

impl Identification {
    fn set(&mut self, first: usize, words: &[u16]) {
        self.0[first..first + words.len()].copy_from_slice(words);
    }

    /// Text is padded with spaces, its first character in the high byte (3.2.8).
    fn text(&mut self, first: usize, len: usize, text: &str) {
        let mut padded = text.bytes().chain(std::iter::repeat(b' '));
        for word in &mut self.0[first..first + len / 2] {
            let mut next = || padded.next().unwrap_or(b' ');
            *word = u16::from_be_bytes([next(), next()]);
        }
    }

    pub(super) fn disk(mut self, facts: &DiskFacts) -> Self {
        let words = |number: u64| {
            let [a, b, c, d, e, f, g, h] = number.to_le_bytes();
            [[a, b], [c, d], [e, f], [g, h]].map(u16::from_le_bytes)
        };
        let Geometry {
            cylinders,
            heads,
            sectors,
        } = facts.geometry;
        // Word 0: a fixed disk.
        self.set(0, &[0x0040, cylinders, 0, heads.into(), 0, 0, sectors.into()]);
        self.set(47, &[0x8000 | u16::from(facts.most_multiple)]);
        // Word 49: IORDY, LBA, DMA.
        self.set(49, &[0x0b00, 0x4000]);
        let current = facts.current;
        self.set(
            54,
            &[current.cylinders, current.heads.into(), current.sectors.into()],
        );
        let capacity = words(current.capacity().into());
        self.set(57, &capacity[..2]);
        self.set(
            59,
            &[match facts.multiple {
                0 => 0,
                multiple => 0x100 | u16::from(multiple),
            }],
        );
        self.set(60, &words(facts.sectors.min(0x0fff_ffff))[..2]);
        // Words 82-87: write cache (bit 5), power management (3), NOP (14); FLUSH CACHE EXT and FLUSH CACHE (13, 12),
        // 48-bit addresses (10). First what there is, then what is enabled.
        let cache = u16::from(facts.write_cache) << 5;
        self.set(82, &[0x4028, 0x7400, 0x4000, 0x4008 | cache, 0x3400, 0x4000]);
        self.set(100, &words(facts.sectors));
        self
    }

    pub(super) fn cdrom(mut self) -> Self {
        // Word 0: an ATAPI CD-ROM, removable, DRQ within 50 us of PACKET, packets of 12 bytes. 49: LBA, DMA.
        self.set(0, &[0x85c0]);
        self.set(49, &[0x0b00]);
        // Words 82-87: the PACKET command (4), DEVICE RESET (9), power management (3).
        self.set(82, &[0x4218, 0x4000, 0x4000, 0x4218, 0x0000, 0x4000]);
        self
    }

    /// As they go through the data port.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }
}
