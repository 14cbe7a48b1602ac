//! `--accel`: KVM, the software CPU, or what is better.

use crate::own::home_of;
use crate::support::text;
use crate::{HALT, run, verdict};

/// `mov al, 'K'; mov dx, 0x402; out dx, al; cli; hlt`.
const SAYS_K: &[u8] = &[0xb0, b'K', 0xba, 0x02, 0x04, 0xee, 0xfa, 0xf4];

#[test]
fn it_says_what_it_took_and_why() {
    let output = run(&home_of(HALT), &["--bios", "bios", "--accel", "auto"]);
    let (code, said) = verdict(&output);
    assert_eq!(code, Some(0), "{said}");
    let first = said.lines().next().unwrap();
    assert!(
        first.starts_with("flatview: on the software CPU: ") || first.starts_with("flatview: on KVM: "),
        "{first}"
    );
}

#[test]
fn on_kvm_ranges_with_a_slot_are_marked() {
    if !flatview_testkit::kvm() {
        return;
    }
    let arguments = [
        "--bios",
        "bios",
        "--mtree",
        "--statistics",
        "--accel",
        "kvm,repair=off",
    ];
    let output = run(&home_of(SAYS_K), &arguments);
    let (code, said) = verdict(&output);
    assert_eq!(code, Some(0), "{said}");
    let printed = text(&output.stdout);
    assert!(printed.starts_with('K'), "{printed}");
    assert!(printed.contains("(prio 0, ram): pc.ram KVM\n"), "{printed}");
    assert!(printed.contains("(prio 0, rom): pc.bios KVM\n"), "{printed}");
    assert!(said.contains("\nslots_created "), "{said}");
}

/// What it shows of the accelerator is not there without one that counts.
#[test]
fn the_software_cpu_has_no_marks() {
    let arguments = ["--bios", "bios", "--mtree", "--statistics", "--accel", "soft"];
    let output = run(&home_of(SAYS_K), &arguments);
    let (code, said) = verdict(&output);
    assert_eq!((code, said.contains("slots")), (Some(0), false), "{said}");
    let printed = text(&output.stdout);
    assert!(printed.starts_with('K') && !printed.contains("KVM"), "{printed}");
}
