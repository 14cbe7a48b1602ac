//! Real firmware and real boot loaders on the machine, with a CPU in software.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use flatview_pc::machine::End;
use support::{Guest, disk};

/// The boot sector of the demonstration prints what INT 15h, AX=E820h says, and switches off by ACPI.
#[test]
fn the_demonstration_prints_the_memory_map_and_switches_off() {
    let Some(mut guest) = Guest::seabios(64, vec![disk(flatview_pc::demo::disk())]) else {
        return;
    };
    let end = guest.run_until(60, "power-off", |_| false);
    assert_eq!(end, Some(End::PowerOff), "{}", guest.debugcon.get());
    let map = "The BIOS says that the memory is:
0000000000000000-000000000009fbff RAM
000000000009fc00-000000000009ffff reserved
00000000000f0000-00000000000fffff reserved
0000000000100000-0000000003fdffff RAM
0000000003fe0000-0000000003ffffff reserved
00000000fffc0000-00000000ffffffff reserved
000000fd00000000-000000ffffffffff reserved
Good bye.
";
    assert_eq!(guest.serial.get().replace('\r', ""), map);
}
