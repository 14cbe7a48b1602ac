//! The heart: a tree of regions and a window become a sorted list of disjoint ranges.
//!
//! Rendering walks the regions front to back: children before their container, higher priority before
//! lower, newer before older (rule C1). What is painted first stays; what comes later fills the gaps. A walk
//! keeps its own stack, and both its depth and the number of its steps are bounded, because two aliases a
//! level, sixty-four levels deep, are 2^64 ranges, and a hostile machine description can say that.

use std::collections::BTreeMap;

use crate::address::AddressRange;
use crate::error::Error;
use crate::region::RegionId;
use crate::tree::{MAX_DEPTH, Tree};
use crate::view::{FlatRange, RangeFlags};

/// How many regions and ranges one rendering may look at. A real machine needs a few thousand.
pub(crate) const MAX_STEPS: usize = 1 << 20;

/// One region on the way down.
#[derive(Clone, Copy)]
struct Visit {
    region: RegionId,
    /// The address at which the byte lies that the region's own address is counted from. Aliases can put it
    /// below zero (rules C5, C8, C11) and beyond 2^64.
    base: i128,
    clip: AddressRange,
    flags: RangeFlags,
    depth: usize,
}

enum Step {
    Visit(Visit),
    /// All children have been painted: the region itself fills what they left (rule C24).
    Fill {
        region: RegionId,
        base: i128,
        clip: AddressRange,
        flags: RangeFlags,
    },
}

/// What was painted: first byte to last byte, region, address of the region's byte 0, inherited flags.
struct Piece {
    last: u64,
    region: RegionId,
    base: i128,
    flags: RangeFlags,
}

/// Renders what a view rooted at `root` shows within `clip`: sorted, disjoint, merged where rule C35 allows.
///
/// # Errors
///
/// [`Error::RenderingTooDeep`] and [`Error::RenderingTooLarge`] for trees that would not end.
pub(crate) fn render(tree: &Tree, root: RegionId, clip: AddressRange) -> Result<Vec<FlatRange>, Error> {
    let mut painter = Painter::default();
    let mut children = Vec::new();
    let mut steps = 0;
    let mut stack = vec![Step::Visit(Visit {
        region: root,
        base: 0,
        clip,
        flags: RangeFlags::empty(),
        depth: 0,
    })];
    while let Some(step) = stack.pop() {
        let visit = match step {
            Step::Visit(visit) => visit,
            Step::Fill {
                region,
                base,
                clip,
                flags,
            } => {
                steps += painter.fill(clip, region, base, flags);
                continue;
            }
        };
        steps += 1;
        if steps > MAX_STEPS {
            return Err(Error::RenderingTooLarge {
                root: tree.name(root),
                limit: MAX_STEPS,
            });
        }
        let node = tree.node(visit.region);
        let attributes = &node.attributes;
        if !attributes.enabled {
            continue;
        }
        let base = visit.base + i128::from(attributes.address);
        let end = base.saturating_add_unsigned(attributes.size.bytes());
        let Some(clip) = AddressRange::clamp(base, end).and_then(|window| window.intersection(visit.clip))
        else {
            continue;
        };
        if visit.depth >= MAX_DEPTH {
            return Err(Error::RenderingTooDeep {
                region: tree.name(visit.region),
                limit: MAX_DEPTH,
            });
        }
        let flags = visit.flags | RangeFlags::inherited_from(attributes);
        let below = |region, base| Visit {
            region,
            base,
            clip,
            flags,
            depth: visit.depth + 1,
        };
        if let Some(target) = node.alias_target {
            let skipped = tree.node(target).attributes.address;
            let base = base - i128::from(skipped) - i128::from(attributes.alias_offset);
            stack.push(Step::Visit(below(target, base)));
            continue;
        }
        if node.terminates {
            stack.push(Step::Fill {
                region: visit.region,
                base,
                clip,
                flags,
            });
        }
        if node.has_children() {
            let start = i128::from(clip.start()) - base;
            let within = AddressRange::clamp(start, start.saturating_add_unsigned(clip.size().bytes()));
            children.clear();
            if let Some(within) = within {
                tree.children_meeting(visit.region, within, &mut children);
            }
            // Counted here too, so that the stack cannot outgrow the limit.
            steps += children.len();
            stack.extend(
                children
                    .iter()
                    .rev()
                    .map(|&child| Step::Visit(below(child, base))),
            );
        }
    }
    Ok(painter.finish(tree))
}

/// The ranges painted so far, by first byte.
#[derive(Default)]
struct Painter(BTreeMap<u64, Piece>);

impl Painter {
    /// Paints the bytes of `clip` that nothing covers yet, and tells how many pieces were in the way.
    fn fill(&mut self, clip: AddressRange, region: RegionId, base: i128, flags: RangeFlags) -> usize {
        let mut in_the_way = 0;
        let mut gaps = Vec::new();
        let mut next = Some(clip.start());
        if let Some((_, before)) = self.0.range(..clip.start()).next_back()
            && before.last >= clip.start()
        {
            next = before.last.checked_add(1);
        }
        for (&start, piece) in self.0.range(clip.start()..=clip.last()) {
            in_the_way += 1;
            let Some(free) = next else { break };
            if free < start {
                gaps.push((free, start - 1));
            }
            next = piece.last.checked_add(1);
        }
        if let Some(free) = next
            && free <= clip.last()
        {
            gaps.push((free, clip.last()));
        }
        for (start, last) in gaps {
            self.0.insert(
                start,
                Piece {
                    last,
                    region,
                    base,
                    flags,
                },
            );
        }
        in_the_way
    }

    fn finish(self, tree: &Tree) -> Vec<FlatRange> {
        let mut ranges: Vec<FlatRange> = Vec::with_capacity(self.0.len());
        for (
            start,
            Piece {
                last,
                region,
                base,
                flags,
            },
        ) in self.0
        {
            let node = tree.node(region);
            let Some(region) = node.region() else { continue };
            let mut flags = flags;
            flags.set(RangeFlags::ROMD, node.attributes.romd_mode);
            let range = FlatRange::new(
                start,
                last,
                // The region covers `start`, so its byte there exists and fits.
                u64::try_from(i128::from(start) - base).unwrap_or_default(),
                flags,
                tree.dirty_log_mask(region.id()),
                region,
            );
            match ranges.last_mut() {
                Some(before) if before.merges_with(&range) => before.extend_to(range.last()),
                _ => ranges.push(range),
            }
        }
        ranges
    }
}
