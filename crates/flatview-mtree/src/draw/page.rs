//! The page: all drawings, and what it takes to look around in them.

use std::fmt;

use super::Options;
use super::legend;
use super::paint::{self, Form, Painter};
use super::text::{Escaped, first};
use crate::layout::Layout;

const DRAWING_STYLE: &str = include_str!("drawing.css");
const STYLE: &str = include_str!("page.css");
const SPACE: &str = include_str!("space.js");
const SCRIPT: &str = include_str!("page.js");
const CONTROLS: &str = include_str!("controls.html");

/// Before anything is drawn, or a browser would draw all spaces only to hide them.
const EARLY: &str = "<script>document.documentElement.classList.add('scripted')</script>";

/// Nothing may be fetched, whatever a name in a dump tries.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

/// The page of a machine.
///
/// The script reads everything from the drawings, so no text of a dump ever stands in it.
#[derive(Debug)]
pub(super) struct Page<'a> {
    pub(super) layouts: &'a [Layout],
    pub(super) options: &'a Options,
}

impl fmt::Display for Page<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self
            .layouts
            .iter()
            .filter_map(|layout| layout.spaces.first())
            .take(3)
            .map(|name| first(name, 40))
            .collect();
        let title = format!("Memory map: {}", names.join(", "));
        writeln!(
            f,
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">"
        )?;
        writeln!(
            f,
            r#"<meta http-equiv="Content-Security-Policy" content="{POLICY}">"#
        )?;
        writeln!(
            f,
            r#"<meta name="viewport" content="width=device-width, initial-scale=1">"#
        )?;
        writeln!(f, r#"<meta name="color-scheme" content="light dark">"#)?;
        writeln!(f, "<title>{}</title>", Escaped(&title))?;
        writeln!(
            f,
            "<style>\n{DRAWING_STYLE}{STYLE}</style>\n{EARLY}\n</head>\n<body>"
        )?;
        writeln!(
            f,
            r#"<header><label class="only-scripted">Space <select id="space">"#
        )?;
        for (index, layout) in self.layouts.iter().enumerate() {
            let title = paint::title(layout);
            writeln!(f, r#"<option value="{index}">{}</option>"#, Escaped(&title))?;
        }
        writeln!(f, "</select></label>\n{CONTROLS}</header>")?;
        self.legend(f)?;
        writeln!(
            f,
            r#"<main id="stage" aria-label="the drawing" aria-describedby="keys">"#
        )?;
        if self.layouts.is_empty() {
            writeln!(f, "<p>There is no address space.</p>")?;
        }
        // The order of a dump is that of a hash table; everybody looks at this one first.
        let main = |layout: &Layout| layout.spaces.iter().any(|name| name == "memory");
        let main = self.layouts.iter().position(main);
        for (index, layout) in self.layouts.iter().enumerate() {
            let first = if main == Some(index) { " first" } else { "" };
            writeln!(f, r#"<section class="space{first}">"#)?;
            Painter::new(layout, self.options).write(f, Form::Page)?;
            writeln!(f, "</section>")?;
        }
        writeln!(f, "</main>")?;
        writeln!(
            f,
            r#"<svg id="map" class="flatview only-scripted" preserveAspectRatio="none" aria-hidden="true"></svg>"#
        )?;
        writeln!(
            f,
            r#"<aside id="details" class="only-scripted" aria-live="polite"></aside>"#
        )?;
        writeln!(
            f,
            "<script>\n(() => {{\n'use strict';\n{SPACE}\n{SCRIPT}}})();\n</script>\n</body>\n</html>"
        )
    }
}

impl Page<'_> {
    fn legend(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The hatches of all drawings come from here, so this one must not vanish with what folds away.
        writeln!(
            f,
            r#"<svg class="flatview hatches" width="0" height="0" aria-hidden="true">{}</svg>"#,
            paint::HATCHES
        )?;
        write!(f, r#"<ul class="legend">"#)?;
        for (class, name) in legend::ENTRIES {
            write!(
                f,
                r#"<li><svg class="flatview" width="26" height="18" viewBox="-1 -1 26 18" aria-hidden="true">"#
            )?;
            legend::swatch(f, class, 0, 0)?;
            write!(f, "</svg>{name}</li>")?;
        }
        writeln!(f, "</ul>")
    }
}
