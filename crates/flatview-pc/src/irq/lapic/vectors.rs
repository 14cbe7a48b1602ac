//! A set of interrupt vectors: ISR, TMR and IRR of a local APIC.

/// 256 bits, as eight registers of 32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Vectors([u32; 8]);

impl Vectors {
    pub(super) fn set(&mut self, vector: u8, on: bool) {
        let (word, bit) = (usize::from(vector >> 5), 1 << (vector & 31));
        if on {
            self.0[word] |= bit;
        } else {
            self.0[word] &= !bit;
        }
    }

    pub(super) fn contains(&self, vector: u8) -> bool {
        self.0[usize::from(vector >> 5)] & 1 << (vector & 31) != 0
    }

    /// The highest.
    pub(super) fn last(&self) -> Option<u8> {
        (0..=u8::MAX).rev().step_by(32).find_map(|top| {
            let bits = self.0[usize::from(top >> 5)];
            let above = u8::try_from(bits.leading_zeros()).ok()?;
            (bits != 0).then(|| top - above)
        })
    }

    /// One of the eight registers.
    pub(super) fn word(&self, index: u32) -> u32 {
        self.0[(index & 7) as usize]
    }
}
