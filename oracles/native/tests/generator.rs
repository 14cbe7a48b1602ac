//! What is generated does something: see how the host takes it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use flatview_oracle_native::generate::{FAMILIES, Generator};
use flatview_oracle_native::{Arena, Host, Mode, layout};

#[test]
fn the_same_seed_gives_the_same_cases() {
    let all = || {
        let (mut generator, mut arena) = (Generator::new(7), Arena::new());
        let mut cases = Vec::new();
        for family in FAMILIES {
            cases.extend(Mode::ALL.map(|mode| generator.case(family, mode, &mut arena)));
        }
        format!("{cases:?}")
    };
    assert_eq!(all(), all());
}

#[test]
fn the_host_executes_most_of_each_family() {
    let Some(mut host) = Host::or_skip() else { return };
    for family in FAMILIES {
        for mode in Mode::ALL {
            let (mut generator, mut arena) = (Generator::new(1), Arena::new());
            generator.scramble(&mut arena);
            let (mut made, mut faults) = (0, [0; 32]);
            for _ in 0..300 {
                let Some(case) = generator.case(family, mode, &mut arena) else {
                    continue;
                };
                made += 1;
                arena.place(&case, case.code.iter().copied());
                let outcome = host.run(&case, &mut arena);
                arena.place(&case, case.code.iter().map(|_| layout::INT3));
                if let Some(fault) = outcome.fault {
                    faults[usize::from(fault.vector)] += 1;
                }
            }
            let [divide, undefined, page] = [faults[0], faults[6], faults[14]];
            let total: u32 = faults.iter().sum();
            println!(
                "{:30} {mode:?}: {made}, {total} faults, #DE {divide} #UD {undefined} #PF {page}",
                family.name
            );
            assert!(
                page * 10 <= made,
                "{} {mode:?}: {page} of {made} miss the window",
                family.name
            );
            let meant = matches!(family.name, "faults" | "div-idiv");
            assert!(
                meant || total * 2 <= made,
                "{} {mode:?}: {total} of {made} fault",
                family.name
            );
        }
    }
}
