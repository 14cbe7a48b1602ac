//! The software CPU does in real mode and at privilege level 0 what unicorn said: `oracles/unicorn` has how the vectors
//! came about, and what they look like.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "numbers of a file of ours")]

use std::collections::BTreeMap;

use flatview_accel::{DescriptorTable, Exit, Segment, VcpuState};
use flatview_cpu::SoftAccelerator;
use flatview_oracle_native::board::Board;
use flatview_oracle_native::layout::Descriptor;
use flatview_oracle_native::{State, undefined};
use iced_x86::{Decoder, DecoderOptions};
use serde::Deserialize;

const VECTORS: &str = include_str!("vectors/system.jsonl");
const MEMORY: usize = 0x20_0000;
const GDT: u64 = 0x8000;
const LDT: u64 = 0x9000;
/// Where exceptions go in the replay; unicorn told only their vectors.
const IDT: u64 = 0x1e_0000;
const HANDLERS: u64 = 0xe_0000;
const HANDLERS_SEGMENT: u16 = 0xf0f0;
/// Status, IF, DF, IOPL and NT.
const FLAGS: u64 = 0x7ed5;

#[derive(Deserialize)]
struct Tables {
    gdt: String,
    ldt: String,
    /// Page tables by mode: pages by address.
    pages: BTreeMap<Mode, BTreeMap<u64, String>>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Real,
    Protected,
    Paged,
    Pae,
    Long,
}

impl Mode {
    /// CR0, CR3, CR4 and EFER.
    fn controls(self) -> (u64, u64, u64, u64) {
        match self {
            Mode::Real => (0x10, 0, 0, 0),
            Mode::Protected => (0x11, 0, 0, 0),
            Mode::Paged => (0x8001_0011, 0x10_0000, 0x10, 0),
            Mode::Pae => (0x8001_0011, 0x10_0000, 0x20, 0x800),
            Mode::Long => (0x8001_0011, 0x10_0000, 0x20, 0xd01),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Vector {
    name: String,
    mode: Mode,
    /// The page tables of this mode lie in memory, though it is not that yet.
    tables: Option<Mode>,
    steps: u32,
    #[serde(default)]
    before: BTreeMap<String, u64>,
    memory: Vec<(u64, String)>,
    #[serde(default)]
    after: BTreeMap<String, u64>,
    #[serde(default)]
    writes: Vec<(u64, String)>,
    fault: Option<u64>,
    cr2: Option<u64>,
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits
        .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
        .collect()
}

/// The registers of a vector that does not say otherwise.
fn default(register: &str, mode: Mode) -> u64 {
    match (register, mode) {
        ("eflags", _) => 2,
        ("esp", _) => 0x7000,
        ("cr0", _) => mode.controls().0,
        ("cs", Mode::Real) => 0x1000,
        ("ss", Mode::Real) => 0x2000,
        ("ds", Mode::Real) => 0x3000,
        ("es", Mode::Real) => 0x4000,
        ("fs", Mode::Real) => 0x5000,
        ("gs", Mode::Real) => 0x6000,
        ("eip", Mode::Real) => 0x100,
        ("cs", Mode::Long) => 0xb8,
        ("cs", _) => 8,
        ("ss" | "ds" | "es", _) => 16,
        ("eip", _) => 0x1_1000,
        _ => 0,
    }
}

fn segment(selector: u64, mode: Mode, gdt: &[u8], code: bool) -> Segment {
    let selector = selector as u16;
    if mode == Mode::Real {
        return Segment {
            base: u64::from(selector) << 4,
            limit: 0xffff,
            selector,
            type_: if code { 0xb } else { 3 },
            present: true,
            s: true,
            ..Segment::default()
        };
    }
    if selector == 0 {
        return Segment {
            unusable: true,
            ..Segment::default()
        };
    }
    let at = usize::from(selector & !7);
    Descriptor(u64::from_le_bytes(gdt[at..at + 8].try_into().unwrap())).cached(selector)
}

/// The machine's memory and registers before the vector.
fn prepare(vector: &Vector, tables: &Tables, fresh: &VcpuState) -> (VcpuState, Vec<u8>) {
    let mut image = vec![0; MEMORY];
    let mut put = |at: u64, bytes: &[u8]| image[at as usize..][..bytes.len()].copy_from_slice(bytes);
    let (gdt, mode) = (bytes(&tables.gdt), vector.mode);
    if mode != Mode::Real {
        put(GDT, &gdt);
        put(LDT, &bytes(&tables.ldt));
    }
    for (at, page) in tables
        .pages
        .get(&vector.tables.unwrap_or(mode))
        .into_iter()
        .flatten()
    {
        put(*at, &bytes(page));
    }
    for number in 0..256 {
        let gate = HANDLERS + number * 16;
        let gate = |selector: u64| gate & 0xffff | selector << 16 | 0x8e << 40 | (gate >> 16) << 48;
        match mode {
            Mode::Real => put(
                IDT + number * 4,
                &(number as u32 | u32::from(HANDLERS_SEGMENT) << 16).to_le_bytes(),
            ),
            Mode::Long => put(IDT + number * 16, &gate(0xb8).to_le_bytes()),
            _ => put(IDT + number * 8, &gate(8).to_le_bytes()),
        }
    }
    for (at, hex) in &vector.memory {
        put(*at, &bytes(hex));
    }
    let get = |register: &str| {
        let said = vector.before.get(register).copied();
        said.unwrap_or_else(|| default(register, mode))
    };
    let segment = |register| segment(get(register), mode, &gdt, register == "cs");
    let mut state = fresh.clone();
    let regs = &mut state.regs;
    (regs.rax, regs.rcx, regs.rdx, regs.rbx) = (get("eax"), get("ecx"), get("edx"), get("ebx"));
    (regs.rsp, regs.rbp, regs.rsi, regs.rdi) = (get("esp"), get("ebp"), get("esi"), get("edi"));
    (regs.r8, regs.r9, regs.r10, regs.r11) = (get("r8"), get("r9"), get("r10"), get("r11"));
    (regs.rip, regs.rflags) = (get("eip"), get("eflags"));
    let sregs = &mut state.sregs;
    (sregs.es, sregs.cs, sregs.ss) = (segment("es"), segment("cs"), segment("ss"));
    (sregs.ds, sregs.fs, sregs.gs) = (segment("ds"), segment("fs"), segment("gs"));
    (_, sregs.cr3, sregs.cr4, sregs.efer) = mode.controls();
    sregs.cr0 = get("cr0");
    sregs.idt = DescriptorTable {
        base: IDT,
        limit: 0xfff,
    };
    if mode != Mode::Real {
        let limit = (gdt.len() - 1) as u16;
        sregs.gdt = DescriptorTable { base: GDT, limit };
        sregs.ldt = Segment {
            base: LDT,
            limit: 0x3f,
            selector: 0x70,
            type_: 2,
            present: true,
            ..Segment::default()
        };
    }
    (state, image)
}

/// As the vectors name them.
fn registers(state: &VcpuState) -> BTreeMap<&'static str, u64> {
    let (r, s) = (&state.regs, &state.sregs);
    BTreeMap::from([
        ("eax", r.rax),
        ("ecx", r.rcx),
        ("edx", r.rdx),
        ("ebx", r.rbx),
        ("esp", r.rsp),
        ("ebp", r.rbp),
        ("esi", r.rsi),
        ("edi", r.rdi),
        ("eip", r.rip),
        ("eflags", r.rflags & FLAGS),
        ("es", s.es.selector.into()),
        ("cs", s.cs.selector.into()),
        ("ss", s.ss.selector.into()),
        ("ds", s.ds.selector.into()),
        ("fs", s.fs.selector.into()),
        ("gs", s.gs.selector.into()),
        ("cr0", s.cr0),
        ("cr2", s.cr2),
        ("cr3", s.cr3),
        ("cr4", s.cr4),
        ("efer", s.efer),
        ("fs_base", s.fs.base),
        ("gs_base", s.gs.base),
        ("r8", r.r8),
        ("r11", r.r11),
        ("gdtr_base", s.gdt.base),
        ("gdtr_limit", s.gdt.limit.into()),
        ("idtr_base", s.idt.base),
        ("idtr_limit", s.idt.limit.into()),
    ])
}

/// The vector of the exception whose handler the vCPU stands at.
fn raised(state: &VcpuState, mode: Mode) -> Option<u64> {
    let (cs, ip) = (state.sregs.cs.selector, state.regs.rip);
    if mode != Mode::Real {
        let handler = ip.wrapping_sub(HANDLERS);
        (handler < 0x1000).then_some(handler / 16)
    } else {
        (cs == HANDLERS_SEGMENT).then_some(ip)
    }
}

/// Flags that mean nothing after the vector's one instruction.
fn open_flags(vector: &Vector) -> u64 {
    let Some((_, code)) = vector.memory.last().filter(|_| vector.steps == 1) else {
        return 0;
    };
    let bits = match vector.mode {
        Mode::Real => 16,
        Mode::Long => 64,
        _ => 32,
    };
    let instruction = Decoder::new(bits, &bytes(code), DecoderOptions::NONE).decode();
    undefined::flags(&instruction, &State::default()).unwrap_or(0)
}

fn differences(board: &mut Board, vector: &Vector, before: &VcpuState, mut image: Vec<u8>) -> Vec<String> {
    let mut fault = None;
    for _ in 0..vector.steps {
        match board.vcpu.step() {
            Ok(Exit::Stepped) => {}
            other => return vec![format!("came out: {other:?}")],
        }
        fault = raised(&board.vcpu.state().unwrap(), vector.mode);
        if fault.is_some() {
            break;
        }
    }
    let after = board.vcpu.state().unwrap();
    let mut found = Vec::new();
    if fault != vector.fault {
        found.push(format!("exception: should be {:?}, is {fault:?}", vector.fault));
    }
    if fault.is_some() || vector.fault.is_some() {
        if let Some(cr2) = vector.cr2.filter(|cr2| *cr2 != after.sregs.cr2) {
            found.push(format!("cr2: should be {cr2:#x}, is {:#x}", after.sregs.cr2));
        }
        return found;
    }
    let (old, new, open) = (registers(before), registers(&after), open_flags(vector));
    for (register, value) in new {
        // Unicorn tells no bases of segments but in 64-bit mode.
        if register.ends_with("s_base") && vector.mode != Mode::Long {
            continue;
        }
        let should = vector.after.get(register).copied().unwrap_or(old[register]);
        let mask = if register == "eflags" {
            FLAGS & !open
        } else {
            u64::MAX
        };
        if value & mask != should & mask {
            found.push(format!(
                "{register}: was {:#x}, should be {should:#x}, is {value:#x}",
                old[register]
            ));
        }
    }
    for (at, hex) in &vector.writes {
        let bytes = bytes(hex);
        image[*at as usize..][..bytes.len()].copy_from_slice(&bytes);
    }
    let mut memory = vec![0; MEMORY];
    board.read(0, &mut memory);
    let differ = image
        .iter()
        .zip(&memory)
        .enumerate()
        .filter(|(_, (should, is))| should != is);
    for (at, (should, is)) in differ.take(8) {
        found.push(format!("memory {at:#x}: should be {should:#04x}, is {is:#04x}"));
    }
    found
}

#[test]
fn the_software_cpu_agrees() {
    let mut board = Board::new(&SoftAccelerator::default(), &[(0, MEMORY as u64)]).unwrap();
    let fresh = board.vcpu.state().unwrap();
    let mut lines = VECTORS.lines();
    let tables: Tables = serde_json::from_str(lines.next().unwrap()).unwrap();
    let (mut count, mut wrong) = (0, 0);
    for line in lines {
        let vector: Vector = serde_json::from_str(line).unwrap();
        let (state, image) = prepare(&vector, &tables, &fresh);
        board.write(0, &image);
        board.vcpu.set_state(&state).unwrap();
        let found = differences(&mut board, &vector, &state, image);
        count += 1;
        if !found.is_empty() {
            wrong += 1;
            println!(
                "{}: {:x?} {:x?}",
                vector.name,
                vector.memory.last().unwrap().1,
                vector.before
            );
            found.iter().for_each(|difference| println!("    {difference}"));
        }
    }
    assert!(count > 800, "{count} vectors");
    assert_eq!(wrong, 0, "of {count} vectors");
}
