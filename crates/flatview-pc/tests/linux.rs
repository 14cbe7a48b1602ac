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
/bin/busybox echo INIT-DONE
/bin/busybox poweroff -f
";

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
    for line in ["Linux 6.", "x86_64", "MemTotal:", "5050"] {
        let programs = said.split_once("Run /init").unwrap().1;
        assert!(programs.contains(line), "no {line:?} in {programs}");
    }
}
