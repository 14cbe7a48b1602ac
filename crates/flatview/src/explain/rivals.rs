//! Who would have answered, and what stood against it.
//!
//! The search for the answer has left a trail: the regions it came to. Each rival hangs somewhere below one of
//! these, and is told there. What is below is looked through for the one region that has the least against it;
//! all of these searches together have one limit, because what nobody renders (a disabled region, what a window
//! leaves out) may be of any size, and may see itself without end.

use std::collections::{BTreeMap, HashMap};

use super::walk::{Look, Place, Walk};
use super::{Overruled, Reason};
use crate::address::AddressRange;
use crate::region::RegionId;
use crate::render::MAX_STEPS;
use crate::tree::MAX_DEPTH;

/// How many regions all searches together may look at. A rendering may look at more, but nothing depends on
/// these, and others wait for the tree meanwhile. A way that is told costs a step for each of its regions, so
/// this bounds the memory, too.
pub(super) const MOST_STEPS: usize = MAX_STEPS / 4;

/// How many places one search remembers. It only takes longer if it comes to them again.
const MOST_REMEMBERED: usize = 1 << 14;

pub(super) struct Rivals {
    pub(super) overruled: Vec<Overruled>,
    pub(super) complete: bool,
}

/// All who were overruled; see [`explain`](crate::explain) for which are told. `skipped` are the regions above
/// `start`, where the search for the answer began; `shown` is the range or the hole of the view.
pub(super) fn overruled(
    look: Look<'_>,
    walk: &Walk,
    skipped: &[Place],
    start: Place,
    shown: AddressRange,
) -> Rivals {
    let mut search = Search {
        look,
        shown,
        steps_left: MOST_STEPS,
        complete: true,
        found: Vec::new(),
    };
    let mut on_way = vec![false; walk.visits.len()];
    // If nobody answers, the way is the region it began with.
    for at in walk.way.iter().copied().chain([0]) {
        if let Some(mark) = on_way.get_mut(at) {
            *mark = true;
        }
    }
    let next_on_way: HashMap<usize, usize> = walk.way.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let is_answered = !walk.way.is_empty();
    let mut within = None;
    let mut to_start = skipped.iter().chain([&start]).copied().peekable();
    while let Some(place) = to_start.next() {
        if !look.is_enabled(place) || !look.covers(place) {
            search.in_front(within, place);
            break;
        }
        if let Some(&next) = to_start.peek() {
            // What was skipped has no other child that is enabled, but may have some that are not.
            search.around(within, place, Some(next), is_answered);
        }
        within = Some(place);
    }
    for (at, visit) in walk.visits.iter().enumerate() {
        let above = visit.above.map(|above| walk.visits[above].place);
        if let Some(above) = visit.above
            && on_way[above]
            && !on_way[at]
        {
            search.lets_through(walk.visits[above].place, visit.place);
        }
        let winner = next_on_way.get(&at).map(|&next| walk.visits[next].place);
        search.around(
            above.or(skipped.last().copied()),
            visit.place,
            winner,
            is_answered,
        );
    }
    let answer = walk.way.last().map(|&at| walk.visits[at].place);
    Rivals {
        overruled: search.without_repetitions(answer),
        complete: search.complete,
    }
}

/// A rival on its way into the explanation.
struct Found {
    rival: Overruled,
    candidate: Place,
    /// How far away the part of it is that can be seen, if it is clipped and nothing else.
    clipped_by: Option<u128>,
}

/// What a search may overlook.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Overlook {
    /// That regions are disabled.
    Disabled,
    /// That regions end before the address. Only what is cut is found, not what the windows of aliases leave
    /// out as a whole. Nothing keeps a region that sees itself from doing so without end then, so it does not
    /// see itself at all.
    Clips,
}

struct Search<'a> {
    look: Look<'a>,
    /// The range or the hole of the view that the address is in.
    shown: AddressRange,
    steps_left: usize,
    complete: bool,
    found: Vec<Found>,
}

impl Search<'_> {
    /// What is said of a region on the trail, and of its children. `next` is the one that the trail goes on
    /// with; `is_answered` says that it leads to the answer.
    fn around(&mut self, within: Option<Place>, place: Place, next: Option<Place>, is_answered: bool) {
        let winner = next.filter(|_| is_answered);
        let mut is_behind = false;
        for child in self.look.all_below(place) {
            if !self.pay() {
                return;
            }
            if Some(child) == next {
                is_behind = is_answered;
            } else if !is_behind {
                self.in_front(Some(place), child);
            } else if let Some(winner) = winner
                && self.look.covers(child)
            {
                let reason = self.beaten_by(child, winner);
                self.tell(Some(place), child, Overlook::Disabled, Some(reason));
            }
        }
        if let Some(winner) = winner
            && self.look.node(place).terminates
        {
            let child = self.look.name(winner);
            self.push(within, &[place], vec![Reason::BehindChild { child }], None);
        }
    }

    /// Rules B3, C1: the winner was looked at first.
    fn beaten_by(&self, child: Place, winner: Place) -> Reason {
        let priority = |place: Place| self.look.node(place).attributes.priority;
        let than = self.look.name(winner);
        if priority(child) == priority(winner) {
            return Reason::MappedEarlier { than };
        }
        Reason::LowerPriority {
            than,
            priority: priority(winner),
        }
    }

    /// A region that no sibling hides. If it is enabled and contains the address, the search went into it.
    fn in_front(&mut self, within: Option<Place>, place: Place) {
        let node = self.look.node(place);
        match (self.look.is_enabled(place), self.look.covers(place)) {
            (true, true) | (false, false) => {}
            (false, true) => self.tell(within, place, Overlook::Disabled, None),
            (true, false) => {
                let is_empty = node.attributes.size.is_zero();
                if is_empty && node.terminates && place.base == i128::from(self.look.address) {
                    let region = self.look.name(place);
                    self.push(within, &[place], vec![Reason::Empty { region }], None);
                } else if node.has_children() || node.alias_target.is_some() {
                    self.tell(within, place, Overlook::Clips, None);
                }
            }
        }
    }

    /// A region in front of the way that does not answer.
    fn lets_through(&mut self, within: Place, place: Place) {
        let beyond = self
            .look
            .target(place)
            .filter(|&target| !self.look.covers(target));
        let reason = match beyond {
            None => Reason::Hole,
            Some(target) => Reason::BeyondTarget {
                target: self.look.name(target),
                span: self.look.span(target),
            },
        };
        self.push(Some(within), &[place], vec![reason], None);
    }

    /// Tells of what would answer in a region, if something would.
    fn tell(&mut self, within: Option<Place>, place: Place, overlook: Overlook, reason: Option<Reason>) {
        let Some(way) = self.best_in(place, overlook) else {
            return;
        };
        let mut reasons = Vec::from_iter(reason);
        let mut distance = None;
        for &place in &way {
            let is_obstacle = !self.is_passed(place, overlook);
            match overlook {
                _ if !is_obstacle => {}
                Overlook::Disabled => reasons.push(Reason::Disabled {
                    region: self.look.name(place),
                }),
                Overlook::Clips => {
                    let window = self.look.span(place);
                    let by = self.look.name(place);
                    distance = distance.max(Some(window.distance_to(self.look.address)));
                    reasons.push(match window.size().is_zero() {
                        true => Reason::Empty { region: by },
                        false => Reason::Clipped { by, window },
                    });
                }
            }
        }
        self.push(within, &way, reasons, distance);
    }

    fn push(&mut self, within: Option<Place>, way: &[Place], reasons: Vec<Reason>, clipped_by: Option<u128>) {
        let Some(&candidate) = way.last() else { return };
        let rival = Overruled {
            within: within.map(|place| self.look.name(place)),
            way: self.look.steps(within, way),
            reasons,
        };
        self.found.push(Found {
            rival,
            candidate,
            clipped_by,
        });
    }

    /// Whether a region is in nobody's way.
    fn is_passed(&self, place: Place, overlook: Overlook) -> bool {
        match overlook {
            Overlook::Disabled => self.look.is_enabled(place),
            Overlook::Clips => self.look.covers(place),
        }
    }

    fn pay(&mut self) -> bool {
        let left = self.steps_left.checked_sub(1);
        self.complete &= left.is_some();
        self.steps_left = left.unwrap_or_default();
        left.is_some()
    }

    /// The way from a region to the one in it that would answer, with as little to overlook as can be; among
    /// equals the first in rendering order.
    fn best_in(&mut self, start: Place, overlook: Overlook) -> Option<Vec<Place>> {
        let mut best: Option<(usize, Vec<Place>)> = None;
        // The least that had to be overlooked to come to a place: whoever comes again with more finds no
        // better one.
        let mut seen: HashMap<Place, usize> = HashMap::new();
        let mut path: Vec<Place> = Vec::new();
        let mut todo = vec![Todo {
            place: start,
            depth: 0,
            obstacles: 0,
            is_fill: false,
        }];
        while let Some(next) = todo.pop() {
            let Todo { place, depth, .. } = next;
            path.truncate(depth);
            path.push(place);
            if best.as_ref().is_some_and(|&(least, _)| next.obstacles >= least) {
                continue;
            }
            if next.is_fill {
                best = Some((next.obstacles, path.clone()));
                if next.obstacles <= usize::from(overlook == Overlook::Clips) {
                    break;
                }
                continue;
            }
            if !self.pay() {
                break;
            }
            let above = &path[..depth];
            let may_pass = match overlook {
                Overlook::Disabled => self.look.covers(place),
                Overlook::Clips => {
                    let sees_itself = above.iter().any(|above| above.region == place.region);
                    self.look.is_enabled(place) && !sees_itself && self.is_cut(above, place)
                }
            };
            // No rendering goes that deep, so nothing there would answer in any case.
            if !may_pass || depth >= MAX_DEPTH {
                continue;
            }
            let obstacles = next.obstacles + usize::from(!self.is_passed(place, overlook));
            let node = self.look.node(place);
            if node.has_children() || node.alias_target.is_some() {
                if seen.get(&place).is_some_and(|&before| before <= obstacles) {
                    continue;
                }
                if seen.len() < MOST_REMEMBERED {
                    seen.insert(place, obstacles);
                }
            }
            if node.terminates && self.look.covers(place) {
                todo.push(Todo {
                    obstacles,
                    is_fill: true,
                    ..next
                });
            }
            let below = |place| Todo {
                place,
                depth: depth + 1,
                obstacles,
                is_fill: false,
            };
            match overlook {
                Overlook::Disabled => todo.extend(self.look.below(place).into_iter().rev().map(below)),
                Overlook::Clips => todo.extend(self.look.all_below(place).rev().map(below)),
            }
            if todo.len() > MOST_STEPS {
                self.complete = false;
                break;
            }
        }
        best.map(|(_, way)| way)
    }

    /// Whether a part of `place` can be in the windows of all aliases in `above`, of which one, near by, may end
    /// before the address; if not, it was left out on purpose. An alias without bytes was hardly meant so.
    fn is_cut(&self, above: &[Place], place: Place) -> bool {
        let aliases = above.iter().filter(|&&place| self.look.is_alias(place));
        let mut ended = aliases.clone().filter(|&&alias| !self.look.covers(alias));
        let window = ended
            .next()
            .and_then(|&alias| self.look.span(alias).within_space());
        let is_near = window.is_none_or(|window| window.overlaps(self.shown.widened()));
        if !is_near || ended.next().is_some() {
            return false;
        }
        let windows = aliases.map(|&alias| self.look.span(alias));
        let windows = windows.filter(|window| !window.size().is_zero());
        // What is in a container need not be where the container is: that is judged further down.
        let answers = self.look.node(place).terminates;
        let whole = Some(self.look.span(place)).filter(|_| answers);
        let (start, end) = windows
            .chain(whole)
            .fold((i128::MIN, i128::MAX), |(start, end), window| {
                (start.max(window.start()), end.min(window.end()))
            });
        start < end
    }

    /// Takes out those that are clipped and show nothing but what answers or is told otherwise; of windows
    /// onto the same byte, the nearest is told.
    fn without_repetitions(&mut self, answer: Option<Place>) -> Vec<Overruled> {
        let mut nearest: BTreeMap<(RegionId, i128), u128> = BTreeMap::new();
        let key = |place: Place| (place.region, place.base);
        for found in &self.found {
            let distance = found.clipped_by.unwrap_or(0);
            let least = nearest.entry(key(found.candidate)).or_insert(distance);
            *least = distance.min(*least);
        }
        nearest.extend(answer.map(|answer| (key(answer), 0)));
        let mut overruled = Vec::new();
        for found in self.found.drain(..) {
            if let Some(distance) = found.clipped_by {
                let least = nearest.get_mut(&key(found.candidate));
                match least {
                    Some(least) if *least == distance => *least = 0,
                    _ => continue,
                }
            }
            overruled.push(found.rival);
        }
        overruled
    }
}

/// A place that [`Search::best_in`] has still to look at.
#[derive(Clone, Copy)]
struct Todo {
    place: Place,
    depth: usize,
    /// How much had to be overlooked so far.
    obstacles: usize,
    /// The children have been looked at: the region itself fills what they leave (rule C24).
    is_fill: bool,
}
