//! What can go wrong with a dump that was read.

/// A dump that means more than can be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It cannot be rendered.
    #[error("the dump cannot be rendered: {0}")]
    Rendering(#[from] flatview::Error),
    /// A space has too many regions in too many places.
    #[error("address space `{space}` shows regions in more than {placements} places")]
    TooLarge {
        /// The space.
        space: String,
        /// The most that is looked through.
        placements: usize,
    },
    /// There is no address space of this name.
    #[error("no address space is called {space:?}; there are: {there}")]
    NoSpace {
        /// The name.
        space: String,
        /// The names that there are.
        there: String,
    },
    /// There is no tree of regions in the input.
    #[error("no tree in the input: it takes what `info mtree` prints without -f")]
    NoTree,
    /// There are no flat views in the input.
    #[error("no flat views in the input: it takes what `info mtree -f` prints")]
    NoFlat,
}
