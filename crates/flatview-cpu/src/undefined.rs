//! What the guest executed that the CPU does not know.

/// How many records are kept.
const RECORDS: usize = 16;

/// An instruction that was answered with #UD because it is undefined, or not implemented.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UndefinedInstruction {
    /// Where it was: the offset in the code segment.
    pub ip: u64,
    /// The code segment's base.
    pub cs_base: u64,
    /// The first bytes from there on.
    pub bytes: [u8; 15],
    /// How many of them are known.
    pub len: u8,
}

/// The last undefined instructions.
#[derive(Debug, Default)]
pub(crate) struct UndefinedRing {
    records: [UndefinedInstruction; RECORDS],
    count: usize,
}

impl UndefinedRing {
    pub(crate) fn push(&mut self, record: UndefinedInstruction) {
        self.records[self.count % RECORDS] = record;
        self.count = self.count.wrapping_add(1);
    }

    /// The oldest first.
    pub(crate) fn records(&self) -> impl Iterator<Item = UndefinedInstruction> {
        let kept = self.count.min(RECORDS);
        (self.count - kept..self.count).map(|index| self.records[index % RECORDS])
    }
}
