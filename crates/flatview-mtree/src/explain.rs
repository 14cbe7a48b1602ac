//! Why an address resolves as it does, and what of that the text does not say.

use std::fmt;

use flatview::AddressRange;
use flatview::explain::Explanation;
use serde::Serialize;

use crate::check::walk::{Candidate, Work, candidates, open_order};
use crate::error::Error;
use crate::graph::{NodeId, What};
use crate::machine::Machine;

/// How many regions are looked at to find what else could be true.
const MOST_WORK: usize = 1 << 20;

/// Why an address resolves as it does.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The way to the region that answers, and who was overruled, as the library tells it.
    #[serde(flatten)]
    pub explanation: Explanation,
    /// The addresses around, in which the same holds: the range of the view or the hole, as far as was asked for.
    pub range: AddressRange,
    /// The line of the dump where the region that answers stands.
    pub line: Option<u32>,
    /// What else could be true, by the text. Nothing, if a printed flat view tells it.
    pub open: Vec<Open>,
}

/// Something that the text of a tree does not say and that matters at an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "open")]
pub enum Open {
    /// A region in front is taken for a pure container. If it is not, it answers.
    MightAnswer {
        /// Its name.
        region: String,
        /// Its line.
        line: Option<u32>,
    },
    /// The region that answers may be a pure container.
    MightNotAnswer {
        /// Its name.
        region: String,
        /// Its line.
        line: Option<u32>,
    },
    /// Two regions of one priority overlap: the one that was mapped last is in front.
    MightBeBehind {
        /// The one that is taken to be in front.
        region: String,
        /// The other.
        other: String,
    },
    /// Several regions have the name that an alias leads to.
    MightLeadElsewhere {
        /// The alias.
        alias: String,
        /// The lines of the regions, that of the one it is taken to lead to first.
        lines: Vec<Option<u32>>,
    },
}

impl Machine<'_> {
    /// Explains an address of a space: a place in [`Graph::spaces`](crate::graph::Graph::spaces).
    ///
    /// # Errors
    ///
    /// Those of [`flatview::AddressSpace::explain`].
    pub fn explain(&self, space: usize, address: u64) -> Result<Explained, Error> {
        let at = &self.built.spaces[space];
        let explanation = at.explain(address)?;
        let range = match &explanation.outcome {
            flatview::explain::Outcome::Answered(answer) => answer.range,
            flatview::explain::Outcome::Unassigned(gap) => gap.range,
        };
        let answering = explanation.region().and_then(|region| self.built.node(region));
        let root = at.view().root().and_then(|root| self.built.node(root));
        let open = match root.filter(|_| self.flat.is_none()) {
            Some(root) => self.open(root, address, answering),
            None => Vec::new(),
        };
        Ok(Explained {
            line: answering.and_then(|node| self.graph.nodes[node].line),
            explanation,
            range,
            open,
        })
    }

    /// Explains all that is in a range, piece by piece: each range of the view and each hole once.
    ///
    /// # Errors
    ///
    /// As [`explain`](Self::explain).
    pub fn explain_range(
        &self,
        space: usize,
        range: AddressRange,
    ) -> impl Iterator<Item = Result<Explained, Error>> {
        let mut next = Some(range.start());
        std::iter::from_fn(move || {
            let address = next.take()?;
            let explained = self.explain(space, address).map(|explained| {
                let last = explained.range.last();
                next = last.checked_add(1).filter(|&next| next <= range.last());
                let within = explained.range.intersection(range);
                Explained {
                    range: within.unwrap_or(explained.range),
                    ..explained
                }
            });
            Some(explained)
        })
    }

    fn open(&self, root: NodeId, address: u64, answering: Option<NodeId>) -> Vec<Open> {
        let (graph, facts) = (&self.graph, &self.facts);
        let ways = candidates(graph, facts, (root, address), &Work::new(MOST_WORK));
        let name = |id: NodeId| graph.nodes[id].name.to_owned();
        let line = |id: NodeId| graph.nodes[id].line;
        let is_io = |way: &Candidate| graph.nodes[way.node()].what == What::Io;
        let answers = ways.iter().position(|way| facts.of[way.node()].answers);
        let mut open = Vec::new();
        for way in ways
            .iter()
            .take(answers.unwrap_or(ways.len()))
            .filter(|way| is_io(way))
        {
            let (region, line) = (name(way.node()), line(way.node()));
            open.push(Open::MightAnswer { region, line });
        }
        let Some(way) = answers.map(|place| &ways[place]) else {
            return open;
        };
        // Registers without children are hardly ever anything else.
        if let Some(id) = answering
            && is_io(way)
            && !graph.nodes[id].children.is_empty()
        {
            let (region, line) = (name(id), line(id));
            open.push(Open::MightNotAnswer { region, line });
        }
        for &id in &way.path {
            if let What::Alias { candidates, .. } = &graph.nodes[id].what
                && candidates.len() > 1
            {
                open.push(Open::MightLeadElsewhere {
                    alias: name(id),
                    lines: candidates.iter().map(|&target| line(target)).collect(),
                });
            }
        }
        let behind = ways.iter().skip_while(|other| *other != way).skip(1);
        for other in behind.filter(|other| facts.of[other.node()].answers) {
            open.extend(self.order(way, other));
        }
        open.dedup();
        open
    }

    /// Whether it is only the order of two siblings that puts one region in front of another.
    fn order(&self, front: &Candidate, back: &Candidate) -> Option<Open> {
        let nodes = &self.graph.nodes;
        let (_, one, other) = open_order(&self.graph, &front.path, &back.path)?;
        Some(Open::MightBeBehind {
            region: nodes[one].name.to_owned(),
            other: nodes[other].name.to_owned(),
        })
    }
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.explanation.fmt(f)?;
        if !self.open.is_empty() {
            writeln!(f, "open, as the text does not say it:")?;
        }
        self.open.iter().try_for_each(|open| writeln!(f, "  {open}"))
    }
}

impl fmt::Display for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |line: &Option<u32>| line.map_or_else(String::new, |line| format!(" (line {line})"));
        match self {
            Open::MightAnswer { region, line } => {
                write!(f, "{region}{} answers, if it is more than a container", at(line))
            }
            Open::MightNotAnswer { region, line } => {
                write!(
                    f,
                    "{region}{} lets it through, if it is only a container",
                    at(line)
                )
            }
            Open::MightBeBehind { region, other } => {
                write!(
                    f,
                    "{other} is in front of {region}, if it was mapped later: their priority is the same"
                )
            }
            Open::MightLeadElsewhere { alias, lines } => {
                let lines: Vec<String> = lines.iter().flatten().map(u32::to_string).collect();
                write!(
                    f,
                    "{alias} may lead to any region of that name: lines {}",
                    lines.join(", ")
                )
            }
        }
    }
}
