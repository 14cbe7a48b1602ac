//! Whatever a guest does, the program that executes it goes on.

use flatview_accel::{DescriptorTable, Segment, Signals, Vcpu};
use flatview_cpu::SoftAccelerator;
use proptest::prelude::*;

use crate::board::{Board, CODE, MMIO, RAM, ROM};

/// Addresses that something is at.
fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..RAM,
        Just(CODE),
        MMIO - 8..MMIO + 0x1008,
        ROM - 8..=0xffff_ffff,
        0xff0_u64..0x1010,
        any::<u64>(),
    ]
}

fn segment() -> impl Strategy<Value = Segment> {
    let base = prop_oneof![Just(0), address().prop_map(|base| base & 0xffff_ffff)];
    let limit = prop_oneof![Just(u32::MAX), Just(0xffff), any::<u32>()];
    (base, limit, any::<u16>(), 0..16_u8, 0..4_u8, any::<[bool; 6]>()).prop_map(
        |(base, limit, selector, type_, dpl, [present, db, s, l, g, unusable])| Segment {
            base,
            limit,
            selector,
            type_,
            present,
            dpl,
            db,
            s,
            l,
            g,
            avl: false,
            unusable,
        },
    )
}

fn table() -> impl Strategy<Value = DescriptorTable> {
    (address(), any::<u16>()).prop_map(|(base, limit)| DescriptorTable { base, limit })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_code_in_a_random_state(
        code in proptest::collection::vec(any::<u8>(), 64..512),
        tables in proptest::collection::vec(any::<u8>(), 256),
        general in proptest::array::uniform16(address()),
        segments in proptest::array::uniform8(segment()),
        gdt in table(),
        idt in table(),
        cr0 in prop_oneof![Just(0x11_u64), Just(0x10), Just(0x8000_0011), any::<u32>().prop_map(u64::from)],
        cr3 in address(),
        cr4 in prop_oneof![Just(0_u64), Just(0x220), Just(0x230)],
        efer in prop_oneof![Just(0_u64), Just(0x500), Just(0xd00)],
        rflags in any::<u64>(),
        (is_flat, is_long) in any::<(bool, bool)>(),
        signals in 0..64_u32,
        more in any::<u16>(),
    ) {
        let mut board = if is_long { Board::long(&code) } else { Board::protected(&code) };
        board.load(0x800, &tables);
        let mut state = board.state();
        let regs = &mut state.regs;
        for (place, value) in [
            &mut regs.rax, &mut regs.rbx, &mut regs.rcx, &mut regs.rdx, &mut regs.rsi, &mut regs.rdi,
            &mut regs.rsp, &mut regs.rbp, &mut regs.r8, &mut regs.r9, &mut regs.r10, &mut regs.r11,
            &mut regs.r12, &mut regs.r13, &mut regs.r14, &mut regs.r15,
        ].into_iter().zip(general) {
            *place = value;
        }
        // There is no virtual 8086 mode.
        regs.rflags = rflags & !(1 << 17);
        state.sregs.cr4 |= 0x200;
        if !is_flat {
            let sregs = &mut state.sregs;
            [sregs.ds, sregs.es, sregs.fs, sregs.gs, sregs.ss, sregs.tr, sregs.ldt, sregs.cs] = segments;
            (sregs.gdt, sregs.idt) = (gdt, idt);
            (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (cr0, cr3, cr4, efer);
        }
        // Some states are refused.
        if board.vcpu.set_state(&state).is_ok() {
            board.control.raise(Signals::from_bits_truncate(signals));
            for deadline in [1, 7, 200, 2000] {
                board.control.set_deadline(deadline);
                board.vcpu.run().unwrap();
                board.vcpu.step().unwrap();
            }
            let after = board.state();
            board.vcpu.set_state(&after).ok();
            board.vcpu.reset().unwrap();
        }
        // An assistant has more states than others.
        let mut helper = SoftAccelerator::assistant().create_soft_vcpu(&board.config).unwrap();
        state.sregs.cr4 |= u64::from(more) << 11;
        if helper.set_state(&state).is_ok() {
            for _ in 0..32 {
                helper.step().unwrap();
            }
        }
    }
}
