//! What `docs/mtree.md` shows is what the program prints.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod support;

use std::fs;
use std::path::Path;

use flatview_corpus::Corpus;
use support::{flatview, text};

/// The commands of a page and what they print: the blocks that are marked as a console's.
fn commands(page: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let mut in_console = false;
    for line in page.lines() {
        if line.starts_with("```") {
            in_console = line == "```console";
        } else if in_console {
            match line.strip_prefix("$ flatview ") {
                Some(command) => commands.push((command.to_owned(), String::new())),
                None => {
                    let (_, output) = commands.last_mut().unwrap();
                    output.push_str(&format!("{line}\n"));
                }
            }
        }
    }
    commands
}

#[test]
fn listings_are_true() {
    let folder = tempfile::tempdir().unwrap();
    for (machine, name) in [
        ("x86-pc-dimm-run", "pc"),
        ("x86-pc-dimm-reset", "reset"),
        ("rnd-pc-std-s103-n20", "random"),
    ] {
        let machine = Corpus::packed().machine(machine).unwrap();
        fs::create_dir(folder.path().join(name)).unwrap();
        for (file, text) in machine.texts.iter() {
            fs::write(folder.path().join(name).join(file), text).unwrap();
        }
    }
    let broken = "address-space: memory\n  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n  \
                  0000000000000000-ffffffffffffffff (prio 0, io): pci\n";
    fs::write(folder.path().join("broken.txt"), broken).unwrap();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/mtree.md");
    let commands = commands(&fs::read_to_string(page).unwrap());
    assert!(commands.len() > 5);
    for (command, expected) in commands {
        let arguments: Vec<&str> = command.split(' ').collect();
        let output = flatview(&arguments).current_dir(folder.path()).output().unwrap();
        let printed = format!("{}{}", text(&output.stdout), text(&output.stderr));
        match expected.split_once("...\n") {
            None => assert_eq!(printed, expected, "flatview {command}"),
            Some((begin, rest)) => {
                assert!(printed.starts_with(begin), "flatview {command}\n{printed}");
                assert_eq!(rest, "");
            }
        }
    }
}
