//! The arguments of `boot`.

use std::path::PathBuf;

use clap::{Args, ValueEnum, ValueHint};

use super::accel::Accel;
use super::chardev::Chardev;

/// The arguments of `boot`.
#[derive(Debug, Args)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "switches of a command line, each on its own"
)]
pub(crate) struct BootArgs {
    /// The firmware: an image of 64 KiB to 16 MiB that ends where the CPU begins.
    ///
    /// Without it, Debian's SeaBIOS: of the package `seabios` or, where that is not installed, fetched from Debian's
    /// archive into a folder of this program, which takes no rights and installs nothing.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) bios: Option<PathBuf>,

    /// The firmware of the screen: an option ROM of up to 127.5 KiB.
    ///
    /// Without it, the vgabios-stdvga.bin that lies beside the firmware, as that of SeaBIOS does; otherwise none. Not
    /// all go with all: SeaBIOS's needs a caller that leaves it segments of 4 GiB, which U-Boot does not.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) vga_bios: Option<PathBuf>,

    /// The guest's RAM: a number and K, M, G or T; without a letter, MiB.
    #[arg(short, long, value_name = "SIZE", default_value = "256M", value_parser = size)]
    pub(crate) memory: u64,

    /// The RAM of a NUMA node, for each node in turn; together they are the guest's RAM.
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) numa: Vec<u64>,

    /// An image of a disk, or a disk; may be given more than once. Without any, and without a CD-ROM, a disk is made
    /// whose boot sector prints the memory map that the BIOS gives.
    #[arg(long, value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub(crate) disk: Vec<PathBuf>,

    /// Disks are not written: what the guest writes to them fails.
    #[arg(long)]
    pub(crate) read_only: bool,

    /// An image of a CD-ROM. The guest boots from it if there is no disk.
    #[arg(long, value_name = "ISO", value_hint = ValueHint::FilePath)]
    pub(crate) cdrom: Option<PathBuf>,

    /// Where the first serial port leads: stdio, file:PATH, pty, none. Without it stdio, or none with a screen.
    #[arg(long, value_name = "WHERE")]
    pub(crate) serial: Option<Chardev>,

    /// Where what the firmware says on the debug port, 0x402, goes: stdio, file:PATH, pty, none. Without
    /// it stdio, or none with a screen.
    #[arg(long, value_name = "WHERE")]
    pub(crate) debugcon: Option<Chardev>,

    /// How the guest's screen is shown.
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Display::None)]
    pub(crate) display: Display,

    /// What executes the guest's instructions: auto, soft, or kvm with options after commas.
    ///
    /// soft is a processor in software, which needs nothing. kvm needs /dev/kvm; its options are repair=on|off (the
    /// software processor executes what KVM cannot; on), cpu=base|host (what the guest sees: the same as with soft, or
    /// what the host has; base), kernel-irqchip=off|split|on (which interrupt controllers are the kernel's; off),
    /// dirty-ring-size=ENTRIES (0: bitmaps). auto takes KVM if it is usable and fast, and says so.
    #[arg(long, value_name = "ACCELERATOR", default_value = "auto")]
    pub(crate) accel: Accel,

    /// Print at the end what the accelerator has counted.
    #[arg(long)]
    pub(crate) statistics: bool,

    /// Count instructions and let time go by them, 2^SHIFT nanoseconds each: the same guest does the same, each time.
    ///
    /// The clock begins at the same date, too.
    #[arg(long, value_name = "SHIFT", num_args = 0..=1, default_missing_value = "0", value_parser = clap::value_parser!(u32).range(0..=10))]
    pub(crate) icount: Option<u32>,

    /// Show each change of the memory map as it happens, and which register write caused it.
    #[arg(long)]
    pub(crate) trace_memory: bool,

    /// Print the memory map at the end, as `info mtree` does. Without a disk it is printed anyway.
    #[arg(long)]
    pub(crate) mtree: bool,

    /// End when the guest resets the machine.
    #[arg(long)]
    pub(crate) no_reboot: bool,
}

/// How the guest's screen is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Display {
    /// Not at all.
    None,
    /// Its text, in this terminal, whose keyboard is the guest's. In a pipe: what is on it at the end.
    Text,
}

/// Parses `256M`.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || "expected a number and K, M, G or T, such as 256M".to_owned();
    let (digits, shift) = match text.char_indices().next_back() {
        Some((at, letter)) if letter.is_ascii_alphabetic() => {
            let shift = match letter.to_ascii_uppercase() {
                'K' => 10,
                'M' => 20,
                'G' => 30,
                'T' => 40,
                _ => return Err(wrong()),
            };
            (&text[..at], shift)
        }
        _ => (text, 20),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number
        .checked_mul(1 << shift)
        .ok_or_else(|| "more than 2^64 bytes".to_owned())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn sizes_are_as_qemus() {
        assert_eq!(size("256M"), Ok(256 << 20));
        assert_eq!(size("128"), Ok(128 << 20));
        assert_eq!(size("4g"), Ok(4 << 30));
        assert_eq!(size("1025K"), Ok(1025 << 10));
        for wrong in ["", "M", "-1M", "1.5G", "4Q", "1é", "18000000000G"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
