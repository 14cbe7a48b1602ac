//! The guide's chapter is the program that it explains.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

const PROGRAM: &str = include_str!("../examples/minimal-vmm.rs");
const CHAPTER: &str = include_str!("../../../docs/guide/kvm.md");

/// All its listings, one after the other.
fn listings() -> Vec<&'static str> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in CHAPTER.lines() {
        match line {
            "```rust" => inside = true,
            "```" => inside = false,
            line if inside => lines.push(line),
            _ => {}
        }
    }
    lines.into_iter().filter(|line| !line.is_empty()).collect()
}

#[test]
fn the_chapter_walks_through_every_line_of_the_program() {
    let program: Vec<_> = PROGRAM.lines().filter(|line| !line.is_empty()).collect();
    let explained = listings();
    for (explained, line) in explained.iter().zip(&program) {
        assert_eq!(explained, line);
    }
    assert_eq!(explained.len(), program.len());
}

#[test]
fn the_program_is_as_short_as_it_is_said_to_be() {
    assert!(PROGRAM.lines().count() < 150);
}
