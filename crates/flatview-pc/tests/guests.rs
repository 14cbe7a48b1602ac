//! Real firmware and real boot loaders on the machine, with a CPU in software.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::sync::Arc;

use flatview_pc::board::Drive;
use flatview_pc::devices::block::{ImageAccess, RawImage};
use flatview_pc::machine::End;
use support::{DEMO_SAYS, Guest, demo, disk, grub_disk};

/// The boot sector of the demonstration prints what INT 15h, AX=E820h says, and switches off by ACPI.
#[test]
fn the_demonstration_prints_the_memory_map_and_switches_off() {
    let Some(mut guest) = Guest::seabios(64, demo()) else {
        return;
    };
    let end = guest.run_until(60, "power-off", |_| false);
    assert_eq!(end, Some(End::PowerOff), "{}", guest.debugcon.get());
    assert_eq!(guest.serial.get().replace('\r', ""), DEMO_SAYS);
    let screen = guest.pc.screen().to_string();
    assert!(screen.contains("Booting from Hard Disk"), "{screen}");
    assert!(
        screen.contains("00000000fffc0000-00000000ffffffff reserved"),
        "{screen}"
    );
}

/// `-m 128M`, GRUB 2.06 from a disk: real mode and protected mode in turn, BIOS disk reads, E820, ports.
#[test]
fn grub_runs_its_script() {
    let script = "serial --unit=0 --speed=115200
terminal_output serial console
lsmmap
outl 0xcf8 0x80000000
inl 0xcfc
echo GRUB-DONE
halt
";
    let Some(image) = grub_disk(script, &["lsmmap", "iorw", "halt"], &[]) else {
        return;
    };
    let Some(mut guest) = Guest::seabios(128, vec![disk(image)]) else {
        return;
    };
    guest.run_until_serial(200, "GRUB-DONE");
    let said = guest.serial.get();
    for line in [
        "base_addr = 0x0, length = 0x9fc00, available RAM",
        "base_addr = 0x100000, length = 0x7ee0000, available RAM",
        "0x12378086",
    ] {
        assert!(said.contains(line), "no {line:?} in {said}");
    }
}

/// grub-invaders: a multiboot kernel that draws on the text screen at 0xb8000 without any BIOS.
#[test]
fn invaders_draw_on_the_text_screen() {
    let Some(kernel) = flatview_testkit::file("invaders", "/boot/invaders.exec") else {
        return;
    };
    let script = "multiboot (memdisk)/invaders.exec\nboot\n";
    let Some(image) = grub_disk(script, &["multiboot", "boot"], &[("invaders.exec", &kernel)]) else {
        return;
    };
    let Some(mut guest) = Guest::seabios(64, vec![disk(image)]) else {
        return;
    };
    let end = guest.run_until(400, "invaders", |guest| {
        guest.pc.screen().to_string().contains("-*-")
    });
    assert_eq!(end, None);
}

/// Debian's U-Boot 2023.01 for QEMU, or nothing if the test must skip.
fn u_boot() -> Option<Vec<u8>> {
    let rom = flatview_testkit::file("u-boot", "/usr/lib/u-boot/qemu-x86/u-boot.rom")?;
    Some(std::fs::read(rom).unwrap())
}

/// U-Boot as firmware: 32-bit, no BIOS, a prompt on the serial port.
#[test]
fn u_boot_comes_to_its_prompt() {
    let Some(rom) = u_boot() else {
        return;
    };
    let mut guest = Guest::new(128, rom, None, vec![]);
    guest.run_until_serial(60, "Hit any key to stop autoboot");
    guest.types(b" ");
    guest.run_until_serial(80, "=> ");
    guest.types(b"md.l fffffff0 1\n");
    guest.run_until_serial(100, "fffffff0:");
}

/// U-Boot runs SeaBIOS's VGA BIOS in real mode with segments of 64 KiB. That reads EDID from BAR 2, far above, and gets
/// the #GP that a processor has for it (Intel SDM vol. 3, 6.15, interrupt 13); U-Boot halts in its handler.
#[test]
fn u_boot_halts_when_the_vga_bios_leaves_its_segment() {
    let (Some(rom), Some((_, vga))) = (u_boot(), support::seabios()) else {
        return;
    };
    let mut guest = Guest::new(128, rom, Some(vga), vec![]);
    let end = guest.run_until(60, "halt", |_| false);
    assert!(matches!(end, Some(End::Halted { cs: 0x10, .. })), "{end:?}");
    let said = guest.debugcon.get();
    assert!(said.ends_with("Removing mode 19e\n"), "{said}");
}

/// The same VGA BIOS with the segment of 4 GiB that SeaBIOS leaves it ("big real mode") sets a DISPI mode for U-Boot,
/// which gets on to its prompt: nothing but the limit was in the way.
#[test]
fn u_boot_draws_with_a_vga_bios_whose_segment_is_large() {
    let (Some(rom), Some((_, vga))) = (u_boot(), support::seabios()) else {
        return;
    };
    let mut guest = Guest::new(128, rom, Some(vga), vec![]);
    guest.run_until_serial(60, "Loading Environment");
    let vcpu = guest.pc.machine().vcpu();
    let mut large = loop {
        vcpu.step().unwrap();
        let state = vcpu.state().unwrap();
        if state.sregs.cs.selector == 0xc000 {
            break state;
        }
    };
    large.sregs.ds.limit = u32::MAX;
    vcpu.set_state(&large).unwrap();
    guest.run_until_serial(60, "Video: 1024x768x32");
    guest.run_until_serial(80, "Hit any key to stop autoboot");
    guest.types(b" ");
    guest.run_until_serial(100, "=> ");
}

/// GRUB's rescue CD: the El Torito boot image on an ATAPI drive.
#[test]
fn a_cd_boots() {
    let Some(iso) = flatview_testkit::file("grub-rescue", "/usr/lib/grub-rescue/grub-rescue-cdrom.iso")
    else {
        return;
    };
    let image = RawImage::open(iso, ImageAccess::ReadOnly).unwrap();
    let drives = vec![Drive::None, Drive::None, Drive::CdRom(Arc::new(image))];
    let Some(mut guest) = Guest::seabios(128, drives) else {
        return;
    };
    let end = guest.run_until(1500, "GRUB's menu", |guest| {
        guest.pc.screen().to_string().contains("GNU GRUB")
    });
    assert_eq!(end, None);
}

/// Rule V4. With counted time a guest is deterministic: what it says, and how many instructions that takes.
#[test]
fn the_same_guest_does_the_same_twice() {
    let run = || {
        let mut guest = Guest::seabios(64, demo())?;
        let end = guest.run_until(60, "power-off", |_| false);
        let said = (
            guest.serial.get(),
            guest.debugcon.get(),
            guest.pc.screen().to_string(),
        );
        Some((end, guest.pc.machine().instructions(), said))
    };
    assert_eq!(run(), run());
}
