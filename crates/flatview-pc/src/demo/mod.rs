//! A disk to show that a machine works: its boot sector prints the memory map that the BIOS gives, and switches off.

/// How many bytes [`disk`] makes.
const SIZE: usize = 1 << 20;

/// What `boot.s` is assembled to.
const BOOT_SECTOR: &[u8; 512] = include_bytes!("boot.bin");

/// The image of the disk, 1 MiB: a boot sector, and zeroes.
pub fn disk() -> Vec<u8> {
    let mut image = BOOT_SECTOR.to_vec();
    image.resize(SIZE, 0);
    image
}

#[cfg(test)]
mod test {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::process::Command;

    use super::*;

    /// The binary in the repository is what its source says, where there is an assembler to ask.
    #[test]
    fn the_boot_sector_is_its_source() {
        let directory = std::env::temp_dir().join(format!("flatview-boot-sector-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = |name: &str| directory.join(name);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/demo/boot.s");
        let run = |command: &mut Command| command.status().is_ok_and(|status| status.success());
        let assembled = run(Command::new("as")
            .args(["--32", source, "-o"])
            .arg(file("boot.o")))
            && run(Command::new("objcopy")
                .args(["-O", "binary", "-j", ".text"])
                .args([file("boot.o"), file("boot.bin")]));
        let binary = std::fs::read(file("boot.bin"));
        std::fs::remove_dir_all(&directory).unwrap();
        if assembled && cfg!(target_arch = "x86_64") {
            assert!(binary.unwrap() == BOOT_SECTOR, "assemble boot.s again");
        } else {
            eprintln!("*** no assembler for x86 (`as`, `objcopy`): SKIPPED ***");
        }
    }
}
