//! What the tests share: a small machine, views as text, and a listener that writes down what it hears.

#![allow(
    dead_code,
    unused_imports,
    reason = "every test binary compiles this and uses a part of it"
)]

mod following;
mod noting;
mod recorder;
pub(crate) mod registers;

use std::fs::File;
use std::sync::Arc;

use flatview::{
    AddressSpace, Compat, Error, EventNotifier, FlatRange, FlatView, IommuAccess, IommuOps, IotlbEntry,
    MemTxAttrs, MemTxError, Memory, MemoryRegionOps, RamBlock, Receipt, Region, RegionState, Registration,
    Size, Transaction,
};

pub(crate) use following::Following;
pub(crate) use noting::Noting;
pub(crate) use recorder::{Log, Recorder};

/// A machine with one address space, `memory`, over an empty container `system` of 2^64 bytes.
pub(crate) struct Board {
    pub(crate) memory: Memory,
    pub(crate) system: Region,
    pub(crate) space: AddressSpace,
}

impl Board {
    pub(crate) fn new() -> Board {
        Board::with_compat(Compat::empty())
    }

    pub(crate) fn with_compat(compat: Compat) -> Board {
        let memory = Memory::with_compat(compat);
        let system = memory.region("system").container(Size::MAX);
        let space = memory
            .create_address_space("memory", &system)
            .expect("an empty container renders");
        Board {
            memory,
            system,
            space,
        }
    }

    /// MMIO that nobody accesses.
    pub(crate) fn io(&self, name: &str, size: impl Into<Size>) -> Region {
        self.memory.region(name).io(size, Arc::new(Inert))
    }

    pub(crate) fn ram(&self, name: &str, size: u64) -> Region {
        self.memory.region(name).ram(RamBlock::unbacked(size))
    }

    pub(crate) fn container(&self, name: &str, size: impl Into<Size>) -> Region {
        self.memory.region(name).container(size)
    }

    pub(crate) fn alias(&self, name: &str, target: &Region, offset: u64, size: impl Into<Size>) -> Region {
        self.memory
            .region(name)
            .alias(target, offset, size)
            .expect("a target of this memory at the end of a short chain")
    }

    /// Another address space.
    pub(crate) fn look_at(&self, name: &str, root: &Region) -> AddressSpace {
        self.memory
            .create_address_space(name, root)
            .expect("the root renders")
    }

    /// An update that has to succeed.
    #[track_caller]
    pub(crate) fn update(&self, change: impl FnOnce(&mut Transaction<'_>) -> Result<(), Error>) -> Receipt {
        self.memory
            .update(change)
            .unwrap_or_else(|error| panic!("the update was refused: {error}"))
    }

    /// `tx.add_subregion` in an update of its own.
    #[track_caller]
    pub(crate) fn map(&self, container: &Region, offset: u64, sub: &Region) -> Receipt {
        self.update(|tx| tx.add_subregion(container, offset, sub))
    }

    /// `tx.add_subregion_overlap` in an update of its own.
    #[track_caller]
    pub(crate) fn overlap(&self, container: &Region, offset: u64, sub: &Region, priority: i32) -> Receipt {
        self.update(|tx| tx.add_subregion_overlap(container, offset, sub, priority))
    }

    /// `tx.del_subregion` in an update of its own.
    #[track_caller]
    pub(crate) fn unmap(&self, container: &Region, sub: &Region) -> Receipt {
        self.update(|tx| tx.del_subregion(container, sub))
    }

    /// What `memory` shows; see [`line`].
    #[track_caller]
    pub(crate) fn shows(&self, expected: &[&str]) {
        shows(&self.space, expected);
    }
}

/// A board that shows RAM that is logged, MMIO with two coalesced ranges, and an ioeventfd.
pub(crate) fn busy_board() -> Board {
    let board = Board::new();
    let (ram, io) = (board.ram("ram", 0x1000), board.io("io", 0x1000));
    board.update(|tx| {
        tx.set_log(&ram, true)?;
        tx.add_subregion(&board.system, 0x4000, &ram)?;
        tx.add_coalescing(&io, 0x10, 0x10)?;
        tx.add_coalescing(&io, 0x40, 0x10)?;
        tx.add_eventfd(&io, 0x80, 2, None, &notifier())?;
        tx.add_subregion(&board.system, 0, &io)
    });
    board
}

/// A region `io` of 0x1000 bytes at 0x1000 of a [`Board`], and a listener `L`.
pub(crate) struct Listening {
    pub(crate) board: Board,
    pub(crate) io: Region,
    pub(crate) log: Arc<Log>,
    pub(crate) listener: Arc<Recorder>,
    _registration: Registration,
}

impl Listening {
    pub(crate) fn new() -> Listening {
        let board = Board::new();
        let io = board.io("io", 0x1000);
        board.map(&board.system, 0x1000, &io);
        let log = Log::new();
        let (listener, registration) = Recorder::new("L", 0, &log).on(&board.space);
        Listening {
            board,
            io,
            log,
            listener,
            _registration: registration,
        }
    }

    /// Asserts what was heard since the last time between `begin` and `commit`.
    #[track_caller]
    pub(crate) fn heard(&self, expected: &[&str]) {
        let heard = self.log.take();
        let frame = ["L.prepare", "L.begin", "L.commit"];
        let events = heard.iter().filter(|line| !frame.contains(&line.as_str()));
        let events: Vec<_> = events
            .map(|line| line.strip_prefix("L.").unwrap_or(line))
            .collect();
        assert_eq!(events, expected);
    }
}

/// An attribute that a range inherits from every region on the way to it.
pub(crate) struct Mark {
    /// As [`line`] shows it.
    pub(crate) word: &'static str,
    pub(crate) set: fn(&mut Transaction<'_>, &Region, bool) -> Result<(), Error>,
    pub(crate) get: fn(&RegionState) -> bool,
}

pub(crate) const READONLY: Mark = Mark {
    word: " ro",
    set: |tx, region, on| tx.set_readonly(region, on),
    get: |state| state.readonly,
};

pub(crate) const NONVOLATILE: Mark = Mark {
    word: " nv",
    set: |tx, region, on| tx.set_nonvolatile(region, on),
    get: |state| state.nonvolatile,
};

pub(crate) const UNMERGEABLE: Mark = Mark {
    word: " unmergeable",
    set: |tx, region, on| tx.set_unmergeable(region, on),
    get: |state| state.unmergeable,
};

pub(crate) const MARKS: [Mark; 3] = [READONLY, NONVOLATILE, UNMERGEABLE];

/// A range in the notation of the reference's vectors: `3000-3fff C@1000`, then its attributes:
/// `ro`, `nv`, `unmergeable`, `romd-off`, and `log=` with the bits of the dirty clients.
pub(crate) fn line(range: &FlatRange) -> String {
    let mut text = format!(
        "{:x}-{:x} {}@{:x}",
        range.start(),
        range.last(),
        range.region().name(),
        range.offset_in_region()
    );
    for (is, word) in [
        (range.is_readonly(), " ro"),
        (range.is_nonvolatile(), " nv"),
        (range.is_unmergeable(), " unmergeable"),
        (!range.is_romd(), " romd-off"),
    ] {
        text.push_str(if is { word } else { "" });
    }
    if !range.dirty_log_mask().is_empty() {
        text.push_str(&format!(" log={}", range.dirty_log_mask().bits()));
    }
    text
}

/// All ranges of a view, each as a [`line`].
pub(crate) fn lines(view: &FlatView) -> Vec<String> {
    view.iter().map(line).collect()
}

/// Asserts what an address space shows, range by range.
#[track_caller]
pub(crate) fn shows(space: &AddressSpace, expected: &[&str]) {
    assert_eq!(lines(&space.view()), expected, "what `{}` shows", space.name());
}

/// Whether two spaces have one view between them, not two that are equal (rule C31).
pub(crate) fn share_a_view(a: &AddressSpace, b: &AddressSpace) -> bool {
    std::ptr::eq::<FlatView>(&*a.view(), &*b.view())
}

/// What takes a line of a [`Log`] back. Who logs a range that stays is left out of it.
pub(crate) fn inverse(line: &str) -> String {
    if line.contains("region_nop") {
        return line.split(" log=").next().unwrap_or_default().to_owned();
    }
    for (one, other) in [
        ("region_add", "region_del"),
        ("coalesced_io_add", "coalesced_io_del"),
        ("eventfd_add", "eventfd_del"),
        ("log_start", "log_stop"),
    ] {
        for (from, to) in [(one, other), (other, one)] {
            if let Some((start, end)) = line.split_once(&format!(".{from} ")) {
                let end = match end
                    .rsplit_once(' ')
                    .and_then(|(range, masks)| Some((range, masks.split_once("->")?)))
                {
                    Some((range, (old, new))) => format!("{range} {new}->{old}"),
                    None => end.to_owned(),
                };
                return format!("{start}.{to} {end}");
            }
        }
    }
    line.to_owned()
}

/// The lines of a [`Log`] about ranges, ioeventfds and coalesced ranges.
pub(crate) fn events(heard: &[&String]) -> Vec<String> {
    let is_event = |line: &&&String| {
        line.contains("_add ") || line.contains("_del ") || line.contains("_nop ") || line.contains("log_st")
    };
    heard
        .iter()
        .filter(is_event)
        .map(|line| (**line).clone())
        .collect()
}

/// All that the tree says about some regions, and all that the spaces of a memory show.
pub(crate) fn truth(memory: &Memory, regions: &[Region]) -> Vec<String> {
    let mut truth: Vec<String> = regions
        .iter()
        .map(|region| {
            format!(
                "{:?} {:?}",
                region.state().expect("the memory is there"),
                children(region)
            )
        })
        .collect();
    for space in memory.address_spaces() {
        truth.push(format!("{} of {:?}", space.name(), space.view().root()));
        truth.extend(lines(&space.view()));
    }
    truth
}

/// The names of a region's children, in rendering order.
pub(crate) fn children(region: &Region) -> Vec<String> {
    let children = region.subregions().expect("the memory is there");
    children.iter().map(|child| child.name().to_owned()).collect()
}

/// Something that a listener can hand to a kernel.
pub(crate) fn notifier() -> EventNotifier {
    EventNotifier::new(File::open("/dev/null").expect("there is a null device"))
}

/// A device and an IOMMU that nobody accesses: these tests are about where things are.
pub(crate) struct Inert;

impl MemoryRegionOps for Inert {
    fn read(&self, _: u64, _: u32, _: MemTxAttrs) -> Result<u64, MemTxError> {
        Ok(0)
    }

    fn write(&self, _: u64, _: u32, _: u64, _: MemTxAttrs) -> Result<(), MemTxError> {
        Ok(())
    }
}

impl IommuOps for Inert {
    fn translate(&self, iova: u64, _: IommuAccess, _: u32) -> IotlbEntry {
        IotlbEntry {
            target: None,
            iova,
            translated_address: 0,
            address_mask: 0xfff,
            permission: IommuAccess::empty(),
        }
    }
}
