//! Reading text as people have it: with prompts, logs, quotation marks; and saying what is wrong with it.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use flatview_corpus::Corpus;
use flatview_mtree::text::{Dump, ParseError, Reader, parse};

const TREE: &str = "\
address-space: memory
  0000000000000000-ffffffffffffffff (prio 0, i/o): system
    0000000000000000-0000000007ffffff (prio 0, ram): pc.ram
    00000000000c0000-00000000000dffff (prio 1, rom): alias pam-rom @pc.ram 00000000000c0000-00000000000dffff [disabled]

memory-region: pc.ram
  0000000000000000-0000000007ffffff (prio 0, ram): pc.ram

";

const FLAT: &str = "\
FlatView #0
 AS \"memory\", root: system
 AS \"nic\", root: bus master container
 Root memory region: system
  0000000000000000-0000000007ffffff (prio 0, ram): pc.ram KVM KVM
  0000000008000000-0000000008000fff (prio 1, nv-ram): x @0000000000001000 owner:{dev id=nic} KVM

FlatView #1
 AS \"other\", root: a, alias b
 Root memory region: (none)
  No rendered FlatView

";

fn printed(text: &str) -> Vec<String> {
    parse(text).unwrap().iter().map(Dump::to_string).collect()
}

#[test]
fn what_is_around_dumps_is_skipped() {
    let around = format!(
        "QEMU 10.0.2 monitor - type 'help' for more information\n(qemu) info mtree -D\n{TREE}(qemu) info mtree -f\n\
         {FLAT}(qemu) qemu-system-x86_64: warning: host doesn't support requested feature\n\n\nquit\n"
    );
    assert_eq!(printed(&around), [TREE, FLAT]);
    // What a terminal shows of typing.
    let typed = around.replace(
        "info mtree -D",
        "i\u{1b}[K\u{1b}[Din\u{1b}[K\u{1b}[D\u{1b}[Dinfo mtree -D",
    );
    assert_eq!(printed(&typed), [TREE, FLAT]);
    assert_eq!(printed(&around.replace('\n', "\r\n")), [TREE, FLAT]);
    assert_eq!(printed("nothing at all\n"), [""; 0]);
    assert_eq!(printed(""), [""; 0]);
}

#[test]
fn a_prompt_may_stand_before_the_first_heading() {
    assert_eq!(
        printed(&format!("(qemu) {TREE}(qemu) {FLAT}(qemu) ")),
        [TREE, FLAT]
    );
}

#[test]
fn blocks_may_be_quoted_and_indented() {
    for prefix in ["> ", ">> ", "    ", "\t", "> >   "] {
        let quoted =
            |text: &str| -> String { text.lines().map(|line| format!("{prefix}{line}\n")).collect() };
        assert_eq!(
            printed(&format!("On Monday I wrote:\n{}\n", quoted(TREE))),
            [TREE],
            "{prefix:?}"
        );
        // Mailers cut what stands at the ends of lines.
        let cut: String = quoted(FLAT)
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect();
        assert_eq!(printed(&cut), [FLAT], "{prefix:?}");
    }
}

#[test]
fn a_text_may_end_anywhere_between_lines() {
    // A view without the line of its root is not whole.
    for (text, from, to) in [(TREE, 2, 7), (FLAT, 4, 7)] {
        let lines: Vec<&str> = text.lines().collect();
        for count in from..to {
            let part = lines[..count].join("\n");
            let dumps = printed(&part);
            assert_eq!(dumps.len(), 1, "{part}");
            assert!(dumps[0].starts_with(&part), "{part}\n{}", dumps[0]);
        }
    }
}

#[test]
fn dumps_follow_each_other() {
    let many = format!("{TREE}{TREE}{FLAT}{FLAT}{TREE}");
    assert_eq!(printed(&many), [TREE, TREE, FLAT, FLAT, TREE]);
    // Even if no alias, and so no region under a heading of its own, tells where the first one ends.
    let plain = "address-space: memory\n  0000000000000000-ffffffffffffffff (prio 0, i/o): system\n\n";
    assert_eq!(printed(&plain.repeat(3)), [plain; 3]);
}

/// Types as QEMU before 2.9 printed them.
#[test]
fn old_types() {
    let old = "\
address-space: memory
  0000000000000000-7ffffffffffffffe (prio 0, RW): system
    0000000000000000-0000000007ffffff (prio 0, RW): alias ram @pc.ram 0000000000000000-0000000007ffffff
    00000000fffc0000-00000000ffffffff (prio 0, R-): pc.bios
    00000000f0000000-00000000f0000fff (prio 0, -W): odd
    00000000f0001000-00000000f0001fff (prio 0, --): odder

";
    assert_eq!(printed(old), [old]);
}

/// Names are printed as they are.
#[test]
fn odd_names() {
    let odd = "\
address-space: a: b \"c\"
  0000000000000000-ffffffffffffffff (prio 0, i/o): (prio 0, ram): x
    0000000000000000-0000000000000fff (prio -1, i/o): alias of nothing
    0000000000000000-0000000000000fff (prio -1, i/o):\u{20}
    0000000000000000-0000000000000fff (prio -1, i/o): alias a b @c d 0000000000000000-0000000000000fff
    0000000000000000-0000000000000fff (prio -1, i/o): x @0000000000000001 owner:{nobody}
[DETECTED OVERFLOW!] [DETECTED OVERFLOW!]     fffffffffffff000-0000000000000fff (prio 2147483647, nv-romd): é orphan
[DETECTED OVERFLOW!]\u{20}

";
    assert_eq!(printed(odd).concat().trim_end(), odd.trim_end());
    let dumps = parse(odd).unwrap();
    let lines: Vec<_> = dumps[0].tree().unwrap().lines().collect();
    let names: Vec<&str> = lines.iter().map(|line| line.line.name).collect();
    assert_eq!(
        names,
        [
            "(prio 0, ram): x",
            "alias of nothing",
            "",
            "a b",
            "x @0000000000000001 owner:{nobody}",
            "é"
        ]
    );
    assert_eq!(lines[3].line.alias.unwrap().target, "c d");
    assert_eq!((lines[5].line.overflows, lines[5].owner), (2, " orphan"));
    assert_eq!(dumps[0].tree().unwrap().groups[0].overflows, 1);
}

fn error(text: &str) -> ParseError {
    let error = parse(text).unwrap_err();
    let read: Result<Vec<_>, _> = Reader::new(text.as_bytes())
        .map(|text| {
            text.unwrap()
                .parse()
                .map(|dump| dump.map(|dump| dump.to_string()))
        })
        .collect();
    assert_eq!(read.unwrap_err(), error, "a stream says the same");
    error
}

#[test]
fn errors_say_where_and_what() {
    let tree = |line: &str| format!("noise\naddress-space: memory\n{line}\n");
    let flat = |line: &str| format!("FlatView #0\n AS \"m\", root: s\n Root memory region: s\n{line}\n");
    for (text, line, column, expected, found) in [
        (
            tree("  0000000000000000-fffffffffffffff (prio 0, i/o): x"),
            3,
            35,
            "an address of sixteen",
            " (prio",
        ),
        (
            tree("  0000000000000000 ffffffffffffffff (prio 0, i/o): x"),
            3,
            19,
            "`-`",
            " ffff",
        ),
        (tree("  000000000000000G-"), 3, 18, "an address of sixteen", "G-"),
        (
            tree("  0000000000000000-ffffffffffffffff (prio high, i/o): x"),
            3,
            43,
            "a decimal number",
            "high",
        ),
        (
            tree("  0000000000000000-ffffffffffffffff (prio 9999999999, i/o): x"),
            3,
            43,
            "a decimal number",
            "9999",
        ),
        (
            tree("  0000000000000000-ffffffffffffffff (prio 0, io): x"),
            3,
            46,
            "a type",
            "io)",
        ),
        (
            tree("  0000000000000000-ffffffffffffffff (prio 0, ram) x"),
            3,
            49,
            "`): `",
            ") x",
        ),
        (
            tree("  0000000000000000-ffff"),
            3,
            24,
            "an address of sixteen",
            "",
        ),
        (
            tree("   0000000000000000-ffffffffffffffff (prio 0, i/o): x"),
            3,
            3,
            "an address of sixteen",
            " 0000",
        ),
        (
            "  0000000000000000-ffffffffffffffff (prio 0, i/o): x".to_owned(),
            1,
            1,
            "a heading",
            "  0000",
        ),
        (
            format!("{TREE}> 0000000000000000-ffffffffffffffff (prio 0, i/o): x"),
            9,
            1,
            "a heading",
            "> 0000",
        ),
        (
            flat("  0000000000001000-0000000000000fff (prio 0, ram): x"),
            4,
            20,
            "not below the first",
            "0000",
        ),
        (
            flat(
                "  0000000000000000-0000000000000fff (prio 0, ram): x\n  0000000000000fff-0000000000001fff (prio 0, ram): y",
            ),
            5,
            3,
            "above the one before",
            "0000",
        ),
        (
            "FlatView #0\n AS memory, root: system\n".to_owned(),
            2,
            1,
            "an address space",
            " AS memory",
        ),
        (
            "FlatView #0\n AS \"m\", root: s\n\n".to_owned(),
            2,
            17,
            "` Root memory region: `",
            "",
        ),
        (
            "FlatView #0\n AS \"m\", root: s\n".to_owned(),
            2,
            17,
            "` Root memory region: `",
            "",
        ),
        (
            "FlatView #99999999999\n".to_owned(),
            1,
            11,
            "a decimal number",
            "99999",
        ),
        (
            flat("  Dispatch\n    Physical sections\n      #0 @x"),
            6,
            11,
            "an address of sixteen",
            "x",
        ),
        (
            flat(
                "  Dispatch\n    Physical sections\n    Nodes (9 bits per level, 6 levels) ptr=[3] skip=4\n      [0]\n\t  0       skip=3  ptr=3",
            ),
            8,
            24,
            "NIL",
            "3",
        ),
        (
            "> é address-space: x\n> address-space: y\n>   x".to_owned(),
            3,
            5,
            "an address of sixteen",
            "x",
        ),
    ] {
        let error = error(&text);
        assert_eq!((error.line, error.column), (line, column), "{error}\n{text}");
        assert!(error.expected.contains(expected), "{error}");
        assert!(
            error.found.starts_with(found) && (found.is_empty() == error.found.is_empty()),
            "{error}"
        );
    }
    assert_eq!(
        error(&tree("  0000000000000000-ffffffffffffffff (prio 0, io): x")).to_string(),
        "line 3, column 46: expected a type: ramd, romd, rom, ram or i/o (RW, R-, -W or -- before QEMU 2.9), found \"io): x\""
    );
}

/// However long a line is, and whatever bytes are in it.
#[test]
fn a_stream_of_anything() {
    let mut bytes = b"\xff\xfe noise\n".to_vec();
    bytes.extend(vec![b'x'; 3 << 20]);
    bytes.push(b'\n');
    bytes.extend(TREE.as_bytes());
    let texts: Vec<_> = Reader::new(&bytes[..]).map(Result::unwrap).collect();
    assert_eq!(texts.len(), 1);
    assert_eq!(texts[0].number().get(), 3);
    assert_eq!(texts[0].parse().unwrap().unwrap().to_string(), TREE);
}

/// The numbers of lines are those of the file.
#[test]
fn lines_are_counted_through() {
    let machine = Corpus::packed().machine("x86-pc-tcg-smp1-reset").unwrap();
    let text = machine.texts.mtree.unwrap();
    let around = format!("one\ntwo\n\n{text}\nbetween\n\n{FLAT}");
    let texts: Vec<_> = Reader::new(around.as_bytes()).map(Result::unwrap).collect();
    let last = texts[1].parse().unwrap().unwrap();
    let first = texts[0].parse().unwrap().unwrap();
    let lines: Vec<&str> = around.lines().collect();
    for line in first.tree().unwrap().lines() {
        assert_eq!(lines[line.number as usize - 1], line.to_string());
    }
    for range in last.flat().unwrap().views.iter().flat_map(|view| &view.ranges) {
        assert_eq!(lines[range.number as usize - 1], range.to_string());
    }
}
