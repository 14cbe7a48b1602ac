//! The host executes what it is given, in each mode, and says which exception there was.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use flatview_oracle_native::{Arena, Case, Fault, Host, Mode, State, layout};

fn case(mode: Mode, code: &[u8]) -> (Case, Arena) {
    let origin = if mode.code_base() == 0 {
        mode.window().base
    } else {
        0
    };
    let mut state = State {
        rip: origin + layout::CODE as u64 + 0x800,
        rflags: 0x202,
        selectors: mode.selectors(),
        ..State::default()
    };
    state.gprs[0] = 5;
    state.gprs[3] = 0xffff;
    state.gprs[4] = mode.data_origin() + layout::STACK as u64 + 0x800;
    let (code, mut arena) = (code.to_vec(), Arena::new());
    let case = Case { mode, code, state };
    arena.place(&case, case.code.iter().copied());
    (case, arena)
}

#[test]
fn arithmetic_has_the_size_of_the_mode() {
    let Some(mut host) = Host::or_skip() else { return };
    for mode in Mode::ALL {
        let (case, mut arena) = case(mode, &[0x01, 0xd8]); // add eax, ebx
        let after = host.run(&case, &mut arena).state;
        let (sum, carry) = if mode.bits() == 16 { (4, 1) } else { (0x1_0004, 0) };
        assert_eq!((after.gprs[0], after.rflags & 1), (sum, carry), "{mode:?}");
        assert_eq!(after.rip, case.state.rip + 2, "{mode:?}");
    }
}

#[test]
fn a_push_writes_the_stack_segment() {
    let Some(mut host) = Host::or_skip() else { return };
    for (mode, place, size) in [
        (Mode::LongHigh, 0x7f8, 8),
        (Mode::Flat32, 0x7fc, 4),
        (Mode::Based32, 0x87c, 4),
        (Mode::Based16, 0x87e, 2),
    ] {
        let (case, mut arena) = case(mode, &[0x50]); // push eax
        let outcome = host.run(&case, &mut arena);
        assert_eq!(outcome.state.gprs[4], case.state.gprs[4] - size, "{mode:?}");
        assert_eq!(arena.bytes()[layout::STACK + place], 5, "{mode:?}");
    }
}

#[test]
fn exceptions() {
    let Some(mut host) = Host::or_skip() else { return };
    let fault = |vector, error_code| Fault {
        vector,
        error_code,
        address: 0,
    };
    for mode in Mode::ALL {
        for (code, expected) in [
            (&[0xf4][..], fault(13, 0)),              // hlt
            (&[0x0f, 0x0b], fault(6, 0)),             // ud2
            (&[0xf7, 0xf6], fault(0, 0)),             // div esi
            (&[0xcc], fault(3, 0)),                   // int3
            (&[0xcd, 0x21], fault(13, 0x21 * 8 + 2)), // int 0x21
        ] {
            let (case, mut arena) = case(mode, code);
            let outcome = host.run(&case, &mut arena);
            assert_eq!(outcome.fault, Some(expected), "{mode:?} {code:x?}");
            assert_eq!(outcome.state.gprs, case.state.gprs, "{mode:?} {code:x?}");
        }
    }
}

#[test]
fn a_jump_ends_where_it_leads() {
    let Some(mut host) = Host::or_skip() else { return };
    for mode in Mode::ALL {
        let (case, mut arena) = case(mode, &[0xeb, 0x20]);
        let outcome = host.run(&case, &mut arena);
        assert_eq!(
            (outcome.fault, outcome.state.rip),
            (None, case.state.rip + 0x22),
            "{mode:?}"
        );
    }
}
