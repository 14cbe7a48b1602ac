use super::*;

fn asked(arguments: &[&str]) -> Option<ColorChoice> {
    asked_color(arguments.iter().map(OsString::from))
}

#[test]
fn colour_is_found_among_arguments() {
    assert_eq!(asked(&["mtree", "dump"]), None);
    assert_eq!(asked(&["--color", "never", "mtree"]), Some(ColorChoice::Never));
    assert_eq!(asked(&["mtree", "--color=always"]), Some(ColorChoice::Always));
    assert_eq!(
        asked(&["--color=always", "--color", "auto"]),
        Some(ColorChoice::Auto)
    );
    // For the parser to complain of.
    assert_eq!(asked(&["--color"]), None);
    assert_eq!(asked(&["--color=red"]), None);
    assert_eq!(asked(&["--colors=always"]), None);
}

#[test]
fn styles_can_be_taken_off() {
    let bold = Style::new().bold();
    assert_eq!(plain(&format!("a {bold}b{bold:#} c")), "a b c");
    styled("").unwrap();
}
