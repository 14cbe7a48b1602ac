//! `mtree find`: where regions are visible.

use flatview_mtree::find::find;

use crate::cli::{FindArgs, LiveArgs};
use crate::error::Error;
use crate::exit::Exit;
use crate::machines::each;
use crate::output;

pub(super) fn run(live: &LiveArgs, arguments: &FindArgs) -> Result<Exit, Error> {
    let mut any = false;
    each(live, &arguments.source.sources, arguments.json, |machine| {
        let found = find(machine, &arguments.pattern)?;
        any |= !found.is_empty();
        if arguments.json {
            output::json(&found)?;
        } else {
            for region in &found {
                output::text(&region.to_string())?;
            }
        }
        Ok(Exit::Ok)
    })?;
    Ok(if any { Exit::Ok } else { Exit::Different })
}
