//! Which regions a view can see, enabled or not: the ways that damage is carried.
//!
//! `system` may have a bus-master alias for each of two hundred devices, and none of them matters while their
//! spaces share the view of `system` itself. So a region knows, besides all its aliases, those through which
//! a view sees it. The marks may say too much (something unmapped keeps them for a while), never too little.

use super::Tree;
use crate::region::RegionId;

/// How many changes that may have left a mark too many are put up with, at the least.
const STALE_MARKS: usize = 64;

impl Tree {
    /// Says whether a view is rendered from this region.
    pub(crate) fn set_view_root(&mut self, id: RegionId, is_view_root: bool) {
        self.node_mut(id).is_view_root = is_view_root;
        if is_view_root {
            self.mark_seen(id);
        } else {
            self.stale_marks += 1;
        }
    }

    /// Forgets marks that say too much, when there may be many.
    pub(crate) fn refresh_marks(&mut self) {
        if self.stale_marks < STALE_MARKS.max(self.nodes.len() / 8) {
            return;
        }
        self.stale_marks = 0;
        let mut roots = Vec::new();
        for (node, index) in self.nodes.iter_mut().zip(0..) {
            let Some(node) = node else { continue };
            node.is_seen = false;
            if let Some(links) = &mut node.links {
                links.seen_through.clear();
            }
            roots.extend(node.is_view_root.then_some(RegionId(index)));
        }
        for root in roots {
            self.mark_seen(root);
        }
    }

    /// Marks a region and everything that is seen through it.
    pub(super) fn mark_seen(&mut self, id: RegionId) {
        let mut todo = vec![id];
        while let Some(id) = todo.pop() {
            let node = self.node_mut(id);
            if std::mem::replace(&mut node.is_seen, true) {
                continue;
            }
            todo.extend(node.links().children.iter().map(crate::region::Region::id));
            if let Some(target) = node.alias_target {
                self.node_mut(target).links_mut().seen_through.push(id);
                todo.push(target);
            }
        }
    }
}
