//! What commits cost.

use std::ops::AddAssign;

/// What was done so far for one view: a view that address spaces share is counted once, and each of them
/// tells the same figures. They begin anew when a space comes to look at another view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViewStatistics {
    /// Commits that damaged the view, whether it looked different afterwards or not; those that a listener
    /// refused count, too.
    pub commits: u64,
    /// New views that were published.
    pub published: u64,
    /// Damaged windows: runs of addresses that were rendered again, or looked at as a whole.
    pub damaged: u64,
    /// Ranges that rendering the windows gave.
    pub rendered: u64,
    /// Ranges that were put into new views; all others were taken over as they were.
    pub spliced: u64,
}

impl AddAssign for ViewStatistics {
    fn add_assign(&mut self, other: ViewStatistics) {
        self.commits += other.commits;
        self.published += other.published;
        self.damaged += other.damaged;
        self.rendered += other.rendered;
        self.spliced += other.spliced;
    }
}
