use std::fmt;
use super::Options; use crate::layout::Layout;
pub(super) struct Page<'a> { pub(super) layouts: &'a [Layout], pub(super) options: &'a Options }
impl fmt::Display for Page<'_> { fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result { let _ = (self.layouts, self.options); Ok(()) } }
