//! A machine that is dropped leaves nothing alive: no RAM, no device, no image, no open file.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::io;
use std::sync::{Arc, Weak};

use flatview::{Endianness, MemTxAttrs};
use flatview_pc::board::Drive;
use flatview_pc::devices::block::MemoryImage;
use flatview_pc::trace::MapTrace;
use support::Guest;

struct Sink(#[expect(dead_code, reason = "it is there, or not")] Arc<()>);

impl io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_machine_that_is_dropped_is_gone() {
    let image = Arc::new(MemoryImage::new(vec![0; 512]));
    let witness = Arc::new(());
    let sink = || Some(Box::new(Sink(Arc::clone(&witness))) as Box<dyn io::Write + Send>);
    let drives = vec![Drive::Disk(image.clone()), Drive::CdRom(image.clone())];
    let mut guest = Guest::with(
        16,
        vec![0xf4; 0x1_0000],
        Some(vec![0x55; 0x8000]),
        drives,
        |config| {
            (config.serial, config.debugcon) = (sink(), sink());
        },
    );
    let trace = MapTrace::new(guest.pc.causes(), |_| ());
    let registration = guest.pc.memory_space().register(trace).unwrap();
    // The bus master appears: views are superseded, and devices see themselves.
    let ports = guest.pc.port_space().clone();
    for (address, value) in [(0x8000_0920_u32, 0xc000_u32), (0x8000_0904, 5)] {
        for (port, value) in [(0xcf8, address), (0xcfc, value)] {
            ports
                .store(port, value, Endianness::Little, MemTxAttrs::UNSPECIFIED)
                .unwrap();
        }
    }
    drop(ports);
    guest.pc.machine().turn().unwrap();
    let (ram, memory) = (guest.pc.ram().downgrade(), guest.pc.memory().downgrade());
    let (vga, bus) = (Arc::downgrade(guest.pc.vga()), Arc::downgrade(guest.pc.bus()));
    let keyboard: Weak<_> = Arc::downgrade(guest.pc.keyboard());
    drop((registration, guest));
    assert!(memory.upgrade().is_none() && ram.upgrade().is_none());
    assert_eq!(
        (vga.strong_count(), bus.strong_count(), keyboard.strong_count()),
        (0, 0, 0)
    );
    assert_eq!((Arc::strong_count(&witness), Arc::strong_count(&image)), (1, 1));
}
