//! A string of bytes, taken for a sequence of choices: whatever it is, it means something.

pub(crate) struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Bytes<'a> {
        Bytes(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte; zeros after the last.
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    /// A number below `end`, which is at most 2^16.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        let mut number = usize::from(self.byte());
        if end > 256 {
            number = number << 8 | usize::from(self.byte());
        }
        number % end.max(1)
    }

    /// One time in `times`; never at the end.
    pub(crate) fn once_in(&mut self, times: u8) -> bool {
        self.byte() % times == times - 1
    }

    pub(crate) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    pub(crate) fn word(&mut self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    pub(crate) fn take(&mut self, len: usize) -> Vec<u8> {
        // Not zeros at the end: what is written should differ from what was there.
        (0..len).map(|index| self.byte() ^ (index as u8 | 0x80)).collect()
    }

    /// Around the regions at the bottom, sometimes around those at the top.
    pub(crate) fn address(&mut self) -> u64 {
        match self.byte() % 5 {
            0 => (self.below(0x60) as u64).wrapping_sub(0x50),
            _ => self.below(crate::model::LOW) as u64,
        }
    }
}
