//! Known stores, in a map that stays as it is.

use flatview::{AddressRange, DirtyClients, GlobalDirty};

use crate::{BASE, CODE, NOTHING, PAGE, Rig, log, manual_protect, rings};

#[test]
fn pages_that_were_written_and_no_others_and_once() {
    for mut rig in Rig::all() {
        let ram = rig.logged(300);
        let pages = [0, 1, 7, 62, 63, 64, 65, 127, 128, 200, 299];
        rig.poke_pages(pages);
        assert_eq!(rig.harvest(&ram), pages);
        assert_eq!(rig.harvest(&ram), NOTHING, "nothing comes twice");
        rig.poke_pages([7, 8, 299]);
        assert_eq!(rig.harvest(&ram), [7, 8, 299], "written pages are noted anew");
        assert_eq!(rig.harvest(&ram), NOTHING);
    }
}

#[test]
fn a_store_across_pages_dirties_both() {
    for mut rig in Rig::all() {
        let ram = rig.logged(130);
        rig.poke([BASE + 11 * PAGE - 4, BASE + 64 * PAGE - 1]);
        assert_eq!(rig.harvest(&ram), [10, 11, 63, 64]);
    }
}

#[test]
fn repeated_stores_dirty_what_they_touch() {
    for mut rig in Rig::all() {
        let ram = rig.logged(20);
        rig.board.write(CODE, &[0xf3, 0xaa, 0xf4]); // rep stosb; hlt
        rig.run(CODE, |regs| {
            (regs.rdi, regs.rcx, regs.rax) = (BASE + 3 * PAGE + 0xff0, 2 * PAGE + 0x11, 0x5a);
        });
        assert_eq!(rig.harvest(&ram), [3, 4, 5, 6]);
        assert_eq!(rig.harvest(&ram), NOTHING);
    }
}

#[test]
fn reads_dirty_nothing_and_the_host_is_noted_too() {
    for mut rig in Rig::all() {
        let ram = rig.logged(20);
        rig.board.write(CODE, &[0x48, 0x8b, 0x06, 0xf4]); // mov rax, [rsi]; hlt
        rig.run(CODE, |regs| regs.rsi = BASE + 5 * PAGE);
        assert_eq!(rig.harvest(&ram), NOTHING);
        rig.board.write(BASE + 6 * PAGE, &[1]);
        assert_eq!(rig.harvest(&ram), [6]);
    }
}

/// Rules P2 and P18: a log that begins anew begins with everything.
#[test]
fn a_log_that_is_switched_off_and_on() {
    for mut rig in Rig::all() {
        let ram = rig.logged(70);
        rig.poke_pages([1, 2]);
        rig.log_vga(&ram, false);
        rig.poke_pages([3]);
        rig.log_vga(&ram, true);
        assert_eq!(rig.harvest(&ram).len(), 70);
        assert_eq!(rig.harvest(&ram), NOTHING);
        rig.poke_pages([3, 69]);
        assert_eq!(rig.harvest(&ram), [3, 69]);
    }
}

/// Rule P13, and that every client is told of everything once.
#[test]
fn two_clients_each_have_their_own_marks() {
    for mut rig in Rig::all() {
        let ram = rig.logged(70);
        let memory = rig.board.memory.clone();
        memory.global_dirty_log_start(GlobalDirty::MIGRATION).unwrap();
        assert_eq!(rig.harvest_of(&ram, DirtyClients::MIGRATION).len(), 70);
        rig.poke_pages([5, 66]);
        assert_eq!(rig.harvest_of(&ram, DirtyClients::MIGRATION), [5, 66]);
        rig.poke_pages([6]);
        assert_eq!(rig.harvest(&ram), [5, 6, 66]);
        assert_eq!(rig.harvest_of(&ram, DirtyClients::MIGRATION), [6]);
        memory.global_dirty_log_stop(GlobalDirty::MIGRATION).unwrap();
        rig.poke_pages([9]);
        assert_eq!(rig.harvest(&ram), [9]);
    }
}

/// A harvest of a part leaves the rest to the next one, also within one word of a bitmap.
#[test]
fn a_part_of_a_region_at_a_time() {
    for mut rig in Rig::all() {
        let ram = rig.logged(200);
        rig.poke_pages([1, 2, 3, 100]);
        let memory = rig.board.memory.clone();
        // Not even whole pages (rule P7).
        let part = AddressRange::new(2 * PAGE + 0x800, 0x10).unwrap();
        let taken = memory.snapshot_and_clear_dirty(&ram, part, DirtyClients::VGA);
        assert_eq!(taken.unwrap().pages().collect::<Vec<_>>(), [2 * PAGE]);
        rig.poke_pages([4]);
        assert_eq!(rig.harvest(&ram), [1, 3, 4, 100]);
        rig.poke_pages([1, 2]);
        assert_eq!(rig.harvest(&ram), [1, 2]);
    }
}

/// Rule W8: a region is several slots, whose bits are one bitmap to the client.
#[test]
fn a_region_that_is_cut_into_slots() {
    for mut config in [log(), manual_protect(), rings(1024)] {
        config.max_slot_size = Some(0x1_0000);
        let Some(mut rig) = Rig::new(config) else { return };
        let ram = rig.logged(101);
        let slots = rig.kvm.slots(0);
        let of_ram = slots.iter().filter(|slot| slot.gpa >= BASE).count();
        assert_eq!(of_ram, 7);
        rig.poke([15, 16, 32, 64, 80].map(|page| BASE + page * PAGE - 4));
        rig.poke_pages([100]);
        let pages = [14, 15, 16, 31, 32, 63, 64, 79, 80, 100];
        assert_eq!(rig.harvest(&ram), pages);
        assert_eq!(rig.harvest(&ram), NOTHING);
        rig.poke_pages([31]);
        assert_eq!(rig.harvest(&ram), [31]);
    }
}
