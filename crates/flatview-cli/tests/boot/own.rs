//! Guests of a few bytes, each of which does one thing.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};

use flatview_testkit::bios;
use tempfile::TempDir;

use super::support::{feed, path, text};
use super::{HALT, Running, boot, home, put, run, verdict};

/// Prints a word on the first serial port, sends back what comes until it was a `q`, and halts.
const ECHO: &[u8] = &[
    0xbe, 0x20, 0x00, // 00: mov si, word
    0xba, 0xf8, 0x03, // 03: mov dx, 0x3f8
    0x2e, 0xac, // 06: lodsb cs:[si]
    0x84, 0xc0, // 08: test al, al
    0x74, 0x03, // 0a: jz 0x0f
    0xee, // 0c: out dx, al
    0xeb, 0xf7, // 0d: jmp 0x06
    0xb2, 0xfd, // 0f: mov dl, 0xfd
    0xec, // 11: in al, dx
    0xa8, 0x01, // 12: test al, 1
    0x74, 0xf9, // 14: jz 0x0f
    0xb2, 0xf8, // 16: mov dl, 0xf8
    0xec, // 18: in al, dx
    0xee, // 19: out dx, al
    0x3c, b'q', // 1a: cmp al, 'q'
    0x75, 0xf1, // 1c: jne 0x0f
    0xfa, 0xf4, // 1e: cli; hlt
    b'H', b'e', b'l', b'l', b'o', b'\n', 0,
];

/// Resets the machine by port 0xcf9 if the byte at 0x500 is not 0x5a, after making it so; halts if it is.
const RESET_ONCE: &[u8] = &[
    0x31, 0xc0, // 00: xor ax, ax
    0x8e, 0xd8, // 02: mov ds, ax
    0x80, 0x3e, 0x00, 0x05, 0x5a, // 04: cmp byte [0x500], 0x5a
    0x74, 0x0c, // 09: je 0x17
    0xc6, 0x06, 0x00, 0x05, 0x5a, // 0b: mov byte [0x500], 0x5a
    0xba, 0xf9, 0x0c, // 10: mov dx, 0xcf9
    0xb0, 0x06, // 13: mov al, 6
    0xee, // 15: out dx, al
    0xf4, // 16: hlt
    0xfa, 0xf4, // 17: cli; hlt
];

/// Loads an IDT of one byte, and causes an exception.
const TRIPLE_FAULT: &[u8] = &[
    0x2e, 0x0f, 0x01, 0x1e, 0x10, 0x00, // 00: lidt cs:[0x10]
    0x0f, 0x0b, // 06: ud2
];

/// Waits until an interrupt of the timer is pending, and halts for good.
const HALT_WITH_INTERRUPT: &[u8] = &[
    0xfa, // 00: cli
    0xe4, 0x20, // 01: in al, 0x20
    0xa8, 0x01, // 03: test al, 1
    0x74, 0xfa, // 05: jz 0x01
    0xf4, // 07: hlt
];

/// Writes an `x` to the debug port, forever.
const CHATTER: &[u8] = &[
    0xba, 0x02, 0x04, // 00: mov dx, 0x402
    0xb0, b'x', // 03: mov al, 'x'
    0xee, // 05: out dx, al
    0xeb, 0xfd, // 06: jmp 0x05
];

/// There is a disk, which no guest looks at, so that this is no demonstration, and no map is printed.
const GUEST: &[&str] = &["--bios", "bios", "--disk", "disk"];

pub(crate) fn home_of(code: &[u8]) -> TempDir {
    let home = home();
    put(&home, "bios", &bios(code));
    put(&home, "disk", &[0; 512]);
    home
}

fn guest(code: &[u8], more: &[&str]) -> (Option<i32>, String, String) {
    let output = run(&home_of(code), &[GUEST, more].concat());
    let (code, said) = verdict(&output);
    (code, said.to_owned(), text(&output.stdout).to_owned())
}

#[test]
fn a_guest_that_halts_for_good_ends_the_machine() {
    let (code, said, printed) = guest(HALT, &[]);
    assert_eq!((code, printed.as_str()), (Some(0), ""));
    assert!(
        said.starts_with("flatview: the guest halted with interrupts off at f000:00000002, after "),
        "{said}"
    );
    // The jump and the two.
    assert!(said.ends_with(" s, 3 instructions\n"), "{said}");
}

#[test]
fn an_interrupt_that_nobody_takes_does_not_keep_it_alive() {
    let (code, said, _) = guest(HALT_WITH_INTERRUPT, &[]);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("flatview: the guest halted"), "{said}");
}

#[test]
fn the_map_is_printed_if_asked_for() {
    let nodes = ["-m", "256M", "--numa", "96M", "--numa", "160M", "--mtree"];
    let (_, _, printed) = guest(HALT, &nodes);
    for line in [
        "  0000000000000000-000000000009ffff (prio 0, ram): ram-node0\n",
        "  0000000006000000-000000000fffffff (prio 0, ram): ram-node1\n",
        "  00000000ffff0000-00000000ffffffff (prio 0, rom): pc.bios\n",
    ] {
        assert!(printed.contains(line), "{line}{printed}");
    }
}

#[test]
fn a_triple_fault_is_a_crash() {
    let (code, said, _) = guest(TRIPLE_FAULT, &[]);
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.starts_with("flatview: the guest crashed: a triple fault at f000:00000006, after "),
        "{said}"
    );
}

#[test]
fn a_reset_begins_again_or_ends() {
    let (code, said, _) = guest(RESET_ONCE, &[]);
    assert_eq!(code, Some(0));
    assert!(said.starts_with("flatview: the guest halted"), "{said}");
    let (code, said, _) = guest(RESET_ONCE, &["--no-reboot"]);
    assert_eq!(code, Some(0));
    assert!(
        said.starts_with("flatview: the guest reset the machine (port 0xcf9) after "),
        "{said}"
    );
}

#[test]
fn standard_input_reaches_the_serial_port() {
    let home = home_of(ECHO);
    let file = |name: &str| path(&home.path().join(name)).to_owned();
    let output = feed(
        &["boot", "--bios", &file("bios"), "--disk", &file("disk")],
        b"abcq and no more",
    );
    // After the guest's line, one of ours begins.
    assert_eq!(text(&output.stdout), "Hello\nabcq\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_serial_port_on_a_pseudo_terminal() {
    let home = home_of(ECHO);
    let mut running = Running::start(&mut boot(&home, &[GUEST, &["--serial", "pty"]].concat()));
    let mut stderr = BufReader::new(running.child.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let name = line
        .trim_end()
        .strip_prefix("flatview: the first serial port is on ")
        .unwrap_or_else(|| panic!("{line:?}"));
    let mut terminal = OpenOptions::new().read(true).write(true).open(name).unwrap();
    let hear = |terminal: &mut File, expected: &str| {
        let mut heard = vec![0; expected.len()];
        terminal.read_exact(&mut heard).unwrap();
        assert_eq!(text(&heard), expected);
    };
    hear(&mut terminal, "Hello\n");
    // Neither edited nor echoed on the way: a terminal of a person would make of that something else.
    terminal.write_all(b"a\r\x03\x7f\n").unwrap();
    hear(&mut terminal, "a\r\x03\x7f\n");
    terminal.write_all(b"q").unwrap();
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("flatview: the guest halted"), "{said}");
    assert_eq!(running.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let home = home_of(CHATTER);
    let mut running = Running::start(&mut boot(&home, GUEST));
    let mut begin = [0; 4];
    let mut stdout = running.stdout.take().unwrap();
    stdout.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"xxxx");
    drop(stdout);
    assert_eq!(running.end(), (Some(141), String::new()));
}
