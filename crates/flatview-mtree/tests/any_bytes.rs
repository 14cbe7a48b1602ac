//! Any bytes: no panic, and an error or a machine that can be rendered, laid out and printed.
//!
//! Inputs are real lines that were mixed, cut and changed, small trees of every shape, and plain bytes. How many are
//! tried, `PROPTEST_CASES` says.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::sync::OnceLock;

use flatview_corpus::Corpus;
use flatview_mtree::check::check;
use flatview_mtree::machine::{Grouping, Machine, combine};
use flatview_mtree::text::{Dump, Reader, parse};
use proptest::prelude::*;
use proptest::sample::Index;

/// All that is done with a dump, on any bytes.
fn swallow(bytes: &[u8]) {
    let whole = String::from_utf8_lossy(bytes);
    let at_once = parse(&whole);
    let one_by_one: Vec<_> = Reader::new(whole.as_bytes()).map(Result::unwrap).collect();
    let read: Result<Vec<Dump<'_>>, _> = one_by_one
        .iter()
        .map(|text| text.parse().map(Option::unwrap))
        .collect();
    match (&at_once, &read) {
        (Ok(dumps), Ok(read)) => assert_eq!(dumps, read, "a stream is read as a text is"),
        (Err(error), Err(other)) => assert_eq!(error, other, "and has the same error"),
        other => panic!("{other:?}"),
    }
    let Ok(dumps) = at_once else {
        return;
    };
    for dump in &dumps {
        let printed = dump.to_string();
        let again = parse(&printed).unwrap();
        assert_eq!(again.iter().map(Dump::to_string).collect::<String>(), printed);
    }
    let mut grouping = Grouping::default();
    let mut machine: Vec<Dump<'_>> = Vec::new();
    for (dump, text) in dumps.into_iter().zip(&one_by_one) {
        if grouping.begins_machine(text.kind()) {
            render(&std::mem::take(&mut machine));
        }
        machine.push(dump);
    }
    render(&machine);
}

fn render(dumps: &[Dump<'_>]) {
    if let Ok(machine) = Machine::new(dumps.to_vec()) {
        for (place, space) in machine.built.spaces.iter().enumerate().take(4) {
            if let Ok(layout) = machine.layout(place) {
                assert!(layout.view.len() >= space.view().iter().count());
            }
            let range = space.view().iter().next().map_or(0, |range| range.start());
            let _ = machine
                .explain(place, range)
                .map(|explained| explained.to_string());
        }
        let _ = machine.built.memory.mtree_flat().to_string();
    }
    if let (Some(tree), Some(flat)) = combine(dumps.to_vec()) {
        let _ = check(&tree, &flat);
    }
}

/// The lines of some real machines.
fn lines() -> &'static [String] {
    static LINES: OnceLock<Vec<String>> = OnceLock::new();
    LINES.get_or_init(|| {
        let names = [
            "x86-pc-tcg-smp1-reset",
            "arm-mps2-an505",
            "alpha-clipper-overflow",
            "rnd-pc-bridges-s500-n15",
        ];
        let mut lines = Vec::new();
        for name in names {
            let texts = Corpus::packed().machine(name).unwrap().texts;
            for text in [texts.mtree, texts.mtree_do_upper, texts.mtree_fd]
                .into_iter()
                .flatten()
            {
                lines.extend(text.lines().map(str::to_owned));
            }
        }
        lines
    })
}

#[derive(Clone, Debug)]
enum Edit {
    Delete(Index, usize),
    Repeat(Index, usize),
    Move(Index, Index, usize),
    Byte(Index, Index, u8),
    Insert(Index, Index),
    Deeper(Index),
    Cut(Index, Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        (at(), 1..20_usize).prop_map(|(at, count)| Edit::Delete(at, count)),
        (at(), 1..20_usize).prop_map(|(at, count)| Edit::Repeat(at, count)),
        (at(), at(), 1..20_usize).prop_map(|(from, to, count)| Edit::Move(from, to, count)),
        (
            at(),
            at(),
            prop_oneof![Just(b'0'), Just(b'f'), Just(b' '), Just(b'1'), any::<u8>()]
        )
            .prop_map(|(line, at, byte)| Edit::Byte(line, at, byte)),
        (at(), at()).prop_map(|(at, line)| Edit::Insert(at, line)),
        at().prop_map(Edit::Deeper),
        (at(), at()).prop_map(|(line, at)| Edit::Cut(line, at)),
    ]
}

/// A real dump after some edits.
fn edited(first: Index, count: usize, edits: &[Edit]) -> Vec<u8> {
    let all = lines();
    let first = first.index(all.len());
    let mut lines: Vec<Vec<u8>> = all[first..]
        .iter()
        .take(count)
        .map(|line| line.clone().into_bytes())
        .collect();
    for edit in edits {
        if lines.is_empty() {
            break;
        }
        let len = lines.len();
        match *edit {
            Edit::Delete(at, count) => {
                let at = at.index(len);
                lines.drain(at..(at + count).min(len));
            }
            Edit::Repeat(at, count) => {
                let at = at.index(len);
                let again = lines[at..(at + count).min(len)].to_vec();
                lines.splice(at..at, again);
            }
            Edit::Move(from, to, count) => {
                let from = from.index(len);
                let moved: Vec<_> = lines.drain(from..(from + count).min(len)).collect();
                let to = to.index(lines.len() + 1);
                lines.splice(to..to, moved);
            }
            Edit::Byte(line, at, byte) => {
                let line = &mut lines[line.index(len)];
                if !line.is_empty() {
                    let at = at.index(line.len());
                    line[at] = byte;
                }
            }
            Edit::Insert(at, line) => {
                lines.insert(at.index(len), all[line.index(all.len())].clone().into_bytes());
            }
            Edit::Deeper(at) => {
                let line = &mut lines[at.index(len)];
                line.splice(0..0, *b"  ");
            }
            Edit::Cut(line, at) => {
                let line = &mut lines[line.index(len)];
                line.truncate(at.index(line.len() + 1));
            }
        }
    }
    lines.join(&b'\n')
}

/// A tree in which everything meets: few names, few addresses, any indentation.
fn small_tree() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("a"),
        Just("b"),
        Just("pci"),
        Just(""),
        Just("x y [disabled]"),
        Just("alias q @a")
    ];
    let number = prop_oneof![
        0..8_u64,
        Just(0x1000),
        Just(u64::MAX),
        Just(u64::MAX - 1),
        any::<u64>()
    ];
    let line = (
        1..5_usize,
        number.clone(),
        number.clone(),
        -1..2_i32,
        name.clone(),
        0..12_u8,
        name,
        number,
    );
    let line = line.prop_map(|(level, start, size, priority, name, kind, target, offset)| {
        let indent = "  ".repeat(level);
        let last = start.wrapping_add(size);
        let kind_name = ["ram", "rom", "romd", "ramd", "i/o", "nv-ram"][usize::from(kind % 6)];
        let range = format!("{indent}{start:016x}-{last:016x} (prio {priority}, {kind_name}): ");
        let end = offset.wrapping_add(size);
        match kind {
            0..6 => format!("{range}{name}\n"),
            6 => format!("{range}{name} [disabled]\n"),
            7 => format!("[DETECTED OVERFLOW!] {range}{name}\n"),
            _ => format!("{range}alias {name} @{target} {offset:016x}-{end:016x}\n"),
        }
    });
    let heading = prop_oneof![
        Just("address-space: memory\n"),
        Just("address-space: x\n"),
        Just("memory-region: a\n"),
        Just("memory-region: b\n"),
        Just("\n")
    ];
    let item = prop_oneof![6 => line, 2 => heading.prop_map(|heading| format!("\n{heading}"))];
    proptest::collection::vec(item, 0..40)
        .prop_map(|items| format!("address-space: memory\n{}", items.concat()))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edited_dumps((first, count) in (any::<Index>(), 1..600_usize), edits in proptest::collection::vec(edit(), 0..12)) {
        swallow(&edited(first, count, &edits));
    }

    #[test]
    fn small_trees(text in small_tree()) {
        swallow(text.as_bytes());
    }

    #[test]
    fn plain_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        swallow(&bytes);
    }
}

/// Two aliases a level, sixty levels deep, are 2^60 ranges; the text is small.
#[test]
fn what_explodes_is_an_error() {
    let mut text =
        String::from("address-space: memory\n  0000000000000000-ffffffffffffffff (prio 0, i/o): l0\n");
    let mut regions = String::new();
    for level in 0..60 {
        let size = 1_u64 << (61 - level);
        let aliases: String = [0, size]
            .map(|at| {
                let last = at + (size - 1);
                let (target, end) = (level + 1, size - 1);
                format!(
                    "    {at:016x}-{last:016x} (prio 0, ram): alias a @l{target} {:016x}-{end:016x}\n",
                    0
                )
            })
            .concat();
        if level == 0 {
            text.push_str(&aliases);
        } else {
            let last = size * 2 - 1;
            regions.push_str(&format!(
                "memory-region: l{level}\n  {:016x}-{last:016x} (prio 0, i/o): l{level}\n{aliases}\n",
                0
            ));
        }
    }
    regions.push_str("memory-region: l60\n  0000000000000000-0000000000000003 (prio 0, ram): l60\n");
    text = format!("{text}\n{regions}");
    let error = Machine::new(parse(&text).unwrap()).unwrap_err();
    assert!(
        matches!(
            error,
            flatview_mtree::Error::Rendering(flatview::Error::RenderingTooLarge { .. })
        ),
        "{error}"
    );
}
