//! Manual protect: between reading the log and clearing it (rule P20).

use flatview::{AddressRange, DirtyBitmap, DirtyClients};

use crate::{NOTHING, PAGE, Rig, manual_protect, whole};

#[test]
fn bits_that_nobody_has_read_are_not_cleared() {
    let Some(mut rig) = Rig::new(manual_protect()) else {
        return;
    };
    let ram = rig.logged(100);
    let memory = rig.board.memory.clone();
    rig.poke_pages([3, 4]);
    memory.sync_dirty_bitmap(&ram).unwrap();
    rig.poke_pages([3, 5]);
    memory.clear_dirty_bitmap(&ram, whole(&ram)).unwrap();
    assert_eq!(rig.harvest(&ram), [3, 4, 5]);
    assert_eq!(rig.harvest(&ram), NOTHING);
    rig.poke_pages([3, 4, 5]);
    assert_eq!(rig.harvest(&ram), [3, 4, 5], "all are write-protected anew");
}

/// Whoever took a mark and is late with clearing is told again, rather than not at all.
#[test]
fn pages_that_were_read_and_not_cleared_are_read_again() {
    let Some(mut rig) = Rig::new(manual_protect()) else {
        return;
    };
    let ram = rig.logged(100);
    let memory = rig.board.memory.clone();
    rig.poke_pages([3, 70]);
    memory.sync_dirty_bitmap(&ram).unwrap();
    let mut taken = DirtyBitmap::new(whole(&ram));
    let block = ram.ram_block().unwrap();
    assert_eq!(block.take_dirty(whole(&ram), DirtyClients::VGA, &mut taken), 2);
    rig.poke_pages([70]); // leaves no trace of its own: the page is writable
    assert_eq!(rig.harvest(&ram), [3, 70]);
    assert_eq!(rig.harvest(&ram), NOTHING);
}

/// Rule P6: listeners are told without having been asked.
#[test]
fn a_clear_before_anything_was_read_clears_nothing() {
    let Some(mut rig) = Rig::new(manual_protect()) else {
        return;
    };
    let ram = rig.logged(100);
    rig.poke_pages([7]);
    let memory = rig.board.memory.clone();
    let cleared = rig.kvm.statistics().dirty_logs_cleared;
    assert!(!memory.reset_dirty(&ram, whole(&ram), DirtyClients::VGA).unwrap());
    assert_eq!(rig.kvm.statistics().dirty_logs_cleared, cleared);
    assert_eq!(rig.harvest(&ram), [7]);
}

/// What was read of a log that has ended says nothing of the next one.
#[test]
fn a_log_that_begins_anew_was_not_read_yet() {
    let Some(mut rig) = Rig::new(manual_protect()) else {
        return;
    };
    let ram = rig.logged(100);
    let memory = rig.board.memory.clone();
    rig.poke_pages([3]);
    memory.sync_dirty_bitmap(&ram).unwrap();
    rig.log_vga(&ram, false);
    rig.log_vga(&ram, true);
    rig.poke_pages([3]);
    memory.reset_dirty(&ram, whole(&ram), DirtyClients::VGA).unwrap();
    assert_eq!(rig.harvest(&ram), [3]);
}

/// Rule P29: only pieces are asked for in which something was dirty, and of those that were taken.
#[test]
fn a_large_region_is_cleared_in_pieces() {
    const PIECE: u64 = 1 << 16;
    let Some(mut rig) = Rig::new(manual_protect()) else {
        return;
    };
    let pages = 3 * PIECE + 100;
    let ram = rig.board.map_ram("ram", crate::BASE, pages * PAGE, 0);
    rig.log_vga(&ram, true);
    assert_eq!(rig.harvest(&ram).len() as u64, pages);
    let before = rig.kvm.statistics();
    let written = [PIECE - 1, 2 * PIECE, 3 * PIECE - 1, pages - 1];
    rig.poke_pages(written);
    assert_eq!(rig.harvest(&ram), written);
    let after = rig.kvm.statistics();
    assert_eq!(after.dirty_logs_read - before.dirty_logs_read, 1);
    assert_eq!(
        after.dirty_logs_cleared - before.dirty_logs_cleared,
        3,
        "not the second"
    );
    assert_eq!(rig.harvest(&ram), NOTHING);
    let none = rig.kvm.statistics();
    assert_eq!(none.dirty_logs_cleared, after.dirty_logs_cleared);
    rig.poke_pages(written);
    let first = AddressRange::new(0, PIECE * PAGE).unwrap();
    let memory = rig.board.memory.clone();
    let taken = memory
        .snapshot_and_clear_dirty(&ram, first, DirtyClients::VGA)
        .unwrap();
    assert_eq!(taken.count(), 1);
    assert_eq!(
        rig.kvm.statistics().dirty_logs_cleared,
        none.dirty_logs_cleared + 1
    );
    assert_eq!(rig.harvest(&ram), written[1..]);
}
