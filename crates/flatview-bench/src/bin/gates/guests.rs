//! Guests that do one thing many times, as BIOS images, and reset the machine when they are done: that ends both
//! `flatview boot --no-reboot` and `qemu-system-x86_64 -no-reboot`.

use flatview_testkit::bios;

/// The integer program of the CPU's own measurement: a sieve, a sort, a checksum (`work.c`, beside it).
const WORK: &[u8] = include_bytes!("../../../../flatview-cpu/examples/work.bin");

/// How many rounds of it are measured, and what it returns then, says the host's own processor.
const ROUNDS: u32 = 400;
const RESULT: u32 = 0x8144_9843;

/// Port 0xcf9, the PIIX3's reset control register: a hard reset. The same bytes in 16-bit and 32-bit code but for the
/// prefix of the first.
const RESET: [u8; 7] = [
    0xba, 0xf9, 0x0c, // mov dx, 0xcf9
    0xb0, 0x06, // mov al, 6
    0xee, // out dx, al
    0xf4, // hlt
];

/// Is done at once.
pub(crate) fn done() -> Vec<u8> {
    bios(&RESET)
}

/// `jmp .`: never done.
pub(crate) fn spin() -> Vec<u8> {
    bios(&[0xeb, 0xfe])
}

/// `count` times `body` in 16-bit code, which leaves ECX alone, after `before`.
fn times(count: u32, before: &[u8], body: &[u8]) -> Vec<u8> {
    let mut code = before.to_vec();
    code.extend([0x66, 0xb9]); // mov ecx, count
    code.extend(count.to_le_bytes());
    code.extend(body);
    // Back over the body, the two bytes of DEC and the two of JNZ itself.
    let back = u8::try_from(body.len() + 4).unwrap_or_default().wrapping_neg();
    code.extend([0x66, 0x49, 0x75, back]); // dec ecx; jnz body
    code.extend(RESET);
    bios(&code)
}

/// Writes to port 0x80, where no device is but the DMA page registers of some machines.
pub(crate) fn port_writes(count: u32) -> Vec<u8> {
    times(count, &[], &[0xe6, 0x80]) // out 0x80, al
}

/// Reads of a byte of the screen's memory, which is a device until firmware sets a mode.
pub(crate) fn mmio_reads(count: u32) -> Vec<u8> {
    let before = [
        0xb8, 0x00, 0xa0, // mov ax, 0xa000
        0x8e, 0xd8, // mov ds, ax
    ];
    times(count, &before, &[0xa0, 0x00, 0x00]) // mov al, [0]
}

/// Bytes that [`copies`] copies each time.
pub(crate) const COPY: u32 = 0xfff0;

/// Copies in RAM, from 0x10000 to 0x20000, by REP MOVSB.
pub(crate) fn copies(count: u32) -> Vec<u8> {
    let before = [
        0xb8, 0x00, 0x10, // mov ax, 0x1000
        0x8e, 0xd8, // mov ds, ax
        0xb8, 0x00, 0x20, // mov ax, 0x2000
        0x8e, 0xc0, // mov es, ax
        0xfc, // cld
    ];
    let body = [
        0x66, 0x89, 0xcb, // mov ebx, ecx
        0x31, 0xf6, // xor si, si
        0x31, 0xff, // xor di, di
        0xb9, 0xf0, 0xff, // mov cx, COPY
        0xf3, 0xa4, // rep movsb
        0x66, 0x89, 0xd9, // mov ecx, ebx
    ];
    times(count, &before, &body)
}

/// Where the parts of [`integers`] are in the BIOS.
const ENTRY: usize = 0x40;
const TABLE: usize = 0x90;
const PROGRAM: usize = 0x100;

/// [`WORK`] in 32-bit protected mode, from ROM, with its data in RAM. Crashes if the result is wrong.
pub(crate) fn integers() -> Vec<u8> {
    let real = [
        0xfa, // cli
        0x2e, 0x66, 0x0f, 0x01, 0x16, 0x90, 0x00, // lgdt cs:[TABLE]
        0x0f, 0x20, 0xc0, // mov eax, cr0
        0x0c, 0x01, // or al, 1
        0x0f, 0x22, 0xc0, // mov cr0, eax
        0x66, 0xea, 0x40, 0x00, 0xff, 0xff, 0x08, 0x00, // jmp 8:0xffff0000 + ENTRY
    ];
    let mut flat = vec![
        0x66, 0xb8, 0x10, 0x00, // mov ax, 0x10
        0x8e, 0xd8, 0x8e, 0xc0, 0x8e, 0xd0, // mov ds, ax; mov es, ax; mov ss, ax
        0xbc, 0x00, 0x80, 0x00, 0x00, // mov esp, 0x8000
    ];
    for argument in [ROUNDS, 0x20_0000, 0x10_0000] {
        flat.push(0x68); // push argument
        flat.extend(argument.to_le_bytes());
    }
    let after = ENTRY + flat.len() + 5;
    flat.push(0xe8); // call PROGRAM
    flat.extend(u32::try_from(PROGRAM - after).unwrap_or_default().to_le_bytes());
    flat.push(0x3d); // cmp eax, RESULT
    flat.extend(RESULT.to_le_bytes());
    flat.extend([0x74, 0x02, 0x0f, 0x0b]); // je over; ud2
    flat.push(0x66);
    flat.extend(RESET);
    let mut code = vec![0; PROGRAM + WORK.len()];
    code[..real.len()].copy_from_slice(&real);
    code[ENTRY..][..flat.len()].copy_from_slice(&flat);
    // The limit and the base of the descriptors, which follow: none, code, data.
    code[TABLE..][..6].copy_from_slice(&[0x17, 0, 0x98, 0, 0xff, 0xff]);
    let descriptors = [0, 0x00cf_9b00_0000_ffff_u64, 0x00cf_9300_0000_ffff];
    for (index, descriptor) in descriptors.iter().enumerate() {
        code[TABLE + 8 + 8 * index..][..8].copy_from_slice(&descriptor.to_le_bytes());
    }
    code[PROGRAM..].copy_from_slice(WORK);
    bios(&code)
}
