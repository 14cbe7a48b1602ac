//! What happens when an ioctl really fails: a slot was made behind the listener's back. And that the last writes to a
//! slot are not lost.

use std::error::Error as _;
use std::io;
use std::sync::Arc;

use flatview::{
    AddressRange, AddressSpace, DirtyBitmap, DirtyClients, Error, EventNotifier, MemTxAttrs, Memory,
    RamBlock, Region, Size, Transaction, UnassignedIo,
};
use kvm_ioctls::VcpuExit;

use super::*;
use crate::gate::Runner;
use crate::{KvmAccelerator, KvmConfig, sys};

/// 64 KiB of memory at 0, in the kernel, and a hole for it that is not mapped.
struct Machine {
    kvm: KvmAccelerator,
    memory: Memory,
    system: Region,
    space: AddressSpace,
    ram: Region,
    hole: Region,
}

impl Machine {
    fn new() -> Option<Machine> {
        let kvm = flatview_testkit::kvm().then(|| KvmAccelerator::new(KvmConfig::default()).unwrap())?;
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let io = memory.region("io").container(0x1_0000);
        let space = memory.create_address_space("memory", &system).unwrap();
        let ports = memory.create_address_space("I/O", &io).unwrap();
        let ram = memory.region("ram").ram(RamBlock::anonymous(0x1_0000).unwrap());
        memory.update(|tx| tx.add_subregion(&system, 0, &ram)).unwrap();
        kvm.attach(&memory, &space, &ports, None).unwrap();
        let hole = memory.region("hole").io(0x1000, Arc::new(UnassignedIo));
        Some(Machine {
            kvm,
            memory,
            system,
            space,
            ram,
            hole,
        })
    }

    fn vm(&self) -> &Vm {
        self.kvm.vm()
    }

    /// A slot that the listener does not know of.
    fn foreign_slot(&self, gpa: u64) -> Slot {
        let block = RamBlock::anonymous(0x1000).unwrap();
        Slot {
            id: 1000,
            gpa,
            size: 0x1000,
            host_address: block.host_address().unwrap(),
            flags: SlotFlags::empty(),
            block,
            block_offset: 0,
        }
    }

    fn update(&self, change: impl FnOnce(&mut Transaction<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.memory.update(change).map(drop)
    }

    /// Makes a hole in the memory, and adds an alias of it at 1 MiB.
    fn split_and_add(&self) -> Result<(), Error> {
        self.update(|tx| {
            tx.add_subregion_overlap(&self.system, 0x8000, &self.hole, 1)?;
            let alias = self.memory.region("alias").alias(&self.ram, 0, 0x2000)?;
            tx.add_subregion(&self.system, 0x10_0000, &alias)
        })
    }

    fn slots(&self) -> String {
        let slots = self.kvm.slots(0);
        let slots: Vec<_> = slots.iter().map(|slot| (slot.id, slot.gpa, slot.size)).collect();
        format!("{slots:x?}")
    }
}

#[test]
fn w11_a_refused_slot_takes_everything_back() {
    let Some(machine) = Machine::new() else { return };
    let foreign = machine.foreign_slot(0x10_1000);
    machine.vm().set_slot(&foreign).unwrap();
    let (before, view) = (machine.slots(), format!("{:?}", machine.space.view()));

    let failed = machine.split_and_add().unwrap_err();
    let source = match &failed {
        Error::ListenerFailed { callback, .. } => {
            assert_eq!(*callback, "commit");
            failed.source().unwrap().downcast_ref::<KvmError>().unwrap()
        }
        _ => panic!("{failed}"),
    };
    let KvmError::SetMemoryRegion {
        slot,
        gpa,
        size,
        source,
        ..
    } = source
    else {
        panic!("{source}");
    };
    assert_eq!((*slot, *gpa, *size), (2, 0x10_0000, 0x2000));
    assert_eq!(source.kind(), io::ErrorKind::AlreadyExists);
    assert!(
        failed
            .source()
            .unwrap()
            .to_string()
            .contains("slot 2, 0x2000 bytes at 0x100000")
    );

    assert_eq!(machine.slots(), before);
    assert_eq!(format!("{:?}", machine.space.view()), view);
    // The kernel has it whole again, under its number: another address for it would be refused.
    for slot in machine.kvm.slots(0) {
        machine.vm().set_slot(&slot).unwrap();
    }
    let over_the_hole = Slot {
        id: 1001,
        gpa: 0x8000,
        ..foreign.clone()
    };
    assert!(machine.vm().set_slot(&over_the_hole).is_err());
    // vCPUs were kept out, and are no more.
    assert_eq!(machine.kvm.statistics().keep_outs, 1);
    let runner = Arc::new(Runner::default());
    assert!(machine.vm().gate.enter(&runner, sys::Thread::current().number));

    machine.vm().delete_slot(&foreign).unwrap();
    machine.split_and_add().unwrap();
    assert_eq!(
        machine.slots(),
        "[(0, 0, 8000), (1, 9000, 7000), (2, 100000, 2000)]"
    );
}

/// An ioeventfd is registered before slots are made. It goes again.
#[test]
fn what_acted_at_once_is_taken_back_when_a_slot_is_refused() {
    let Some(machine) = Machine::new() else { return };
    let foreign = machine.foreign_slot(0x10_1000);
    machine.vm().set_slot(&foreign).unwrap();
    let notifier = EventNotifier::eventfd().unwrap();
    let hole = &machine.hole;
    machine
        .update(|tx| tx.add_eventfd(hole, 0, 4, None, &notifier))
        .unwrap();
    machine.split_and_add().unwrap_err();
    assert_eq!(machine.kvm.statistics().ioeventfds, 2);
    machine.vm().delete_slot(&foreign).unwrap();
    // The kernel has no two of them.
    machine.split_and_add().unwrap();
    assert_eq!(machine.kvm.statistics().ioeventfds, 3);
}

#[test]
fn what_cannot_be_taken_back_is_said() {
    let Some(machine) = Machine::new() else { return };
    let vm = machine.vm();
    let kernel = Kernel {
        vm,
        table: &vm.slots[0],
    };
    // As if it had been deleted before, and something else were there now.
    let undo = vec![Step::Create(machine.foreign_slot(0x1000))];
    let failure = KvmError::NoFreeSlots { needed: 2, most: 1 };
    let told = kernel.take_back(undo, failure);
    assert!(
        matches!(&told, KvmError::NotTakenBack { failure, rollback }
            if matches!(**failure, KvmError::NoFreeSlots { .. })
            && matches!(**rollback, KvmError::SetMemoryRegion { .. })),
        "{told}"
    );
    assert_eq!(machine.slots(), "[(0, 0, 10000)]");
}

/// A guest writes one byte at 0x5000, in memory that a display logs, and then its slot is split.
#[test]
fn p22_what_was_written_in_a_slot_is_noticed_before_it_goes() {
    let Some(machine) = Machine::new() else { return };
    let ram = &machine.ram;
    machine.memory.update(|tx| tx.set_log(ram, true)).unwrap();
    // mov [0x5000], al; hlt
    let code = [0xa2, 0x00, 0x50, 0xf4];
    machine
        .space
        .write(0x1000, &code, MemTxAttrs::UNSPECIFIED)
        .unwrap();
    let block = ram.ram_block().unwrap();
    let whole = AddressRange::new(0, 0x1_0000).unwrap();
    block.take_dirty(whole, DirtyClients::VGA, &mut DirtyBitmap::new(whole));

    let mut vcpu = machine.vm().fd.create_vcpu(0).unwrap();
    let mut sregs = vcpu.get_sregs().unwrap();
    (sregs.cs.base, sregs.cs.selector) = (0, 0);
    vcpu.set_sregs(&sregs).unwrap();
    let mut regs = vcpu.get_regs().unwrap();
    (regs.rip, regs.rflags) = (0x1000, 2);
    vcpu.set_regs(&regs).unwrap();
    assert!(matches!(vcpu.run().unwrap(), VcpuExit::Hlt));

    let page = AddressRange::new(0x5000, 0x1000).unwrap();
    assert!(!block.is_dirty(page, DirtyClients::VGA), "only the kernel knows");
    machine.split_and_add().unwrap();
    assert!(block.is_dirty(page, DirtyClients::VGA));
    let statistics = machine.kvm.statistics();
    assert_eq!((statistics.keep_outs, statistics.kicks), (1, 0));
}

/// Nobody is kept out of what does not concern him.
#[test]
fn w5_vcpus_are_kept_out_only_where_memory_is_replaced() {
    let Some(machine) = Machine::new() else { return };
    let machine = &machine;
    let keep_outs = |change: &dyn Fn() -> Result<(), Error>| {
        let before = machine.kvm.statistics().keep_outs;
        change().unwrap();
        machine.kvm.statistics().keep_outs - before
    };
    let Machine {
        memory,
        system,
        ram,
        hole,
        ..
    } = machine;
    let alias = memory.region("alias").alias(ram, 0, 0x2000).unwrap();
    let more = || machine.update(|tx| tx.add_subregion(system, 0x10_0000, &alias));
    assert_eq!(keep_outs(&more), 0, "new memory");
    let elsewhere = || machine.update(|tx| tx.set_address(&alias, 0x20_0000));
    assert_eq!(
        keep_outs(&elsewhere),
        0,
        "memory that goes and other memory that comes"
    );
    let onto_itself = || machine.update(|tx| tx.set_address(&alias, 0x20_1000));
    assert_eq!(keep_outs(&onto_itself), 1);
    let less = || machine.update(|tx| tx.del_subregion(system, &alias));
    assert_eq!(keep_outs(&less), 0, "memory that goes");
    let log = |on| move || machine.update(|tx| tx.set_log(ram, on));
    assert_eq!(keep_outs(&log(true)), 0);
    assert_eq!(keep_outs(&log(false)), 0);
    let split = || machine.update(|tx| tx.add_subregion_overlap(system, 0x8000, hole, 1));
    assert_eq!(keep_outs(&split), 1);
    let readonly = || machine.update(|tx| tx.set_readonly(ram, true));
    assert_eq!(keep_outs(&readonly), 1);
    log(true)().unwrap();
    let logged = || machine.update(|tx| tx.del_subregion(system, ram));
    assert_eq!(keep_outs(&logged), 1, "its log has to be complete");
}
