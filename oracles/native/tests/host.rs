//! The host executes what it is given, and nothing else changes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use flatview_oracle_native::{Arena, Case, Host, Mode, State, layout};

fn case(mode: Mode, code: &[u8]) -> Case {
    let origin = mode.data_origin();
    let mut state = State {
        rip: layout::CODE as u64 + 0x800 + if mode.code_base() == 0 { origin } else { 0 },
        rflags: 0x202,
        selectors: mode.selectors(),
        ..State::default()
    };
    state.gprs[4] = mode.stack_origin() + 0x3800;
    Case {
        mode,
        code: code.to_vec(),
        state,
    }
}

#[test]
fn each_mode() {
    let mut host = Host::new().unwrap();
    for mode in Mode::ALL {
        for (code, vector) in [
            (&[0x01u8, 0xd8][..], None),
            (&[0xf4], Some(13)),
            (&[0x0f, 0x0b], Some(6)),
            (&[0xf7, 0xf3], Some(0)),
            (&[0xcc], Some(3)),
            (&[0xeb, 0x20], None),
            (&[0x50], None),
        ] {
            let mut case = case(mode, code);
            case.state.gprs[0] = 5;
            case.state.gprs[3] = 0;
            let mut arena = Arena::new();
            arena.place(&case, code.iter().copied());
            let outcome = host.run(&case, &mut arena);
            println!("{mode:?} {code:x?} {outcome:x?}");
            assert_eq!(outcome.fault.map(|f| f.vector), vector);
        }
    }
}

#[test]
fn speed() {
    let mut host = Host::new().unwrap();
    for mode in Mode::ALL {
        let case = case(mode, &[1, 0xd8]);
        let mut arena = Arena::new();
        let t = std::time::Instant::now();
        for i in 0..20000u32 {
            arena.place(&case, [1, 0xc0 + (i & 7) as u8].into_iter());
            host.run(&case, &mut arena);
        }
        println!("{mode:?} {:?}", t.elapsed() / 20000);
    }
}
