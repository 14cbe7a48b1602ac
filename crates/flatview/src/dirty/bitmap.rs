//! Bitmaps of pages, as a harvest returns them.

use std::ops::Range;

use super::PAGE_SHIFT;
use crate::address::AddressRange;

/// Which pages of some bytes of a block, or of a region, are dirty.
///
/// Pages are [`PAGE_SIZE`](super::PAGE_SIZE) bytes. Offsets are in the block or the region that it was made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirtyBitmap {
    /// One bit for each page; the first bit is that of page `base`.
    words: Vec<u64>,
    /// A multiple of 64.
    base: u64,
    /// The pages that count.
    first: u64,
    end: u64,
}

impl DirtyBitmap {
    /// Nothing dirty yet among the pages that `bytes` has a byte of.
    pub fn new(bytes: AddressRange) -> DirtyBitmap {
        let (first, end) = (bytes.start() >> PAGE_SHIFT, (bytes.last() >> PAGE_SHIFT) + 1);
        let base = first & !63;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what does not fit cannot be allocated"
        )]
        let words = (end - base).div_ceil(64) as usize;
        DirtyBitmap {
            words: vec![0; words],
            base,
            first,
            end,
        }
    }

    /// Forgets everything, to be used again.
    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    /// The number of dirty pages.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    /// Whether no page is dirty.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&word| word == 0)
    }

    /// Whether a page is dirty that one of `bytes` lies in (rule P11). Pages outside are not.
    pub fn is_dirty(&self, bytes: AddressRange) -> bool {
        let (first, last) = (bytes.start() >> PAGE_SHIFT, bytes.last() >> PAGE_SHIFT);
        self.next_from(first).is_some_and(|page| page <= last)
    }

    /// The bytes of runs of dirty pages, ascending.
    pub fn runs(&self) -> impl Iterator<Item = AddressRange> {
        let mut next = self.base;
        std::iter::from_fn(move || {
            let first = self.next_from(next)?;
            let mut end = first + 1;
            while self.has(end) {
                end += 1;
            }
            next = end;
            AddressRange::from_bounds(first << PAGE_SHIFT, (end << PAGE_SHIFT).wrapping_sub(1))
        })
    }

    /// The first bytes of dirty pages, ascending.
    pub fn pages(&self) -> impl Iterator<Item = u64> {
        let words = self.words.iter().zip(0_u64..);
        words.flat_map(move |(&word, index)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| u64::from(left.trailing_zeros()))?;
                left &= left - 1;
                Some((self.base + index * 64 + bit) << PAGE_SHIFT)
            })
        })
    }

    fn has(&self, page: u64) -> bool {
        page.checked_sub(self.base)
            .and_then(|page| Some(self.words.get(usize::try_from(page / 64).ok()?)? >> (page % 64) & 1))
            == Some(1)
    }

    /// The first dirty page from `page` on.
    fn next_from(&self, page: u64) -> Option<u64> {
        let from = page.max(self.base) - self.base;
        let mut index = usize::try_from(from / 64).ok()?;
        let mut word = self.words.get(index)? & (u64::MAX << (from % 64));
        while word == 0 {
            index += 1;
            word = *self.words.get(index)?;
        }
        Some(self.base + index as u64 * 64 + u64::from(word.trailing_zeros()))
    }

    /// Adds the pages of those words that it covers whole; the first one is of 64 pages from `page` on, a multiple of 64.
    /// Returns which they are.
    pub(crate) fn absorb_words(&mut self, page: u64, words: &[u64]) -> Range<usize> {
        // Words of this bitmap, and of `words`, by the same count: from page 0 on.
        let (base, from) = (self.base / 64, page / 64);
        let start = self.first.div_ceil(64).max(from);
        let end = (self.end / 64).min(from + words.len() as u64);
        let within = |word: u64, base: u64| usize::try_from(word - base).ok();
        let places = within(start, base).zip(within(end.max(start), base));
        let given = within(start, from).zip(within(end.max(start), from));
        let (Some(places), Some(given)) = (places, given) else {
            return 0..0;
        };
        let (Some(here), Some(marks)) = (
            self.words.get_mut(places.0..places.1),
            words.get(given.0..given.1),
        ) else {
            return 0..0;
        };
        for (place, marks) in here.iter_mut().zip(marks) {
            *place |= marks;
        }
        given.0..given.1
    }

    /// Adds those pages of 64 from `page` on, a multiple of 64, that it covers. Returns the others.
    pub(crate) fn absorb(&mut self, page: u64, marks: u64) -> u64 {
        let place = page
            .checked_sub(self.base)
            .and_then(|page| self.words.get_mut(usize::try_from(page / 64).ok()?));
        let Some(place) = place else {
            return marks;
        };
        // The first and the last word may be covered in part.
        let before = self.first.saturating_sub(page);
        let within = self.end - page;
        let low = u64::MAX
            .checked_shl(u32::try_from(before).unwrap_or(64))
            .unwrap_or(0);
        let high = if within < 64 { (1 << within) - 1 } else { u64::MAX };
        *place |= marks & low & high;
        marks & !(low & high)
    }

    /// Adds the pages of word `word` of a block's bitmap. Returns how many were new.
    pub(crate) fn add(&mut self, word: usize, marks: u64) -> u64 {
        let Some(place) = usize::try_from(self.base / 64)
            .ok()
            .and_then(|base| self.words.get_mut(word.checked_sub(base)?))
        else {
            return 0;
        };
        let new = marks & !*place;
        *place |= marks;
        u64::from(new.count_ones())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole words come to it at once, as one by one.
    #[test]
    fn words_that_are_covered_whole_are_taken_at_once() {
        let words: Vec<u64> = (0..8).map(|index| 0x0101_0101_0101_0101 << index).collect();
        for (first, end) in [
            (0, 64),
            (0, 512),
            (3, 200),
            (64, 128),
            (70, 120),
            (130, 700),
            (600, 700),
        ] {
            let bytes =
                AddressRange::from_bounds(first << PAGE_SHIFT, (end << PAGE_SHIFT) - 1).expect("a range");
            for page in [0, 64, 192, 640] {
                let (mut bitmap, mut expected) = (DirtyBitmap::new(bytes), DirtyBitmap::new(bytes));
                let taken = bitmap.absorb_words(page, &words);
                for (index, &word) in words.iter().enumerate() {
                    let at = page + index as u64 * 64;
                    assert_eq!(
                        taken.contains(&index),
                        at >= first && at + 64 <= end,
                        "{at} of {first}..{end}"
                    );
                    if taken.contains(&index) {
                        expected.absorb(at, word);
                    }
                }
                assert_eq!(bitmap, expected, "{page} into {first}..{end}");
            }
        }
    }

    /// The pages that it covers come to it, the others come back, whatever the ends are.
    #[test]
    fn a_word_is_taken_as_far_as_it_is_covered() {
        for (first, end) in [
            (0, 1),
            (0, 64),
            (3, 64),
            (63, 65),
            (64, 128),
            (70, 71),
            (5, 200),
            (130, 131),
        ] {
            let bytes =
                AddressRange::from_bounds(first << PAGE_SHIFT, (end << PAGE_SHIFT) - 1).expect("a range");
            for page in [0, 64, 128, 192, 256] {
                for marks in [0, 1, u64::MAX, 0x8000_0000_0000_0001, 0x0f0f_0f0f_0f0f_0f0f] {
                    let mut bitmap = DirtyBitmap::new(bytes);
                    let left = bitmap.absorb(page, marks);
                    for bit in 0..64 {
                        let (page, is_marked) = (page + bit, marks >> bit & 1 == 1);
                        let covered = (first..end).contains(&page);
                        assert_eq!(bitmap.has(page), is_marked && covered, "{page} of {first}..{end}");
                        assert_eq!(
                            left >> bit & 1 == 1,
                            is_marked && !covered,
                            "{page} of {first}..{end}"
                        );
                    }
                }
            }
        }
    }
}
