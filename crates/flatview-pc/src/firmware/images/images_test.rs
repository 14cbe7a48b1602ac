#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

/// A folder with images of these sizes.
fn folder(files: &[(&str, usize)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for &(name, size) in files {
        fs::write(folder.path().join(name), vec![0x55; size]).unwrap();
    }
    folder
}

#[test]
fn a_bios_is_some_times_64_kib_up_to_16_mib() {
    let good = [("one", 0x1_0000), ("usual", 0x4_0000), ("largest", 16 << 20)];
    let bad = [
        ("empty", 0, "it has 0x0 bytes, not a multiple of 0x10000"),
        ("odd", 0x1_0001, "it has 0x10001 bytes, not a multiple of 0x10000"),
        (
            "large",
            (16 << 20) + 0x1_0000,
            "is too large for BIOS: it has more than 0x1000000 bytes",
        ),
    ];
    let sizes: Vec<_> = good
        .into_iter()
        .chain(bad.map(|(name, size, _)| (name, size)))
        .collect();
    let folder = folder(&sizes);
    for (name, size) in good {
        assert_eq!(load_bios(&folder.path().join(name)).unwrap().len(), size);
    }
    for (name, _, why) in bad {
        let error = load_bios(&folder.path().join(name)).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains(name), "{error}");
    }
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = folder(&[]);
    let error = |path: &Path| load_bios(path).unwrap_err();
    assert!(matches!(error(folder.path()), ImageError::Directory { .. }));
    assert!(matches!(
        error(&folder.path().join("none")),
        ImageError::Unreadable { .. }
    ));
    assert!(
        matches!(error(Path::new("/dev/zero")), ImageError::TooLarge { .. }),
        "it has no end"
    );
    assert!(matches!(
        error(Path::new("/dev/null")),
        ImageError::Size { size: 0, .. }
    ));
}

#[test]
fn an_option_rom_is_some_times_512_bytes() {
    let folder = folder(&[("good", 39 << 10), ("bad", 700), ("large", 128 << 10)]);
    let load = |name| load_option_rom(&folder.path().join(name));
    assert_eq!(load("good").unwrap().len(), 39 << 10);
    assert!(matches!(load("bad"), Err(ImageError::Size { unit: 512, .. })));
    assert!(matches!(load("large"), Err(ImageError::TooLarge { .. })));
}

#[test]
fn the_file_that_the_user_names_is_the_bios() {
    let folder = folder(&[("my.bin", 0x1_0000)]);
    let mine = folder.path().join("my.bin");
    assert_eq!(find_bios(Some(&mine), None).unwrap(), mine);
    let wrong = folder.path().join("wrong.bin");
    let error = find_bios(Some(&wrong), Some(folder.path())).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("no BIOS found; looked for `{}`", wrong.display())
    );
    let by_name = find_bios(Some(Path::new("my.bin")), Some(folder.path())).unwrap();
    assert_eq!(by_name, mine, "a name is looked for where BIOSes are");
    let error = find_bios(Some(Path::new("no such.bin")), None)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`/usr/share/seabios/no such.bin`, `/usr/share/qemu/no such.bin`"),
        "{error}"
    );
}

#[test]
fn the_vga_bios_is_beside_the_bios_or_named() {
    let folder = folder(&[("bios.bin", 0x1_0000), (VGA_BIOS, 512), ("mine.bin", 512)]);
    let [bios, mine] = ["bios.bin", "mine.bin"].map(|name| folder.path().join(name));
    assert_eq!(find_vga_bios(None, &bios).unwrap(), folder.path().join(VGA_BIOS));
    assert_eq!(find_vga_bios(Some(&mine), &bios).unwrap(), mine);
}

/// Firmware that is not SeaBIOS does not get SeaBIOS's VGA BIOS, wherever that is installed.
#[test]
fn other_firmware_has_no_vga_bios() {
    let folder = folder(&[("u-boot.rom", 0x1_0000)]);
    let error = find_vga_bios(None, &folder.path().join("u-boot.rom")).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "no option ROM found; looked for `{}`",
            folder.path().join(VGA_BIOS).display()
        )
    );
}

#[test]
fn what_was_fetched_is_not_fetched_again() {
    let cache = tempfile::tempdir().unwrap();
    let images = folder(&[(BIOS, 0x4_0000), (VGA_BIOS, 0x9c00)]);
    symlink(images.path(), cache.path().join("seabios")).unwrap();
    let found = fetch_debian_seabios(cache.path(), |step| panic!("{step}")).unwrap();
    assert_eq!(load_bios(&found.join(BIOS)).unwrap().len(), 0x4_0000);
}

#[test]
fn where_nothing_can_be_written_nothing_is_fetched() {
    let error = fetch_debian_seabios(Path::new("/proc/none"), |step| panic!("{step}")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("SeaBIOS cannot be kept in `/proc/none`: "),
        "{error}"
    );
}

/// Reaches Debian's servers: `cargo test -p flatview-pc fetch -- --ignored`.
#[test]
#[ignore = "needs the network"]
fn seabios_is_fetched_from_debian() {
    let cache = tempfile::tempdir().unwrap();
    let mut steps = Vec::new();
    let folder = fetch_debian_seabios(cache.path(), |step| steps.push(step)).unwrap();
    assert_eq!(steps, [FetchStep::Update, FetchStep::Download, FetchStep::Unpack]);
    let bios = find_bios(Some(Path::new(BIOS)), Some(&folder)).unwrap();
    assert_eq!(load_bios(&bios).unwrap().len(), 0x4_0000);
    load_option_rom(&find_vga_bios(None, &folder.join(BIOS)).unwrap()).unwrap();
    let left: Vec<_> = fs::read_dir(cache.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "only the images: {left:?}");
}
