//! Debian's Linux for clouds on the machine, with a CPU in software: from GRUB to user space, and off.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::fs;

use flatview_pc::machine::End;
use flatview_testkit::unpacked;
use support::{Guest, disk, grub_disk_with_partition};

/// What the first process does: programs are started, a pipe leads from one to the other, the machine is switched off.
const INIT: &[u8] = b"#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox uname -srm
/bin/busybox grep MemTotal /proc/meminfo
/bin/busybox seq 1 100 | while read n; do sum=$((sum + n)); echo $sum; done | /bin/busybox tail -n 1
/bin/32-bits
/bin/busybox echo INIT-DONE
/bin/busybox poweroff -f
";

/// `write(1, MESSAGE, 16)` and `exit(0)` by the system calls of 32-bit programs.
const CODE_32: [u8; 31] = [
    0xb8, 4, 0, 0, 0, // mov eax, 4
    0xbb, 1, 0, 0, 0, // mov ebx, 1
    0xb9, 0x73, 0x80, 0x04, 0x08, // mov ecx, 0x8048073
    0xba, 16, 0, 0, 0, // mov edx, 16
    0xcd, 0x80, // int 0x80
    0xb8, 1, 0, 0, 0, // mov eax, 1
    0x31, 0xdb, // xor ebx, ebx
    0xcd, 0x80, // int 0x80
];
const MESSAGE: &[u8; 16] = b"32 bits work\r\n\r\n";

/// A program for compatibility mode: the header and the only program header of an ELF file, and the code.
fn program_of_32_bits() -> Vec<u8> {
    const LOADED_AT: u32 = 0x0804_8000;
    const HEADERS: u32 = 52 + 32;
    let size = HEADERS + 31 + 16;
    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    // An executable for the 386; sizes and numbers of headers.
    for half in [2_u16, 3] {
        file.extend(half.to_le_bytes());
    }
    for word in [1, LOADED_AT + HEADERS, 52, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    for half in [52_u16, 32, 1, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // All of the file is loaded, to be read and executed.
    for word in [1, 0, LOADED_AT, LOADED_AT, size, size, 5, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(CODE_32);
    file.extend(MESSAGE);
    file
}

/// Without the self-tests of its ciphers, which are most of what this kernel would do, nor workarounds for processors.
const SCRIPT: &str = "set root=hd0,msdos1
linux /vmlinuz console=ttyS0 earlyprintk=ttyS0 nokaslr mitigations=off cryptomgr.notests random.trust_cpu=on
initrd /initrd
boot
";

/// One file of an archive as `cpio -H newc` makes it (Linux, Documentation/driver-api/early-userspace/buffer-format).
fn archive_file(archive: &mut Vec<u8>, name: &str, mode: u32, device: (u32, u32), bytes: &[u8]) {
    let size = |bytes: usize| u32::try_from(bytes).unwrap();
    let fields = [
        0,
        mode,
        0,
        0,
        1,
        0,
        size(bytes.len()),
        0,
        0,
        device.0,
        device.1,
        size(name.len() + 1),
        0,
    ];
    archive.extend(b"070701");
    for field in fields {
        archive.extend(format!("{field:08x}").bytes());
    }
    archive.extend(name.bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend(bytes);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

/// The initial file system: a shell, a console.
fn initial_files(busybox: &[u8]) -> Vec<u8> {
    const FOLDER: u32 = 0o040_755;
    const PROGRAM: u32 = 0o100_755;
    const CHARACTERS: u32 = 0o020_600;
    let mut archive = Vec::new();
    for (name, mode, device, bytes) in [
        ("bin", FOLDER, (0, 0), &[][..]),
        ("dev", FOLDER, (0, 0), &[]),
        ("proc", FOLDER, (0, 0), &[]),
        ("dev/console", CHARACTERS, (5, 1), &[]),
        ("bin/busybox", PROGRAM, (0, 0), busybox),
        ("bin/32-bits", PROGRAM, (0, 0), &program_of_32_bits()),
        ("init", PROGRAM, (0, 0), INIT),
        ("TRAILER!!!", 0, (0, 0), &[]),
    ] {
        archive_file(&mut archive, name, mode, device, bytes);
    }
    archive
}

#[test]
fn linux_runs_programs_and_switches_off() {
    let (Some(kernel), Some(busybox)) = (
        unpacked("linux", "boot", "vmlinuz-", "-cloud-amd64"),
        unpacked("linux", "bin", "busybox", ""),
    ) else {
        return;
    };
    let kernel = fs::read(kernel).unwrap();
    let initrd = initial_files(&fs::read(busybox).unwrap());
    let files = [("vmlinuz", &kernel[..]), ("initrd", &initrd)];
    let Some(image) = grub_disk_with_partition(SCRIPT, &["linux"], &files) else {
        return;
    };
    let Some(mut guest) = Guest::seabios(192, vec![disk(image)]) else {
        return;
    };
    guest.run_until_serial(10_000, "Run /init as init process");
    guest.run_until_serial(12_000, "INIT-DONE");
    let end = guest.run_until(12_000, "power-off", |_| false);
    let said = guest.serial.get();
    assert_eq!(end, Some(End::PowerOff), "{said}");
    let programs = said.split_once("Run /init").unwrap().1;
    for line in ["Linux 6.", "x86_64", "MemTotal:", "5050", "32 bits work"] {
        assert!(programs.contains(line), "no {line:?} in {programs}");
    }
    // What the kernel prints about a processor that surprises it.
    for line in ["Call Trace", "unchecked MSR"] {
        assert!(!said.contains(line), "{said}");
    }
}
