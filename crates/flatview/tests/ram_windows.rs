//! Windows onto RAM: what lies outside is not touched, what lies inside is what was stored.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "helpers of tests fail as tests do"
)]

use std::sync::Arc;

use flatview::{AtomicOp, RamBlock, RamWindow, WindowError, Word};
use proptest::prelude::*;

const SIZE: u64 = 0x3000;

/// A window of some bytes in the middle of a block that is full of 0x55.
fn window(offset: u64, size: u64) -> (RamBlock, RamWindow) {
    let block = RamBlock::anonymous(SIZE).unwrap();
    block.window(0, SIZE).unwrap().fill(0, 0x55, SIZE).unwrap();
    let window = block.window(offset, size).unwrap();
    (block, window)
}

fn contents(block: &RamBlock) -> Vec<u8> {
    let mut bytes = vec![0; 0x3000];
    block.window(0, SIZE).unwrap().read(0, &mut bytes).unwrap();
    bytes
}

/// L25.
#[test]
fn nothing_outside_of_a_window_is_touched() {
    let (block, window) = window(0x1003, 0x10);
    let outside = |offset, size| {
        Err(WindowError::Outside {
            offset,
            size,
            window_size: 0x10,
        })
    };
    for offset in [0x10, 0x11, u64::MAX, u64::MAX - 7] {
        assert_eq!(window.load::<u8>(offset), outside(offset, 1).map(|()| 0));
        assert_eq!(window.store(offset, 1_u64), outside(offset, 8));
        assert_eq!(
            window.compare_exchange(offset, 0_u16, 1).map(|_| ()),
            outside(offset, 2)
        );
        assert_eq!(
            window.atomic(offset, AtomicOp::Add, 1_u32).map(|_| ()),
            outside(offset, 4)
        );
        assert_eq!(window.read(offset, &mut [0; 3]), outside(offset, 3));
        assert_eq!(window.write(offset, &[0; 3]), outside(offset, 3));
        assert_eq!(window.fill(offset, 0, u64::MAX), outside(offset, u64::MAX));
        assert_eq!(window.mark_dirty(offset, 1), outside(offset, 1));
        assert!(window.part(offset, 1).is_err());
    }
    assert_eq!(window.store(0xd, 1_u32), outside(0xd, 4), "its end lies outside");
    assert_eq!(contents(&block), vec![0x55; 0x3000]);
    let part = window.part(4, 4).unwrap();
    assert_eq!(
        (part.size(), part.offset_in_block(), part.block()),
        (4, 0x1007, &block)
    );
    assert_eq!(part.store(0, u32::MAX), Ok(()));
    assert_eq!(
        part.store(1, u32::MAX).unwrap_err().to_string(),
        "0x4 bytes at 0x1 do not lie within the 0x4 bytes of the window"
    );
    assert_eq!(
        contents(&block)[0x1006..0x100c],
        [0x55, 0xff, 0xff, 0xff, 0xff, 0x55]
    );
    assert!(block.window(SIZE, 0).is_some() && block.window(SIZE, 1).is_none());
    assert!(block.window(1, u64::MAX).is_none() && block.window(u64::MAX, 1).is_none());
}

/// A word goes where its bytes are, aligned or not.
fn word<T: Word>(offset: u64, value: T) {
    let (block, window) = window(0x100, 0x100);
    window.store(offset, value).unwrap();
    assert_eq!(window.load::<T>(offset), Ok(value));
    let at = usize::try_from(0x100 + offset).unwrap();
    let mut expected = vec![0x55; 0x3000];
    expected[at..at + T::SIZE].copy_from_slice(&value.widen().to_ne_bytes()[..T::SIZE]);
    if cfg!(target_endian = "little") {
        assert_eq!(contents(&block), expected);
    }
    assert_eq!(window.compare_exchange(offset, T::ZERO, value), Ok(Err(value)));
    assert_eq!(window.compare_exchange(offset, value, T::ZERO), Ok(Ok(value)));
    assert_eq!(window.load::<T>(offset), Ok(T::ZERO));
}

#[test]
fn words_are_stored_aligned_and_not() {
    for offset in 0..17 {
        word(offset, 0x81_u8);
        word(offset, 0x8123_u16);
        word(offset, 0x8123_4567_u32);
        word(offset, 0x8123_4567_89ab_cdef_u64);
    }
}

proptest! {
    /// Copies of every length, from and to every alignment, move exactly their bytes.
    #[test]
    fn copies_move_exactly_their_bytes(offset in 0_u64..200, size in 0_u64..6000, shift in 0_usize..70, fill: u8) {
        let (block, window) = window(offset, size);
        let len = usize::try_from(size).unwrap();
        let source: Vec<u8> = (0..len + shift).map(|at| (at * 31 % 251) as u8).collect();
        window.write(0, &source[shift..]).unwrap();
        let at = usize::try_from(offset).unwrap();
        let mut expected = vec![0x55; 0x3000];
        expected[at..at + len].copy_from_slice(&source[shift..]);
        prop_assert_eq!(contents(&block), expected.clone());
        let mut back = vec![0xee; len + shift];
        window.read(0, &mut back[shift..]).unwrap();
        prop_assert_eq!(&back[shift..], &source[shift..]);
        prop_assert!(back[..shift].iter().all(|&byte| byte == 0xee));
        window.fill(0, fill, size).unwrap();
        expected[at..at + len].fill(fill);
        prop_assert_eq!(contents(&block), expected);
    }
}

/// Additions of two threads are all there, also where the word crosses a cache line.
#[test]
fn atomic_operations_are_atomic() {
    const TIMES: u32 = 20_000;
    for offset in [0, 4, 0x3d] {
        let (_block, window) = window(0, 0x100);
        window.store(offset, 0_u32).unwrap();
        let window = Arc::new(window);
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let window = Arc::clone(&window);
                std::thread::spawn(move || {
                    for _ in 0..TIMES {
                        window.atomic(offset, AtomicOp::Add, 1_u32).unwrap();
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!(window.load::<u32>(offset), Ok(2 * TIMES));
    }
}
