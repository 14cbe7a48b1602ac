//! `boot`: a PC runs real firmware.

mod accel;
mod args;
mod chardev;
mod console;
mod firmware;
mod input;
mod screen;
mod trace;

use std::fs::File;
use std::io;
use std::sync::Arc;

use flatview_accel::Clock;
use flatview_pc::board::{Drive, Pc, PcConfig, PcError};
use flatview_pc::devices::Serial;
use flatview_pc::devices::block::{BlockBackend, ImageAccess, MemoryImage, RawImage};
use flatview_pc::layout::RamLayout;
use flatview_pc::machine::End;
use flatview_pc::request::Request;

pub(crate) use args::BootArgs;
use args::Display;
use chardev::Chardev;
use console::Console;
use input::RawTerminal;

use crate::error::{BootError, Error};
use crate::exit::Exit;
use crate::output;

/// The date of a machine whose clock counts instructions: 2026-01-01, 00:00:00.
const FIXED_DATE: i64 = 1_767_225_600;

pub(crate) fn run(arguments: &BootArgs) -> Result<Exit, Error> {
    // What can be wrong is found before anything is made or fetched, so that nothing is left behind.
    check(arguments)?;
    let ram = RamLayout::new(arguments.memory, &arguments.numa).map_err(option(ram_option(arguments)))?;
    ram.try_host().map_err(option("--memory"))?;
    let console = Console::default();
    let drives = drives(arguments)?;
    let is_demo = drives.is_empty();
    let firmware = firmware::find(arguments.bios.as_deref(), arguments.vga_bios.as_deref())?;
    // With the screen in the terminal there is no room for what devices say.
    let usual = match arguments.display {
        Display::None => Chardev::Stdio,
        Display::Text => Chardev::None,
    };
    let open = |chardev: &Option<Chardev>, option, what| {
        let chardev = chardev.as_ref().unwrap_or(&usual);
        chardev.open(option, what, &console)
    };
    let serial = open(&arguments.serial, "--serial", "the first serial port")?;
    let debugcon = open(&arguments.debugcon, "--debugcon", "the debug port")?;
    let config = PcConfig {
        ram,
        bios: firmware.bios,
        vga_bios: firmware.vga_bios,
        drives: if is_demo { vec![demo_drive()] } else { drives },
        serial: Some(serial.output),
        debugcon: Some(debugcon.output),
        clock: match arguments.icount {
            Some(shift) => Clock::counted(shift),
            None => Clock::host(),
        },
        date: arguments.icount.map(|_| FIXED_DATE),
    };
    let chosen = arguments.accel.choose(arguments.icount.is_some())?;
    let accelerator = &**chosen.accelerator();
    let mut pc = Pc::new(config, accelerator).map_err(|error| match error {
        PcError::Layout(error) => option("--memory")(error),
        error => BootError::Machine(error),
    })?;
    pc.machine().set_reboot(!arguments.no_reboot);

    let requests = pc.machine().requests().clone();
    console.on_failure({
        let requests = requests.clone();
        move || requests.make(Request::Quit)
    });
    let interrupted = input::on_signals(&requests)?;
    let _terminal = connect(arguments, &pc, serial.input);
    let trace = arguments
        .trace_memory
        .then(|| trace::Trace::start(&pc, &console))
        .transpose()?;
    let screen = (arguments.display == Display::Text).then(|| screen::View::start(&pc, &console));

    let begin = std::time::Instant::now();
    let end = pc.machine().run();
    drop(screen);
    drop(trace);
    let print_statistics = || {
        if arguments.statistics {
            output::error(&chosen.statistics().to_string());
        }
    };
    // What a guest did that cannot go on is what they are asked for.
    let end = end.map_err(BootError::Run).inspect_err(|_| print_statistics())?;
    if arguments.mtree || is_demo {
        console.line(&format!(
            "\nThe memory map at the end:\n\n{}",
            pc.memory_space()
                .mtree_flat()?
                .accelerator("KVM", |space, range| accelerator.has_memory(space, range))
        ));
    }
    let told = tell(&end);
    let spent = begin.elapsed().as_secs_f64();
    let instructions = match pc.machine().instructions() {
        Some(count) => format!(", {count} instructions"),
        None => String::new(),
    };
    console.line("");
    console.finish()?;
    output::error(&format!("flatview: {told} after {spent:.2} s{instructions}\n"));
    print_statistics();
    Ok(match end {
        End::TripleFault { .. } => Exit::Crashed,
        End::Quit if interrupted.get() => Exit::Interrupted,
        _ => Exit::Ok,
    })
}

fn tell(end: &End) -> String {
    match end {
        End::PowerOff => "the guest switched the machine off".into(),
        End::Reset(why) => format!("the guest reset the machine ({why})"),
        End::TripleFault { cs, rip } => format!("the guest crashed: a triple fault at {cs:04x}:{rip:08x},"),
        End::Halted { cs, rip } => format!("the guest halted with interrupts off at {cs:04x}:{rip:08x},"),
        End::Quit => "interrupted".into(),
        _ => "ended".into(),
    }
}

/// Brings what is typed to the guest: to the keyboard if the screen is shown, to the serial port otherwise.
fn connect(arguments: &BootArgs, pc: &Pc, other_end: Option<File>) -> Option<RawTerminal> {
    let to_serial = |serial: Arc<Serial>| move |bytes: &[u8]| serial.send(bytes);
    if let (Some(other_end), Some(serial)) = (other_end, pc.serial()) {
        input::forward(other_end, to_serial(Arc::clone(serial)));
    }
    let terminal = RawTerminal::enter();
    match (arguments.display, &arguments.serial) {
        (Display::Text, _) => {
            let keyboard = Arc::clone(pc.keyboard());
            input::forward(io::stdin(), move |bytes| input::type_on(&keyboard, bytes));
        }
        (Display::None, None | Some(Chardev::Stdio)) => {
            if let Some(serial) = pc.serial() {
                input::forward(io::stdin(), to_serial(Arc::clone(serial)));
            }
        }
        _ => {}
    }
    terminal
}

/// What clap cannot know.
fn check(arguments: &BootArgs) -> Result<(), BootError> {
    let most = 4 - usize::from(arguments.cdrom.is_some());
    let given = arguments.disk.len();
    if given > most {
        return Err(BootError::TooManyDisks { given, most });
    }
    Ok(())
}

fn drives(arguments: &BootArgs) -> Result<Vec<Drive>, BootError> {
    let open = |name, path, access| {
        RawImage::open(path, access)
            .map(|image| -> Arc<dyn BlockBackend> { Arc::new(image) })
            .map_err(option(name))
    };
    let access = if arguments.read_only {
        ImageAccess::ReadOnly
    } else {
        ImageAccess::ReadWrite
    };
    let mut drives = Vec::new();
    for path in &arguments.disk {
        drives.push(Drive::Disk(open("--disk", path, access)?));
    }
    if let Some(path) = &arguments.cdrom {
        // Where the second channel's master is, as QEMU has it, if the disks leave it free.
        while drives.len() < 2 {
            drives.push(Drive::None);
        }
        drives.push(Drive::CdRom(open("--cdrom", path, ImageAccess::ReadOnly)?));
    }
    Ok(drives)
}

fn demo_drive() -> Drive {
    Drive::Disk(Arc::new(MemoryImage::new(flatview_pc::demo::disk())))
}

/// Which option an error of the RAM's layout is about.
fn ram_option(arguments: &BootArgs) -> &'static str {
    if arguments.numa.is_empty() {
        "--memory"
    } else {
        "--memory and --numa"
    }
}

/// Names the option that an error is about.
fn option<E: std::error::Error + Send + Sync + 'static>(option: &'static str) -> impl FnOnce(E) -> BootError {
    move |why| BootError::Option {
        option,
        why: Box::new(why),
    }
}
