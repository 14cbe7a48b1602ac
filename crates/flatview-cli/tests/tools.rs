//! The mtree tools, run as a user runs them, on real machines.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flatview_corpus::Corpus;
use flatview_mtree::qmp::{Address, Client, Flags};
use flatview_testkit::Qemu;
use serde_json::Value;
use support::{complaint, feed, flatview, path, printed, run, text};
use tempfile::TempDir;

/// The texts of a machine as files.
fn files(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let machine = Corpus::packed().machine(name).unwrap();
    for (file, text) in machine.texts.iter() {
        fs::write(folder.path().join(file), text).unwrap();
    }
    folder
}

fn file(folder: &TempDir, name: &str) -> String {
    path(&folder.path().join(name)).to_owned()
}

fn json(output: &std::process::Output) -> Value {
    serde_json::from_str(printed(output)).unwrap()
}

const PC: &str = "x86-pc-tcg-smp1-reset";

#[test]
fn check_says_equal_open_and_different() {
    let (pc, open) = (files(PC), files("rnd-pc-std-s103-n20"));
    let check = |files: &[&str]| {
        let output = run(&[&["mtree", "check"], files].concat());
        assert_eq!(text(&output.stderr), "");
        (output.status.code().unwrap(), text(&output.stdout).to_owned())
    };
    let (code, said) = check(&[&file(&pc, "mtree.txt"), &file(&pc, "mtree-f.txt")]);
    assert_eq!((code, said.starts_with("equal: ")), (0, true), "{said}");
    let (code, said) = check(&[&file(&open, "mtree.txt"), &file(&open, "mtree-f.txt")]);
    assert_eq!(
        (code, said.contains("is in front of isa-bios")),
        (3, true),
        "{said}"
    );
    let (code, said) = check(&[&file(&pc, "mtree.txt"), &file(&open, "mtree-f.txt")]);
    assert_eq!((code, said.starts_with("different: ")), (1, true), "{said}");
    // Whatever else there is of the machine, even if it says nothing new.
    let more = [
        "mtree.txt",
        "mtree.txt",
        "mtree-D.txt",
        "mtree-o.txt",
        "mtree-fd.txt",
        "mtree-f.txt",
    ];
    let more = more.map(|name| file(&pc, name));
    let (code, said) = check(&more.each_ref().map(String::as_str));
    assert_eq!((code, said.matches("equal: ").count()), (0, 1), "{said}");
    // All in one file, as a monitor's log has it.
    let both = ["mtree.txt", "mtree-f.txt"].map(|name| fs::read_to_string(file(&pc, name)).unwrap());
    let log = format!(
        "(qemu) info mtree\r\n{}(qemu) info mtree -f\r\n{}(qemu) quit\r\n",
        both[0], both[1]
    );
    let output = feed(&["mtree", "check", "--json"], log.as_bytes());
    assert_eq!(json(&output)["verdict"], "equal");
}

#[test]
fn check_needs_both() {
    let pc = files(PC);
    let output = run(&["mtree", "check", &file(&pc, "mtree.txt")]);
    assert!(
        complaint(&output).contains("no flat views in the input"),
        "{}",
        complaint(&output)
    );
    let output = run(&["mtree", "check", &file(&pc, "mtree-f.txt")]);
    assert!(
        complaint(&output).contains("no tree in the input"),
        "{}",
        complaint(&output)
    );
}

#[test]
fn what_is_no_dump_says_where() {
    let output = feed(
        &["mtree", "lint"],
        b"noise\naddress-space: memory\n  000000000000000x-\n",
    );
    assert_eq!(
        complaint(&output),
        "flatview: standard input, from line 2 is not as `info mtree` prints it\n\
         flatview:   because: line 3, column 18: expected an address of sixteen hexadecimal digits, found \"x-\"\n"
    );
}

#[test]
fn explain_several_addresses_and_ranges() {
    let pc = files(PC);
    let tree = file(&pc, "mtree.txt");
    let output = run(&["mtree", "explain", "0xa0000", "4G-64K", &tree]);
    let said = printed(&output);
    assert!(said.starts_with("0xa0000 of address space `memory`\n"), "{said}");
    assert!(
        said.contains("is answered by vga-lowmem at its byte 0x0") || said.contains("within system"),
        "{said}"
    );
    assert!(said.contains("0xffff0000 of address space `memory`\n"), "{said}");
    let output = run(&["mtree", "explain", "0..0x100000", &tree, "--json"]);
    let pieces = json(&output);
    let ranges: Vec<_> = pieces
        .as_array()
        .unwrap()
        .iter()
        .map(|piece| piece["range"].clone())
        .collect();
    assert!(ranges.len() > 3 && ranges[0]["start"] == 0, "{ranges:?}");
    assert_eq!(ranges.last().unwrap()["last"], 0xf_ffff);
    let output = run(&["mtree", "explain", "0..1M", &tree, "--most", "2"]);
    assert!(
        text(&output.stderr).contains("--most 2 ends here"),
        "{}",
        text(&output.stderr)
    );
    // Ports.
    let output = run(&["mtree", "explain", "0xcf8", "--space", "I/O", &tree]);
    assert!(
        printed(&output).contains("is answered by pci-conf-idx"),
        "{}",
        printed(&output)
    );
    let output = run(&["mtree", "explain", "0", "--all-spaces", &tree]);
    assert!(printed(&output).contains("`I/O`"));
    // Colours where they are asked for, and nowhere else.
    let output = run(&["mtree", "explain", "0", &tree, "--color", "always"]);
    assert!(printed(&output).contains("\x1b[1m"));
    assert!(!printed(&run(&["mtree", "explain", "0", &tree])).contains('\x1b'));
}

#[test]
fn explain_says_what_is_wrong() {
    let pc = files(PC);
    let tree = file(&pc, "mtree.txt");
    for (arguments, wrong) in [
        (&["0x12g4", &tree][..], "\"0x12g4\" is no number"),
        (&["16E", &tree], "below 0, or beyond 2^64"),
        (&[&tree], "no ADDRESS"),
        (&["0", "/nowhere"], "cannot read /nowhere"),
        (
            &["0", &tree, "--space", "none"],
            "no address space is called \"none\"; there are: ",
        ),
    ] {
        let output = run(&[&["mtree", "explain"], arguments].concat());
        assert!(complaint(&output).contains(wrong), "{}", complaint(&output));
    }
}

#[test]
fn find_tells_where_and_by_whom() {
    let pc = files("x86-pc-dimm-run");
    let tree = file(&pc, "mtree-D.txt");
    let output = run(&["mtree", "find", "=pc.rom", &tree]);
    assert!(
        printed(&output).contains("hidden by pc.ram") || printed(&output).contains("pc.ram"),
        "{}",
        printed(&output)
    );
    let output = run(&["mtree", "find", "vga*", &tree, "--json"]);
    assert!(json(&output).as_array().unwrap().len() > 2);
    let output = run(&["mtree", "find", "nobody", &tree]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), ""));
}

#[test]
fn lint_tells_a_line_each() {
    let pc = files("x86-pc-dimm-run");
    let sources = [file(&pc, "mtree-D.txt"), file(&pc, "mtree-f.txt")];
    let output = run(&["mtree", "lint", &sources[0], &sources[1]]);
    assert!(printed(&output).contains("pc.rom (line 89) at 0xc0000-0xdffff (128 KiB) is hidden by pc.ram"));
    let output = run(&["mtree", "lint", "--only", "hole", &sources[0], "--json"]);
    let findings = json(&output);
    assert!(
        findings
            .as_array()
            .unwrap()
            .iter()
            .all(|finding| finding["kind"] == "hole")
    );
    let output = run(&["mtree", "lint", "--strict", &sources[0]]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn diff_tells_what_changed() {
    let (before, after) = (files(PC), files("x86-pc-dimm-run"));
    let (one, other) = (file(&before, "mtree-D.txt"), file(&after, "mtree-D.txt"));
    let output = run(&["mtree", "diff", &one, &other]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), ""));
    assert!(
        text(&output.stdout).lines().any(|line| line.starts_with("+ ")),
        "{}",
        text(&output.stdout)
    );
    let output = run(&["mtree", "diff", &one, &one]);
    assert_eq!(printed(&output), "");
    let output = run(&["mtree", "diff", &one, &other, "--json"]);
    let diff: Value = serde_json::from_str(text(&output.stdout)).unwrap();
    assert!(!diff["tree"].as_array().unwrap().is_empty());
    assert!(complaint(&run(&["mtree", "diff", &one])).contains("two sources are compared"));
    // What is compared is one machine with one.
    let twice = [fs::read(&one).unwrap(), fs::read(&one).unwrap()].concat();
    let output = feed(&["mtree", "diff", &one, "-"], &twice);
    assert!(
        complaint(&output).contains("more than one machine in standard input"),
        "{}",
        complaint(&output)
    );
}

#[test]
fn draw_makes_a_page_and_a_picture() {
    let pc = files(PC);
    let tree = file(&pc, "mtree.txt");
    let (page, picture) = (pc.path().join("a.html"), pc.path().join("a.svg"));
    for to in [&page, &picture] {
        let output = run(&["mtree", "draw", &tree, "-o", path(to)]);
        assert_eq!(printed(&output), "");
    }
    assert!(fs::read_to_string(page).unwrap().starts_with("<!DOCTYPE html>"));
    assert!(fs::read_to_string(&picture).unwrap().contains("<svg"));
    let output = run(&[
        "mtree", "draw", &tree, "--format", "svg", "--space", "I/O", "--range", "0..1K",
    ]);
    assert!(printed(&output).contains("serial"), "{}", printed(&output));
    let twice = fs::read_to_string(&tree).unwrap().repeat(2);
    assert!(complaint(&feed(&["mtree", "draw"], twice.as_bytes())).contains("more than one machine"));
}

#[test]
fn a_dump_is_taken_out_of_what_is_around_it() {
    let pc = files(PC);
    let tree = fs::read_to_string(file(&pc, "mtree.txt")).unwrap();
    let quoted: String = tree.lines().map(|line| format!("> {line}\r\n")).collect();
    let mail = format!("On Monday I wrote:\n{quoted}\nand so on\n");
    let output = feed(&["mtree", "dump", "-", "--clean"], mail.as_bytes());
    assert_eq!(printed(&output), tree);
    let output = feed(
        &["mtree", "lint", "--only", "overlaps", "--only", "holes"],
        mail.as_bytes(),
    );
    assert!(printed(&output).contains("hole: "), "{}", printed(&output));
}

/// Several machines in one file: each is told, one after the other.
#[test]
fn one_machine_after_the_other() {
    let pc = files(PC);
    let text = ["mtree.txt", "mtree-f.txt"]
        .map(|name| fs::read_to_string(file(&pc, name)).unwrap())
        .concat();
    let output = feed(&["mtree", "check"], text.repeat(3).as_bytes());
    assert_eq!(printed(&output).matches("equal: ").count(), 3);
    assert_eq!(
        printed(&output).matches("=== standard input, from line ").count(),
        2
    );
    let output = feed(&["mtree", "check", "--json"], text.repeat(3).as_bytes());
    assert_eq!(printed(&output).lines().count(), 3);
}

fn live(qemu: &Qemu) -> String {
    path(&qemu.socket()).to_owned()
}

/// Lets the guest run until its firmware has shadowed itself, and stops it.
fn run_firmware(socket: &Path) {
    let mut monitor = Client::connect(&Address::unix(socket)).unwrap();
    monitor.human_monitor_command("cont").unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let flat = Flags {
        flat: true,
        ..Flags::default()
    };
    // The firmware places the BARs, then locks the shadow of itself.
    while !monitor.info_mtree(flat).unwrap().contains("vga.mmio") {
        assert!(
            Instant::now() < deadline,
            "the firmware does not come to the BARs"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(1));
    monitor.human_monitor_command("stop").unwrap();
}

/// A real QEMU: read, run its firmware, read again. What changed are PAM and the BARs.
#[test]
fn diff_of_a_real_qemu_shows_pam_and_bars() {
    let Some(qemu) = Qemu::start(&["-M", "pc", "-m", "64"]) else {
        return;
    };
    let before: PathBuf = qemu.folder().join("before.txt");
    let mut dumps = String::new();
    for flags in [&["-D", "-o"][..], &["-f", "-o"]] {
        let output = run(&[&["mtree", "dump", "--qmp", &live(&qemu)], flags].concat());
        dumps.push_str(printed(&output));
    }
    fs::write(&before, dumps).unwrap();
    let check = |source: &str| run(&["mtree", "check", source]);
    assert_eq!(
        check(path(&before)).status.code(),
        Some(0),
        "{}",
        text(&check(path(&before)).stdout)
    );
    run_firmware(&qemu.socket());
    let output = run(&["mtree", "--qmp", &live(&qemu), "diff", path(&before)]);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), ""));
    let said = text(&output.stdout);
    for change in ["pam-ram", "vga.vram", "e1000-mmio", "pc.bios (rom) -> pc.ram"] {
        assert!(said.contains(change), "{change}:\n{said}");
    }
    let output = run(&["mtree", "explain", "0xa0000", "--qmp", &live(&qemu)]);
    assert!(printed(&output).contains("vga-lowmem"), "{}", printed(&output));
    let output = check(&format!("qmp:{}", live(&qemu)));
    assert!(
        matches!(output.status.code(), Some(0 | 3)),
        "{}",
        text(&output.stdout)
    );
}

#[test]
fn watch_prints_what_changes() {
    let Some(qemu) = Qemu::start(&["-M", "pc", "-m", "64"]) else {
        return;
    };
    // The monitor talks to one client at a time; a guest that runs changes its map by itself.
    let mut monitor = Client::connect(&Address::unix(qemu.socket())).unwrap();
    monitor.human_monitor_command("cont").unwrap();
    drop(monitor);
    let arguments = [
        "mtree",
        "watch",
        "--qmp",
        &live(&qemu),
        "--interval",
        "0.05",
        "--count",
        "1",
        "--json",
    ];
    let output = flatview(&arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).starts_with("flatview: watching QEMU "),
        "{}",
        text(&output.stderr)
    );
    let change: Value = serde_json::from_str(text(&output.stdout)).unwrap();
    assert!(change["seconds"].as_f64().unwrap() > 0.0);
    assert!(complaint(&run(&["mtree", "watch", "-"])).contains("only a running QEMU can be watched"));
}
