//! The page, in a browser: what the script makes of it.
//!
//! Needs Chromium without a window (Debian: `chromium-headless-shell` or `chromium`, or any in
//! `FLATVIEW_CHROMIUM`). Where there is none, the tests say so and pass.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

mod sample;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use flatview_mtree::draw::{Options, html};
use flatview_mtree::layout::{Kind, Layout};
use sample::{Machine, pc};
use tempfile::TempDir;

/// A browser that hangs must not hang the tests.
const PATIENCE: Duration = Duration::from_secs(90);

struct Page {
    folder: TempDir,
    browser: PathBuf,
}

impl Page {
    fn of(layouts: &[Layout]) -> Option<Page> {
        Page::with_hands(layouts, "")
    }

    /// A page that somebody uses: what `hands` does, in JavaScript, after the page's own script has run.
    fn with_hands(layouts: &[Layout], hands: &str) -> Option<Page> {
        let Some(browser) = browser() else {
            // Not `eprintln`: of a test that passes, nobody would see it.
            let _ = writeln!(
                io::stderr(),
                "!!! NO CHROMIUM HERE: the page is NOT tested. Install chromium-headless-shell."
            );
            return None;
        };
        let folder = TempDir::new().unwrap();
        let page = html(layouts, &Options::default()) + &format!("<script>{hands}</script>");
        fs::write(folder.path().join("page.html"), page).unwrap();
        Some(Page { folder, browser })
    }

    /// The document after the script has run; `fragment` is what stands behind `#` in the page's address.
    fn document(&self, fragment: &str) -> String {
        self.run(fragment, &["--dump-dom"]);
        fs::read_to_string(self.folder.path().join("stdout")).unwrap()
    }

    fn picture(&self, fragment: &str, path: &Path) {
        self.run(fragment, &[&format!("--screenshot={}", path.display())]);
    }

    fn run(&self, fragment: &str, arguments: &[&str]) {
        let folder = self.folder.path();
        let output = |name| Stdio::from(File::create(folder.join(name)).unwrap());
        let mut child = Command::new(&self.browser)
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--hide-scrollbars",
                "--no-first-run",
            ])
            .args([
                "--window-size=1500,800",
                "--virtual-time-budget=3000",
                "--timeout=60000",
            ])
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .args(arguments)
            .arg(format!(
                "file://{}#{fragment}",
                folder.join("page.html").display()
            ))
            .stdin(Stdio::null())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .unwrap();
        let begin = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if begin.elapsed() > PATIENCE {
                child.kill().unwrap();
                child.wait().unwrap();
                panic!("the browser did not come back");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let errors = fs::read_to_string(folder.join("stderr")).unwrap();
        assert!(status.success(), "{status}: {errors}");
    }
}

fn browser() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("FLATVIEW_CHROMIUM") {
        return Some(path.into());
    }
    let names = [
        "chromium-headless-shell",
        "chromium",
        "chromium-browser",
        "google-chrome",
    ];
    let path = std::env::var_os("PATH")?;
    let folders: Vec<_> = std::env::split_paths(&path).collect();
    names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file())
}

/// The elements that have all these classes: their tags.
fn with_classes<'a>(document: &'a str, classes: &[&str]) -> Vec<&'a str> {
    document
        .split('<')
        .filter_map(|tag| Some((tag, tag.split_once("class=\"")?.1.split_once('"')?.0)))
        .filter(|(_, all)| {
            classes
                .iter()
                .all(|class| all.split(' ').any(|one| one == *class))
        })
        .map(|(tag, _)| tag)
        .collect()
}

fn between<'a>(document: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = document
        .split_once(before)
        .unwrap_or_else(|| panic!("no {before}"));
    rest.split_once(after).unwrap_or_else(|| panic!("no {after}")).0
}

#[test]
fn a_name_is_found_in_all_spaces() {
    let Some(page) = Page::of(&pc()) else { return };
    let document = page.document("search=vga");
    assert_eq!(
        between(&document, "<output id=\"count\" for=\"query\">", "<"),
        "1 of 15"
    );
    let hits = with_classes(&document, &["node", "hit"]);
    assert_eq!(hits.len(), 15);
    assert!(hits.iter().all(|tag| tag.contains("vga")), "{hits:?}");
    assert_eq!(with_classes(&document, &["node", "hit", "now"]).len(), 1);
    let details = between(&document, "<aside", "</aside>");
    assert!(details.contains("<h2>vga-lowmem</h2>"), "{details}");
    assert!(details.contains("i/o, 0xa0000-0xbffff (128 KiB)"), "{details}");
    assert!(details.contains("in system › smram-region"), "{details}");
    // What answers is lit from the flat view down to the box.
    for place in ["piece", "node", "io"] {
        assert!(!with_classes(&document, &[place, "lit"]).is_empty(), "{place}");
    }
}

#[test]
fn an_address_is_marked_and_told() {
    let Some(page) = Page::of(&pc()) else { return };
    let document = page.document("search=0xa1234");
    assert_eq!(with_classes(&document, &["marker"]).len(), 1);
    let details = between(&document, "<aside", "</aside>");
    assert!(details.contains("flat view, 0xa0000-0xbffff"), "{details}");
    let way = with_classes(&document, &["node", "hit", "alias"]);
    assert!(way.iter().any(|tag| tag.contains("smram-region")), "{way:?}");
    assert!(
        way.iter().any(|tag| tag.contains("ram-below-4g")),
        "what is behind it, too: {way:?}"
    );
}

#[test]
fn a_space_is_chosen() {
    let Some(page) = Page::of(&pc()) else { return };
    let document = page.document("space=1");
    let shown = with_classes(&document, &["space", "on"]);
    assert_eq!(shown.len(), 1);
    assert_eq!(
        with_classes(&document, &["space"])
            .iter()
            .position(|tag| *tag == shown[0]),
        Some(1)
    );
    let lens = with_classes(&document, &["lens"]);
    assert_eq!(lens.len(), 1, "the overview shows where we are");
}

#[test]
fn hands_zoom_move_point_and_turn() {
    let hands = r#"
        const stage = document.getElementById('stage');
        const report = [];
        const shown = () => document.querySelector('.space.on > svg');
        const box = () => shown().getAttribute('viewBox').split(' ').map(Number);
        const key = key => stage.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
        const note = (what, right) => report.push(what + ':' + right);
        let before = box();
        key('+');
        note('plus', box()[2] < before[2]);
        key('-');
        note('minus', Math.abs(box()[2] - before[2]) < 1);
        stage.dispatchEvent(new WheelEvent('wheel', { deltaY: -500, clientX: 10, clientY: 300, bubbles: true, cancelable: true }));
        note('wheel', box()[2] < before[2]);
        before = box();
        key('ArrowRight');
        note('right', box()[0] > before[0]);
        before = box();
        const hand = (type, clientX) => stage.dispatchEvent(new PointerEvent(type, { clientX, clientY: 300, pointerId: 1, bubbles: true }));
        stage.setPointerCapture = () => {};
        hand('pointerdown', 500); hand('pointermove', 450); hand('pointerup', 450);
        note('drag', box()[0] > before[0]);
        key('0');
        const hidden = shown().querySelector('.alias > .hidden');
        hidden.dispatchEvent(new PointerEvent('pointerover', { bubbles: true }));
        const details = document.getElementById('details').textContent;
        note('hidden', details.includes('hidden by vga-lowmem'));
        note('alias', details.includes('ram-below-4g → pc.ram'));
        key('s');
        note('space', document.getElementById('space').value === '1' && location.hash === '#space=1');
        key('n');
        note('next', document.getElementById('details').querySelector('h2').textContent === 'io');
        key('/');
        note('find', document.activeElement.id === 'query');
        document.title = report.join(' ');
    "#;
    let Some(page) = Page::with_hands(&pc(), hands) else {
        return;
    };
    let document = page.document("");
    assert_eq!(
        between(&document, "<title>", "</title>"),
        "plus:true minus:true wheel:true right:true drag:true hidden:true alias:true space:true next:true find:true"
    );
}

#[test]
fn of_a_large_space_only_what_is_near_is_in_the_document() {
    let mut machine = Machine::default();
    let io = machine.add(Kind::Container, "io", 0x1_0000);
    for port in 0..600 {
        let id = machine.add(Kind::Io, &format!("port{port}"), 4);
        machine.map(io, port * 64, 0, id);
    }
    let Some(page) = Page::of(&[machine.layout("I/O", io)]) else {
        return;
    };
    let document = page.document("search=port500");
    let nodes = with_classes(&document, &["node"]);
    assert!((20..300).contains(&nodes.len()), "{}", nodes.len());
    let [found] = with_classes(&document, &["node", "now"])[..] else {
        panic!()
    };
    assert!(found.contains("port500"));
    assert!(nodes.iter().any(|tag| tag.contains("port501")));
    assert!(!nodes.iter().any(|tag| tag.contains("port100\"")));
}

#[test]
fn hostile_names_do_nothing() {
    let name = "</script><script>document.title='evil'</script><img src=x onerror=\"document.title='evil'\">";
    let mut machine = Machine::default();
    let root = machine.add(Kind::Container, name, 0x1000);
    let ram = machine.add(Kind::Ram, name, 0x100);
    machine.map(root, 0, 0, ram);
    let Some(page) = Page::of(&[machine.layout(name, root)]) else {
        return;
    };
    let document = page.document("search=%3Cimg");
    assert_eq!(document.matches("<script").count(), 3);
    assert!(!document.contains("<img"));
    assert!(!document.contains("<title>evil"));
    let details = between(&document, "<aside", "</aside>");
    assert!(details.contains("&lt;img src=x"), "{details}");
}

#[test]
fn a_picture_of_it_is_no_empty_one() {
    let Some(page) = Page::of(&pc()) else { return };
    let path = page.folder.path().join("page.png");
    page.picture("search=vga", &path);
    let png = fs::read(path).unwrap();
    assert!(png.starts_with(b"\x89PNG"));
    // A blank one takes 6 KB.
    assert!(png.len() > 30_000, "{}", png.len());
}
