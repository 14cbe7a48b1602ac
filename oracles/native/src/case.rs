//! One instruction with everything it can see, and what became of it.

use crate::layout::{self, Window};

/// What kind of code an instruction is, and the segments it runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 64-bit code, below 2 GiB.
    Long,
    /// 64-bit code and data above 4 GiB, where a truncated address shows.
    LongHigh,
    /// 32-bit code, all segments flat.
    Flat32,
    /// 32-bit code, each segment with a base and a limit of its own.
    Based32,
    /// 16-bit code with a 16-bit stack, each segment with a base of its own.
    Based16,
    /// 16-bit code with a 32-bit stack and flat data segments, as firmware uses it to reach all memory.
    Big16,
}

impl Mode {
    /// All of them.
    pub const ALL: [Mode; 6] = [
        Mode::Long,
        Mode::LongHigh,
        Mode::Flat32,
        Mode::Based32,
        Mode::Based16,
        Mode::Big16,
    ];

    /// 64, 32 or 16: the default size of the code segment.
    #[must_use]
    pub fn bits(self) -> u32 {
        match self {
            Mode::Long | Mode::LongHigh => 64,
            Mode::Flat32 | Mode::Based32 => 32,
            Mode::Based16 | Mode::Big16 => 16,
        }
    }

    /// The bits of SP that count as the stack pointer.
    #[must_use]
    pub fn stack_bits(self) -> u32 {
        match self {
            Mode::Long | Mode::LongHigh => 64,
            Mode::Flat32 | Mode::Based32 | Mode::Big16 => 32,
            Mode::Based16 => 16,
        }
    }

    /// Where the memory of a case is.
    #[must_use]
    pub fn window(self) -> &'static Window {
        match self {
            Mode::LongHigh => &layout::HIGH,
            _ => &layout::LOW,
        }
    }

    /// The base of the code segment: what is added to IP.
    #[must_use]
    pub fn code_base(self) -> u64 {
        self.base_of(self.selectors().cs)
    }

    /// What has to be added to an offset in a flat data or stack segment to get into the window; 0 where they begin there.
    #[must_use]
    pub fn data_origin(self) -> u64 {
        let flat = matches!(self, Mode::Long | Mode::LongHigh | Mode::Flat32 | Mode::Big16);
        if flat { self.window().base } else { 0 }
    }

    /// The segments that a case begins with.
    #[must_use]
    pub fn selectors(self) -> Selectors {
        use layout::{self as is, USER_CODE32, USER_CODE64, USER_DATA};
        let (cs, ss, ds, es, gs) = match self {
            Mode::Long | Mode::LongHigh => (USER_CODE64, USER_DATA, USER_DATA, USER_DATA, USER_DATA),
            Mode::Flat32 => (USER_CODE32, USER_DATA, USER_DATA, USER_DATA, is::GS),
            Mode::Based32 => (is::CODE32, is::STACK32, is::DATA32, is::EXTRA32, is::GS),
            Mode::Based16 => (is::CODE16, is::STACK16, is::DATA16, is::EXTRA16, is::GS),
            Mode::Big16 => (is::CODE16, USER_DATA, USER_DATA, USER_DATA, is::GS),
        };
        Selectors { cs, ss, ds, es, gs }
    }

    fn base_of(self, selector: u16) -> u64 {
        layout::descriptor(selector).map_or(0, |descriptor| u64::from(descriptor.base()))
    }
}

/// The segment registers. FS is the host's and is never touched; it is null in a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Selectors {
    pub cs: u16,
    pub ss: u16,
    pub ds: u16,
    pub es: u16,
    pub gs: u16,
}

/// The registers of a case, and of what became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// In the order of their encoding: RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8 to R15.
    pub gprs: [u64; 16],
    /// The offset of the (next) instruction in its segment.
    pub rip: u64,
    /// RFLAGS.
    pub rflags: u64,
    /// The segment registers.
    pub selectors: Selectors,
}

/// The names of [`State::gprs`].
pub const GPR_NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

/// An exception that an instruction raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its vector (Intel SDM vol. 3, table 7-1).
    pub vector: u8,
    /// Its error code; 0 where there is none.
    pub error_code: u32,
    /// The address of a page fault (CR2); 0 for others.
    pub address: u64,
}

/// One instruction, before it runs.
#[derive(Clone, Debug)]
pub struct Case {
    /// What kind of code it is.
    pub mode: Mode,
    /// Its bytes. More than 15 are too many.
    pub code: Vec<u8>,
    /// The registers; `rip` is that of the instruction.
    pub state: State,
}

impl Case {
    /// Where in the window its instruction lies.
    ///
    /// # Panics
    ///
    /// If that is not in the code page.
    #[must_use]
    pub fn code_offset(&self) -> usize {
        let linear = self.mode.code_base().wrapping_add(self.state.rip);
        let offset = usize::try_from(linear.wrapping_sub(self.mode.window().base)).unwrap_or(usize::MAX);
        assert_eq!(offset / layout::PAGE, 1, "an instruction at {linear:#x}");
        offset
    }
}

/// What became of a case. The memory is in the [`Arena`] that it ran on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The registers afterwards. After a fault, as the handler sees them.
    pub state: State,
    /// What it raised.
    pub fault: Option<Fault>,
}

/// The memory that a case sees: the pages of a window that are there.
#[derive(Clone, PartialEq, Eq)]
pub struct Arena(Vec<u8>);

impl Arena {
    /// Zeroes, and `int3` wherever a jump may land.
    #[must_use]
    pub fn new() -> Arena {
        let mut bytes = vec![0; layout::PAGES.len() * layout::PAGE];
        bytes[layout::CODE..][..layout::PAGE].fill(layout::INT3);
        Arena(bytes)
    }

    /// All bytes, page after page as in [`layout::PAGES`].
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// As [`bytes`](Self::bytes), to change them.
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Puts an instruction where it runs, or `int3` there again.
    ///
    /// # Panics
    ///
    /// If that is not in the code page.
    pub fn place(&mut self, case: &Case, bytes: impl Iterator<Item = u8>) {
        let offset = case.code_offset();
        self.0[offset..]
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = from);
    }

    /// The window's offset of a byte, for messages.
    #[must_use]
    pub fn offset_of(index: usize) -> usize {
        layout::PAGES[index / layout::PAGE] * layout::PAGE + index % layout::PAGE
    }
}

impl Default for Arena {
    fn default() -> Self {
        Arena::new()
    }
}

impl std::fmt::Debug for Arena {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Arena").field(&self.0.len()).finish()
    }
}
