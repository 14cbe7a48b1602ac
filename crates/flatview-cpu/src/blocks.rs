//! Execution by blocks: found by where they were entered before, by where their bytes are, or decoded.

use flatview::RamWindow;

use crate::SoftVcpu;
use crate::code::cache::{self, Key};
use crate::code::pages::BlockId;
use crate::decode::{Context, decode};
use crate::exec::tlb::{OFFSET, PAGE};
use crate::exec::{ENTRY, Exec, Fault, Flow, RSP, SS_FAULT, UD};
use crate::int::index;
use crate::ops::{Op, STACK, STACK_BASE};
use crate::seg::CS;
use crate::undefined::UndefinedInstruction;

/// How far from the stack pointer an instruction pushes and pops.
const NEAR: u64 = 0x100;

impl SoftVcpu {
    /// Executes at most `most` instructions; fewer if something happens.
    pub(crate) fn execute_blocks(&mut self, most: u64) {
        self.exec.attention = false;
        if self.exec.is_assistant {
            // What it executes, it executes once.
            return self.execute_uncached();
        }
        let mut left = most;
        let mut from = None;
        while left > 0 && !self.exec.attention && self.exec.control.signals() == self.seen {
            let exec = &mut self.exec;
            let ip = exec.rip;
            let context = self.cache.context(exec);
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
    fn enter(&mut self, from: Option<BlockId>, ip: u64, context: cache::Context) -> Option<BlockId> {
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
        let context = self.cache.context(&self.exec);
        self.cache.entered(None, ip, context, id);
        Ok(Some(id))
    }

    /// The page after that of `linear`.
    fn next_page(&mut self, linear: u64) -> Result<Option<RamWindow>, Fault> {
        let exec = &mut self.exec;
        exec.code_window(exec.next_page(linear))
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
        if self.cache.is_full() || self.exec.code.is_full() {
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

/// Fetches the first bytes of an instruction, as many as are in one page of memory. Returns how many.
fn fetch_page(exec: &mut Exec, ip: u64, bytes: &mut [u8; 15]) -> Result<usize, Fault> {
    let linear = code_address(exec, ip)?;
    let Some(window) = exec.code_window(linear)? else {
        return Ok(0);
    };
    let within = exec.mode.code_last.saturating_sub(ip).saturating_add(1);
    let len = index(within.min(PAGE - (linear & OFFSET)).min(bytes.len() as u64));
    Ok(match window.read(linear & OFFSET, &mut bytes[..len]) {
        Ok(()) => len,
        Err(_) => 0,
    })
}

/// Fetches an instruction and decodes it: byte by byte where it leaves a page, or comes from no memory.
fn fetch(exec: &mut Exec) -> Result<Op, Fault> {
    let ip = exec.rip;
    let mut bytes = [0; 15];
    let known = fetch_page(exec, ip, &mut bytes)?;
    if let Some(op) = decode(&bytes[..known], decoding_context(exec, ip), 1).ops.first() {
        return Ok(*op);
    }
    for len in known + 1..=bytes.len() {
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
    if exec.exception.is_unknown {
        exec.done -= 1;
        return exec.leave_unemulated();
    }
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
    let mut record = UndefinedInstruction {
        ip: exec.rip,
        cs_base: exec.segs[CS].base,
        ..UndefinedInstruction::default()
    };
    let bytes = exec.instruction_bytes();
    for (place, &byte) in record.bytes.iter_mut().zip(bytes.as_slice()) {
        *place = byte;
        record.len += 1;
    }
    exec.undefined.push(record);
}
