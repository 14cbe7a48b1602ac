//! From lines to trees, one for each group of the dump.

use std::cmp::Reverse;

use super::{ALL, Graph, Node, NodeId, Space, What};
use crate::text::{Group, Heading, RegionLine, TreeDump};

/// The tree of a group.
#[derive(Clone, Debug)]
pub(super) struct Grown<'a> {
    pub(super) root: NodeId,
    /// The node behind its last one: nodes of a group stand in a row, what contains before what is contained.
    pub(super) end: NodeId,
    /// The name in the heading, unless it is a space's.
    pub(super) region: Option<&'a str>,
}

/// A tree for each group. Spaces look at the roots of theirs.
pub(super) fn grow<'a>(dump: &TreeDump<'a>) -> (Graph<'a>, Vec<Grown<'a>>) {
    let mut graph = Graph::default();
    let mut groups = Vec::new();
    graph.nodes.reserve(dump.lines().count());
    graph.is_complete = dump.has_disabled();
    for group in &dump.groups {
        let root = graph.nodes.len();
        let mut branch = Branch {
            graph: &mut graph,
            stack: Vec::new(),
        };
        branch.grow(group);
        let end = graph.nodes.len();
        let region = match &group.heading {
            Heading::Region(name) => Some(*name),
            Heading::Spaces(names) => {
                graph
                    .spaces
                    .extend(names.iter().map(|&name| Space { name, root }));
                None
            }
        };
        groups.push(Grown { root, end, region });
    }
    (graph, groups)
}

/// From the root of a group to the region of the last line.
struct Branch<'g, 'a> {
    graph: &'g mut Graph<'a>,
    /// The nodes around the next line: the level of each, and where it starts as printed. Levels may be skipped.
    stack: Vec<Level>,
}

#[derive(Clone, Copy)]
struct Level {
    level: u32,
    node: NodeId,
    start: u64,
}

impl<'a> Branch<'_, 'a> {
    fn grow(&mut self, group: &Group<'a>) {
        let starts_below = group.lines.first().is_none_or(|line| line.line.level > 1);
        if starts_below {
            let name = match group.heading {
                Heading::Region(name) => name,
                Heading::Spaces(_) => "",
            };
            self.push(unprinted(name), 1, 0);
        }
        for line in &group.lines {
            // A second root is nothing that QEMU prints.
            let level = line.line.level.max(if self.stack.is_empty() { 1 } else { 2 });
            self.stack
                .truncate(self.stack.partition_point(|around| around.level < level));
            let is_skipped = self.stack.last().is_some_and(|around| around.level < level - 1);
            if is_skipped {
                self.push_unprinted(level - 1);
            } else if self.lies_elsewhere(line) {
                self.stack.truncate((self.stack.len() - 1).max(1));
                self.push_unprinted(level - 1);
            }
            let (node, start) = (self.node(line), line.line.start);
            self.push(node, level, start);
        }
    }

    /// Whether a line cannot be a child of the last region one level above it, but only of another one behind that
    /// one, which is disabled and was not printed.
    fn lies_elsewhere(&self, line: &RegionLine<'a>) -> bool {
        let Some(&Level {
            node, start: base, ..
        }) = self.stack.last()
        else {
            return false;
        };
        let container = &self.graph.nodes[node];
        // Children are printed by address, then from the highest priority down.
        let key = (line.line.start.wrapping_sub(base), Reverse(line.line.priority));
        // Where an unprinted one lies is not known.
        let mut before = container
            .children
            .iter()
            .rev()
            .map(|&child| &self.graph.nodes[child]);
        let goes_back = before
            .find(|child| child.line.is_some())
            .is_some_and(|last| (last.address, Reverse(last.priority)) > key);
        container.is_alias() || !self.graph.is_complete && self.stack.len() > 1 && goes_back
    }

    /// A disabled container below the last one of the stack that can be one.
    fn push_unprinted(&mut self, level: u32) {
        while self.stack.len() > 1
            && let Some(last) = self.stack.last()
            && self.graph.nodes[last.node].is_alias()
        {
            self.stack.pop();
        }
        let start = self.stack.last().map_or(0, |around| around.start);
        self.push(unprinted(""), level, start);
    }

    fn push(&mut self, node: Node<'a>, level: u32, start: u64) {
        let id = self.graph.nodes.len();
        let around = self.stack.last().map(|around| around.node);
        // Nothing lies in an alias, whatever a text made by hand says.
        let container = around.filter(|&around| !self.graph.nodes[around].is_alias());
        self.graph.nodes.push(Node { container, ..node });
        if let Some(container) = container {
            self.graph.nodes[container].children.push(id);
        }
        self.stack.push(Level {
            level,
            node: id,
            start,
        });
    }

    fn node(&self, line: &RegionLine<'a>) -> Node<'a> {
        let RegionLine { number, line, owner } = *line;
        let base = self.stack.last().map_or(0, |around| around.start);
        // Both ends wrap around; from 1 to 0 is all.
        let size = u128::from(line.last.wrapping_sub(line.start)) + 1;
        let what = match (line.alias, line.type_name) {
            (Some(alias), _) => What::Alias {
                target: alias.target,
                offset: alias.first,
                candidates: Vec::new(),
            },
            (None, "ram") => What::Ram,
            (None, "rom" | "R-") => What::Rom,
            (None, "ramd") => What::RamDevice,
            (None, "romd") => What::RomDevice,
            (None, _) => What::Io,
        };
        Node {
            name: line.name,
            line: Some(number),
            what,
            address: line.start.wrapping_sub(base),
            size,
            priority: line.priority,
            enabled: !line.disabled,
            nonvolatile: line.nonvolatile,
            container: None,
            children: Vec::new(),
            owner,
            is_root: self.stack.is_empty(),
        }
    }
}

fn unprinted(name: &str) -> Node<'_> {
    Node {
        name,
        line: None,
        what: What::Unprinted,
        address: 0,
        size: ALL,
        priority: 0,
        enabled: false,
        nonvolatile: false,
        container: None,
        children: Vec::new(),
        owner: "",
        is_root: false,
    }
}
