//! The VGA, as a guest sees it.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use flatview::Endianness;
use proptest::prelude::*;

use super::Screen;
use super::bench::{ATTRS, Bench, LFB, MMIO};
use super::dispi::index;
use crate::device::Reset;

#[test]
fn text_is_what_the_guest_wrote() {
    let bench = Bench::new();
    assert_eq!(bench.screen(), Screen::Blank);
    bench.mode_3();
    bench.print(0, 0, b"SeaBIOS (version 1.16)");
    bench.print(2, 4, b"\xc9\xcd\xbb \x01  ");
    bench.print(24, 79, b"!");
    bench.set(0x3d4, &[(0x0e, 0), (0x0f, 165)]);
    let screen = bench.screen();
    let text = screen.text().unwrap();
    assert_eq!(
        (text.columns(), text.rows().len(), text.cursor()),
        (80, 25, Some((5, 2)))
    );
    let lines: Vec<String> = text.lines().collect();
    assert_eq!(
        (&*lines[0], &*lines[1], &*lines[2]),
        ("SeaBIOS (version 1.16)", "", "    ╔═╗ ☺")
    );
    assert_eq!(
        screen.to_string(),
        format!("{}\n\n    ╔═╗ ☺\n{}{:>80}\n", lines[0], "\n".repeat(21), "!")
    );
    assert_eq!(text.rows().next().unwrap()[0].attribute, 0x07);
    assert_eq!(bench.read::<u16>(0xb_8000), 0x0753, "as it was written");
    // Scrolled by three rows, and the cursor off.
    bench.set(0x3d4, &[(0x0d, 240), (0x0a, 0x2d)]);
    let screen = bench.screen();
    let text = screen.text().unwrap();
    assert_eq!((text.lines().nth(21).unwrap().len(), text.cursor()), (80, None));
    // The rest of the window is nobody's in this mode.
    bench.write(0xa_0000, 0x41_u8);
    assert_eq!(bench.read::<u8>(0xa_0000), 0xff);
    bench.vga.upgrade().unwrap().reset();
    assert_eq!(bench.screen(), Screen::Blank);
}

#[test]
fn a_font_goes_to_its_plane_and_leaves_the_text_alone() {
    let bench = Bench::new();
    bench.mode_3();
    bench.print(0, 0, b"AB");
    bench.set(0x3c4, &[(2, 0x04), (4, 0x06)]);
    bench.set(0x3ce, &[(4, 0x02), (5, 0x00), (6, 0x04)]);
    bench.write(0xa_0000, 0x5a_u8);
    assert_eq!(
        (bench.read::<u8>(0xa_0000), bench.read::<u32>(LFB)),
        (0x5a, 0x005a_0741)
    );
    bench.mode_3();
    assert_eq!(bench.screen().to_string(), "AB\n");
}

#[test]
fn graphic_modes_are_told_by_their_resolution() {
    let bench = Bench::new();
    bench.mode_3();
    // Mode 12h, mode 13h, mode 4.
    bench.set(0x3d4, &[(1, 0x4f), (7, 0x3e), (9, 0x40), (0x12, 0xdf)]);
    bench.set(0x3ce, &[(5, 0x00), (6, 0x05)]);
    assert_eq!(bench.screen().to_string(), "graphic 640x480x4");
    bench.set(0x3d4, &[(7, 0x1f), (9, 0x41), (0x12, 0x8f)]);
    bench.set(0x3ce, &[(5, 0x40)]);
    assert_eq!(bench.screen().to_string(), "graphic 320x200x8");
    bench.set(0x3d4, &[(1, 0x27), (9, 0xc0)]);
    bench.set(0x3ce, &[(5, 0x00)]);
    bench.set(0x3c4, &[(1, 0x09)]);
    assert_eq!(bench.screen().to_string(), "graphic 160x200x4");
    bench.dispi(index::XRES, 1024);
    bench.dispi(index::YRES, 768);
    bench.dispi(index::BPP, 32);
    bench.write(LFB + 4 * 1024 * 768 - 4, 0xffff_ffff_u32);
    bench.write(LFB + 4 * 1024 * 768, 0x1234_5678_u32);
    bench.dispi(index::ENABLE, 0x41);
    assert_eq!(bench.screen().to_string(), "graphic 1024x768x32");
    assert_eq!(bench.read::<u32>(LFB + 4 * 1024 * 768 - 4), 0, "cleared");
    assert_eq!(
        bench.read::<u32>(LFB + 4 * 1024 * 768),
        0x1234_5678,
        "and no more than that"
    );
}

#[test]
fn memory_that_is_as_it_looks_is_seen_directly() {
    let bench = Bench::new();
    assert_eq!(bench.direct(), None);
    // Mode 13h.
    bench.set(0x3c4, &[(2, 0x0f), (4, 0x0e)]);
    bench.set(0x3ce, &[(5, 0x40), (6, 0x05)]);
    assert_eq!(bench.direct(), Some((0xa_0000, 0x1_0000, 0)));
    bench.write(0xa_0123, 0x77_u8);
    assert_eq!(bench.read::<u8>(LFB + 0x123), 0x77);
    for (select, place) in [
        (0, (0xa_0000, 0x2_0000)),
        (2, (0xb_0000, 0x8000)),
        (3, (0xb_8000, 0x8000)),
    ] {
        bench.set(0x3ce, &[(6, 1 | select << 2)]);
        assert_eq!(bench.direct(), Some((place.0, place.1, 0)));
    }
    // A plane that is not written means that the logic has to look.
    bench.set(0x3c4, &[(2, 0x07)]);
    assert_eq!(bench.direct(), None);
    bench.write(0xb_8000, 0x4433_2211_u32);
    assert_eq!(bench.read::<u32>(0xb_8000), 0x0033_2211);
    // Banks of a DISPI mode.
    for (register, value) in [
        (index::XRES, 800),
        (index::YRES, 600),
        (index::BPP, 16),
        (index::ENABLE, 1),
    ] {
        bench.dispi(register, value);
    }
    assert_eq!(bench.direct(), Some((0xa_0000, 0x1_0000, 0)));
    bench.dispi(index::BANK, 3);
    assert_eq!(bench.direct(), Some((0xa_0000, 0x1_0000, 0x3_0000)));
    bench.write(0xa_0000, 0xabcd_u16);
    assert_eq!(bench.read::<u16>(LFB + 0x3_0000), 0xabcd);
    let mtree = bench.memory.mtree().to_string();
    assert!(
        mtree.contains("(prio 2, ram): alias vga.chain4 @vga.vram 0000000000030000-000000000003ffff"),
        "{mtree}"
    );
    bench.vga.upgrade().unwrap().reset();
    assert_eq!(bench.direct(), None);
    assert!(!bench.memory.mtree().to_string().contains("chain4"));
}

#[test]
fn write_modes_and_read_modes_do_what_freevga_says() {
    let bench = Bench::new();
    bench.planar();
    let vram = || bench.read::<u32>(LFB + 4 * 0x10);
    let at = 0xa_0010;
    // Write mode 0: all planes, rotated, set/reset, bit mask.
    bench.write(at, 0x81_u8);
    assert_eq!(vram(), 0x8181_8181);
    bench.set(0x3ce, &[(3, 1)]);
    bench.write(at, 0x81_u8);
    assert_eq!(vram(), 0xc0c0_c0c0);
    bench.set(0x3ce, &[(3, 0), (0, 0x05), (1, 0x03)]);
    bench.write(at, 0x0f_u8);
    assert_eq!(vram(), 0x0f0f_00ff);
    bench.set(0x3ce, &[(1, 0), (8, 0x0f)]);
    bench.read::<u8>(at);
    bench.write(at, 0xa5_u8);
    assert_eq!(vram(), 0x0505_05f5);
    // Functions with the latches.
    bench.set(0x3ce, &[(8, 0xff)]);
    for (function, wanted) in [(0x08, 0x0000_00c0), (0x10, 0xc5c5_c5f5), (0x18, 0xc5c5_c535)] {
        bench.write(LFB + 0x40, 0x0505_05f5_u32);
        bench.set(0x3ce, &[(3, function)]);
        bench.read::<u8>(at);
        bench.write(at, 0xc0_u8);
        assert_eq!(vram(), wanted, "{function:#x}");
    }
    // Write mode 1 copies, 2 writes a color, 3 writes Set/Reset through a mask. Only planes of the Map Mask.
    bench.set(0x3ce, &[(3, 0), (5, 1)]);
    bench.write(LFB + 0x80, 0x1122_3344_u32);
    bench.read::<u8>(0xa_0020);
    bench.set(0x3c4, &[(2, 0x0e)]);
    bench.write(LFB + 0x40, 0_u32);
    bench.write(at, 0xff_u8);
    assert_eq!(vram(), 0x1122_3300);
    bench.set(0x3c4, &[(2, 0x0f)]);
    bench.set(0x3ce, &[(5, 2), (8, 0xf0)]);
    bench.read::<u8>(at);
    bench.write(at, 0x09_u8);
    assert_eq!(vram(), 0xf102_03f0);
    bench.set(0x3ce, &[(5, 3), (8, 0x3c), (0, 0x06)]);
    bench.write(LFB + 0x40, 0_u32);
    bench.read::<u8>(at);
    bench.write(at, 0x0f_u8);
    assert_eq!(vram(), 0x000c_0c00);
    // Read mode 0 reads a plane; 1 says where the color is the one compared with.
    bench.write(LFB + 0x40, 0xf00f_ff00_u32);
    bench.set(0x3ce, &[(5, 0), (4, 2)]);
    assert_eq!(bench.read::<u8>(at), 0x0f);
    bench.set(0x3ce, &[(5, 8), (2, 0x0a), (7, 0x0f)]);
    assert_eq!(bench.read::<u8>(at), 0xf0);
    bench.set(0x3ce, &[(7, 0x03)]);
    assert_eq!(bench.read::<u8>(at), 0xff, "planes 2 and 3 are not cared for");
}

#[test]
fn registers_keep_the_bits_that_there_are() {
    let bench = Bench::new();
    for (port, registers, bits) in [(0x3c4, 8, 0x3f_u8), (0x3ce, 9, 0xff)] {
        for register in 0..registers {
            bench.set(port, &[(register, 0xff)]);
            let value: u8 = bench.input(port + 1);
            assert_eq!(value & !bits, 0, "{port:#x} {register}");
        }
    }
    // The CRT controller is at one place only.
    assert_eq!(bench.input::<u16>(0x3d4), 0xffff);
    bench.output(0x3c2, 0x01_u8);
    assert_eq!(
        (bench.input::<u8>(0x3cc), bench.input::<u16>(0x3b4)),
        (0x01, 0xffff)
    );
    // Protected: the first eight, but for one bit.
    bench.set(0x3d4, &[(0, 0x11), (7, 0x00), (0x11, 0x80), (0, 0x22), (7, 0xff)]);
    let crtc = |register: u8| {
        bench.output(0x3d4, register);
        bench.input::<u8>(0x3d5)
    };
    assert_eq!([crtc(0), crtc(7), crtc(0x11), crtc(0x19)], [0x11, 0x10, 0x80, 0]);
    // The attribute controller takes index and data by turns; Input Status 1 says that an index is next.
    bench.output(0x3c0, 0x10_u8);
    bench.input::<u8>(0x3da);
    bench.output(0x3c0, 0x11_u8);
    bench.output(0x3c0, 0x5a_u8);
    bench.output(0x3c0, 0x31_u8);
    assert_eq!(bench.input::<u8>(0x3c1), 0x5a);
    // The palette goes on by itself.
    bench.output(0x3c8, 0xff_u8);
    for value in 1..=6_u8 {
        bench.output(0x3c9, value);
    }
    assert_eq!(bench.input::<u8>(0x3c7), 0);
    bench.output(0x3c7, 0xff_u8);
    let read: Vec<u8> = (0..6).map(|_| bench.input(0x3c9)).collect();
    assert_eq!((read, bench.input::<u8>(0x3c7)), ((1..=6).collect(), 3));
}

#[test]
fn the_beam_goes_by_the_guests_clock() {
    let bench = Bench::new();
    bench.output(0x3c2, 0x01_u8);
    let (mut retraces, mut before) = (0, 0);
    for step in 0..1000 {
        bench.control.clock().advance_to(step * 100_000);
        let now = bench.input::<u8>(0x3da) & 0x08;
        retraces += u32::from(now > before);
        before = now;
    }
    assert_eq!(retraces, 6, "of 60 a second, in 100 milliseconds");
}

#[test]
fn the_registers_are_in_bar_2_too() {
    let bench = Bench::new();
    bench.write(MMIO + 0x404, 0x0f02_u16);
    assert_eq!(
        (bench.input::<u16>(0x3c4), bench.read::<u8>(MMIO + 0x405)),
        (0x0f02, 0x0f)
    );
    bench.write(MMIO + 0x502, 640_u16);
    bench.write(MMIO + 0x504, 480_u16);
    bench.write(MMIO + 0x506, 8_u16);
    bench.write(MMIO + 0x508, 0x0041_u16);
    assert_eq!(
        (bench.read::<u16>(MMIO + 0x500), bench.screen().to_string()),
        (0xb0c5, "graphic 640x480x8".into())
    );
    bench.output(0x1ce, index::XRES);
    assert_eq!((bench.input::<u16>(0x1cf), bench.input::<u16>(0x1d0)), (640, 640));
    assert_eq!(bench.input::<u8>(0x1d0), 0xff);
    assert_eq!(bench.read::<u32>(MMIO), 0xffff_ffff);
}

#[test]
fn a_machine_that_goes_takes_its_adapter_along() {
    let bench = Bench::new();
    bench.set(0x3c4, &[(2, 0x0f), (4, 0x0e)]);
    let vga = bench.vga.clone();
    drop(bench.pci.clone());
    drop(bench);
    assert!(vga.upgrade().is_none());
}

#[derive(Clone, Debug)]
enum Step {
    In(u64),
    Out(u64, u16),
    Set(u64, u8, u8),
    Dispi(u16, u16),
    Read(u64),
    Write(u64, u64),
    Mmio(u64, u32),
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    let port = || prop_oneof![0x3b0..0x3e0_u64, 0x1ce..0x1d2_u64];
    let address = || {
        prop_oneof![
            0x9_fff8..0xc_0008_u64,
            LFB..LFB + 0x100,
            LFB + 0xff_fff0..LFB + 0x100_0010
        ]
    };
    prop_oneof![
        port().prop_map(Step::In),
        (port(), any::<u16>()).prop_map(|(port, value)| Step::Out(port, value)),
        (
            prop::sample::select(vec![0x3c4_u64, 0x3ce, 0x3d4, 0x3b4]),
            0..0x20_u8,
            any::<u8>()
        )
            .prop_map(|(port, register, value)| Step::Set(port, register, value)),
        (0..13_u16, prop_oneof![any::<u16>(), 0..0x100_u16])
            .prop_map(|(register, value)| Step::Dispi(register, value)),
        address().prop_map(Step::Read),
        (address(), any::<u64>()).prop_map(|(address, value)| Step::Write(address, value)),
        (0..0x1000_u64, any::<u32>()).prop_map(|(offset, value)| Step::Mmio(offset, value)),
        Just(Step::Look),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// Nothing panics; the screen is no larger than its registers can say; and what is seen directly is what the logic
    /// would show.
    #[test]
    fn no_guest_breaks_it(steps in prop::collection::vec(step(), 1..80)) {
        let bench = Bench::new();
        for step in steps {
            match step {
                Step::In(port) => drop((bench.input::<u8>(port), bench.input::<u16>(port), bench.input::<u32>(port))),
                Step::Out(port, value) => bench.output(port, value),
                Step::Set(port, register, value) => bench.set(port, &[(register, value)]),
                Step::Dispi(register, value) => bench.dispi(register, value),
                Step::Read(address) => drop(bench.cpu.load::<u64>(address, Endianness::Little, ATTRS)),
                Step::Write(address, value) => drop(bench.cpu.store(address, value, Endianness::Little, ATTRS)),
                Step::Mmio(offset, value) => drop(bench.cpu.store(MMIO + offset, value, Endianness::Little, ATTRS)),
                Step::Look => {
                    if let Some(text) = bench.screen().text() {
                        prop_assert!(text.columns() <= 256 && text.rows().len() <= 1024);
                        prop_assert!(text.to_string().len() <= 256 * 1024 * 4);
                    }
                }
            }
            if let Some((first, size, _)) = bench.direct() {
                let vga = bench.vga.upgrade().unwrap();
                for at in [first, first + 0x333, first + size - 1] {
                    prop_assert_eq!(bench.read::<u8>(at), vga.read_legacy(at - 0xa_0000));
                }
            }
        }
    }
}
