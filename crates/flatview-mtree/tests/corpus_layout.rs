//! Layouts of every machine of the corpus: they agree with the view.

use flatview_corpus::Corpus;
use flatview_mtree::machine::Machine;
use flatview_mtree::text::parse;

#[test]
fn what_is_shown_is_what_the_view_has() {
    for machine in &Corpus::from_env().unwrap() {
        let machine = machine.unwrap();
        let (Some(tree), Some(flat)) = (&machine.texts.mtree_d_upper, &machine.texts.mtree_f) else {
            panic!("{} has no texts", machine.name);
        };
        let mut dumps = parse(tree).unwrap();
        dumps.extend(parse(flat).unwrap());
        let rebuilt = Machine::new(dumps).unwrap();
        for (place, space) in rebuilt.graph.spaces.iter().enumerate() {
            let layout = rebuilt.layout(place).unwrap();
            let at = |what: &str| format!("{}: {what} in {}", machine.name, space.name);
            let view = rebuilt.built.spaces[place].view();
            let mut pieces = layout.view.iter().peekable();
            for range in view.iter() {
                let mut next = range.start();
                while let Some(piece) = pieces.next_if(|piece| piece.range.last() <= range.last()) {
                    assert_eq!(piece.range.start(), next, "{}", at("a gap"));
                    assert_eq!(piece.region, range.region().name(), "{}", at("another region"));
                    let offset = range.offset_in_region() + (piece.range.start() - range.start());
                    assert_eq!(piece.offset, offset, "{}", at("another byte"));
                    let placement = &layout.placements[piece.placement];
                    assert_eq!(placement.name, piece.region, "{}", at("another placement"));
                    assert!(placement.shown.contains(&piece.range), "{}", at("nothing shown"));
                    next = piece.range.last().wrapping_add(1);
                }
                assert_eq!(next, range.last().wrapping_add(1), "{}", at("an end"));
            }
            assert!(pieces.next().is_none(), "{}", at("too much"));
        }
    }
}

/// Who asks about one space gets the same answers from less.
#[test]
fn a_part_of_a_machine_shows_the_same() {
    for machine in &Corpus::from_env().unwrap() {
        let machine = machine.unwrap();
        let tree = machine.texts.mtree.as_deref().unwrap();
        let Ok(whole) = Machine::new(parse(tree).unwrap()) else {
            panic!("{} cannot be rebuilt", machine.name);
        };
        for name in ["memory", "I/O"] {
            let part = Machine::of_spaces(parse(tree).unwrap(), &[name.to_owned()]).unwrap();
            assert_eq!(part.graph.spaces.len(), 1);
            let place = whole.space(Some(name)).unwrap();
            let ranges = |machine: &Machine<'_>, place: usize| -> Vec<String> {
                let view = machine.built.spaces[place].view();
                view.iter().map(|range| format!("{range:?}")).collect()
            };
            assert_eq!(ranges(&part, 0), ranges(&whole, place), "{} {name}", machine.name);
        }
    }
}
