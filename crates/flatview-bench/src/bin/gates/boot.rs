//! What it costs to run a PC on the software CPU, beside QEMU's, in whole processes.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use flatview_bench::measure::Cost;
use tempfile::TempDir;

use crate::guests;
use crate::table::{Gates, MS, Result, exactly, ratio};

const GROUP: &str = "boot";

/// The programs, and a folder for their images.
struct Programs {
    flatview: PathBuf,
    has_qemu: bool,
    folder: TempDir,
}

impl Programs {
    fn find() -> Result<Option<Programs>> {
        let flatview = std::env::current_exe()?.with_file_name("flatview");
        if !flatview.exists() {
            eprintln!(
                "no machine is measured: {} is not built (-p flatview-cli)",
                flatview.display()
            );
            return Ok(None);
        }
        let version = Command::new("qemu-system-x86_64")
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        Ok(Some(Programs {
            flatview,
            has_qemu: version.is_ok_and(|status| status.success()),
            folder: tempfile::tempdir()?,
        }))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        Ok(fs::write(self.folder.path().join(name), bytes)?)
    }

    fn flatview(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.flatview);
        command.args(["boot", "--accel", "soft", "--no-reboot", "--disk", "disk.img"]);
        command.args(["--serial", "none"]);
        self.finished(command, arguments)
    }

    fn qemu(&self, arguments: &str) -> Option<Command> {
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(["-accel", "tcg", "-display", "none", "-nodefaults", "-no-reboot"])
            .args([
                "-machine", "pc", "-vga", "std", "-monitor", "none", "-serial", "null",
            ])
            .args(["-drive", "file=disk.img,format=raw,if=ide"]);
        self.has_qemu.then(|| self.finished(command, arguments))
    }

    fn finished(&self, mut command: Command, arguments: &str) -> Command {
        command
            .args(arguments.split(' '))
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }

    /// Wall time, in nanoseconds, of a guest of ours on both, and how many instructions flatview counted.
    fn guest(&self, gates: &Gates, bios: &[u8], megabytes: u32) -> Result<(Cost, Option<Cost>, f64)> {
        self.put("bios", bios)?;
        let flatview = self.flatview(&format!("--bios bios --debugcon none -m {megabytes}"));
        let qemu = self.qemu(&format!("-bios bios -m {megabytes}"));
        side_by_side(gates.budget, flatview, qemu)
    }
}

pub(crate) fn boot(gates: &mut Gates) -> Result<()> {
    let Some(programs) = Programs::find()? else {
        return Ok(());
    };
    programs.put("disk.img", &flatview_pc::demo::disk())?;
    seabios(gates, &programs)?;
    integers(gates, &programs)?;
    start(gates, &programs)?;
    resident(gates, &programs)?;
    exits(gates, &programs)
}

/// From reset to the end of the demonstration disk, which switches the machine off.
fn seabios(gates: &mut Gates, programs: &Programs) -> Result<()> {
    let flatview = programs.flatview("-m 256 --debugcon file:log");
    let qemu = programs
        .qemu("-m 256 -chardev file,id=log,path=qemu.log -device isa-debugcon,iobase=0x402,chardev=log");
    let (ours, theirs, _) = side_by_side(gates.budget, flatview, qemu)?;
    gates.add(GROUP, "SeaBIOS to power-off", "ms", ours.per(MS));
    if let Some(theirs) = theirs {
        let row = gates.add(GROUP, "SeaBIOS: QEMU's", "x", ratio(ours, theirs));
        row.at_most(1.0)
            .beside("QEMU, ms", theirs.per(MS).least)
            .beside("QEMU, median", theirs.per(MS).median);
    }
    Ok(())
}

fn integers(gates: &mut Gates, programs: &Programs) -> Result<()> {
    let (ours, theirs, instructions) = programs.guest(gates, &guests::integers(), 16)?;
    let row = gates.add(GROUP, "integers", "million/s", rate(instructions, ours, 1e6));
    row.at_least(50.0).beside("s", ours.per(1e9).least);
    if let Some(theirs) = theirs {
        row.beside("QEMU", rate(instructions, theirs, 1e6).least);
    }
    Ok(())
}

/// A guest with much memory that ends the machine at once.
fn start(gates: &mut Gates, programs: &Programs) -> Result<()> {
    let (ours, theirs, _) = programs.guest(gates, &guests::done(), 4096)?;
    let row = gates.add(GROUP, "start to end, 4 GiB", "ms", ours.per(MS));
    row.at_most(30.0);
    if let Some(theirs) = theirs {
        row.beside("QEMU", theirs.per(MS).least);
    }
    Ok(())
}

/// What a process has in memory whose guest has much and touches nothing.
fn resident(gates: &mut Gates, programs: &Programs) -> Result<()> {
    programs.put("bios", &guests::spin())?;
    let ours = resident_of(programs.flatview("--bios bios --debugcon none -m 4096"))?;
    let theirs = programs.qemu("-bios bios -m 4096").map(resident_of).transpose()?;
    let row = gates.add(GROUP, "resident, 4 GiB", "MiB", exactly(ours));
    row.at_most(30.0);
    if let Some(theirs) = theirs {
        row.beside("QEMU", theirs);
    }
    Ok(())
}

fn exits(gates: &mut Gates, programs: &Programs) -> Result<()> {
    const COUNT: u32 = 5_000_000;
    const COPIES: u32 = 50_000;
    let kinds = [
        ("port writes", guests::port_writes(COUNT), COUNT, "million/s", 1e6),
        ("MMIO reads", guests::mmio_reads(COUNT), COUNT, "million/s", 1e6),
        ("REP MOVSB", guests::copies(COPIES), COPIES, "GB/s", 1e9),
    ];
    for (what, bios, count, unit, per) in kinds {
        let (ours, theirs, _) = programs.guest(gates, &bios, 16)?;
        let amount = match unit {
            "GB/s" => f64::from(count) * f64::from(guests::COPY),
            _ => f64::from(count),
        };
        let row = gates.add(GROUP, what, unit, rate(amount, ours, per));
        if let Some(theirs) = theirs {
            row.beside("QEMU", rate(amount, theirs, per).least);
        }
    }
    Ok(())
}

/// How much in a second, in units of `per`. The least is that of the least time: the highest.
fn rate(amount: f64, time: Cost, per: f64) -> Cost {
    let rate = |nanoseconds: f64| amount / (nanoseconds / 1e9) / per;
    Cost {
        least: rate(time.least),
        median: rate(time.median),
    }
}

/// Wall time of processes, by turns, so that what else the machine does falls on both; and what flatview counted.
fn side_by_side(
    budget: Duration,
    mut flatview: Command,
    mut qemu: Option<Command>,
) -> Result<(Cost, Option<Cost>, f64)> {
    let (mut ours, mut theirs, mut instructions) = (Vec::new(), Vec::new(), 0.0);
    let begin = Instant::now();
    while ours.len() < 3 || begin.elapsed() < 15 * budget {
        let (time, output) = timed(&mut flatview)?;
        ours.push(time);
        instructions = counted(&output)?;
        if let Some(qemu) = &mut qemu {
            theirs.push(timed(qemu)?.0);
        }
    }
    let theirs = qemu.map(|_| Cost::of(theirs));
    Ok((Cost::of(ours), theirs, instructions))
}

fn timed(command: &mut Command) -> Result<(f64, Output)> {
    let begin = Instant::now();
    let output = command.output()?;
    let time = begin.elapsed().as_nanos() as f64;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?} failed: {said}").into());
    }
    Ok((time, output))
}

/// The number in `…, 5658514 instructions`.
fn counted(output: &Output) -> Result<f64> {
    let said = String::from_utf8_lossy(&output.stderr);
    let words: Vec<&str> = said.split_whitespace().collect();
    match words[..] {
        [.., count, "instructions"] => Ok(count.parse()?),
        _ => Err(format!("flatview counted nothing: {said}").into()),
    }
}

/// Resident memory in MiB of a process that does not end by itself.
fn resident_of(mut command: Command) -> Result<f64> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    thread::sleep(Duration::from_millis(300));
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()));
    child.kill()?;
    child.wait()?;
    let status = status?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: f64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .ok_or("no VmRSS: the process had ended")?
        .parse()?;
    Ok(kib / 1024.0)
}
