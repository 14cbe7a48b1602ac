//! How many bytes regions and views take. No statistics: the figures are the same each time.

use flatview_bench::footprint::{CountingAllocator, Footprint};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> Result<(), flatview::Error> {
    println!(
        "{:>8} {:>10} {:>10} {:>10} {:>14} {:>12}",
        "regions", "B/region", "B/mapped", "B/range", "B/range later", "allocations"
    );
    for count in [10, 100, 1_000, 10_000] {
        let bytes = Footprint::measure(count, 20_000)?;
        println!(
            "{count:>8} {:>10.1} {:>10.1} {:>10.1} {:>14.1} {:>12.1}",
            bytes.region,
            bytes.mapped_region,
            bytes.range,
            bytes.range_after_toggles,
            bytes.allocations_of_a_toggle
        );
    }
    println!(
        "mapped: with its place in the container; later: after 20000 toggles; allocations: of one toggle"
    );
    Ok(())
}
