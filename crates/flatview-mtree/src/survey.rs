//! All spaces of a machine laid out, and which of them look the same.

use std::collections::HashMap;

use flatview::AddressRange;

use crate::error::Error;
use crate::graph::NodeId;
use crate::layout::{Kind, Layout, ends};
use crate::machine::Machine;
use crate::units::{rank, sort_spaces};

/// A layout for each root.
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) layouts: Vec<Layout>,
    /// For each layout and placement of it, the place behind the last that is in it.
    pub(crate) ends: Vec<Vec<usize>>,
}

/// Spaces that show the same.
#[derive(Debug)]
pub(crate) struct Views {
    /// The place of the first such layout.
    pub(crate) layout: usize,
    /// The names of all such spaces.
    pub(crate) spaces: Vec<String>,
}

/// Together, of all spaces: a hundred times what the largest real machines have. The text of a hostile one could
/// name many spaces that each show everything.
const MOST_PLACEMENTS: usize = 1 << 20;

impl Survey {
    pub(crate) fn new(machine: &Machine<'_>) -> Result<Survey, Error> {
        let mut survey = Survey {
            layouts: Vec::new(),
            ends: Vec::new(),
        };
        let mut placements = 0;
        for layout in machine.layouts() {
            let mut layout = layout?;
            placements += layout.placements.len();
            if placements > MOST_PLACEMENTS {
                return Err(Error::TooLarge {
                    space: layout.spaces.swap_remove(0),
                    placements: MOST_PLACEMENTS,
                });
            }
            sort_spaces(&mut layout.spaces);
            survey.layouts.push(layout);
        }
        // The order of the dump is that of a hash table.
        survey.layouts.sort_by_cached_key(|layout| {
            let first = layout.spaces.first().cloned().unwrap_or_default();
            (rank(&first), first)
        });
        let each = survey.layouts.iter().map(|layout| ends(&layout.placements));
        survey.ends = each.collect();
        Ok(survey)
    }

    /// The views that differ, in the order of their first spaces.
    pub(crate) fn views(&self) -> Vec<Views> {
        let mut views: Vec<Views> = Vec::new();
        let mut known: HashMap<Vec<(AddressRange, NodeId, u64, Kind)>, usize> = HashMap::new();
        for (place, layout) in self.layouts.iter().enumerate() {
            let key = layout.view.iter().map(|seen| {
                let node = layout.placements[seen.placement].node;
                (seen.range, node, seen.offset, seen.kind)
            });
            let at = *known.entry(key.collect()).or_insert_with(|| {
                views.push(Views {
                    layout: place,
                    spaces: Vec::new(),
                });
                views.len() - 1
            });
            views[at].spaces.extend_from_slice(&layout.spaces);
        }
        for view in &mut views {
            sort_spaces(&mut view.spaces);
        }
        views
    }
}
