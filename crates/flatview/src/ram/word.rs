//! The only ways in which guest memory is touched: volatile and atomic, one word or many.
//!
//! Guest memory is changed by others at any time: vCPUs, devices, the kernel. So it is never behind a
//! reference, and the compiler must neither repeat nor leave out an access. An aligned word is loaded and
//! stored by one relaxed atomic access, which is single-copy atomic; other words go byte by byte. Bulk copies
//! are done in assembly, which the compiler does not look into, or word by word.
#![expect(unsafe_code, reason = "guest memory is reached through raw pointers")]

use std::fmt::Debug;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

mod sealed {
    pub trait Sealed {}
}

/// What one access can hold: `u8`, `u16`, `u32` and `u64`.
pub trait Word: sealed::Sealed + Copy + Eq + Debug + Send + Sync + 'static {
    /// The size in bytes.
    const SIZE: usize;
    /// Nothing set.
    const ZERO: Self;

    /// The low bytes of `value`.
    fn truncate(value: u64) -> Self;
    /// The same number.
    fn widen(self) -> u64;
    /// The bytes from the other end.
    #[must_use]
    fn swap_bytes(self) -> Self;

    /// Loads a word from anywhere.
    ///
    /// # Safety
    ///
    /// `from` points to `SIZE` bytes that stay mapped and readable during the call.
    #[doc(hidden)]
    unsafe fn load(from: *const u8) -> Self;

    /// Stores a word anywhere.
    ///
    /// # Safety
    ///
    /// `to` points to `SIZE` bytes that stay mapped and writable during the call.
    #[doc(hidden)]
    unsafe fn store(to: *mut u8, value: Self);

    /// Stores `new` if `current` is there; returns what was there. Sequentially consistent.
    ///
    /// # Safety
    ///
    /// As [`store`](Self::store), and `at` is a multiple of `SIZE`.
    #[doc(hidden)]
    unsafe fn compare_exchange(at: *mut u8, current: Self, new: Self) -> Result<Self, Self>;
}

macro_rules! word {
    ($word:ty, $atomic:ty) => {
        impl sealed::Sealed for $word {}

        impl Word for $word {
            const SIZE: usize = size_of::<$word>();
            const ZERO: $word = 0;

            #[inline]
            #[allow(clippy::cast_possible_truncation, reason = "that is its name")]
            fn truncate(value: u64) -> $word {
                value as $word
            }

            #[inline]
            fn widen(self) -> u64 {
                u64::from(self)
            }

            #[inline]
            fn swap_bytes(self) -> $word {
                <$word>::swap_bytes(self)
            }

            #[inline]
            unsafe fn load(from: *const u8) -> $word {
                let word = from.cast_mut().cast::<$word>();
                if word.is_aligned() {
                    // SAFETY: aligned, mapped as the caller promises, and everybody here uses atomic or volatile
                    // accesses; what the guest does is outside of this program.
                    return unsafe { <$atomic>::from_ptr(word) }.load(Ordering::Relaxed);
                }
                let mut bytes = [0; size_of::<$word>()];
                // SAFETY: the caller's promise.
                unsafe { load_bytes(&mut bytes, from) };
                <$word>::from_ne_bytes(bytes)
            }

            #[inline]
            unsafe fn store(to: *mut u8, value: $word) {
                let word = to.cast::<$word>();
                if word.is_aligned() {
                    // SAFETY: as in `load`.
                    return unsafe { <$atomic>::from_ptr(word) }.store(value, Ordering::Relaxed);
                }
                // SAFETY: the caller's promise.
                unsafe { store_bytes(to, &value.to_ne_bytes()) };
            }

            #[inline]
            unsafe fn compare_exchange(at: *mut u8, current: $word, new: $word) -> Result<$word, $word> {
                // SAFETY: as in `load`; the caller promises that it is aligned.
                let word = unsafe { <$atomic>::from_ptr(at.cast()) };
                word.compare_exchange(current, new, Ordering::SeqCst, Ordering::SeqCst)
            }
        }
    };
}

word!(u8, AtomicU8);
word!(u16, AtomicU16);
word!(u32, AtomicU32);
word!(u64, AtomicU64);

#[inline(never)]
unsafe fn load_bytes(bytes: &mut [u8], from: *const u8) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        // SAFETY: within what the caller says is mapped; a byte is always aligned.
        *byte = unsafe { from.wrapping_add(index).read_volatile() };
    }
}

#[inline(never)]
unsafe fn store_bytes(to: *mut u8, bytes: &[u8]) {
    for (index, &byte) in bytes.iter().enumerate() {
        // SAFETY: within what the caller says is mapped; a byte is always aligned.
        unsafe { to.wrapping_add(index).write_volatile(byte) };
    }
}

/// What the processor's wide registers hold in one turn of the loop.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const TURN: usize = 64;
/// From this length on string instructions are faster, where they are fast at all.
#[cfg(all(target_arch = "x86_64", not(miri)))]
const STRING: usize = 2048;

/// Copies `len` bytes, ascending.
///
/// # Safety
///
/// Both ranges stay mapped during the call; they do not overlap.
#[inline]
pub(crate) unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    let (from, to, len) = if len < TURN {
        (from, to, len)
    } else {
        // SAFETY: the caller's promise.
        let done = unsafe { copy_much(from, to, len) };
        (from.wrapping_add(done), to.wrapping_add(done), len - done)
    };
    // SAFETY: the caller's promise, less what is done.
    unsafe { copy_words(from, to, len) }
}

/// Copies nearly all of it. Returns how much.
#[cfg(all(target_arch = "x86_64", not(miri)))]
unsafe fn copy_much(from: *const u8, to: *mut u8, len: usize) -> usize {
    if len >= STRING && std::arch::is_x86_feature_detected!("ermsb") {
        // A destination at the beginning of a cache line is fastest.
        let head = to.addr().wrapping_neg() % TURN;
        // SAFETY: less than `len`.
        unsafe { copy_words(from, to, head) };
        // SAFETY: it reads and writes the rest, and nothing else. The direction flag is clear whenever Rust code
        // runs.
        unsafe {
            std::arch::asm!(
                "rep movsb",
                inout("rcx") len - head => _,
                inout("rsi") from.wrapping_add(head) => _,
                inout("rdi") to.wrapping_add(head) => _,
                options(nostack, preserves_flags)
            );
        }
        return len;
    }
    let whole = len - len % TURN;
    // SAFETY: it reads and writes `whole` bytes, at least one turn, and nothing else.
    unsafe {
        std::arch::asm!(
            "2:",
            "movups {a}, [{from} + {at}]",
            "movups {b}, [{from} + {at} + 16]",
            "movups {c}, [{from} + {at} + 32]",
            "movups {d}, [{from} + {at} + 48]",
            "movups [{to} + {at}], {a}",
            "movups [{to} + {at} + 16], {b}",
            "movups [{to} + {at} + 32], {c}",
            "movups [{to} + {at} + 48], {d}",
            "add {at}, 64",
            "jnz 2b",
            from = in(reg) from.wrapping_add(whole),
            to = in(reg) to.wrapping_add(whole),
            at = inout(reg) whole.wrapping_neg() => _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack)
        );
    }
    whole
}

unsafe fn copy_words(from: *const u8, to: *mut u8, len: usize) {
    let mut done = 0;
    while done < len {
        let (from, to) = (from.wrapping_add(done), to.wrapping_add(done));
        // Words that are aligned on both sides are not torn.
        let (size, copy): (usize, unsafe fn(*const u8, *mut u8)) =
            match (from.addr() | to.addr() | 8).trailing_zeros() {
                3 if len - done >= 8 => (8, copy_word::<u64>),
                2.. if len - done >= 4 => (4, copy_word::<u32>),
                1.. if len - done >= 2 => (2, copy_word::<u16>),
                _ => (1, copy_word::<u8>),
            };
        // SAFETY: at least `size` bytes are left in both.
        unsafe { copy(from, to) };
        done += size;
    }
}

/// # Safety
///
/// As [`Word::load`] and [`Word::store`].
#[inline]
unsafe fn copy_word<T: Word>(from: *const u8, to: *mut u8) {
    // SAFETY: the caller's promise.
    let word = unsafe { T::load(from) };
    // SAFETY: the caller's promise.
    unsafe { T::store(to, word) };
}

/// Sets `len` bytes to `value`.
///
/// # Safety
///
/// The range stays mapped and writable during the call.
pub(crate) unsafe fn fill(to: *mut u8, value: u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if len >= TURN && std::arch::is_x86_feature_detected!("ermsb") {
        // SAFETY: it writes what the caller says is there, and nothing else.
        unsafe {
            std::arch::asm!(
                "rep stosb",
                inout("rcx") len => _,
                inout("rdi") to => _,
                in("al") value,
                options(nostack, preserves_flags)
            );
        }
        return;
    }
    for index in 0..len {
        // SAFETY: within the range that the caller says is mapped.
        unsafe { to.wrapping_add(index).write_volatile(value) };
    }
}
