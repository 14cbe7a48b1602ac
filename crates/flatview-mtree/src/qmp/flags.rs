//! What `info mtree` shall print.

/// The flags of `info mtree`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "four switches of a command line, each on its own"
)]
pub struct Flags {
    /// `-f`: flat views instead of trees.
    pub flat: bool,
    /// `-d`: the dispatch tables as well. QEMU prints them with `-f` only.
    pub dispatch: bool,
    /// `-o`: owners and parents.
    pub owners: bool,
    /// `-D`: disabled regions as well. QEMU prints them without `-f` only.
    pub disabled: bool,
}

impl Flags {
    /// The line for the human monitor.
    ///
    /// The flags are words of their own and in this order: the monitor knows neither `-fd` nor `-d -f`.
    #[must_use]
    pub fn command_line(self) -> String {
        let mut line = "info mtree".to_owned();
        let words = [
            (self.flat, " -f"),
            (self.dispatch, " -d"),
            (self.owners, " -o"),
            (self.disabled, " -D"),
        ];
        line.extend(
            words
                .into_iter()
                .filter_map(|(given, word)| given.then_some(word)),
        );
        line
    }
}

#[cfg(test)]
#[path = "flags_test.rs"]
mod tests;
