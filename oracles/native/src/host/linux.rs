//! Runs one instruction on the processor, through signals.
//!
//! `int3` raises SIGTRAP. Its handler keeps the registers of this program, and returns from the signal with those of the
//! case: Linux loads all of them, CS and SS included, so the case may be 16- or 32-bit code. The next exception, be it
//! the instruction's own or that of the `int3` where it ends, raises a signal again. Its handler keeps what the case has
//! left, and returns to this program with what was kept of it.
//!
//! Only the code page can be executed, and the case cannot write it: whatever else a case does, it ends at an `int3` or in
//! a fault. We write the code through a second mapping of the page.
//!
//! No code of ours runs with a general register of the case; the XMM registers it may have changed. DS, ES and GS are loaded before and left alone after: neither Rust
//! nor the C library looks at them in a 64-bit program. FS is the C library's, so no case has it.
#![expect(
    unsafe_code,
    reason = "the registers and the memory of this process are what this module changes"
)]

use std::arch::asm;
use std::cell::UnsafeCell;
use std::ffi::c_void;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libc::{c_int, greg_t, siginfo_t, stack_t, ucontext_t};

use super::Unavailable;
use crate::layout::{self, Window};
use crate::{Arena, Case, Fault, Mode, Outcome, Selectors, State};

/// There is one set of signal handlers, and one local descriptor table.
static ALONE: Mutex<()> = Mutex::new(());
/// What the handler works on; null while no case runs.
static RUN: AtomicPtr<Run> = AtomicPtr::new(ptr::null_mut());

const SIGNALS: [c_int; 5] = [
    libc::SIGTRAP,
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
];
/// Of the code page, in [`layout::PAGES`].
const CODE_INDEX: usize = layout::CODE / layout::PAGE;
const ALTERNATE_STACK: usize = 256 << 10;
const BREAKPOINT: greg_t = 3;
const PAGE_FAULT: u8 = 14;
/// RIP, RFLAGS, the packed selectors and the encoding's sixteen, in `gregs`.
const GPRS: [c_int; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];
type Gregs = [greg_t; 23];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Entering,
    Inside,
    Left,
}

/// What the handler takes from [`Host::run`] and gives to it.
#[derive(Debug)]
struct Run {
    phase: Phase,
    state: State,
    /// This program's registers while the case runs.
    kept: Gregs,
    /// The case's, when it has ended.
    left: Gregs,
    /// DS, ES and GS then.
    segments: [u16; 3],
}

/// The processor. There can be one at a time, and it stays on its thread.
pub struct Host {
    run: Box<UnsafeCell<Run>>,
    before: Vec<(c_int, libc::sigaction)>,
    stack_before: stack_t,
    stack: Vec<u8>,
    windows: [Mapped; 2],
    _alone: MutexGuard<'static, ()>,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").finish_non_exhaustive()
    }
}

impl Host {
    /// Maps the windows, fills the local descriptor table, and takes over the signals of exceptions until it is dropped.
    /// Waits while another thread has a `Host`.
    ///
    /// # Errors
    ///
    /// [`Unavailable::Refused`]: the system has no `modify_ldt`, for instance.
    pub fn new() -> Result<Host, Unavailable> {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let run = Run {
            phase: Phase::Left,
            state: State::default(),
            kept: [0; 23],
            left: [0; 23],
            segments: [0; 3],
        };
        // SAFETY: all zeroes is a value of these plain C structures.
        let stack_before = unsafe { mem::zeroed() };
        let mut host = Host {
            run: Box::new(UnsafeCell::new(run)),
            before: Vec::new(),
            stack_before,
            stack: vec![0; ALTERNATE_STACK],
            windows: [Mapped::new(&layout::LOW)?, Mapped::new(&layout::HIGH)?],
            _alone: alone,
        };
        for (index, descriptor) in (0..).zip(layout::LDT) {
            set_local_descriptor(index, descriptor)?;
        }
        host.take_signals()?;
        Ok(host)
    }

    /// Runs the instruction of `case` on the memory of `arena`, where it already lies.
    ///
    /// # Panics
    ///
    /// If FS is not null in the case's segments, or the instruction came out in no way that is known.
    pub fn run(&mut self, case: &Case, arena: &mut Arena) -> Outcome {
        let window = &self.windows[usize::from(case.mode == Mode::LongHigh)];
        for (to, page) in window.pages.iter().zip(arena.bytes().chunks_exact(layout::PAGE)) {
            // SAFETY: the page is mapped for writing, and nobody has a reference into it.
            unsafe { ptr::copy_nonoverlapping(page.as_ptr(), *to, layout::PAGE) };
        }
        let run = self.run.get_mut();
        run.phase = Phase::Entering;
        run.state = case.state;
        RUN.store(self.run.get(), Ordering::Release);
        let Selectors { ds, es, gs, .. } = case.state.selectors;
        // SAFETY: the segment registers mean nothing to 64-bit code of Rust and C. At `int3` the handler runs the case,
        // which can write only its own window (or fault), and comes back with all general registers as they were; the
        // others are clobbered.
        unsafe {
            asm!(
                "mov ds, {ds:x}", "mov es, {es:x}", "mov gs, {gs:x}", "int3",
                ds = in(reg) ds, es = in(reg) es, gs = in(reg) gs, clobber_abi("sysv64"),
            );
        }
        RUN.store(ptr::null_mut(), Ordering::Release);
        for (from, page) in (window.pages.iter()).zip(arena.bytes_mut().chunks_exact_mut(layout::PAGE)) {
            // SAFETY: as above.
            unsafe { ptr::copy_nonoverlapping(*from, page.as_mut_ptr(), layout::PAGE) };
        }
        window.clear_code(case.code_offset() % layout::PAGE, case.code.len());
        let run = self.run.get_mut();
        assert_eq!(run.phase, Phase::Left, "the case ended");
        outcome(run, case)
    }

    fn take_signals(&mut self) -> Result<(), Unavailable> {
        let stack = stack_t {
            ss_sp: self.stack.as_mut_ptr().cast(),
            ss_flags: 0,
            ss_size: self.stack.len(),
        };
        // SAFETY: the stack lives until `drop` has given the old one back.
        if unsafe { libc::sigaltstack(&raw const stack, &raw mut self.stack_before) } != 0 {
            return Err(refused("an alternate signal stack"));
        }
        for signal in SIGNALS {
            // SAFETY: all zeroes is a value of this plain C structure.
            let mut action: libc::sigaction = unsafe { mem::zeroed() };
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            // SAFETY: as above.
            let mut before: libc::sigaction = unsafe { mem::zeroed() };
            // SAFETY: the handler is async-signal-safe: it only copies.
            if unsafe { libc::sigaction(signal, &raw const action, &raw mut before) } != 0 {
                return Err(refused("a signal handler"));
            }
            self.before.push((signal, before));
        }
        Ok(())
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for (signal, before) in &self.before {
            // SAFETY: what was there before.
            unsafe { libc::sigaction(*signal, before, ptr::null_mut()) };
        }
        if !self.before.is_empty() {
            // SAFETY: what was there before; nothing runs on ours.
            unsafe { libc::sigaltstack(&raw const self.stack_before, ptr::null_mut()) };
        }
    }
}

/// A window in this process.
struct Mapped {
    /// Where its pages can be read and written.
    pages: [*mut u8; layout::PAGES.len()],
    /// Where the code page can be executed: another mapping.
    code: *mut u8,
}

impl Mapped {
    fn new(window: &Window) -> Result<Mapped, Unavailable> {
        // SAFETY: a new file, without a name that outlives it.
        let file = unsafe { libc::memfd_create(c"code".as_ptr(), libc::MFD_CLOEXEC) };
        if file < 0 {
            return Err(refused("memfd_create(2)"));
        }
        // SAFETY: it was just opened, and nobody else closes it.
        let file = unsafe { OwnedFd::from_raw_fd(file) };
        // SAFETY: the file is open.
        if unsafe { libc::ftruncate(file.as_raw_fd(), layout::PAGE as libc::off_t) } != 0 {
            return Err(refused("a page of memory"));
        }
        let mut mapped = Mapped {
            pages: [ptr::null_mut(); layout::PAGES.len()],
            code: ptr::null_mut(),
        };
        for (number, at) in layout::PAGES.into_iter().zip(&mut mapped.pages) {
            let address = ptr::with_exposed_provenance_mut(window.base as usize + number * layout::PAGE);
            if number * layout::PAGE == layout::CODE {
                mapped.code = map(address, libc::PROT_READ | libc::PROT_EXEC, Some(&file))?;
                *at = map(ptr::null_mut(), libc::PROT_READ | libc::PROT_WRITE, Some(&file))?;
            } else {
                *at = map(address, libc::PROT_READ | libc::PROT_WRITE, None)?;
            }
        }
        mapped.clear_code(0, layout::PAGE);
        Ok(mapped)
    }

    /// Makes some of the code page `int3` again: cases of the other window may come here.
    fn clear_code(&self, offset: usize, length: usize) {
        let length = length.min(layout::PAGE - offset);
        // SAFETY: the page is mapped.
        let at = unsafe { self.pages[CODE_INDEX].add(offset) };
        // SAFETY: for writing, this far, and nobody has a reference into it.
        unsafe { ptr::write_bytes(at, layout::INT3, length) };
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        for at in self
            .pages
            .into_iter()
            .chain([self.code])
            .filter(|at| !at.is_null())
        {
            // SAFETY: `new` mapped it, and nobody has a reference into it.
            unsafe { libc::munmap(at.cast(), layout::PAGE) };
        }
    }
}

/// Maps a page, at `address` if that is not null.
fn map(address: *mut u8, protection: c_int, file: Option<&OwnedFd>) -> Result<*mut u8, Unavailable> {
    let fixed = if address.is_null() {
        0
    } else {
        libc::MAP_FIXED_NOREPLACE
    };
    let (kind, file) = match file {
        Some(file) => (libc::MAP_SHARED, file.as_raw_fd()),
        None => (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1),
    };
    // SAFETY: a new mapping that replaces none.
    let got = unsafe { libc::mmap(address.cast(), layout::PAGE, protection, kind | fixed, file, 0) };
    if got == libc::MAP_FAILED || !address.is_null() && got != address.cast() {
        return Err(refused("mapping a page"));
    }
    Ok(got.cast())
}

fn refused(what: &'static str) -> Unavailable {
    let source = io::Error::last_os_error();
    Unavailable::Refused { what, source }
}

/// `struct user_desc` of `modify_ldt(2)`.
#[repr(C)]
struct UserDesc {
    entry_number: u32,
    base_addr: u32,
    limit: u32,
    flags: u32,
}

fn set_local_descriptor(entry_number: u32, descriptor: layout::Descriptor) -> Result<(), Unavailable> {
    const WRITE: c_int = 0x11;
    let bit = |from: u32, to: u32| u32::from(descriptor.bit(from)) << to;
    // seg_32bit, contents (two bits), read_exec_only, limit_in_pages, seg_not_present, useable
    let flags = bit(54, 0)
        | bit(42, 1)
        | bit(43, 2)
        | (bit(41, 3) ^ (1u32 << 3))
        | bit(55, 4)
        | (bit(47, 5) ^ (1u32 << 5))
        | bit(52, 6);
    let entry = UserDesc {
        entry_number,
        base_addr: descriptor.base(),
        limit: descriptor.raw_limit(),
        flags,
    };
    // SAFETY: `entry` is what this call reads, for as many bytes as it is told. No segment register of this program uses
    // the local table.
    let result = unsafe {
        libc::syscall(
            libc::SYS_modify_ldt,
            WRITE,
            &raw const entry,
            size_of::<UserDesc>(),
        )
    };
    // The kernel returns an int, so that the C library sees no error in it.
    match result as c_int {
        0 => Ok(()),
        -1 => Err(refused("modify_ldt(2)")),
        code => Err(Unavailable::Refused {
            what: "modify_ldt(2)",
            source: io::Error::from_raw_os_error(-code),
        }),
    }
}

fn outcome(run: &Run, case: &Case) -> Outcome {
    let get = |register: c_int| run.left[register as usize];
    let packed = get(libc::REG_CSGSFS) as u64;
    let [ds, es, gs] = run.segments;
    let mut state = State {
        gprs: GPRS.map(|register| get(register) as u64),
        rip: get(libc::REG_RIP) as u64,
        rflags: get(libc::REG_EFL) as u64,
        selectors: Selectors {
            cs: (packed & 0xffff) as u16,
            ss: (packed >> 48 & 0xffff) as u16,
            ds,
            es,
            gs,
        },
    };
    let vector = get(libc::REG_TRAPNO) as u8;
    // The case itself may be an `int3`, with prefixes.
    let end = case.state.rip + case.code.len() as u64;
    let landed = get(libc::REG_TRAPNO) == BREAKPOINT && state.rip != end;
    // A jump that ends where no memory is has been made all the same.
    let fetch = vector == PAGE_FAULT && state.rip != case.state.rip;
    let fault = (!landed && !fetch).then_some(Fault {
        vector,
        error_code: get(libc::REG_ERR) as u32,
        address: if vector == PAGE_FAULT {
            get(libc::REG_CR2) as u64
        } else {
            0
        },
    });
    if landed {
        state.rip = state.rip.wrapping_sub(1);
    }
    Outcome { state, fault }
}

/// Into the case, or out of it.
extern "C" fn handler(signal: c_int, _: *mut siginfo_t, context: *mut c_void) {
    let run = RUN.load(Ordering::Acquire);
    if run.is_null() {
        // Not ours: the instruction is executed again and the signal does what it does by default.
        // SAFETY: async-signal-safe, and SIG_DFL is always valid.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
        return;
    }
    // SAFETY: `Host::run`, on this thread, waits in its `int3` for what is done here, and uses it only afterwards.
    let run = unsafe { &mut *run };
    // SAFETY: the kernel gives a handler with SA_SIGINFO this structure, and nobody else has it.
    let context = unsafe { &mut *context.cast::<ucontext_t>() };
    let gregs = &mut context.uc_mcontext.gregs;
    match run.phase {
        Phase::Entering => {
            run.kept = *gregs;
            for (register, value) in GPRS.into_iter().zip(run.state.gprs) {
                gregs[register as usize] = value as greg_t;
            }
            gregs[libc::REG_RIP as usize] = run.state.rip as greg_t;
            gregs[libc::REG_EFL as usize] = run.state.rflags as greg_t;
            let Selectors { cs, ss, .. } = run.state.selectors;
            gregs[libc::REG_CSGSFS as usize] = (u64::from(cs) | u64::from(ss) << 48) as greg_t;
            run.phase = Phase::Inside;
        }
        Phase::Inside | Phase::Left => {
            run.left = *gregs;
            let [ds, es, gs] = &mut run.segments;
            // SAFETY: reads three registers.
            unsafe {
                asm!(
                    "mov {ds:x}, ds",
                    "mov {es:x}, es",
                    "mov {gs:x}, gs",
                    ds = out(reg) * ds,
                    es = out(reg) * es,
                    gs = out(reg) * gs
                )
            };
            *gregs = run.kept;
            run.phase = Phase::Left;
        }
    }
}
