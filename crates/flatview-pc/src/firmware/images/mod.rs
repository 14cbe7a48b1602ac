//! Finding the firmware: SeaBIOS, and the VGA BIOS beside it, where Debian has them or where the user says.
//!
//! [`find_bios`] and [`find_vga_bios`] say which file it is, [`load_bios`] and [`load_option_rom`] read it. Where there
//! is none, [`fetch_debian_seabios`] gets it from Debian, without root and without changing the system.

mod fetch;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

pub use fetch::{FetchError, FetchStep, fetch_debian_seabios};

/// The BIOS that QEMU's `pc` uses.
const BIOS: &str = "bios-256k.bin";
/// The VGA BIOS of QEMU's standard VGA.
const VGA_BIOS: &str = "vgabios-stdvga.bin";
/// Where Debian's packages `seabios` and `qemu-system-data` have them.
const FOLDERS: [&str; 2] = ["/usr/share/seabios", "/usr/share/qemu"];

/// The rules for a kind of image.
struct Rules {
    kind: &'static str,
    /// The size is a multiple of this, and not zero.
    unit: u64,
    /// The largest size.
    most: u64,
}

/// It ends at 4 GiB, and begins above the local APIC; QEMU allows no more either.
const BIOS_RULES: Rules = Rules {
    kind: "BIOS",
    unit: 64 << 10,
    most: 16 << 20,
};

/// The byte that says how long an option ROM is counts 512 bytes (PCI Firmware Specification 3.2, 5.1.1).
const OPTION_ROM_RULES: Rules = Rules {
    kind: "option ROM",
    unit: 512,
    most: 255 * 512,
};

/// Which file is the BIOS: `file`, if the user named one, as a path or as a file of the folders where BIOSes are;
/// otherwise the usual one. `more` is a folder that is looked into as well, last: that of [`fetch_debian_seabios`].
///
/// # Errors
///
/// [`ImageError::NotFound`].
pub fn find_bios(file: Option<&Path>, more: Option<&Path>) -> Result<PathBuf, ImageError> {
    let folders = FOLDERS.iter().map(Path::new).chain(more);
    match file {
        Some(file) => find_named(&BIOS_RULES, file, folders),
        None => find(&BIOS_RULES, Path::new(BIOS), folders),
    }
}

/// Which file is the VGA BIOS: `file`, if the user named one, as in [`find_bios`]; otherwise one beside `bios`.
///
/// Nowhere else, since SeaBIOS's VGA BIOS needs SeaBIOS: to read EDID it reaches above 0xc0000000 from real mode, and
/// relies on segments of 4 GiB that its caller left it. U-Boot gives it segments of 64 KiB, as the architecture has
/// them (Intel SDM vol. 3, 21.1.1): such an access is a #GP there, and the end of U-Boot.
///
/// # Errors
///
/// [`ImageError::NotFound`].
pub fn find_vga_bios(file: Option<&Path>, bios: &Path) -> Result<PathBuf, ImageError> {
    match file {
        Some(file) => find_named(&OPTION_ROM_RULES, file, FOLDERS.iter().map(Path::new)),
        None => find(&OPTION_ROM_RULES, Path::new(VGA_BIOS), bios.parent().into_iter()),
    }
}

fn find_named<'a>(
    rules: &Rules,
    file: &Path,
    folders: impl Iterator<Item = &'a Path>,
) -> Result<PathBuf, ImageError> {
    if file.exists() {
        Ok(file.to_owned())
    } else if file.components().count() > 1 {
        // A path that does not exist is not searched for, or somebody's typing error boots something else.
        Err(ImageError::NotFound {
            kind: rules.kind,
            looked: vec![file.to_owned()],
        })
    } else {
        find(rules, file, folders)
    }
}

fn find<'a>(
    rules: &Rules,
    name: &Path,
    folders: impl Iterator<Item = &'a Path>,
) -> Result<PathBuf, ImageError> {
    let mut looked = Vec::new();
    for file in folders.map(|folder| folder.join(name)) {
        if file.exists() {
            return Ok(file);
        }
        looked.push(file);
    }
    Err(ImageError::NotFound {
        kind: rules.kind,
        looked,
    })
}

/// Reads a BIOS: 64 KiB or a multiple, up to 16 MiB.
///
/// # Errors
///
/// [`ImageError`].
pub fn load_bios(file: &Path) -> Result<Vec<u8>, ImageError> {
    load(&BIOS_RULES, file)
}

/// Reads an option ROM, such as a VGA BIOS: 512 bytes or a multiple, up to 127.5 KiB.
///
/// # Errors
///
/// [`ImageError`].
pub fn load_option_rom(file: &Path) -> Result<Vec<u8>, ImageError> {
    load(&OPTION_ROM_RULES, file)
}

fn load(rules: &Rules, path: &Path) -> Result<Vec<u8>, ImageError> {
    let owned = || path.to_owned();
    let unreadable = |source| ImageError::Unreadable {
        file: owned(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(ImageError::Directory { file: owned() });
    }
    let mut bytes = Vec::new();
    // Whatever the metadata say: `/dev/zero` has no size, and no end.
    file.take(rules.most + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    let size = bytes.len() as u64;
    if size > rules.most {
        return Err(ImageError::TooLarge {
            kind: rules.kind,
            file: owned(),
            most: rules.most,
        });
    }
    if size == 0 || !size.is_multiple_of(rules.unit) {
        return Err(ImageError::Size {
            kind: rules.kind,
            file: owned(),
            size,
            unit: rules.unit,
        });
    }
    Ok(bytes)
}

/// Why there is no image.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ImageError {
    /// It is nowhere.
    #[error("no {kind} found; looked for {}", list(looked))]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// The files that do not exist.
        looked: Vec<PathBuf>,
    },
    /// It cannot be read.
    #[error("`{}` cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is a directory.
    #[error("`{}` is a directory", file.display())]
    Directory {
        /// The directory.
        file: PathBuf,
    },
    /// It has more bytes than it can have.
    #[error("`{}` is too large for {kind}: it has more than {most:#x} bytes", file.display())]
    TooLarge {
        /// What it should be.
        kind: &'static str,
        /// The file.
        file: PathBuf,
        /// How many bytes it can have.
        most: u64,
    },
    /// It is empty, or its size is no multiple of what it should be.
    #[error("`{}` is no {kind}: it has {size:#x} bytes, not a multiple of {unit:#x}", file.display())]
    Size {
        /// What it should be.
        kind: &'static str,
        /// The file.
        file: PathBuf,
        /// How many bytes it has.
        size: u64,
        /// What the size is a multiple of.
        unit: u64,
    },
}

fn list(files: &[PathBuf]) -> String {
    let quoted = files.iter().map(|file| format!("`{}`", file.display()));
    quoted.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
#[path = "images_test.rs"]
mod test;
