//! The vCPU: what it does between blocks of instructions.

use std::sync::Arc;

use flatview::{Memory, RamWindow};
use flatview_accel::{AccelError, DescriptorTable, Exit, Signals, Vcpu, VcpuConfig, VcpuState};

use crate::code::cache::{Cache, Key};
use crate::code::pages::{BlockId, CodePages};
use crate::decode::{Context, decode};
use crate::exec::msr::Msrs;
use crate::exec::tlb::{OFFSET, PAGE, Tlb};
use crate::exec::{Bus, ENTRY, Exception, Exec, Fault, Flow, RSP, Registers, SS_FAULT, UD};
use crate::flags::{Flags, TF};
use crate::int::index;
use crate::ops::{Op, STACK, STACK_BASE};
use crate::seg::{CS, Seg};
use crate::undefined::{UndefinedInstruction, UndefinedRing};

/// After this many instructions the host's clock is looked at.
const CLOCK_INTERVAL: u64 = 8192;
/// After this many instructions a deadline that another thread has set is seen.
const MOST: u64 = 65536;
/// Physical addresses have 52 bits at most.
const PHYSICAL: u64 = (1 << 52) - 1;
const A20: u64 = 1 << 20;
/// How far from the stack pointer an instruction pushes and pops.
const NEAR: u64 = 0x100;

/// A virtual CPU in software.
#[derive(Debug)]
pub struct SoftVcpu {
    exec: Exec,
    cache: Cache,
    /// Which view of memory the TLB was filled from.
    view: u64,
    /// The signals as they were looked at last.
    seen: Signals,
    #[expect(dead_code, reason = "keeps the memory map alive")]
    machine: Memory,
}

impl SoftVcpu {
    pub(crate) fn new(config: &VcpuConfig) -> SoftVcpu {
        let table = DescriptorTable::default();
        let none = Seg::null(0);
        let exec = Exec {
            r: Registers {
                gpr: [0; 32],
                flags: Flags::new(0),
            },
            rip: 0,
            segs: [none; 6],
            ldtr: none,
            tr: none,
            gdtr: table,
            idtr: table,
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            dr: [0; 8],
            msrs: Msrs::new(),
            fpu_control: 0,
            mode: Exec::no_mode(),
            halted: false,
            shadow: false,
            nmi_masked: false,
            smm: false,
            smbase: 0,
            shutdown: false,
            exception: Exception::default(),
            flow: Flow::Next,
            attention: false,
            count: 0,
            done: 0,
            clock_base: (0, 0),
            bus: Bus {
                memory: config.memory.reader(),
                smm: config.smm.as_ref().map(|space| space.reader()),
                io: config.io.reader(),
                in_smm: false,
                a20_mask: PHYSICAL,
            },
            tlb: Tlb::new(),
            code: CodePages::default(),
            control: Arc::clone(&config.control),
            interrupts: Arc::clone(&config.interrupts),
            undefined: UndefinedRing::default(),
        };
        let mut vcpu = SoftVcpu {
            exec,
            cache: Cache::new(),
            view: 0,
            seen: Signals::empty(),
            machine: config.machine.clone(),
        };
        vcpu.exec.power_on();
        vcpu
    }

    /// The last instructions that were answered with #UD, the oldest first: undefined, or not implemented.
    pub fn last_undefined(&self) -> Vec<UndefinedInstruction> {
        self.exec.undefined.records().collect()
    }

    /// Before instructions are executed: everything may have changed.
    fn begin(&mut self) {
        let exec = &mut self.exec;
        exec.clock_base = (exec.control.clock().now(), exec.instructions());
        exec.code.may_have_changed();
        exec.shutdown &= !exec.control.signals().contains(Signals::INIT);
    }

    /// Makes code and translations true again.
    fn refresh(&mut self) {
        let exec = &mut self.exec;
        let view = exec.bus.space().generation();
        if view != self.view {
            self.view = view;
            exec.tlb.flush();
        }
        exec.code.look();
        self.cache.forget(exec.code.take_killed());
    }

    /// Takes what is pending. Returns an exit, or whether there was something.
    fn events(&mut self, looks_at_deadline: bool) -> Result<bool, Exit> {
        self.refresh();
        let exec = &mut self.exec;
        if exec.shutdown {
            return Err(Exit::Shutdown);
        }
        let control = Arc::clone(&exec.control);
        let signals = control.signals();
        self.seen = signals;
        if signals.contains(Signals::EXIT) {
            self.seen -= control.clear(Signals::EXIT);
            return Err(Exit::Requested);
        }
        let a20_mask = if signals.contains(Signals::A20M) {
            PHYSICAL & !A20
        } else {
            PHYSICAL
        };
        if a20_mask != exec.bus.a20_mask {
            exec.bus.a20_mask = a20_mask;
            exec.tlb.flush();
        }
        exec.sync_clock();
        if looks_at_deadline && control.deadline() != u64::MAX && control.clock().now() >= control.deadline()
        {
            return Err(Exit::Deadline);
        }
        if signals.contains(Signals::INIT) && !exec.smm {
            self.seen -= control.clear(Signals::INIT);
            exec.init();
            return Ok(true);
        }
        if self.interrupt(signals) {
            return Ok(true);
        }
        if self.exec.halted {
            // Somebody else may want to unplug memory meanwhile.
            let bus = &mut self.exec.bus;
            bus.memory.release();
            bus.io.release();
            if let Some(smm) = &mut bus.smm {
                smm.release();
            }
            return Err(Exit::Halted);
        }
        Ok(false)
    }

    /// Takes the interrupt of the highest priority (Intel SDM vol. 3, table 7-2).
    fn interrupt(&mut self, signals: Signals) -> bool {
        let exec = &mut self.exec;
        if exec.shadow {
            return false;
        }
        if signals.contains(Signals::SMI) && !exec.smm {
            self.seen -= exec.control.clear(Signals::SMI);
            exec.enter_smm();
            return true;
        }
        if signals.contains(Signals::NMI) && !exec.nmi_masked {
            self.seen -= exec.control.clear(Signals::NMI);
            exec.nmi_masked = true;
            exec.halted = false;
            exec.hardware_interrupt(2);
            return true;
        }
        if signals.contains(Signals::INTR)
            && exec.has_if()
            && let Some(vector) = exec.interrupts.acknowledge()
        {
            exec.halted = false;
            // A device may say with it that it has written to memory.
            exec.code.may_have_changed();
            exec.hardware_interrupt(vector);
            return true;
        }
        false
    }

    /// How many instructions may be executed before the time is looked at.
    fn budget(&self) -> u64 {
        let control = &self.exec.control;
        let deadline = control.deadline();
        match control.clock().counted_shift() {
            _ if deadline == u64::MAX => MOST,
            None => CLOCK_INTERVAL,
            Some(shift) => {
                let left = deadline.saturating_sub(control.clock().now());
                (left >> shift)
                    .saturating_add(u64::from(!left.is_multiple_of(1 << shift)))
                    .min(MOST)
            }
        }
    }

    /// Executes at most `most` instructions; fewer if something happens.
    fn execute(&mut self, most: u64) {
        let is_traced = self.exec.r.flags.has(TF);
        if is_traced || self.exec.shadow {
            self.exec.shadow = false;
            self.execute_blocks(1);
            // The shadow of an instruction that loads SS covers the trap, too.
            if is_traced && !self.exec.shadow {
                self.exec.single_step_trap();
            }
        } else {
            self.execute_blocks(most);
        }
    }

    fn execute_blocks(&mut self, most: u64) {
        self.exec.attention = false;
        let mut left = most;
        let mut from = None;
        while left > 0 && !self.exec.attention && self.exec.control.signals() == self.seen {
            let exec = &mut self.exec;
            let (ip, mode) = (exec.rip, exec.mode.key);
            let context = self.cache.context(exec.tlb.generation, mode, exec.segs[CS].base);
            let known = match from {
                Some(from) => self.cache.follow(from, ip, context),
                None => None,
            };
            let id = match known.or_else(|| self.enter(from, ip, context)) {
                Some(id) => id,
                None => match self.find() {
                    Ok(Some(id)) => id,
                    Ok(None) => {
                        from = None;
                        left -= 1;
                        self.execute_uncached();
                        continue;
                    }
                    Err(Fault) => {
                        self.exec.deliver_exception();
                        self.exec.count += 1;
                        return;
                    }
                },
            };
            let Some(block) = self.cache.block(id) else { return };
            let exec = &mut self.exec;
            // The end of the segment: instruction by instruction.
            if ip.wrapping_add(block.len - 1) > exec.mode.code_last {
                from = None;
                left -= 1;
                self.execute_uncached();
                continue;
            }
            let ops = match usize::try_from(left) {
                Ok(left) if left < block.ops.len() => &block.ops[..left],
                _ => &block.ops,
            };
            left = left.saturating_sub(run(exec, ops));
            from = Some(id);
        }
    }

    /// The block at `ip` that was entered lately.
    #[inline(never)]
    fn enter(&mut self, from: Option<BlockId>, ip: u64, context: u64) -> Option<BlockId> {
        let id = self.cache.recent(ip, context)?;
        self.cache.entered(from, ip, context, id);
        Some(id)
    }

    /// The block at the current instruction, decoded if it is not there; `None` if its code is in no memory.
    #[inline(never)]
    fn find(&mut self) -> Result<Option<BlockId>, Fault> {
        let exec = &mut self.exec;
        let ip = exec.rip;
        let linear = code_address(exec, ip)?;
        let Some(window) = exec.code_window(linear)? else {
            return Ok(None);
        };
        let key = Key {
            host: window.as_ptr().addr() + index(linear & OFFSET),
            mode: exec.mode.key,
        };
        let id = match self.cache.find(key) {
            Some(id) if self.is_still_there(id, linear)? => id,
            found => {
                self.cache.forget(found.into_iter().collect());
                match self.decode(key, ip, linear, &window)? {
                    Some(id) => id,
                    None => return Ok(None),
                }
            }
        };
        let exec = &self.exec;
        let context = self
            .cache
            .context(exec.tlb.generation, exec.mode.key, exec.segs[CS].base);
        self.cache.entered(None, ip, context, id);
        Ok(Some(id))
    }

    /// The page after that of `linear`.
    fn next_page(&mut self, linear: u64) -> Result<Option<RamWindow>, Fault> {
        let exec = &mut self.exec;
        exec.code_window(exec.wrap((linear | OFFSET).wrapping_add(1)))
    }

    /// Whether the last bytes of a block that is found by its first ones are still behind them.
    fn is_still_there(&mut self, id: BlockId, linear: u64) -> Result<bool, Fault> {
        let Some(second) = self.cache.block(id).and_then(|block| block.second) else {
            return Ok(true);
        };
        let next = self.next_page(linear)?;
        Ok(next.is_some_and(|window| window.as_ptr().addr() == second))
    }

    /// Decodes what is at `linear`, in the page behind `window`; across its end only if it is one instruction.
    fn decode(
        &mut self,
        key: Key,
        ip: u64,
        linear: u64,
        window: &RamWindow,
    ) -> Result<Option<BlockId>, Fault> {
        if self.cache.is_full() {
            self.cache.clear();
            self.exec.code.clear();
        }
        let (offset, context) = (linear & OFFSET, decoding_context(&self.exec, ip));
        let mut decoded = decode(&self.code_bytes(window)[index(offset)..], context, usize::MAX);
        let mut second = None;
        if decoded.ops.is_empty() {
            let Some(next) = self.next_page(linear)? else {
                return Ok(None);
            };
            let mut bytes = self.code_bytes(window)[index(offset)..].to_vec();
            bytes.extend_from_slice(&self.code_bytes(&next)[..15]);
            decoded = decode(&bytes, context, 1);
            second = Some(next.as_ptr().addr());
        }
        self.cache.forget(self.exec.code.take_killed());
        if decoded.ops.is_empty() {
            return Ok(None);
        }
        let end = offset + decoded.len;
        let id = self.cache.add(key, decoded.ops, decoded.len, second);
        let code = &mut self.exec.code;
        code.add(window.as_ptr().addr(), offset, end.min(PAGE), id);
        if let Some(second) = second {
            code.add(second, 0, end.saturating_sub(PAGE), id);
        }
        Ok(Some(id))
    }

    /// The bytes of a page that code is decoded from.
    fn code_bytes(&mut self, window: &RamWindow) -> &[u8] {
        let host = window.as_ptr().addr();
        if !self.exec.code.is_code(host) {
            self.exec.tlb.protect(host);
        }
        self.exec.code.read(window)
    }

    /// Executes an instruction whose bytes are not in memory, or up to the end of a segment.
    #[inline(never)]
    fn execute_uncached(&mut self) {
        let exec = &mut self.exec;
        match fetch(exec) {
            Ok(op) => {
                run(exec, &[op]);
            }
            Err(Fault) => {
                exec.deliver_exception();
                exec.count += 1;
            }
        }
    }
}

/// The linear address of code.
fn code_address(exec: &mut Exec, ip: u64) -> Result<u64, Fault> {
    if ip > exec.mode.code_last {
        return Err(exec.gp(0));
    }
    let base = if exec.mode.is_64() { 0 } else { exec.segs[CS].base };
    Ok(exec.wrap(base.wrapping_add(ip)))
}

fn decoding_context(exec: &Exec, ip: u64) -> Context {
    Context {
        bits: exec.mode.bits,
        is_flat: exec.mode.is_flat,
        ip,
    }
}

/// Fetches an instruction byte by byte and decodes it.
fn fetch(exec: &mut Exec) -> Result<Op, Fault> {
    let ip = exec.rip;
    let mut bytes = [0; 15];
    for len in 1..=bytes.len() {
        let linear = code_address(exec, exec.wrap_ip(ip.wrapping_add(len as u64 - 1)))?;
        bytes[len - 1] = exec.fetch(linear)?;
        let decoded = decode(&bytes[..len], decoding_context(exec, ip), 1);
        if let Some(op) = decoded.ops.first() {
            return Ok(*op);
        }
    }
    Err(exec.ud())
}

/// Executes operations up to one that goes elsewhere. Returns how many.
#[inline(always)]
fn run(exec: &mut Exec, ops: &[Op]) -> u64 {
    let entry = exec.rip;
    exec.r.gpr[ENTRY] = entry;
    exec.done = 0;
    for op in ops {
        let step = (op.run)(exec, op);
        exec.done += 1;
        if step == Ok(Flow::Next) {
            continue;
        }
        match step {
            Ok(Flow::Jump) => {}
            Ok(_) => exec.rip = exec.wrap_ip(entry.wrapping_add(u64::from(op.start) + u64::from(op.len))),
            Err(Fault) => fault(exec, entry, op),
        }
        return finish(exec);
    }
    if let Some(op) = ops.last() {
        exec.rip = exec.wrap_ip(entry.wrapping_add(u64::from(op.start) + u64::from(op.len)));
    }
    finish(exec)
}

#[inline(always)]
fn finish(exec: &mut Exec) -> u64 {
    let done = u64::from(exec.done);
    exec.count += done;
    exec.done = 0;
    exec.flow = Flow::Next;
    done
}

#[cold]
fn fault(exec: &mut Exec, entry: u64, op: &Op) {
    exec.rip = exec.wrap_ip(entry.wrapping_add(u64::from(op.start)));
    if let Some(address) = exec.exception.not_canonical {
        // Beside the stack pointer, or somewhere else that the instruction names?
        let distance = address.wrapping_sub(exec.r.gpr[RSP]).cast_signed().unsigned_abs();
        let is_stack = op.prefixes & STACK != 0 && distance <= NEAR;
        if is_stack || op.prefixes & STACK_BASE != 0 {
            exec.exception.vector = SS_FAULT;
        }
    }
    if exec.exception.vector == UD {
        record_undefined(exec);
    }
    exec.deliver_exception();
}

/// Keeps what could not be executed.
fn record_undefined(exec: &mut Exec) {
    let exception = exec.exception;
    let mut record = UndefinedInstruction {
        ip: exec.rip,
        cs_base: exec.segs[CS].base,
        ..UndefinedInstruction::default()
    };
    let address = exec.wrap(record.cs_base.wrapping_add(record.ip));
    for place in &mut record.bytes {
        // A page further on may be missing.
        match exec.load_system(exec.wrap(address.wrapping_add(u64::from(record.len)))) {
            Ok(byte) => *place = byte,
            Err(Fault) => break,
        }
        record.len += 1;
    }
    exec.undefined.push(record);
    exec.exception = exception;
}

impl Vcpu for SoftVcpu {
    fn run(&mut self) -> Result<Exit, AccelError> {
        self.begin();
        loop {
            match self.events(true) {
                Err(exit) => return Ok(exit),
                Ok(true) => continue,
                Ok(false) => {}
            }
            let budget = self.budget();
            self.execute(budget);
        }
    }

    fn step(&mut self) -> Result<Exit, AccelError> {
        self.begin();
        match self.events(false) {
            Err(exit) => return Ok(exit),
            Ok(true) => {}
            Ok(false) => self.execute(1),
        }
        self.exec.sync_clock();
        Ok(if self.exec.shutdown {
            Exit::Shutdown
        } else {
            Exit::Stepped
        })
    }

    fn state(&mut self) -> Result<VcpuState, AccelError> {
        Ok(self.exec.state())
    }

    fn set_state(&mut self, state: &VcpuState) -> Result<(), AccelError> {
        self.exec.set_state(state)
    }

    fn reset(&mut self) -> Result<(), AccelError> {
        self.exec.power_on();
        self.exec.code.clear();
        self.cache.clear();
        Ok(())
    }

    fn instructions(&self) -> Option<u64> {
        Some(self.exec.instructions())
    }
}
