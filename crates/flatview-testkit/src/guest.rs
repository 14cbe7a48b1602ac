//! Guests of a few bytes.

/// Bytes of a [`bios`].
const BIOS_SIZE: usize = 0x1_0000;
/// Where the CPU begins in it: 16 bytes before its end (Intel SDM volume 3, 10.1.4).
const RESET_VECTOR: usize = 0xfff0;
/// `jmp` to the offset 0 of its segment.
const JUMP: [u8; 3] = [0xe9, 0x0d, 0x00];

/// A BIOS of 64 KiB that begins with `code`, 16-bit code that the reset vector jumps to. Its code segment is the BIOS.
///
/// # Panics
///
/// If the code reaches the reset vector.
#[must_use]
pub fn bios(code: &[u8]) -> Vec<u8> {
    let mut image = vec![0; BIOS_SIZE];
    image[..RESET_VECTOR][..code.len()].copy_from_slice(code);
    image[RESET_VECTOR..][..JUMP.len()].copy_from_slice(&JUMP);
    image
}

/// A disk of 1 MiB whose boot sector begins with `code`, 16-bit code that a BIOS puts at 0x7c00.
///
/// # Panics
///
/// If the code is larger than a boot sector.
#[must_use]
pub fn disk(code: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 1 << 20];
    image[..510][..code.len()].copy_from_slice(code);
    image[510..512].copy_from_slice(&[0x55, 0xaa]);
    image
}
