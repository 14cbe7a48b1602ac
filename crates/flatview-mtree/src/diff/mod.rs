//! What changed between two dumps
