//! Which region a space's view is rendered from, and so which spaces share a view.

use super::{MAX_DEPTH, Tree};
use crate::region::RegionId;

/// Where the search for a physical root goes from one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RootStep {
    /// Nothing is seen from here.
    Nothing,
    /// This is the root.
    Here,
    /// What is seen from here is exactly what is seen from there.
    To(RegionId),
}

impl Tree {
    /// The region whose rendering is the view of a space rooted at `id`; `None` if that view is empty
    /// (rule C30, without C32 and C33 unless [asked for](crate::Compat::LOSSY_VIEW_ROOTS): a region is skipped
    /// only if nothing is lost by it).
    pub(crate) fn flatview_root(&self, id: RegionId) -> Option<RegionId> {
        let mut root = id;
        // A region that sees itself could go round for ever; rendering it will say so.
        for _ in 0..MAX_DEPTH {
            match self.root_step(root) {
                RootStep::Nothing => return None,
                RootStep::Here => return Some(root),
                RootStep::To(next) => root = next,
            }
        }
        Some(root)
    }

    /// The regions from `id` to the one at which the search for [`flatview_root`](Self::flatview_root) ends:
    /// the physical root, or the region from which nothing is seen.
    pub(crate) fn way_to_flatview_root(&self, id: RegionId) -> Vec<RegionId> {
        let next = |&at: &RegionId| match self.root_step(at) {
            RootStep::To(next) => Some(next),
            RootStep::Here | RootStep::Nothing => None,
        };
        std::iter::successors(Some(id), next)
            .take(MAX_DEPTH + 1)
            .collect()
    }

    pub(super) fn root_step(&self, id: RegionId) -> RootStep {
        let node = self.node(id);
        let attributes = &node.attributes;
        if !attributes.enabled {
            return RootStep::Nothing;
        }
        if let Some(target) = node.alias_target {
            let seen = &self.node(target).attributes;
            let whole = attributes.alias_offset == 0 && attributes.size >= seen.size;
            let lossless = attributes.is_plain() && attributes.address == seen.address;
            return match whole && (lossless || self.lossy_roots) {
                true => RootStep::To(target),
                false => RootStep::Here,
            };
        }
        if node.terminates {
            return RootStep::Here;
        }
        if node.links().children.enabled_count() == 0 {
            return RootStep::Nothing;
        }
        let Some(child) = node.links().children.only_enabled() else {
            return RootStep::Here;
        };
        let seen = &self.node(child).attributes;
        let whole = seen.address == 0 && attributes.size >= seen.size;
        let lossless = attributes.is_plain() && attributes.address == 0;
        match whole && (lossless || self.lossy_roots) {
            true => RootStep::To(child),
            false => RootStep::Here,
        }
    }

    /// What a change of `id` itself can turn: its container's step, and its own if a space may come by.
    pub(super) fn root_step_around(&self, id: RegionId) -> (Option<RootStep>, Option<RootStep>) {
        let from_container = self.container(id).map(|container| self.root_step(container));
        let node = self.node(id);
        let comes_by = node.is_space_root
            || !node.links().aliases.is_empty()
            || from_container == Some(RootStep::To(id));
        (comes_by.then(|| self.root_step(id)), from_container)
    }
}
