//! The program, run as a user runs it.

mod support;

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};

use flatview_testkit::{Peer, Qemu, QmpServer};
use serde_json::{Value, json};
use support::{complaint, feed, flatview, path, printed, run, text};

const TREE: &str = "address-space: memory\r\n  0000-ffff (prio 0, i/o): system\r\n";
const TREE_HERE: &str = "address-space: memory\n  0000-ffff (prio 0, i/o): system\n";

/// A server that answers one command line with this.
fn server(expected: &'static str, answer: impl FnOnce(&mut Peer, Value) + Send + 'static) -> QmpServer {
    QmpServer::after_handshake(move |peer| {
        let (line, id) = peer.hear_human();
        assert_eq!(line, expected);
        answer(peer, id);
    })
}

mod usage {
    use super::*;

    #[test]
    fn help_and_version_succeed() {
        let help = run(&["--help"]);
        for word in ["mtree", "completions", "man", "--color", "Exit codes:"] {
            assert!(printed(&help).contains(word), "{word}");
        }
        assert_eq!(
            printed(&run(&["--version"])),
            concat!("flatview ", env!("CARGO_PKG_VERSION"), "\n")
        );
        assert!(printed(&run(&["mtree", "dump", "-h"])).contains("--qmp"));
    }

    #[test]
    fn wrong_questions_are_told_by_the_program() {
        for arguments in [
            &["bogus"][..],
            &["mtree", "dump"],
            &["mtree", "dump", "a", "--nothing"],
        ] {
            let output = run(arguments);
            assert!(
                complaint(&output).starts_with("flatview: "),
                "{}",
                complaint(&output)
            );
        }
        assert!(complaint(&run(&[])).contains("Usage: flatview"));
        assert!(complaint(&run(&["mtree"])).contains("Usage: flatview mtree"));
    }

    #[test]
    fn colours_are_as_asked() {
        let wrong = ["mtree", "dump", "/nowhere/at/all"];
        let colored = |more: &[&str], no_color: &str| {
            let output = flatview(&[&wrong, more].concat())
                .env("NO_COLOR", no_color)
                .output();
            complaint(&output.expect("it runs")).contains('\x1b')
        };
        assert!(!colored(&[], ""));
        assert!(!colored(&["--color", "auto"], ""));
        assert!(!colored(&["--color=never"], ""));
        assert!(colored(&["--color", "always"], ""));
        // Who asks for colours on the command line means it.
        assert!(colored(&["--color", "always"], "1"));
        // Errors and help of the parser, too.
        assert!(complaint(&run(&["--color=always", "bogus"])).contains("\x1b"));
        assert!(printed(&run(&["--color=always", "--help"])).contains("\x1b"));
        assert!(!printed(&run(&["--color=never", "--help"])).contains("\x1b"));
    }
}

mod pipes {
    use super::*;

    #[test]
    fn a_reader_that_leaves_ends_it_quietly() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("long");
        // More than a pipe holds.
        fs::write(&file, "y\n".repeat(1 << 20)).unwrap();
        let mut child = flatview(&["mtree", "dump", path(&file)])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut begin = [0; 4];
        child.stdout.take().unwrap().read_exact(&mut begin).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(&begin, b"y\ny\n");
        assert_eq!(text(&output.stderr), "");
        assert_eq!(output.status.code(), Some(141));
    }

    #[test]
    fn a_disk_that_is_full_is_told() {
        let Ok(full) = fs::OpenOptions::new().write(true).open("/dev/full") else {
            return eprintln!("*** SKIPPED: no /dev/full here ***");
        };
        let output = flatview(&["completions", "fish"]).stdout(full).output().unwrap();
        let lines: Vec<&str> = complaint(&output).lines().collect();
        assert_eq!(lines[0], "flatview: cannot write to standard output");
        assert!(
            lines[1].starts_with("flatview:   because: No space left"),
            "{lines:?}"
        );
    }
}

mod dump {
    use super::*;

    #[test]
    fn of_a_file_and_of_standard_input() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.mtree");
        fs::write(&file, TREE).unwrap();
        assert_eq!(printed(&run(&["mtree", "dump", path(&file)])), TREE_HERE);
        assert_eq!(
            printed(&feed(&["mtree", "dump", "-"], TREE.as_bytes())),
            TREE_HERE
        );
        let output = run(&["mtree", "dump", path(&file), "--json"]);
        let json: Value = serde_json::from_str(printed(&output)).unwrap();
        assert_eq!(
            json,
            json!({"source": path(&file), "qemu": null, "text": TREE_HERE})
        );
        assert!(printed(&output).ends_with("}\n"));
    }

    #[test]
    fn of_what_cannot_be_read() {
        let output = run(&["mtree", "dump", "/nowhere/at/all"]);
        assert_eq!(
            complaint(&output),
            "flatview: cannot read /nowhere/at/all\n\
             flatview:   because: No such file or directory (os error 2)\n"
        );
        let output = feed(&["mtree", "dump", "-"], b"one\ntwo\n\xfe");
        assert_eq!(
            complaint(&output),
            "flatview: standard input is no text: byte 0xfe at offset 8, in line 3, is not UTF-8\n"
        );
        let output = run(&["mtree", "dump", "-", "-f"]);
        assert_eq!(
            complaint(&output),
            "flatview: -f needs a running QEMU: what is in standard input is printed already\n"
        );
    }

    #[test]
    fn of_a_scripted_qemu() {
        for source in [
            &["--qmp", "PATH"][..],
            &["--qmp", "unix:PATH"],
            &["qmp:PATH"],
            &["qmp:unix:PATH"],
        ] {
            let server = server("info mtree -f -d -o -D", |peer, id| {
                peer.send(&json!({"event": "RESUME"}));
                peer.send(&json!({"return": TREE, "id": id}));
            });
            let source: Vec<String> = source
                .iter()
                .map(|word| word.replace("PATH", path(&server.socket())))
                .collect();
            let mut arguments = vec!["mtree", "dump", "-D", "-f", "-od"];
            arguments.extend(source.iter().map(String::as_str));
            assert_eq!(printed(&run(&arguments)), TREE_HERE);
        }
    }

    #[test]
    fn of_a_scripted_qemu_as_json() {
        let server = server("info mtree -o", |peer, id| {
            peer.send(&json!({"return": TREE, "id": id}))
        });
        let output = run(&["mtree", "dump", "-o", "--json", "--qmp", path(&server.socket())]);
        let json: Value = serde_json::from_str(printed(&output)).unwrap();
        assert_eq!(
            json,
            json!({
                "source": format!("unix:{}", path(&server.socket())),
                "qemu": {
                    "major": 7, "minor": 2, "micro": 22, "package": "Debian", "command": "info mtree -o",
                },
                "text": TREE_HERE,
            })
        );
    }

    #[test]
    fn a_complaint_of_the_monitor_is_an_error() {
        let server = server("info mtree -D", |peer, id| {
            peer.send(&json!({"return": "mtree: unsupported option -D\r\n", "id": id}));
        });
        let output = run(&["mtree", "dump", "-D", "--qmp", path(&server.socket())]);
        assert_eq!(
            complaint(&output),
            "flatview: QEMU does not do `info mtree -D`: mtree: unsupported option -D\n"
        );
    }

    #[test]
    fn silence_is_an_error_in_time() {
        let server = QmpServer::start(|peer| assert!(peer.hear().is_none()));
        let output = run(&[
            "mtree",
            "dump",
            "--timeout",
            "0.2",
            "--qmp",
            path(&server.socket()),
        ]);
        let complaint = complaint(&output);
        assert!(
            complaint.contains("did not greet within 0.2 s: either another client"),
            "{complaint}"
        );
    }

    #[test]
    fn of_a_real_qemu() {
        let Some(qemu) = Qemu::start(&["-M", "q35", "-m", "64"]) else {
            return;
        };
        let source = format!("qmp:{}", path(&qemu.socket()));
        let tree = run(&["mtree", "dump", &source]);
        assert!(
            printed(&tree).starts_with("address-space: "),
            "{}",
            printed(&tree)
        );
        assert!(!printed(&tree).contains('\r') && printed(&tree).contains("): pci\n"));
        let flat = run(&["mtree", "dump", "-fdo", &source]);
        assert!(printed(&flat).starts_with("FlatView #0\n"), "{}", printed(&flat));
        let all = run(&["mtree", "dump", "-D", "--json", &source]);
        let json: Value = serde_json::from_str(printed(&all)).unwrap();
        assert!(json["qemu"]["major"].as_u64().unwrap() >= 4, "{json}");
        assert!(json["text"].as_str().unwrap().contains("[disabled]"));
    }
}

mod completions {
    use super::*;

    #[test]
    fn for_every_shell() {
        for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
            let output = run(&["completions", shell]);
            for word in ["mtree", "dump", "completions", "--qmp"] {
                // fish leaves the dashes out.
                assert!(
                    printed(&output).contains(word.trim_start_matches('-')),
                    "{word} for {shell}"
                );
            }
        }
        assert!(complaint(&run(&["completions", "sh"])).contains("possible values"));
    }

    #[test]
    fn shells_that_are_here_understand_them() {
        for shell in ["bash", "zsh", "fish"] {
            let Some(program) = flatview_testkit::program(shell, shell) else {
                continue;
            };
            let folder = tempfile::tempdir().unwrap();
            let script = folder.path().join("flatview");
            fs::write(&script, printed(&run(&["completions", shell]))).unwrap();
            let output = Command::new(program).arg("-n").arg(&script).output().unwrap();
            assert_eq!(printed(&output), "", "{shell}");
        }
    }

    #[test]
    fn bash_completes_a_subcommand() {
        let Some(bash) = flatview_testkit::program("bash", "bash") else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let script = folder.path().join("flatview");
        fs::write(&script, printed(&run(&["completions", "bash"]))).unwrap();
        let ask = r#"
            source "$1"
            COMP_WORDS=(flatview mtree du) COMP_CWORD=2
            _flatview flatview du mtree
            echo "${COMPREPLY[@]}"
        "#;
        let output = Command::new(bash)
            .args(["-c", ask, "bash"])
            .arg(&script)
            .output()
            .unwrap();
        assert_eq!(printed(&output), "dump\n");
    }
}

mod manual {
    use super::*;

    #[test]
    fn of_the_program_goes_to_standard_output() {
        let output = run(&["man"]);
        assert!(printed(&output).contains(".TH flatview 1"));
        assert!(printed(&output).contains("EXIT STATUS"));
    }

    #[test]
    fn of_each_subcommand_goes_into_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new/man1");
        assert_eq!(printed(&run(&["man", path(&folder)])), "");
        // As many as the help names, all the way down.
        for arguments in commands(vec![]) {
            let name = [vec!["flatview".to_owned()], arguments].concat().join("-");
            let page = fs::read_to_string(folder.join(format!("{name}.1"))).expect(&name);
            assert!(
                page.contains("EXIT STATUS") && page.contains("DESCRIPTION"),
                "{name}"
            );
        }
        let output = run(&["man", "/dev/null/man1"]);
        assert!(complaint(&output).starts_with("flatview: cannot write /dev/null/man1\n"));
    }

    #[test]
    fn man_has_nothing_to_warn_of() {
        let Some(man) = flatview_testkit::program("man", "man") else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        printed(&run(&["man", path(folder.path())]));
        for page in fs::read_dir(folder.path()).unwrap() {
            let page = page.unwrap().path();
            let output = Command::new(&man)
                .args(["--warnings", "-E", "UTF-8", "-l"])
                .arg(&page)
                .env("LC_ALL", "C.UTF-8")
                .env("MANWIDTH", "80")
                .env("MANROFFSEQ", "")
                .output()
                .unwrap();
            assert!(printed(&output).contains("EXIT STATUS"), "{}", page.display());
        }
    }

    /// The commands below this one, itself first, as the help lists them.
    fn commands(arguments: Vec<String>) -> Vec<Vec<String>> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).chain(["-h"]).collect();
        let help = run(&words);
        let names = printed(&help)
            .lines()
            .skip_while(|line| *line != "Commands:")
            .skip(1)
            .take_while(|line| !line.is_empty())
            // What a command is for may go on in the next line, further to the right.
            .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
            .filter(|name| !name.is_empty())
            .filter(|name| *name != "help");
        let below = names
            .flat_map(|name| commands([arguments.clone(), vec![name.to_owned()]].concat()))
            .collect();
        [vec![arguments], below].concat()
    }
}
