//! A small machine and its listeners' log.

use std::sync::Arc;

use flatview::listeners::{EventLog, RecordingListener};
use flatview::{
    AddressSpace, Error, EventNotifier, MemTxAttrs, MemTxError, Memory, MemoryRegionOps, RamBlock, Region,
    Registration, Size, Transaction,
};

/// A memory with one space, whose root shows nothing yet.
pub(crate) struct Machine {
    pub(crate) memory: Memory,
    pub(crate) system: Region,
    pub(crate) space: AddressSpace,
    pub(crate) log: EventLog,
}

impl Machine {
    pub(crate) fn new() -> Machine {
        let memory = Memory::new();
        let system = memory.region("system").container(Size::MAX);
        let space = memory.create_address_space("memory", &system).unwrap();
        let log = EventLog::new();
        Machine {
            memory,
            system,
            space,
            log,
        }
    }

    /// With `RAM` at 0 to 0xffff.
    pub(crate) fn with_ram() -> (Machine, Region) {
        let machine = Machine::new();
        let ram = machine.ram("RAM", 0x1_0000);
        machine.map(0, &ram);
        (machine, ram)
    }

    pub(crate) fn ram(&self, name: &str, size: u64) -> Region {
        self.memory.region(name).ram(RamBlock::unbacked(size))
    }

    pub(crate) fn mmio(&self, name: &str, size: u64) -> Region {
        self.memory.region(name).io(size, Arc::new(Nothing))
    }

    pub(crate) fn map(&self, address: u64, region: &Region) {
        self.update(|tx| tx.add_subregion(&self.system, address, region));
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut Transaction<'_>) -> Result<(), Error>) {
        self.memory.update(change).unwrap();
    }

    /// A listener that writes to the log, not yet registered.
    pub(crate) fn recorder(&self, name: &str, priority: u32) -> RecordingListener {
        RecordingListener::new(name, &self.log).with_priority(priority)
    }

    /// Registers `L0` of priority 0 and `L10` of priority 10, the latter first.
    pub(crate) fn listen(&self, make: impl Fn(RecordingListener) -> RecordingListener) -> [Registration; 2] {
        let registrations = ["L10", "L0"].map(|name| {
            let priority = name[1..].parse().unwrap();
            let listener = Arc::new(make(self.recorder(name, priority)));
            self.space.register(listener).unwrap()
        });
        self.log.take();
        registrations
    }

    /// Whether the log since the last time is this, one callback to a line, indentation aside.
    #[track_caller]
    pub(crate) fn assert_heard(&self, expected: &str) {
        let expected = lines(expected);
        let heard = self.log.take_text();
        assert_eq!(heard, expected, "\nheard:\n{heard}\nexpected:\n{expected}");
    }

    /// The ranges of the space, each as listeners are told of it.
    pub(crate) fn ranges(&self) -> Vec<String> {
        let view = self.space.view();
        view.iter().map(|range| format!("{range:?}")).collect()
    }
}

fn lines(text: &str) -> String {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| format!("{line}\n")).collect()
}

/// A device without registers.
pub(crate) struct Nothing;

impl MemoryRegionOps for Nothing {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}

pub(crate) fn notifier() -> EventNotifier {
    EventNotifier::new(std::fs::File::open("/dev/null").unwrap())
}
