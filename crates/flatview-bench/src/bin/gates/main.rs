//! Says in some minutes whether the speed targets are met. `--json` for machines, `--markdown` for `docs/benchmarks.md`; `--quick` for a glance;
//! a word selects the groups whose name contains it. Never fails for a target that is missed.

mod access;
mod boot;
mod changes;
mod footprint;
mod guests;
mod interop;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod kvm;
mod lookups;
mod mtree;
mod readers;
mod table;

use std::time::Duration;

use flatview_bench::footprint::CountingAllocator;

use table::{Gates, Result, Row};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> Result<()> {
    let mut gates = Gates {
        budget: Duration::from_millis(400),
        only: None,
        rows: Vec::new(),
    };
    let mut show: fn(&[Row]) = table::print;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => show = table::print_json,
            "--markdown" => show = table::print_markdown,
            "--quick" => gates.budget /= 8,
            "--help" => {
                println!(
                    "gates [--json|--markdown] [--quick] [commit|build|pci|ram|mmio|readers|footprint|access|device|bulk|dirty|prealloc|interop|mtree|boot|kvm]"
                );
                return Ok(());
            }
            group => gates.only = Some(group.to_owned()),
        }
    }
    type Group = fn(&mut Gates) -> Result<()>;
    let groups: &[(&str, Group)] = &[
        ("footprint", footprint::footprint),
        ("commit", changes::commit),
        ("build", changes::build),
        ("pci", changes::pci),
        ("ram", lookups::ram),
        ("mmio", lookups::mmio),
        ("readers", readers::readers),
        ("access", access::access),
        ("device", access::device),
        ("bulk", access::bulk),
        ("dirty", access::dirty),
        ("prealloc", access::prealloc),
        ("interop", interop::interop),
        ("mtree", mtree::mtree),
        ("boot", boot::boot),
        #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
        ("kvm", kvm::kvm),
    ];
    for (group, measure) in groups {
        if gates.wants(group) {
            measure(&mut gates)?;
        }
    }
    show(&gates.rows);
    let targets = || gates.rows.iter().filter_map(|row| row.target.as_ref());
    let met = targets().filter(|target| target.met).count();
    eprintln!("{met} of {} targets met", targets().count());
    Ok(())
}
