//! A rendered machine beside a printed one: which spaces belong together, and where they differ.

use std::collections::HashMap;

use flatview::AddressRange;
use flatview::mtree::FlatLine;
use serde::Serialize;

use crate::graph::{Graph, NodeId, What};
use crate::rebuild::Rebuilt;
use crate::sweep::sweep;
use crate::text::{FlatDump, RangeLine, SpaceLine, View};

/// A space as it is printed and, if there is one, as it is rendered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'d, 'a> {
    pub(super) line: &'d SpaceLine<'a>,
    pub(super) view: &'d View<'a>,
    /// The place in [`Graph::spaces`].
    pub(super) space: Option<usize>,
}

/// What is at some addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The region that answers.
    pub region: String,
    /// Its byte at the first of the addresses.
    pub offset: u64,
    /// Its priority in its own container.
    pub priority: i32,
    /// Its type, as `info mtree -f` prints it.
    pub type_name: String,
}

/// Addresses that a printed view and the rendered one do not have in common.
#[derive(Clone, Debug)]
pub(super) struct Mismatch<'d, 'a> {
    pub(super) range: AddressRange,
    /// What is printed; nothing in a hole.
    pub(super) printed: Option<&'d RangeLine<'a>>,
    /// What is rendered.
    pub(super) rendered: Option<Rendered<'a>>,
}

/// A range of a rendered view, as its line would be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rendered<'a> {
    pub(crate) line: FlatLine<'a>,
    pub(crate) owner: &'a str,
}

/// The rendered view of a space.
pub(crate) fn rendered<'a>(graph: &Graph<'a>, built: &Rebuilt, space: usize) -> Vec<Rendered<'a>> {
    let view = built.spaces[space].view();
    let ranges = view.iter().filter_map(|range| {
        let node = &graph.nodes[built.node(range.region())?];
        let type_name = match range.is_readonly() {
            true => "rom",
            false => node.what.type_name(),
        };
        let line = FlatLine {
            start: range.start(),
            last: range.last(),
            priority: node.priority,
            nonvolatile: range.is_nonvolatile(),
            type_name,
            name: node.name,
            offset: range.offset_in_region(),
        };
        let owner = node.owner;
        Some(Rendered { line, owner })
    });
    ranges.collect()
}

/// The physical root of a rendered view.
pub(super) fn root(built: &Rebuilt, space: usize) -> Option<NodeId> {
    built.node(built.spaces[space].view().root()?)
}

/// The name of the root of a view, as it is printed.
pub(super) fn root_name<'a>(graph: &Graph<'a>, root: Option<NodeId>) -> &'a str {
    root.map_or("(none)", |root| graph.nodes[root].name)
}

/// Finds the space for each printed one: of those of the same name with a root of the same name the one that looks
/// most like it, or, if `which` is not 0, another one.
pub(super) fn pairs<'d, 'a>(
    graph: &Graph<'a>,
    built: &Rebuilt,
    flat: &'d FlatDump<'a>,
    which: usize,
) -> Vec<Pair<'d, 'a>> {
    let mut free: HashMap<Known<'a>, Vec<usize>> = HashMap::new();
    for (index, space) in graph.spaces.iter().enumerate().rev() {
        let root = &graph.nodes[space.root];
        let root = match root.what {
            What::Alias { target, .. } => Some((root.name, Some(target))),
            What::Unprinted => None,
            _ => Some((root.name, None)),
        };
        let known = Known {
            space: space.name,
            root,
        };
        free.entry(known).or_default().push(index);
    }
    let lines = flat
        .views
        .iter()
        .flat_map(|view| view.spaces.iter().map(move |line| (view, line)));
    let mut open: Vec<Pair<'d, 'a>> = lines
        .map(|(view, line)| Pair {
            line,
            view,
            space: None,
        })
        .collect();
    // What is disabled shows nothing, and may be what has no line.
    open.sort_by_key(|pair| pair.view.root == "(none)");
    let mut wanted: HashMap<Known<'a>, usize> = HashMap::new();
    for pair in &open {
        *wanted.entry(Known::of(pair.line)).or_default() += 1;
    }
    let mut pairs: Vec<Pair<'d, 'a>> = Vec::new();
    let mut views: HashMap<usize, Vec<Rendered<'a>>> = HashMap::new();
    // A root without a line may be any, but what has a line goes before. Of several, those that are equal come first,
    // so that they are not taken by what is only similar.
    for (has_line, must_equal) in [(true, true), (true, false), (false, true), (false, false)] {
        if must_equal && which > 0 {
            continue;
        }
        open.retain(|pair| {
            let all = Known::of(pair.line);
            let known = Known {
                root: all.root.filter(|_| has_line),
                ..all
            };
            let Some(free) = free.get_mut(&known).filter(|free| !free.is_empty()) else {
                return true;
            };
            let place = match (free.len(), wanted.get(&all)) {
                (1, Some(1)) => Some(0),
                _ => most_alike(graph, built, &mut views, free, pair.view, must_equal),
            };
            let Some(mut place) = place else {
                return true;
            };
            if which > 0 {
                // The same one, whatever the facts are by now.
                place = (which - 1) % free.len();
            }
            pairs.push(Pair {
                space: Some(free.swap_remove(place)),
                ..*pair
            });
            false
        });
    }
    pairs.extend(open);
    pairs
}

/// What is printed of a space both ways: its name, and that of its root and of what that shows, if it has a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Known<'a> {
    space: &'a str,
    root: Option<(&'a str, Option<&'a str>)>,
}

impl<'a> Known<'a> {
    fn of(line: &SpaceLine<'a>) -> Known<'a> {
        Known {
            space: line.name,
            root: Some((line.root, line.alias)),
        }
    }
}

/// The place of the space, of several, whose view looks most like a printed one.
fn most_alike<'a>(
    graph: &Graph<'a>,
    built: &Rebuilt,
    views: &mut HashMap<usize, Vec<Rendered<'a>>>,
    spaces: &[usize],
    view: &View<'a>,
    must_equal: bool,
) -> Option<usize> {
    let scored = spaces
        .iter()
        .take(MOST_COMPARED)
        .enumerate()
        .map(|(place, &space)| {
            let mine = views
                .entry(graph.spaces[space].root)
                .or_insert_with(|| rendered(graph, built, space));
            let root_name = root_name(graph, root(built, space));
            (likeness(mine, view, root_name), std::cmp::Reverse(space), place)
        });
    let ((is_equal, ..), _, place) = scored.max()?;
    (is_equal || !must_equal).then_some(place)
}

/// More spaces of one name are not compared with each other.
const MOST_COMPARED: usize = 64;

/// Whether a rendered view is the printed one, how many ranges they have in common, and how many at least seem so.
fn likeness(mine: &[Rendered<'_>], view: &View<'_>, root_name: &str) -> (bool, usize, usize) {
    let mut rest = mine.iter().peekable();
    let (mut common, mut similar) = (0, 0);
    for range in &view.ranges {
        while rest.next_if(|mine| mine.line.start < range.line.start).is_some() {}
        let mine = rest.next_if(|mine| mine.line.start == range.line.start);
        let Some(mine) = mine.filter(|mine| mine.line.last == range.line.last) else {
            continue;
        };
        common += usize::from(same(range, mine));
        similar += usize::from(mine.line.name == range.line.name);
    }
    let equal = common == mine.len() && common == view.ranges.len() && root_name == view.root;
    (equal, common, similar)
}

/// Where a printed view and a rendered one differ, range by range. Where ranges are cut does not count.
pub(super) fn mismatches<'d, 'a>(
    printed: &'d [RangeLine<'a>],
    rendered: &[Rendered<'a>],
) -> Vec<Mismatch<'d, 'a>> {
    let bounds = (
        |range: &RangeLine<'a>| (range.line.start, range.line.last),
        |range: &Rendered<'a>| (range.line.start, range.line.last),
    );
    let mut mismatches = Vec::new();
    sweep(printed, rendered, bounds, |range, printed, rendered| {
        let same = match (printed, rendered) {
            (None, None) => true,
            (Some(printed), Some(rendered)) => same(printed, rendered),
            _ => false,
        };
        if !same {
            mismatches.push(Mismatch {
                range,
                printed,
                rendered: rendered.copied(),
            });
        }
    });
    mismatches
}

/// Whether the same region is seen in the same way. Ranges may be of any length.
fn same(printed: &RangeLine<'_>, rendered: &Rendered<'_>) -> bool {
    let (one, other) = (&printed.line, &rendered.line);
    (one.name, one.priority, one.type_name, one.nonvolatile)
        == (other.name, other.priority, other.type_name, other.nonvolatile)
        && one.offset.wrapping_sub(one.start) == other.offset.wrapping_sub(other.start)
        && (printed.owner.is_empty() || rendered.owner.is_empty() || printed.owner == rendered.owner)
}

/// Where one region goes on but one of the two views has a cut that the other has not: its address, and whether it is
/// printed. For views without a mismatch.
pub(super) fn cuts(printed: &[RangeLine<'_>], rendered: &[Rendered<'_>]) -> Vec<(u64, bool)> {
    let starts = |lines: &mut dyn Iterator<Item = u64>| lines.collect::<std::collections::BTreeSet<u64>>();
    let one = starts(&mut printed.iter().map(|range| range.line.start));
    let other = starts(&mut rendered.iter().map(|range| range.line.start));
    let differing = one
        .symmetric_difference(&other)
        .map(|&at| (at, one.contains(&at)));
    differing.collect()
}

impl Shown {
    pub(super) fn new(line: &FlatLine<'_>, at: u64) -> Shown {
        let nonvolatile = if line.nonvolatile { "nv-" } else { "" };
        Shown {
            region: line.name.to_owned(),
            offset: line.offset.wrapping_add(at.wrapping_sub(line.start)),
            priority: line.priority,
            type_name: format!("{nonvolatile}{}", line.type_name),
        }
    }
}
