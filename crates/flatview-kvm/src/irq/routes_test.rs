#![allow(clippy::unwrap_used, reason = "a test may fail")]

use super::*;

fn message(data: u32) -> MsiMessage {
    MsiMessage {
        address: 0xfee0_0000,
        data,
    }
}

#[test]
fn a_pc_has_the_timer_at_pin_2() {
    let routes = Routes::of_pc();
    let pins = |pic, ioapic| Some(Route::Pins { pic, ioapic });
    assert_eq!(routes.get(0), pins(Some(0), Some(2)));
    assert_eq!(routes.get(2), pins(Some(2), None));
    assert_eq!(routes.get(15), pins(Some(15), Some(15)));
    assert_eq!(routes.get(16), pins(None, Some(16)));
    assert_eq!(routes.get(24), None);
    assert_eq!(routes.entries().len(), 39);
}

#[test]
fn what_there_is_not_has_no_route() {
    let mut routes = Routes::new();
    let pins = |pic, ioapic| Route::Pins { pic, ioapic };
    for (gsi, route) in [
        (4096, Route::Msi(message(0))),
        (0, pins(Some(16), None)),
        (0, pins(Some(0), Some(24))),
    ] {
        assert!(matches!(routes.set(gsi, route), Err(KvmError::BadRoute { .. })));
    }
    assert!(routes.set_pins(&[None; 25]).is_err());
    assert_eq!(routes, Routes::new());
}

#[test]
fn messages_get_the_lowest_gsi_that_is_no_pin() {
    let mut routes = Routes::new();
    assert_eq!(routes.add_msi(message(1)).unwrap(), 24);
    assert_eq!(routes.add_msi(message(2)).unwrap(), 25);
    routes.remove(24);
    assert_eq!(routes.add_msi(message(3)).unwrap(), 24);
    for _ in 26..4096 {
        routes.add_msi(message(4)).unwrap();
    }
    assert!(matches!(
        routes.add_msi(message(5)),
        Err(KvmError::NoFreeRoutes { needed: 4073, .. })
    ));
}

#[test]
fn pins_of_a_boards_i_o_apic_leave_other_messages_alone() {
    let mut routes = Routes::new();
    let gsi = routes.add_msi(message(1)).unwrap();
    routes
        .set_pins(&[None, Some(message(7)), Some(message(8))])
        .unwrap();
    routes.set_pins(&[None, Some(message(9))]).unwrap();
    let all: Vec<_> = routes.iter().collect();
    assert_eq!(all, [(1, Route::Msi(message(9))), (gsi, Route::Msi(message(1)))]);
}
