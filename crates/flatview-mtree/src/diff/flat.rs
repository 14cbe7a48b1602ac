//! What changed in the flat views.

use std::collections::{BTreeMap, HashMap};

use flatview::AddressRange;

use super::{Answer, FlatChange, FlatChanges};
use crate::check::compare::rendered;
use crate::machine::Machine;
use crate::sweep::sweep;
use crate::units::{rank, sort_spaces};

/// A range of a view, printed or rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Piece<'a> {
    start: u64,
    last: u64,
    name: &'a str,
    /// What is added to an address to get the byte of the region, modulo 2^64.
    delta: u64,
    type_name: &'a str,
    nonvolatile: bool,
}

/// The views of both machines, each once.
#[derive(Default)]
struct Views<'a> {
    pieces: Vec<Vec<Piece<'a>>>,
    known: HashMap<Vec<Piece<'a>>, usize>,
}

/// A space: its name, that of its root, and its view.
type Space<'a> = (&'a str, &'a str, usize);

/// Compares what the spaces of two machines show; spaces that only one of them has are left out.
pub(super) fn changes<'a>(before: &Machine<'a>, after: &Machine<'a>) -> Vec<FlatChanges> {
    let mut views = Views::default();
    let (one, other) = (views.of(before), views.of(after));
    let mut changed: HashMap<(usize, usize), Vec<&str>> = HashMap::new();
    // The best known space that shows a view before, and after, and something on the other side, too.
    let mut models: [HashMap<usize, &str>; 2] = Default::default();
    for (name, was, is) in pairs(&views, one, other) {
        if was != is {
            changed.entry((was, is)).or_default().push(name);
        }
        if views.pieces[was].is_empty() || views.pieces[is].is_empty() {
            continue;
        }
        for (models, view) in models.iter_mut().zip([was, is]) {
            let model = models.entry(view).or_insert(name);
            if (rank(name), name) < (rank(model), *model) {
                *model = name;
            }
        }
    }
    // What is the same in several pairs of views is told once.
    let mut told: BTreeMap<FlatChange, Vec<String>> = BTreeMap::new();
    let mut alike: BTreeMap<(usize, Vec<String>), FlatChanges> = BTreeMap::new();
    for ((was, is), names) in changed {
        let changes = compare(&views.pieces[was], &views.pieces[is]);
        let mut spaces: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let model = match (views.pieces[was].is_empty(), views.pieces[is].is_empty()) {
            (true, _) => models[1].get(&is),
            (_, true) => models[0].get(&was),
            _ => None,
        };
        if let Some(model) = model {
            sort_spaces(&mut spaces);
            let like = Some((*model).to_owned());
            let place = (is, spaces.clone());
            alike.insert(
                place,
                FlatChanges {
                    spaces,
                    like,
                    changes,
                },
            );
            continue;
        }
        for change in changes {
            told.entry(change).or_default().extend_from_slice(&spaces);
        }
    }
    let mut of_spaces: BTreeMap<(usize, Vec<String>), Vec<FlatChange>> = BTreeMap::new();
    for (change, mut names) in told {
        sort_spaces(&mut names);
        let place = names.first().map_or(0, |first| rank(first));
        of_spaces.entry((place, names)).or_default().push(change);
    }
    let groups = of_spaces.into_iter().map(|((_, spaces), changes)| FlatChanges {
        spaces,
        like: None,
        changes,
    });
    let mut alike: Vec<FlatChanges> = alike.into_values().collect();
    alike.sort_by(|one, other| one.spaces.cmp(&other.spaces));
    groups.chain(alike).collect()
}

impl<'a> Views<'a> {
    fn add(&mut self, pieces: Vec<Piece<'a>>) -> usize {
        if let Some(&known) = self.known.get(&pieces) {
            return known;
        }
        self.pieces.push(pieces.clone());
        self.known.insert(pieces, self.pieces.len() - 1);
        self.pieces.len() - 1
    }

    /// The spaces of a machine: as printed, if they are.
    fn of(&mut self, machine: &Machine<'a>) -> Vec<Space<'a>> {
        let mut spaces = Vec::new();
        let piece = |line: &flatview::mtree::FlatLine<'a>| Piece {
            start: line.start,
            last: line.last,
            name: line.name,
            delta: line.offset.wrapping_sub(line.start),
            type_name: line.type_name,
            nonvolatile: line.nonvolatile,
        };
        if let Some(flat) = &machine.flat {
            for view in &flat.views {
                let pieces = joined(view.ranges.iter().map(|range| piece(&range.line)));
                let at = self.add(pieces);
                spaces.extend(view.spaces.iter().map(|space| (space.name, space.root, at)));
            }
            return spaces;
        }
        for (place, space) in machine.graph.spaces.iter().enumerate() {
            let rendered = rendered(&machine.graph, &machine.built, place);
            let at = self.add(joined(rendered.iter().map(|range| piece(&range.line))));
            spaces.push((space.name, machine.graph.nodes[space.root].name, at));
        }
        spaces
    }
}

/// Where one region goes on, the view may be cut for reasons that no access sees.
fn joined<'a>(pieces: impl Iterator<Item = Piece<'a>>) -> Vec<Piece<'a>> {
    let mut joined: Vec<Piece<'a>> = Vec::new();
    for piece in pieces {
        let goes_on = joined.last_mut().filter(|last| {
            let (start, before) = (last.start, last.last);
            last.last.checked_add(1) == Some(piece.start)
                && (Piece {
                    start,
                    last: before,
                    ..piece
                }) == **last
        });
        match goes_on {
            Some(last) => last.last = piece.last,
            None => joined.push(piece),
        }
    }
    joined
}

/// Which space is which: of those with one name and one root first those that show the same, then those that show
/// most in common; at last even those with another root.
fn pairs<'a>(views: &Views<'_>, one: Vec<Space<'a>>, other: Vec<Space<'a>>) -> Vec<(&'a str, usize, usize)> {
    let mut pairs = Vec::new();
    let (mut one, mut other) = (one, other);
    for with_root in [true, false] {
        let mut named: BTreeMap<(&str, &str), [Vec<Space<'a>>; 2]> = BTreeMap::new();
        for (which, spaces) in [&mut one, &mut other].into_iter().enumerate() {
            for space in spaces.drain(..) {
                let root = if with_root { space.1 } else { "" };
                named.entry((space.0, root)).or_default()[which].push(space);
            }
        }
        for ((name, _), [mut left, mut right]) in named {
            pair_equal(name, &mut left, &mut right, &mut pairs);
            // More than a handful of spaces of one name that all changed are taken in their order.
            if left.len() * right.len() <= MOST_COMPARED {
                pair_likely(views, name, &mut left, &mut right, &mut pairs);
            }
            let count = left.len().min(right.len());
            let taken = left.drain(..count).zip(right.drain(..count));
            pairs.extend(taken.map(|(left, right)| (name, left.2, right.2)));
            one.append(&mut left);
            other.append(&mut right);
        }
    }
    pairs
}

const MOST_COMPARED: usize = 256;

fn pair_equal<'a>(
    name: &'a str,
    left: &mut Vec<Space<'a>>,
    right: &mut Vec<Space<'a>>,
    pairs: &mut Vec<(&'a str, usize, usize)>,
) {
    let mut free: HashMap<usize, usize> = HashMap::new();
    for space in &*right {
        *free.entry(space.2).or_default() += 1;
    }
    let take = |space: &Space<'a>, counts: &mut HashMap<usize, usize>| match counts.get_mut(&space.2) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    };
    let mut taken: HashMap<usize, usize> = HashMap::new();
    left.retain(|space| {
        let is_equal = take(space, &mut free);
        if is_equal {
            *taken.entry(space.2).or_default() += 1;
            pairs.push((name, space.2, space.2));
        }
        !is_equal
    });
    right.retain(|space| !take(space, &mut taken));
}

fn pair_likely<'a>(
    views: &Views<'_>,
    name: &'a str,
    left: &mut Vec<Space<'a>>,
    right: &mut Vec<Space<'a>>,
    pairs: &mut Vec<(&'a str, usize, usize)>,
) {
    if left.len().max(right.len()) < 2 {
        return;
    }
    left.retain(|space| {
        let mine: std::collections::HashSet<&Piece<'_>> = views.pieces[space.2].iter().collect();
        let common = |other: &Space<'_>| {
            let pieces = views.pieces[other.2].iter();
            pieces.filter(|piece| mine.contains(piece)).count()
        };
        let scored = right.iter().enumerate().map(|(at, other)| (common(other), at));
        let best = scored.max_by_key(|&(score, at)| (score, std::cmp::Reverse(at)));
        let Some((1.., at)) = best else {
            return true;
        };
        pairs.push((name, space.2, right.remove(at).2));
        false
    });
}

/// Where two views differ, in runs that are as long as they can be.
fn compare(one: &[Piece<'_>], other: &[Piece<'_>]) -> Vec<FlatChange> {
    let bounds = |piece: &Piece<'_>| (piece.start, piece.last);
    let mut changes: Vec<FlatChange> = Vec::new();
    sweep(one, other, (bounds, bounds), |range, was, is| {
        if was.map(Piece::key) == is.map(Piece::key) {
            return;
        }
        let change = FlatChange {
            range,
            before: was.map(|piece| piece.answer(range.start())),
            after: is.map(|piece| piece.answer(range.start())),
        };
        if !changes.last_mut().is_some_and(|before| before.join(&change)) {
            changes.push(change);
        }
    });
    changes
}

impl<'a> Piece<'a> {
    /// What an access sees.
    fn key(&self) -> (&'a str, u64, &'a str, bool) {
        (self.name, self.delta, self.type_name, self.nonvolatile)
    }

    fn answer(&self, at: u64) -> Answer {
        let nonvolatile = if self.nonvolatile { "nv-" } else { "" };
        Answer {
            region: self.name.to_owned(),
            offset: at.wrapping_add(self.delta),
            type_name: format!("{nonvolatile}{}", self.type_name),
        }
    }
}

impl FlatChange {
    /// Goes on with the next change, if that is one to the same regions.
    fn join(&mut self, next: &FlatChange) -> bool {
        let length = next.range.start().wrapping_sub(self.range.start());
        let goes_on = |one: &Option<Answer>, other: &Option<Answer>| match (one, other) {
            (None, None) => true,
            (Some(one), Some(other)) => {
                let offset = one.offset.wrapping_add(length);
                offset == other.offset && (&one.region, &one.type_name) == (&other.region, &other.type_name)
            }
            _ => false,
        };
        let joined = self.range.abuts(next.range)
            && goes_on(&self.before, &next.before)
            && goes_on(&self.after, &next.after);
        if joined && let Some(range) = AddressRange::from_bounds(self.range.start(), next.range.last()) {
            self.range = range;
        }
        joined
    }
}
