//! A guest reads memory while the map around it and over it changes (rule W5).
//!
//! Two vCPUs read and write at user level, where code runs at native speed everywhere. All that they touch is RAM,
//! whole pages of it, before and after each change; in between there are moments in which the kernel has no slot for
//! it. Nobody may see them: not one access may come out of the guest, and each word read is what was written there.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::unwrap_used, reason = "a test may fail")]

mod support;

use std::sync::Arc;
use std::thread::{self, ScopedJoinHandle};

use flatview::{MemTxAttrs, Region, UnassignedIo};
use flatview_accel::{Control, Exit, Signals, Vcpu, VcpuConfig};
use flatview_kvm::{KvmAccelerator, KvmConfig};
use flatview_testkit::wait_until;
use support::Board;

/// With RSI an array of RDX words, each of which is its own index, and RDI where to report:
///
/// ```text
/// outer:  xor ecx, ecx
/// inner:  mov rax, [rsi + rcx * 8]
///         cmp rax, rcx
///         jne bad
/// next:   add rcx, 32
///         cmp rcx, rdx
///         jb inner
///         inc qword [rdi]           ; the array was read once more
///         jmp outer
/// bad:    inc qword [rdi + 8]
///         mov [rdi + 16], rax       ; what was there,
///         mov [rdi + 24], rcx       ; and what ought to be
///         jmp next
/// ```
const READER: [u8; 39] = [
    0x31, 0xc9, 0x48, 0x8b, 0x04, 0xce, 0x48, 0x39, 0xc8, 0x75, 0x0e, 0x48, 0x83, 0xc1, 0x20, 0x48, 0x39,
    0xd1, 0x72, 0xee, 0x48, 0xff, 0x07, 0xeb, 0xe7, 0x48, 0xff, 0x47, 0x08, 0x48, 0x89, 0x47, 0x10, 0x48,
    0x89, 0x4f, 0x18, 0xeb, 0xe4,
];

const PAGE: u64 = 0x1000;
const CODE: u64 = 0x1000;
const REPORTS: u64 = 0x3000;
const TABLES: u64 = 0x1_0000;
/// Of low memory, that the guest does not touch.
const LOW_HOLE: u64 = 0x8_0000;
const ARRAY: u64 = 0x20_0000;
const ARRAY_SIZE: u64 = 0x2_0000;
const WORDS: u64 = ARRAY_SIZE / 8;
/// Behind the array, in the same slot.
const TAIL: u64 = ARRAY + ARRAY_SIZE;

struct Machine {
    board: Board,
    /// What is mapped over memory. Enabled, one by one or several, they split slots that are in use.
    overlays: Vec<Region>,
    array: Region,
}

impl Machine {
    fn new() -> Machine {
        let board = Board::new();
        let low = board.map_ram("low", 0, 0x10_0000, 0);
        let array = board.map_ram("array", ARRAY, ARRAY_SIZE + 0x1_0000, 0);
        let words: Vec<u8> = (0..WORDS).flat_map(u64::to_le_bytes).collect();
        board.write(ARRAY, &words);
        board.write(CODE, &READER);
        board.identity_tables(TABLES, 1);

        let region = |name| board.memory.region(name).enabled(false);
        let overlay = |region: Region, address| {
            board.map(&region, address, 1);
            region
        };
        let device = |name| region(name).io(PAGE, Arc::new(UnassignedIo));
        let same = |name, offset, size| region(name).readonly(true).alias(&array, offset, size).unwrap();
        // Not read-only: processors count a walk through tables as a write (Intel SDM vol. 3, 29.3.3.2).
        let tables = region("tables").unmergeable(true);
        // The first two leave the guest's tables and its code in slots that are made anew.
        let overlays = vec![
            overlay(device("low hole"), LOW_HOLE),
            overlay(tables.alias(&low, TABLES, 0x4000).unwrap(), TABLES),
            overlay(device("tail hole"), TAIL + 0x4000),
            overlay(device("tail end"), TAIL + 0xf000),
            overlay(same("first", 0, PAGE), ARRAY),
            overlay(same("middle", 0x8000, 0x9000), ARRAY + 0x8000),
            overlay(same("within", 0xa000, PAGE), ARRAY + 0xa000),
            overlay(same("across the end", 0x1_f000, 0x2000), ARRAY + 0x1_f000),
        ];
        Machine {
            board,
            overlays,
            array,
        }
    }

    fn vcpu(&self, kvm: &KvmAccelerator, index: u32) -> (Box<dyn Vcpu>, VcpuConfig) {
        let config = self.board.vcpu(index);
        let mut vcpu = kvm.create_kvm_vcpu(config.clone()).unwrap();
        let mut state = vcpu.state().unwrap();
        state.enter_user_mode(TABLES, CODE, 0);
        state.regs.rsi = ARRAY;
        state.regs.rdx = WORDS;
        state.regs.rdi = report(index);
        vcpu.set_state(&state).unwrap();
        (Box::new(vcpu), config)
    }

    fn word(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        let space = &self.board.space;
        space.read(address, &mut bytes, MemTxAttrs::UNSPECIFIED).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// Returns when all vCPUs have read the whole array in the map that there is now.
    fn wait_for(&self, vcpus: &Running<'_>) {
        for (index, thread) in (0..).zip(&vcpus.threads) {
            let before = self.word(report(index));
            wait_until(|| {
                assert_eq!(self.word(report(index) + 8), 0, "words that are wrong");
                assert!(!thread.is_finished(), "a vCPU came out");
                self.word(report(index)) >= before + 2
            });
        }
    }
}

/// vCPUs that run. They come out when this goes, whatever has failed.
struct Running<'scope> {
    threads: Vec<ScopedJoinHandle<'scope, (Exit, u64)>>,
    controls: Vec<Arc<Control>>,
}

impl Running<'_> {
    /// Gets all of them out. They are where they are meant to be.
    fn stop(mut self) {
        let threads = std::mem::take(&mut self.threads);
        drop(self);
        for thread in threads {
            let (exit, rip) = thread.join().unwrap();
            assert_eq!(exit, Exit::Requested);
            assert!((CODE..CODE + READER.len() as u64).contains(&rip), "{rip:#x}");
        }
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.controls
            .iter()
            .for_each(|control| control.raise(Signals::EXIT));
    }
}

fn report(index: u32) -> u64 {
    REPORTS + u64::from(index) * 0x40
}

#[test]
fn w5_no_access_finds_a_hole_while_slots_are_split_and_merged() {
    const VCPUS: u32 = 2;
    let Some(kvm) = support::accelerator(KvmConfig::default()) else {
        return;
    };
    let machine = Machine::new();
    let vcpus: Vec<_> = (0..VCPUS).map(|index| machine.vcpu(&kvm, index)).collect();
    let slots = support::slots(&kvm);
    let before = kvm.statistics();
    thread::scope(|scope| {
        let mut running = Running {
            threads: Vec::new(),
            controls: Vec::new(),
        };
        for (mut vcpu, config) in vcpus {
            running.controls.push(config.control);
            running.threads.push(scope.spawn(move || {
                let exit = vcpu.run().unwrap();
                (exit, vcpu.state().unwrap().regs.rip)
            }));
        }
        machine.wait_for(&running);
        let mut state = 0_usize;
        for change in 0..400_usize {
            // Every pair of states that differ in one overlay or in two comes up sooner or later.
            let flips = [change % 8, change.wrapping_mul(change / 8 + 1) % 8];
            let logs = change % 50 == 49;
            machine.board.update(|tx| {
                for flip in flips {
                    state ^= 1 << flip;
                    tx.set_enabled(&machine.overlays[flip], state >> flip & 1 == 1)?;
                }
                if logs {
                    tx.set_log(&machine.array, change % 100 == 49)?;
                }
                Ok(())
            });
            if change % 8 == 0 {
                machine.wait_for(&running);
            }
        }
        machine.board.update(|tx| {
            let mut overlays = machine.overlays.iter();
            overlays.try_for_each(|overlay| tx.set_enabled(overlay, false))
        });
        machine.wait_for(&running);
        running.stop();
    });
    (0..VCPUS).for_each(|index| assert_eq!(machine.word(report(index) + 8), 0));
    let after = kvm.statistics();
    assert_eq!(after.mmio_exits - before.mmio_exits, 0);
    assert_eq!(after.io_exits + after.emulation_failures, 0);
    assert!(after.keep_outs - before.keep_outs > 200, "{after:?}");
    assert!(after.kicks > before.kicks, "{after:?}");
    let without_numbers = |slots: Vec<String>| -> Vec<String> {
        let after = |slot: &String| slot.split_once(' ').unwrap().1.to_owned();
        slots.iter().map(after).collect()
    };
    assert_eq!(without_numbers(support::slots(&kvm)), without_numbers(slots));
}
