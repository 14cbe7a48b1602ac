//! A machine, from all that `info mtree` printed of it.

use std::collections::HashMap;

use crate::check;
use crate::error::Error;
use crate::facts::Facts;
use crate::graph::Graph;
use crate::layout::Layout;
use crate::rebuild::Rebuilt;
use crate::text::{Dump, DumpKind, FlatDump, Group, Heading, TreeDump};

/// A machine that was rebuilt from what `info mtree` printed of it.
#[derive(Debug)]
pub struct Machine<'a> {
    /// The tree: with disabled regions and with owners, if any of the dumps has them.
    pub tree: TreeDump<'a>,
    /// The flat views, if there are any; with owners, if they are there.
    pub flat: Option<FlatDump<'a>>,
    /// The regions.
    pub graph: Graph<'a>,
    /// What is taken for true where the text is silent: what the flat views prove, otherwise what is likely.
    pub facts: Facts,
    /// The machine itself.
    pub built: Rebuilt,
}

impl<'a> Machine<'a> {
    /// The machine of these dumps, which must all be of one machine at one time.
    ///
    /// # Errors
    ///
    /// [`Error::NoTree`] without a tree; [`Error::Rendering`] for a dump that cannot be rendered.
    ///
    /// ```
    /// use flatview_mtree::machine::Machine;
    /// use flatview_mtree::text::parse;
    ///
    /// let dumps = parse(
    ///     "\
    /// address-space: memory
    ///   0000000000000000-ffffffffffffffff (prio 0, i/o): system
    ///     0000000000000000-0000000007ffffff (prio 0, ram): pc.ram
    ///     00000000000a0000-00000000000bffff (prio 1, i/o): vga-lowmem
    ///
    /// ",
    /// )?;
    /// let machine = Machine::new(dumps)?;
    /// let answer = machine.built.spaces[0].view().find(0xa_0000).map(|range| range.region().name().to_owned());
    /// assert_eq!(answer.as_deref(), Some("vga-lowmem"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new(dumps: Vec<Dump<'a>>) -> Result<Machine<'a>, Error> {
        Self::with(dumps, |_| {})
    }

    /// As [`new`](Self::new), for somebody who asks about these spaces only; about `memory`, if there is no name. Without
    /// flat views, which may prove something about the others, it is only they that are rebuilt: that takes less time.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new), and [`Error::NoSpace`].
    pub fn of_spaces(dumps: Vec<Dump<'a>>, names: &[String]) -> Result<Machine<'a>, Error> {
        let mut missing = None;
        let machine = Self::with(dumps, |graph| {
            let places: Vec<Option<usize>> = match names {
                [] => vec![graph.space(None)],
                names => names.iter().map(|name| graph.space(Some(name))).collect(),
            };
            match places.iter().position(Option::is_none) {
                Some(place) => missing = Some(no_space(graph, names.get(place).map(String::as_str))),
                None => graph.retain_spaces(|place| places.contains(&Some(place))),
            }
        })?;
        match missing {
            Some(error) => Err(error),
            None => Ok(machine),
        }
    }

    fn with(dumps: Vec<Dump<'a>>, restrict: impl FnOnce(&mut Graph<'a>)) -> Result<Machine<'a>, Error> {
        let (tree, flat) = combine(dumps);
        let tree = tree.ok_or(Error::NoTree)?;
        let mut graph = Graph::new(&tree);
        let facts = match &flat {
            Some(flat) => check::facts_from(&graph, flat)?,
            None => {
                restrict(&mut graph);
                Facts::guess(&graph)
            }
        };
        let built = Rebuilt::new(&graph, &facts)?;
        Ok(Machine {
            tree,
            flat,
            graph,
            facts,
            built,
        })
    }

    /// The place in [`Graph::spaces`] of the space with a name; of `memory` without one, or of the first if there is
    /// none of that name.
    ///
    /// # Errors
    ///
    /// [`Error::NoSpace`] if there is no such space.
    pub fn space(&self, name: Option<&str>) -> Result<usize, Error> {
        let place = self.graph.space(name);
        place.ok_or_else(|| no_space(&self.graph, name))
    }

    /// Where everything lies in a space: a place in [`Graph::spaces`].
    ///
    /// # Errors
    ///
    /// As [`Layout::new`].
    pub fn layout(&self, space: usize) -> Result<Layout, Error> {
        Layout::new(&self.graph, &self.facts, &self.built, space)
    }

    /// The layouts of all spaces, one for those that share a root.
    ///
    /// # Errors
    ///
    /// As [`Layout::new`].
    pub fn layouts(&self) -> impl Iterator<Item = Result<Layout, Error>> {
        let spaces = &self.graph.spaces;
        let is_first =
            |place: &usize| spaces.iter().position(|space| space.root == spaces[*place].root) == Some(*place);
        (0..spaces.len()).filter(is_first).map(|space| self.layout(space))
    }
}

fn no_space(graph: &Graph<'_>, name: Option<&str>) -> Error {
    let there: Vec<&str> = graph.spaces.iter().map(|space| space.name).collect();
    Error::NoSpace {
        space: name.unwrap_or("memory").to_owned(),
        there: there.join(", "),
    }
}

/// The tree that says most, and the flat views that do.
///
/// One that was printed with `-D` is taken first; owners are taken from another one of the same machine, if need be.
pub fn combine<'a>(dumps: Vec<Dump<'a>>) -> (Option<TreeDump<'a>>, Option<FlatDump<'a>>) {
    let (mut trees, mut flats) = (Vec::new(), Vec::new());
    for dump in dumps {
        match dump {
            Dump::Tree(tree) => trees.push(tree),
            Dump::Flat(flat) => flats.push(flat),
        }
    }
    // The first of equals comes first.
    trees.sort_by_cached_key(|tree| (!tree.has_disabled(), !tree.has_owners()));
    flats.sort_by_cached_key(|flat| !flat.has_owners());
    let mut trees = trees.into_iter();
    let mut tree = trees.next();
    if let Some(best) = &mut tree
        && !best.has_owners()
        && let Some(owned) = trees.find(TreeDump::has_owners)
    {
        take_owners(best, &owned);
    }
    (tree, flats.into_iter().next())
}

/// Takes owners from a dump that may lack some of the lines.
fn take_owners<'a>(tree: &mut TreeDump<'a>, owned: &TreeDump<'a>) {
    // Of groups with the same heading the first stands for the first.
    let mut groups: HashMap<&Heading<'a>, Vec<&Group<'a>>> = HashMap::new();
    for group in owned.groups.iter().rev() {
        groups.entry(&group.heading).or_default().push(group);
    }
    for group in &mut tree.groups {
        let owned = groups.get_mut(&group.heading).and_then(Vec::pop);
        let mut lines = owned.into_iter().flat_map(|group| &group.lines).peekable();
        for line in &mut group.lines {
            // Marks of overflows wander if lines are left out.
            let same = lines.next_if(|other| {
                let overflows = line.line.overflows;
                flatview::mtree::TreeLine {
                    overflows,
                    ..other.line
                } == line.line
            });
            if let Some(same) = same {
                line.owner = same.owner;
            }
        }
    }
}

/// Puts dumps together that can be of one machine: it is another one when something is there for the second time.
#[derive(Clone, Debug, Default)]
pub struct Grouping {
    seen: Vec<DumpKind>,
}

impl Grouping {
    /// Whether this dump begins another machine than the dump before it is of.
    pub fn begins_machine(&mut self, kind: DumpKind) -> bool {
        let begins = self.seen.is_empty() || self.seen.contains(&kind);
        if begins {
            self.seen.clear();
        }
        self.seen.push(kind);
        begins
    }
}
