//! `docs/rules.md` is complete, and names tests that exist.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The groups of the reference, and how many rules each has. C28 and C29 were never given.
const GROUPS: [(char, usize); 23] = [
    ('A', 28),
    ('B', 23),
    ('C', 41),
    ('D', 12),
    ('E', 14),
    ('F', 17),
    ('G', 10),
    ('H', 9),
    ('I', 15),
    ('J', 11),
    ('K', 26),
    ('L', 25),
    ('M', 12),
    ('N', 12),
    ('O', 19),
    ('P', 29),
    ('Q', 30),
    ('R', 15),
    ('S', 13),
    ('T', 8),
    ('V', 4),
    ('W', 17),
    ('Y', 7),
];
const NEVER_GIVEN: [&str; 2] = ["C28", "C29"];
const LATER: [&str; 5] = ["part 3", "part 4", "PC", "KVM", "hotplug"];

struct Row {
    line: usize,
    rule: String,
    words: String,
    status: String,
    tests: Vec<String>,
    proof: String,
}

impl Row {
    /// A row of a table of rules; `None` for every other line.
    fn parse(line: usize, text: &str) -> Option<Row> {
        let cells = text.strip_prefix("| ")?.strip_suffix(" |")?;
        let cells: Vec<&str> = cells.split(" | ").collect();
        let (group, number) = cells[0].split_at_checked(1)?;
        let is_rule =
            group.chars().all(|letter| letter.is_ascii_uppercase()) && number.parse::<usize>().is_ok();
        if !is_rule {
            return None;
        }
        let [rule, words, status, proof] = cells[..] else {
            panic!("docs/rules.md:{line}: {} cells instead of 4: {text}", cells.len());
        };
        Some(Row {
            line,
            rule: rule.to_owned(),
            words: words.to_owned(),
            status: status.to_owned(),
            tests: proof.split('`').skip(1).step_by(2).map(str::to_owned).collect(),
            proof: proof.to_owned(),
        })
    }

    /// What is wrong with the row by itself.
    fn complaint(&self) -> Option<String> {
        if self.words.split_whitespace().count() > 14 {
            return Some("says more than the rule in a few words".to_owned());
        }
        let listed = self
            .tests
            .iter()
            .map(|test| format!("`{test}`"))
            .collect::<Vec<_>>();
        match (&self.tests[..], self.proof.as_str()) {
            ([], "–" | "no test yet") => {}
            ([], other) => return Some(format!("names no test, nor says so: {other:?}")),
            (_, proof) if proof == listed.join(", ") => {}
            (_, proof) => return Some(format!("is no list of tests: {proof}")),
        }
        let status = self.status.as_str();
        let (holds, rest) = if let Some(rest) = status.strip_prefix("as QEMU") {
            let goes_on = rest.is_empty() || rest.starts_with([':', ';', ',']);
            (true, goes_on.then_some(rest))
        } else if let Some(how) = status.strip_prefix("better: ") {
            (true, Some(how))
        } else if let Some(part) = status.strip_prefix("open: ") {
            let known = LATER.iter().any(|later| part.starts_with(later));
            (false, known.then_some(part))
        } else {
            (false, status.strip_prefix("declined: "))
        };
        match rest {
            None => Some(format!("has no such status: {status:?}")),
            Some(_) if holds && self.proof == "–" => {
                Some("holds but is proved nowhere: name a test, or say `no test yet`".to_owned())
            }
            Some(_) => None,
        }
    }
}

/// A module, as a file and what its children's paths begin with.
struct Module {
    file: PathBuf,
    children: PathBuf,
    text: String,
}

impl Module {
    fn read(file: PathBuf, is_root: bool) -> Option<Module> {
        let text = fs::read_to_string(&file).ok()?;
        let parent = file.parent()?;
        let children = match is_root || file.ends_with("mod.rs") {
            true => parent.to_path_buf(),
            false => parent.join(file.file_stem()?),
        };
        Some(Module { file, children, text })
    }

    /// The root module of a target.
    fn of_target(crate_root: &Path, target: &str) -> Option<Module> {
        let files = match target {
            "lib" => vec!["src/lib.rs".to_owned()],
            _ => vec![format!("tests/{target}.rs"), format!("tests/{target}/main.rs")],
        };
        files
            .into_iter()
            .find_map(|file| Module::read(crate_root.join(file), true))
    }

    /// A module that is declared in this one: in another file, or in this one.
    fn child(&self, name: &str) -> Option<Module> {
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        if lines.contains(&format!("mod {name} {{").as_str()) {
            return Some(Module {
                file: self.file.clone(),
                children: self.children.join(name),
                text: self.text.clone(),
            });
        }
        let declared = lines.iter().position(|line| {
            line.strip_suffix(';')
                .and_then(|line| line.split_whitespace().next_back())
                == Some(name)
                && (line.starts_with("mod ") || line.starts_with("pub mod "))
        })?;
        let path = lines[..declared]
            .iter()
            .rev()
            .take_while(|line| line.starts_with("#["))
            .find_map(|line| line.strip_prefix("#[path = \"")?.strip_suffix("\"]"));
        match path {
            Some(path) => Module::read(self.file.parent()?.join(path), false),
            None => [format!("{name}.rs"), format!("{name}/mod.rs")]
                .iter()
                .find_map(|file| Module::read(self.children.join(file), false)),
        }
    }

    /// Whether there is a function of this name with `#[test]`.
    fn has_test(&self, name: &str) -> bool {
        let lines: Vec<&str> = self.text.lines().map(str::trim).collect();
        lines.iter().enumerate().any(|(index, line)| {
            line.strip_prefix("fn ")
                .and_then(|line| line.strip_prefix(name))
                .is_some_and(|line| line.starts_with('('))
                && lines[..index]
                    .iter()
                    .rev()
                    .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
                    .any(|line| *line == "#[test]")
        })
    }
}

/// Why there is no such test, if there is none.
fn missing(crate_root: &Path, test: &str) -> Option<String> {
    let path: Vec<&str> = test.split("::").collect();
    let [target, modules @ .., name] = &path[..] else {
        return Some("is no path".to_owned());
    };
    // A test of another crate: `pc/golden::a_test` is of flatview-pc.
    let (crate_root, target) = match target.split_once('/') {
        Some((other, target)) => (crate_root.join(format!("../flatview-{other}")), target),
        None => (crate_root.to_path_buf(), *target),
    };
    let Some(mut module) = Module::of_target(&crate_root, target) else {
        return Some(format!("there is no target `{target}`"));
    };
    for child in modules {
        match module.child(child) {
            Some(found) => module = found,
            None => return Some(format!("no module `{child}` in {}", module.file.display())),
        }
    }
    (!module.has_test(name)).then(|| format!("no #[test] fn {name} in {}", module.file.display()))
}

fn rows(crate_root: &Path) -> Vec<Row> {
    let text = fs::read_to_string(crate_root.join("../../docs/rules.md")).unwrap();
    let lines = (1..).zip(text.lines());
    lines.filter_map(|(line, text)| Row::parse(line, text)).collect()
}

#[test]
fn every_rule_has_one_row_and_every_test_named_exists() {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut wrong = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows(crate_root) {
        let mut complain = |what: String| {
            wrong.push(format!("docs/rules.md:{}: {}: {what}", row.line, row.rule));
        };
        if let Some(first) = seen.insert(row.rule.clone(), row.line) {
            complain(format!("has a row in line {first} already"));
        }
        row.complaint().into_iter().for_each(&mut complain);
        for test in &row.tests {
            if let Some(why) = missing(crate_root, test) {
                complain(format!("`{test}`: {why}"));
            }
        }
    }
    for (group, last) in GROUPS {
        for number in 1..=last {
            let rule = format!("{group}{number}");
            if seen.remove(&rule).is_none() && !NEVER_GIVEN.contains(&rule.as_str()) {
                wrong.push(format!("docs/rules.md: {rule} has no row"));
            }
        }
    }
    for (rule, line) in seen {
        wrong.push(format!("docs/rules.md:{line}: there is no rule {rule}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_test_that_does_not_exist_is_missed() {
    let crate_root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_missing = |test| missing(crate_root, test).is_some();
    for there in [
        "rules_table::a_test_that_does_not_exist_is_missed",
        "property::directed::a_mapped_region_can_be_a_root",
        "property::tiny_views_are_what_each_byte_says",
        "listeners::joining::f15_nobody_joins_within_an_update",
        "lib::view::chunks::tests::the_last_byte_of_the_space_is_found",
        "lib::mtree::tests::a16_a17_ends",
        "pc/golden::with_64_mib",
        "pc/lib::layout::test::ram_is_split_as_qemu_splits_it",
    ] {
        assert!(!is_missing(there), "{:?}", missing(crate_root, there));
    }
    for not_there in [
        "rules_table",
        "rules_table::missing",
        "rules_table::a_test_that_does_not_exist",
        "rules_nothing::a_test_that_does_not_exist_is_missed",
        "property::a_mapped_region_can_be_a_root",
        "lib::view::tests::the_last_byte_of_the_space_is_found",
        "pc/golden::nothing",
        "nothing/golden::with_64_mib",
    ] {
        assert!(is_missing(not_there), "{not_there}");
    }
}

#[test]
fn a_row_that_claims_without_proof_is_seen_through() {
    let complaint = |text| Row::parse(1, text).unwrap().complaint();
    assert_eq!(complaint("| A1 | words | as QEMU | `target::test` |"), None);
    assert_eq!(
        complaint("| A1 | words | as QEMU; the rest open: part 3 | `a::b`, `c::d` |"),
        None
    );
    assert_eq!(complaint("| A1 | words | better: much | no test yet |"), None);
    assert_eq!(complaint("| A1 | words | open: part 4 | – |"), None);
    assert_eq!(complaint("| A1 | words | declined: no | – |"), None);
    for bad in [
        "| A1 | words | as QEMU | – |",
        "| A1 | words | better: much | – |",
        "| A1 | words | as QEMU | some test |",
        "| A1 | words | as QEMU | `a::b` and `c::d` |",
        "| A1 | words | as QEMUs | `a::b` |",
        "| A1 | words | declined | – |",
        "| A1 | words | open: some day | – |",
        "| A1 | a b c d e f g h i j k l m n o | declined: no | – |",
    ] {
        assert!(complaint(bad).is_some(), "{bad}");
    }
}
