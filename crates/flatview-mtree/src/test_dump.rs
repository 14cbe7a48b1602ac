//! Dumps for tests, with less to write.

use std::fmt::Write;

/// The text of a tree. A line is `FIRST-LAST PRIORITY TYPE NAME` in hexadecimal without zeros in front, two spaces
/// deeper for each container; what begins with a word and a colon is a heading.
pub(crate) fn tree(short: &str) -> String {
    let mut text = String::new();
    // Spaces with one root share a group.
    let mut is_heading = true;
    for line in short.lines().filter(|line| !line.trim().is_empty()) {
        if !line.starts_with(' ') {
            let blank = if is_heading { "" } else { "\n" };
            writeln!(text, "{blank}{line}").unwrap();
            is_heading = true;
            continue;
        }
        is_heading = false;
        let body = line.trim_start();
        let indent = line.len() - body.len();
        let mut words = body.splitn(4, ' ');
        let mut next = || words.next().unwrap();
        let (first, last) = next().split_once('-').unwrap();
        let (priority, kind) = (next(), next());
        let name = next();
        writeln!(
            text,
            "{:indent$}{first:0>16}-{last:0>16} (prio {priority}, {kind}): {name}",
            ""
        )
        .unwrap();
    }
    text.push('\n');
    text
}
