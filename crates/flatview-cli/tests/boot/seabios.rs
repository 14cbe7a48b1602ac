//! Debian's SeaBIOS, on the demonstration disk and on others; and U-Boot, which goes without anything of it.

use std::fs;
use std::process::Stdio;

use flatview_testkit::{disk, file};
use rustix::process::Signal;

use super::support::{path, text};
use super::{Running, boot, home, put, run, verdict};

/// Whether there is SeaBIOS; nothing is fetched for a test.
fn is_here() -> bool {
    file("seabios", "/usr/share/seabios/bios-256k.bin").is_some()
}

/// Its lines are in this order, with others between them.
fn assert_in_order(printed: &str, lines: &[&str]) {
    let mut rest = printed;
    for line in lines {
        let (_, after) = rest
            .split_once(line)
            .unwrap_or_else(|| panic!("{line:?} is not in, or not in order:\n{printed}"));
        rest = after;
    }
}

/// What the demonstration disk prints on a machine of 256 MiB.
const SAID_BY_THE_BIOS: &str = "The BIOS says that the memory is:
0000000000000000-000000000009fbff RAM
000000000009fc00-000000000009ffff reserved
00000000000f0000-00000000000fffff reserved
0000000000100000-000000000ffdffff RAM
000000000ffe0000-000000000fffffff reserved
00000000fffc0000-00000000ffffffff reserved
000000fd00000000-000000ffffffffff reserved
Good bye.
";

#[test]
fn without_arguments_it_boots_the_demonstration() {
    if !is_here() {
        return;
    }
    let home = home();
    let output = run(&home, &[]);
    let (code, said) = verdict(&output);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("flatview: the guest switched the machine off after "),
        "{said}"
    );
    assert!(said.ends_with(" instructions\n"), "{said}");
    let printed = text(&output.stdout).replace('\r', "");
    assert_in_order(
        &printed,
        &[
            "SeaBIOS (version ",
            "Running on QEMU (i440fx)",
            "=== PCI bus & bridge init ===",
            "e820 map has ",
            "Booting from Hard Disk...",
            "Booting from 0000:7c00\n",
            SAID_BY_THE_BIOS,
            "The memory map at the end:\n\nFlatView #0\n AS \"memory\", root: system\n",
            "  0000000000000000-000000000009ffff (prio 0, ram): pc.ram\n",
            "  00000000000c0000-00000000000e7fff (prio 0, rom): pc.ram @00000000000c0000\n",
            "  00000000fffc0000-00000000ffffffff (prio 0, rom): pc.bios\n",
        ],
    );
    assert_eq!(super::listing(home.path()), []);
}

#[test]
fn changes_of_the_map_are_shown_with_their_causes() {
    if !is_here() {
        return;
    }
    let home = home();
    let output = run(
        &home,
        &["--trace-memory", "--serial", "none", "--debugcon", "none"],
    );
    let printed = text(&output.stdout);
    assert_in_order(
        printed,
        &[
            "  power on\n",
            "000e0000-000fffff  appears      pc.bios @20000 (read only)\n",
            "i440FX writes PAM (0x58): 0x33333000\n",
            "000f0000-000fffff  pc.bios @30000 (read only) is now pc.ram @f0000\n",
            "VGA writes command (0x04): ",
            "fd000000-fdffffff  appears      vga.vram\n",
            "i440FX writes SMRAM (0x72): 0x4a\n",
            "000a0000-000bffff  vga-lowmem (device) is now pc.ram @a0000\n",
            "a0000 WWWWWWWWWWWWWWWWWWWWWWWW fffff\n",
            "i440FX writes SMRAM (0x72): 0x0a\n",
            "000a0000-000bffff  pc.ram @a0000 is now vga-lowmem (device)\n",
            // SeaBIOS writes PAM again when it is done.
            "a0000 DDDDDDDDRRRRRRRRRRWWRRRR fffff\n",
            "The memory map at the end:",
        ],
    );
    // When the program lets go of the map nothing happens to the guest.
    assert_eq!(printed.matches("  power on\n").count(), 1, "{printed}");
}

#[test]
fn counted_time_makes_runs_equal() {
    if !is_here() {
        return;
    }
    let home = home();
    let runs = [(); 2].map(|()| run(&home, &["--icount", "--trace-memory"]));
    let count = |run| {
        let (code, said) = verdict(run);
        assert_eq!(code, Some(0), "{said}");
        let (_, count) = said.trim_end().rsplit_once(", ").unwrap();
        count
            .strip_suffix(" instructions")
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    assert_eq!(count(&runs[0]), count(&runs[1]));
    assert!(count(&runs[0]) > 1_000_000);
    // With the times of the changes.
    assert_eq!(text(&runs[0].stdout), text(&runs[1].stdout));
}

#[test]
fn in_a_pipe_the_screen_is_shown_at_the_end() {
    if !is_here() {
        return;
    }
    let home = home();
    let output = run(&home, &["--display", "text"]);
    let printed = text(&output.stdout);
    assert!(printed.starts_with("SeaBIOS (version "), "{printed}");
    assert_in_order(
        printed,
        &[
            "Booting from Hard Disk...",
            SAID_BY_THE_BIOS,
            "The memory map at the end:",
        ],
    );
    // The debug port and the serial port keep quiet, or there would be more of the BIOS than on the screen.
    assert!(!printed.contains("PCI bus"), "{printed}");
    assert!(!printed.contains('\x1b'), "{printed:?}");
}

#[test]
fn what_ports_say_goes_into_files() {
    if !is_here() {
        return;
    }
    let home = home();
    let output = run(&home, &["--serial", "file:serial", "--debugcon", "file:debug"]);
    assert_eq!(output.status.code(), Some(0));
    let kept = |name| {
        fs::read_to_string(home.path().join(name))
            .unwrap()
            .replace('\r', "")
    };
    assert_eq!(kept("serial"), SAID_BY_THE_BIOS);
    assert!(kept("debug").starts_with("SeaBIOS (version "));
    assert!(kept("debug").ends_with("Booting from 0000:7c00\n"));
    assert!(text(&output.stdout).starts_with("\nThe memory map at the end:"));
}

#[test]
fn a_signal_ends_a_guest_that_spins() {
    if !is_here() {
        return;
    }
    let home = home();
    // jmp .
    put(&home, "spin.img", &disk(&[0xeb, 0xfe]));
    for signal in [Signal::INT, Signal::TERM] {
        let mut running = Running::start(&mut boot(&home, &["--disk", "spin.img"]));
        running.read_to("Booting from 0000:7c00");
        running.signal(signal);
        let (code, said) = running.end();
        assert_eq!(code, Some(130), "{said}");
        assert!(said.starts_with("flatview: interrupted after "), "{said}");
    }
}

#[test]
fn a_disk_shorter_than_a_sector_is_a_disk_of_one() {
    if !is_here() {
        return;
    }
    let home = home();
    put(&home, "short.img", &[1; 100]);
    let mut running = Running::start(&mut boot(&home, &["--disk", "short.img"]));
    running.read_to("ata0-0: FLATVIEW HARDDISK");
    running.read_to("s=1\n");
    // It was read, and has no signature.
    running.read_to("Boot failed: not a bootable disk");
    running.signal(Signal::INT);
    assert_eq!(running.end().0, Some(130));
    assert_eq!(super::listing(home.path()), [("short.img".to_owned(), 100)]);
}

/// As the manual has it: U-Boot gets no VGA BIOS, which would be its end, also where SeaBIOS's is installed.
#[test]
fn u_boot_runs_without_the_vga_bios() {
    let Some(rom) = file("u-boot", "/usr/lib/u-boot/qemu-x86/u-boot.rom") else {
        return;
    };
    let home = home();
    let arguments = ["--bios", path(&rom), "-m", "128M", "--accel", "soft"];
    let mut running = Running::start(boot(&home, &arguments).stdin(Stdio::null()));
    running.read_to("Model: QEMU x86 (I440FX)");
}
