//! What ranges and regions take up.

use flatview_bench::footprint::Footprint;

use crate::table::{Gates, Result, exactly};

pub(crate) fn footprint(gates: &mut Gates) -> Result<()> {
    const GROUP: &str = "footprint";
    let bytes = Footprint::measure(10_000, 20_000)?;
    let rows = [
        ("range, view just rendered", "B", bytes.range, Some(100.0)),
        (
            "range, after 20000 toggles",
            "B",
            bytes.range_after_toggles,
            Some(100.0),
        ),
        ("region, mapped", "B", bytes.mapped_region, Some(400.0)),
        ("region, not mapped", "B", bytes.region, None),
        ("allocations of a toggle", "", bytes.allocations_of_a_toggle, None),
    ];
    for (what, unit, value, limit) in rows {
        let row = gates.add(GROUP, what, unit, exactly(value));
        if let Some(limit) = limit {
            row.at_most(limit);
        }
    }
    let small = Footprint::measure(10, 1_000)?;
    gates.add(
        GROUP,
        "allocations of a toggle, 10",
        "",
        exactly(small.allocations_of_a_toggle),
    );
    Ok(())
}
