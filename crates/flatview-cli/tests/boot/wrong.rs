//! What is wrong with the arguments, and how that is told: one line, which names the option and the limit.

use std::fs;
use std::path::Path;

use flatview_testkit::bios;
use tempfile::TempDir;

use super::support::{complaint, path};
use super::{HALT, home, listing, put, run, verdict};

/// A folder of files to give to the program, good ones and bad ones.
fn files() -> TempDir {
    let files = home();
    put(&files, "good", &bios(HALT));
    put(&files, "disk", &[0; 512]);
    put(&files, "empty", b"");
    put(&files, "odd", &[0; 0x1_0001]);
    put(&files, "large", &[]);
    let large = fs::OpenOptions::new()
        .write(true)
        .open(files.path().join("large"));
    large.unwrap().set_len(0x101_0000).unwrap();
    fs::create_dir(files.path().join("folder")).unwrap();
    files
}

/// The program refuses these arguments with one line in which all of `words` are, and leaves nothing behind. In the
/// arguments, `@` stands for the folder of [`files`].
fn refused(files: &TempDir, arguments: &[&str], words: &[&str]) {
    let (home, before) = (home(), listing(files.path()));
    let folder = format!("{}/", path(files.path()));
    let arguments: Vec<String> = arguments.iter().map(|word| word.replace('@', &folder)).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = run(&home, &arguments);
    let said = complaint(&output);
    let (line, hints) = said.split_once('\n').unwrap();
    assert!(line.starts_with("flatview: "), "{arguments:?}: {said}");
    for word in words {
        assert!(line.contains(word), "{arguments:?}: no {word:?} in: {said}");
    }
    for hint in hints.lines() {
        let known = ["Usage: ", "  [possible values: ", "For more information, try "];
        assert!(
            hint.is_empty() || known.iter().any(|begin| hint.starts_with(begin)),
            "{arguments:?}: {said}"
        );
    }
    assert_eq!(listing(home.path()), [], "{arguments:?}");
    assert_eq!(listing(files.path()), before, "{arguments:?}");
}

#[test]
fn firmware() {
    let files = files();
    for (file, words) in [
        ("@missing", &["no BIOS found", "missing"][..]),
        ("missing", &["no BIOS found", "/usr/share/seabios/missing"]),
        ("@empty", &["empty", "0x0 bytes", "multiple of 0x10000"]),
        ("@folder", &["folder", "is a directory"]),
        ("@odd", &["odd", "0x10001 bytes", "multiple of 0x10000"]),
        ("@large", &["large", "more than 0x1000000 bytes"]),
        ("/dev/zero", &["/dev/zero", "more than 0x1000000 bytes"]),
    ] {
        refused(&files, &["--bios", file], &[&["--bios: "], words].concat());
    }
    for (file, words) in [
        ("@missing", &["no option ROM found", "missing"][..]),
        ("missing", &["no option ROM found", "/usr/share/seabios/missing"]),
        ("@odd", &["odd", "0x10001 bytes", "multiple of 0x200"]),
        ("@large", &["large", "more than 0x1fe00 bytes"]),
    ] {
        let arguments = ["--bios", "@good", "--vga-bios", file];
        refused(&files, &arguments, &[&["--vga-bios: "], words].concat());
    }
}

#[test]
fn memory() {
    let files = files();
    for (size, words) in [
        ("0", &["0x0 bytes", "at least 0x100000"][..]),
        ("4K", &["0x1000 bytes", "at least 0x100000"]),
        ("1025K", &["0x100400 bytes", "a page, 0x1000 bytes"]),
        ("100T", &["0x640000000000 bytes", "above 0xfd00000000"]),
        ("17000000T", &["17000000T", "more than 2^64 bytes"]),
        ("1.5G", &["1.5G", "a number and K, M, G or T"]),
        ("10P", &["10P", "a number and K, M, G or T"]),
        ("", &["''", "a number and K, M, G or T"]),
    ] {
        // The option as the user says it, and no file is made before it is looked at.
        let arguments = ["--bios", "@good", "--serial", "file:log", "--memory", size];
        refused(&files, &arguments, &[&["--memory"], words].concat());
    }
}

#[test]
fn more_memory_than_the_host_gives() {
    let (home, files) = (home(), files());
    let good = files.path().join("good");
    let output = run(&home, &["--bios", path(&good), "--memory", "900G"]);
    if verdict(&output).0 == Some(0) {
        return eprintln!("*** SKIPPED: this host gives a guest 900 GiB ***");
    }
    refused(
        &files,
        &["--bios", "@good", "--memory", "900G"],
        &["--memory: ", "the host gives no 0xe100000000 bytes"],
    );
}

#[test]
fn numa_nodes() {
    let files = files();
    let both = "--memory and --numa: ";
    for (nodes, words) in [
        (
            &["128M"][..],
            &[both, "0x8000000 bytes", "the machine has 0x10000000"][..],
        ),
        (
            &["128M", "256M"],
            &[both, "0x18000000 bytes", "the machine has 0x10000000"],
        ),
        (&["1K", "262143K"], &[both, "0x400 bytes", "a page, 0x1000 bytes"]),
        (&["15000000T", "15000000T"], &[both, "the machine has 0x10000000"]),
        (&["x"], &["--numa", "a number and K, M, G or T"]),
    ] {
        let mut arguments = vec!["--bios", "@good", "--memory", "256M"];
        arguments.extend(nodes.iter().flat_map(|node| ["--numa", node]));
        refused(&files, &arguments, words);
    }
}

#[test]
fn disks() {
    let files = files();
    for option in ["--disk", "--cdrom"] {
        let name = format!("{option}: ");
        for (file, words) in [
            ("@missing", &["missing", "No such file"][..]),
            ("@empty", &["empty: is empty"]),
            ("@folder", &["folder: is neither a file nor a disk"]),
            ("/dev/zero", &["/dev/zero: is neither a file nor a disk"]),
        ] {
            let arguments = ["--bios", "@good", option, file];
            refused(&files, &arguments, &[&[name.as_str()], words].concat());
        }
    }
    let five = [["--disk", "@disk"]; 5].concat();
    refused(&files, &five, &["--disk: ", "5 disks", "room for 4"]);
    let four = [&[["--disk", "@disk"]; 4].concat()[..], &["--cdrom", "@disk"]].concat();
    refused(
        &files,
        &four,
        &["--disk: ", "4 disks", "room for 3", "beside the CD-ROM"],
    );
    // The second one is locked out by the first.
    let twice = ["--bios", "@good", "--disk", "@disk", "--disk", "@disk"];
    refused(&files, &twice, &["--disk: ", "is in use"]);
}

#[test]
fn a_disk_that_cannot_be_written() {
    let files = files();
    // Nobody, not even root, can write a program that runs, and this one does while it looks at the disk.
    let program = env!("CARGO_BIN_EXE_flatview");
    assert!(Path::new(program).is_file());
    refused(
        &files,
        &["--bios", "@good", "--disk", program],
        &["--disk: ", program, "cannot be written", "read-only"],
    );
    let home = home();
    let good = files.path().join("good");
    let arguments = ["--bios", path(&good), "--disk", program, "--read-only"];
    let output = run(&home, &arguments);
    let (code, said) = verdict(&output);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn options() {
    let files = files();
    for (arguments, words) in [
        (&["--nothing"][..], &["'--nothing'"][..]),
        (&["word"], &["'word'"]),
        (&["--display", "gtk"], &["'gtk'", "--display"]),
        (
            &["--accel", "xen"],
            &["'xen'", "--accel", "expected auto, soft, or kvm"],
        ),
        (
            &["--accel", "kvm,repair=never"],
            &["--accel", "expected on or off"],
        ),
        (
            &["--bios", "@good", "--accel", "kvm", "--icount"],
            &["--accel: KVM cannot count instructions"],
        ),
        (
            &["--serial", "tty"],
            &["'tty'", "--serial", "stdio, file:PATH, pty or none"],
        ),
        (
            &["--debugcon", "file:"],
            &["'file:'", "--debugcon", "stdio, file:PATH, pty or none"],
        ),
        (&["--icount", "11"], &["'11'", "--icount", "0..=10"]),
        (&["--icount", "-1"], &["'-1'"]),
        (
            &["--bios", "@good", "--serial", "file:@folder"],
            &["--serial: ", "cannot write ", "folder", "Is a directory"],
        ),
        (
            &["--bios", "@good", "--debugcon", "file:@none/log"],
            &["--debugcon: ", "cannot write ", "none/log", "No such file"],
        ),
    ] {
        refused(&files, arguments, words);
    }
}
