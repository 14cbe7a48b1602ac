//! Memory that is seen in several places, and maps that change.

use flatview::{DirtyBitmap, DirtyClients};

use crate::{BASE, NOTHING, PAGE, Rig, whole};

#[test]
fn a_region_that_is_seen_twice_has_one_log() {
    for mut rig in Rig::all() {
        let ram = rig.logged(100);
        let window = rig.board.memory.region("window");
        let window = window.alias(&ram, 37 * PAGE, 20 * PAGE).unwrap();
        rig.board.map(&window, 2 * BASE, 0);
        rig.poke([
            2 * BASE + 3 * PAGE,
            BASE + 40 * PAGE,
            BASE + 41 * PAGE,
            2 * BASE + 20 * PAGE - 8,
        ]);
        assert_eq!(rig.harvest(&ram), [40, 41, 56]);
        assert_eq!(rig.harvest(&ram), NOTHING);
        rig.poke([2 * BASE + 4 * PAGE]);
        assert_eq!(
            rig.harvest(&ram),
            [41],
            "noted anew in the place where it is written"
        );
        rig.poke([2 * BASE + 4 * PAGE, BASE + 41 * PAGE]);
        assert_eq!(rig.harvest(&ram), [41]);
        assert_eq!(rig.harvest(&ram), NOTHING);
    }
}

/// The slot's first bit is no first bit of a word of the block's.
#[test]
fn a_slot_that_begins_within_its_block() {
    for mut rig in Rig::all() {
        let ram = rig.board.ram("ram", 200 * PAGE);
        rig.log_vga(&ram, true);
        assert_eq!(rig.harvest(&ram).len(), 200);
        let window = rig.board.memory.region("window");
        let window = window.alias(&ram, 5 * PAGE, 150 * PAGE).unwrap();
        rig.board.map(&window, BASE, 0);
        rig.poke_pages([0, 58, 59, 63, 64, 149]);
        assert_eq!(rig.harvest(&ram), [5, 63, 64, 68, 69, 154]);
        assert_eq!(rig.harvest(&ram), NOTHING);
    }
}

/// Rule P22, without crossed fingers.
#[test]
fn bits_of_slots_that_are_replaced_are_not_lost() {
    for mut rig in Rig::all() {
        let ram = rig.logged(100);
        rig.poke_pages([0, 19, 20, 39, 40, 99]);
        let cover = rig.board.map_ram("cover", BASE + 20 * PAGE, 20 * PAGE, 1);
        assert_eq!(rig.harvest(&ram), [0, 19, 20, 39, 40, 99]);
        assert_eq!(rig.harvest(&ram), NOTHING, "new slots are clean");
        rig.poke_pages([18, 25, 41]);
        rig.board.update(|tx| tx.del_subregion(&rig.board.system, &cover));
        assert_eq!(rig.harvest(&ram), [18, 41], "page 25 is the cover's");
        rig.poke_pages([25]);
        assert_eq!(rig.harvest(&ram), [25]);
    }
}

/// Rule P22: nobody shows the region any more, and a slot with its number is somebody else's.
#[test]
fn bits_of_a_region_that_is_taken_out_are_not_lost() {
    for mut rig in Rig::all() {
        let ram = rig.logged(100);
        rig.poke_pages([0, 64, 99]);
        let other = rig.board.ram("other", 100 * PAGE);
        rig.log_vga(&other, true);
        rig.board
            .memory
            .update(|tx| {
                tx.del_subregion(&rig.board.system, &ram)?;
                tx.add_subregion(&rig.board.system, BASE, &other)
            })
            .unwrap();
        assert_eq!(rig.harvest(&other).len(), 100);
        rig.poke_pages([1]);
        assert_eq!(rig.harvest(&other), [1]);
        assert_eq!(rig.harvest(&ram), [0, 64, 99]);
    }
}

/// A log that ends takes its entries along: the number of its slot may be another's next.
#[test]
fn what_was_written_to_a_slot_that_logs_no_more_is_not_said_of_the_next_one() {
    for mut rig in Rig::all() {
        let ram = rig.logged(100);
        rig.poke_pages([3]);
        rig.log_vga(&ram, false);
        let other = rig.board.ram("other", 100 * PAGE);
        rig.log_vga(&other, true);
        let mut all = DirtyBitmap::new(whole(&other));
        let block = other.ram_block().unwrap();
        block.take_dirty(whole(&other), DirtyClients::VGA, &mut all);
        rig.board
            .memory
            .update(|tx| {
                tx.del_subregion(&rig.board.system, &ram)?;
                tx.add_subregion(&rig.board.system, BASE, &other)
            })
            .unwrap();
        rig.poke_pages([4]);
        assert_eq!(rig.harvest(&other), [4]);
    }
}
