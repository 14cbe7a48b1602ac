//! Drawings of machines built by hand, and of layouts that no machine has.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may fail"
)]

mod sample;

use flatview::AddressRange;
use flatview::Size;
use flatview::explain::Span;
use flatview_mtree::draw::{Drawing, Options, html, svg};
use flatview_mtree::layout::{AliasOf, Hidden, Kind, Layout, Placement, Seen};
use proptest::prelude::*;
use roxmltree::{Document, Node};
use sample::{Machine, pc};

/// What no dump should have in it, and every dump may.
const HOSTILE: &str = "</script></title><b id='evil'>\"&amp;\u{1}\n\u{202e}]]>";

fn parse(svg: &str) -> Document<'_> {
    Document::parse(svg).unwrap_or_else(|error| panic!("{error} in\n{svg}"))
}

fn has_class(node: Node<'_, '_>, class: &str) -> bool {
    node.attribute("class")
        .is_some_and(|classes| classes.split(' ').any(|one| one == class))
}

/// The box of that name, counted from the front of the document.
fn named<'a>(document: &'a Document<'_>, name: &str) -> Vec<Node<'a, 'a>> {
    document
        .descendants()
        .filter(|node| node.attribute("data-name") == Some(name))
        .collect()
}

fn part<'a>(node: Node<'a, 'a>, class: &str) -> Vec<Node<'a, 'a>> {
    node.children().filter(|child| has_class(*child, class)).collect()
}

fn number(node: Node<'_, '_>, attribute: &str) -> u64 {
    node.attribute(attribute).unwrap().parse().unwrap()
}

fn title<'a>(node: Node<'a, 'a>) -> &'a str {
    let title = node.children().find(|child| child.has_tag_name("title"));
    title.and_then(|title| title.text()).unwrap()
}

fn small() -> Layout {
    let mut machine = Machine::default();
    let bus = machine.add(Kind::Container, "bus", 0x1_0000);
    let ram = machine.add(Kind::Ram, "ram", 0x8000);
    let flash = machine.add(Kind::RomDevice, "flash", 0x2000);
    let shadow = machine.alias("shadow", 0x1000, flash, 0x1000);
    let port = machine.add(Kind::Io, "port", 1);
    machine.map(bus, 0, 0, ram);
    machine.map(bus, 0x7000, 1, shadow);
    machine.map(bus, 0xffff, 0, port);
    machine.layout("cpu", bus)
}

#[test]
fn a_small_space() {
    let drawing = svg(
        &small(),
        &Options {
            width: 400,
            ..Options::default()
        },
    );
    // Style and hatches are read where they are written.
    let (head, rest) = drawing.split_once("<style>").unwrap();
    let (_, body) = rest.split_once("</defs>").unwrap();
    insta::assert_snapshot!(format!("{head}{body}"));
}

#[test]
fn a_pc_tells_why_0xa0000_is_vga() {
    let layouts = pc();
    let drawing = svg(&layouts[0], &Options::default());
    let document = parse(&drawing);
    let [seen, hidden] = named(&document, "vga-lowmem")[..] else {
        panic!()
    };
    let [smram] = named(&document, "smram-region → pci")[..] else {
        panic!()
    };
    let [ram] = named(&document, "ram-below-4g → pc.ram")[..] else {
        panic!()
    };
    // In front is higher up.
    let top = |node| number(part(node, "base")[0], "y");
    assert!(top(smram) < top(seen), "the frame is around what it shows");
    assert!(top(seen) < top(ram));
    assert!(top(ram) < top(hidden));
    assert_eq!(part(seen, "seen").len(), 1);
    assert_eq!(part(hidden, "seen").len(), 0);
    assert_eq!(part(ram, "seen").len(), 2, "RAM is seen on both sides of it");
    assert!(title(part(ram, "hidden")[0]).ends_with("hidden by vga-lowmem"));
    assert!(
        title(ram).contains("hidden at 0xa0000-0xbffff by vga-lowmem"),
        "{}",
        title(ram)
    );
    assert!(
        title(smram).contains("its byte 0 is byte 0xa0000 of pci"),
        "{}",
        title(smram)
    );
}

#[test]
fn siblings_that_share_no_address_share_a_row() {
    let layouts = pc();
    let drawing = svg(&layouts[1], &Options::default());
    let document = parse(&drawing);
    let row = |name| number(part(named(&document, name)[0], "base")[0], "y");
    assert_eq!(row("pcspk"), row("vmport"));
    assert!(
        row("piix3-reset-control") < row("pci-conf-idx"),
        "it is in front of that"
    );
}

#[test]
fn every_drawing_is_xml() {
    for layout in pc() {
        for disabled in [false, true] {
            let options = Options {
                disabled,
                ..Options::default()
            };
            let drawing = svg(&layout, &options);
            parse(&drawing);
            assert_eq!(drawing, svg(&layout, &options), "it is the same each time");
        }
    }
}

#[test]
fn what_is_disabled_is_drawn_only_if_asked_for() {
    let layouts = pc();
    let disabled = Options {
        disabled: true,
        ..Options::default()
    };
    for (options, number) in [(Options::default(), 0), (disabled, 1)] {
        let drawing = svg(&layouts[0], &options);
        let document = parse(&drawing);
        let boxes = named(&document, "pam-ram → pc.ram");
        assert_eq!(boxes.len(), number);
        assert!(boxes.into_iter().all(|pam| has_class(pam, "disabled")));
    }
}

#[test]
fn a_range_is_drawn_without_the_rest() {
    let layouts = pc();
    let only = AddressRange::from_bounds(0xa_0000, 0xf_ffff);
    let options = Options {
        only,
        ..Options::default()
    };
    let drawing = svg(&layouts[0], &options);
    let document = parse(&drawing);
    assert!(named(&document, "hpet").is_empty());
    let at: Vec<_> = document
        .descendants()
        .filter_map(|node| node.attribute("data-at"))
        .collect();
    assert!(at.contains(&"a0000-fffff"), "{at:?}");
    assert!(
        !drawing.contains("2^64"),
        "the address line ends where the range does"
    );
}

#[test]
fn hostile_names_stay_names() {
    let mut machine = Machine::default();
    let root = machine.add(Kind::Container, HOSTILE, 1 << 64);
    let ram = machine.add(Kind::Ram, HOSTILE, 0x1000);
    let alias = machine.alias(HOSTILE, 0x1000, ram, 0);
    let cover = machine.add(Kind::Io, HOSTILE, 0x10);
    machine.map(root, 0, 0, alias);
    machine.map(root, 0x10, 1, cover);
    let layout = machine.layout(HOSTILE, root);

    let drawing = svg(&layout, &Options::default());
    let document = parse(&drawing);
    let elements = [
        "svg", "style", "defs", "pattern", "rect", "path", "g", "text", "tspan", "title",
    ];
    for node in document.descendants().filter(Node::is_element) {
        assert!(
            elements.contains(&node.tag_name().name()),
            "{:?}",
            node.tag_name()
        );
    }
    let shown = "</script></title><b id='evil'>\"&amp;\u{2401}\u{240a}\u{fffd}]]>";
    assert_eq!(
        named(&document, shown).len(),
        2,
        "as it was, but for what XML cannot say"
    );

    let page = html(&[layout], &Options::default());
    assert_eq!(page.matches("<script").count(), 2);
    assert_eq!(page.matches("</script").count(), 2);
    assert!(!page.contains("<b id="));
    assert!(!page.contains('\u{1}'));
}

#[test]
fn a_page_needs_nothing_from_outside() {
    let page = html(&pc(), &Options::default());
    for address in page.split(['"', '\'', '(']).filter(|text| text.contains("://")) {
        assert_eq!(
            address, "http://www.w3.org/2000/svg",
            "the name of SVG, which nobody fetches"
        );
    }
    assert!(!page.contains("@import") && !page.contains(" src=") && !page.contains("<link"));
    // Nothing but the hatches of the page itself.
    for reference in page.split("url(").skip(1) {
        assert!(reference.starts_with("#flatview-"), "{:.40}", reference);
    }
}

#[test]
fn nothing_is_drawn_as_nothing() {
    let nothing = Layout {
        spaces: Vec::new(),
        root: String::new(),
        placements: Vec::new(),
        view: Vec::new(),
    };
    let drawing = svg(&nothing, &Options::default());
    assert!(
        parse(&drawing)
            .descendants()
            .any(|node| node.text() == Some("Nothing is mapped here."))
    );
    assert!(html(&[], &Options::default()).contains("There is no address space."));
}

#[test]
fn a_thousand_ports_have_a_width_each_and_a_nest_has_a_floor_each() {
    let mut machine = Machine::default();
    let io = machine.add(Kind::Container, "io", 0x1_0000);
    for port in 0..1000 {
        let id = machine.add(Kind::Io, &format!("port{port}"), 4);
        machine.map(io, port * 64, 0, id);
    }
    let layout = machine.layout("I/O", io);
    let drawing = Drawing::new(&layout, &Options::default());
    assert!(drawing.width() > 40_000, "{}", drawing.width());
    assert!(drawing.height() < 300, "{}", drawing.height());
    assert!(drawing.to_string().len() < 1_500_000);

    // Deeper than any stack would bear.
    let placements = (0..50_000).map(|depth| Placement {
        parent: usize::checked_sub(depth, 1),
        depth,
        name: "nest".to_owned(),
        kind: Kind::Container,
        priority: 0,
        enabled: true,
        span: Span::new(0, Size::MAX),
        window: Some(AddressRange::ALL),
        alias: None,
        shown: Vec::new(),
        hidden: Vec::new(),
        line: None,
        node: 0,
    });
    let layout = Layout {
        spaces: vec!["deep".to_owned()],
        root: "nest".to_owned(),
        placements: placements.collect(),
        view: Vec::new(),
    };
    assert!(Drawing::new(&layout, &Options::default()).height() > 50_000 * 19);
}

fn range() -> impl Strategy<Value = AddressRange> {
    let bound = prop_oneof![0..64_u64, any::<u64>(), Just(u64::MAX)];
    (bound.clone(), bound)
        .prop_map(|(one, other)| AddressRange::from_bounds(one.min(other), one.max(other)).unwrap())
}

fn kind() -> impl Strategy<Value = Kind> {
    use Kind::*;
    prop::sample::select(vec![Container, Alias, Ram, Rom, RamDevice, RomDevice, Io])
}

fn placement() -> impl Strategy<Value = Placement> {
    let place = (prop::option::of(0..20_usize), kind(), any::<bool>(), any::<i32>());
    let span = (-(1_i128 << 72)..1 << 72, 0..=1_u128 << 64);
    let ranges = (
        prop::option::of(range()),
        prop::collection::vec(range(), 0..4),
        prop::collection::vec(range(), 0..4),
    );
    let names = ("\\PC{0,9}", prop::option::of(("\\PC{0,9}", any::<u64>())));
    (place, span, ranges, names).prop_map(
        |(place, span, (window, shown, hidden), (name, alias))| Placement {
            parent: place.0,
            depth: 0,
            name,
            kind: place.1,
            priority: place.3,
            enabled: place.2,
            span: Span::new(span.0, Size::new(span.1).unwrap()),
            window,
            alias: alias.map(|(target, offset)| AliasOf { target, offset }),
            shown,
            hidden: hidden
                .into_iter()
                .map(|range| Hidden {
                    range,
                    by: "other".to_owned(),
                })
                .collect(),
            line: None,
            node: 0,
        },
    )
}

fn seen() -> impl Strategy<Value = Seen> {
    (range(), kind(), 0..30_usize).prop_map(|(range, kind, placement)| Seen {
        range,
        region: "seen".to_owned(),
        offset: 0,
        kind,
        nonvolatile: true,
        placement,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Who looks down from the flat view meets first what answers.
    #[test]
    fn between_what_is_seen_and_the_flat_view_nobody_else_would_answer(
        regions in prop::collection::vec((kind(), 0..64_i128, 1..32_u128, -2..3_i32, any::<u16>()), 1..14),
    ) {
        let mut machine = Machine::default();
        let root = machine.add(Kind::Container, "root", 64);
        for (number, (kind, at, size, priority, with)) in regions.into_iter().enumerate() {
            let name = format!("r{number}");
            // The first so many are there already: no way leads back.
            let other = usize::from(with) % machine.0.len();
            let id = match kind {
                Kind::Alias if other != root => machine.alias(&name, size, other, u64::from(with) % 8),
                Kind::Alias => continue,
                _ => machine.add(kind, &name, size),
            };
            let parent = if [machine.0[other].kind, kind].contains(&Kind::Alias) { root } else { other };
            machine.map(parent, at % 40, priority, id);
        }
        let drawing = svg(&machine.layout("any", root), &Options::default());
        let document = parse(&drawing);
        let place = |rect: Node<'_, '_>| {
            let [x, y, width, height] = ["x", "y", "width", "height"].map(|name| number(rect, name));
            (x..x + width, y..y + height)
        };
        let answering = |node: &Node<'_, '_>| {
            let through = ["frame", "container", "lost"].iter().any(|class| has_class(*node, class));
            node.has_attribute("data-n") && has_class(*node, "node") && !through
        };
        let boxes: Vec<_> = document
            .descendants()
            .filter(answering)
            .map(|node| (node.attribute("data-n"), place(part(node, "base")[0])))
            .collect();
        let columns = document.descendants().find(|node| has_class(*node, "columns")).unwrap();
        for column in columns.children().filter(Node::is_element) {
            let (x, y) = place(column);
            for (number, (other_x, other_y)) in &boxes {
                let apart = x.end <= other_x.start || other_x.end <= x.start || other_y.start >= y.end;
                prop_assert!(apart || column.attribute("data-n") == *number, "{number:?} in\n{drawing}");
            }
        }
    }

    /// A layout promises a lot; one that keeps nothing of it is drawn as nonsense, but drawn.
    #[test]
    fn layouts_that_make_no_sense_are_drawn_all_the_same(
        placements in prop::collection::vec(placement(), 0..20),
        view in prop::collection::vec(seen(), 0..8),
        only in prop::option::of(range()),
        disabled in any::<bool>(),
    ) {
        let layout = Layout { spaces: vec!["any".to_owned()], root: "root".to_owned(), placements, view };
        let options = Options { only, disabled, width: 500 };
        let drawing = Drawing::new(&layout, &options);
        let text = drawing.to_string();
        let document = parse(&text);
        for rect in document.descendants().filter(|node| node.has_tag_name("rect")) {
            let Some(x) = rect.attribute("x") else { continue };
            let right = x.parse::<u64>().unwrap() + number(rect, "width");
            prop_assert!(right <= drawing.width());
        }
        html(&[layout], &options);
    }
}
