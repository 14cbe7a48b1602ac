use super::super::mapping::{Plan, host_page_size};
use super::*;

fn mapping(pages: u64, writable: bool) -> Mapping {
    let plan = Plan {
        size: pages * host_page_size(),
        align: host_page_size(),
        file: None,
        share: false,
        writable,
        reserve: true,
    };
    Mapping::new(&plan).expect("there is memory")
}

/// What the kernel does not do is done by hand, and changes nothing.
#[test]
fn pages_can_be_touched_instead() {
    let page_size = host_page_size();
    let mapping = mapping(4, true);
    // SAFETY: mapped and writable.
    unsafe { u8::store(mapping.host().as_ptr(), 7) };
    let job = Job {
        mapping: &mapping,
        size: 4 * page_size,
        page_size,
        file: None,
        chunk: page_size,
        next: AtomicU64::new(0),
        done: Mutex::new((0, Ok(()))),
        progress: None,
    };
    job.allocate(0, 4 * page_size).expect("there is no file");
    job.touch(0, mapping.size());
    // SAFETY: mapped.
    assert_eq!(unsafe { u8::load(mapping.host().as_ptr()) }, 7);
}

/// Whoever fails first stops all; the error is that of the kernel.
#[test]
fn a_failure_ends_the_work() {
    let page_size = host_page_size();
    let small = mapping(4, true);
    // More than is mapped.
    let result = Prealloc::new(3).run(&small, 1 << 30, page_size, None);
    assert!(result.is_err());
}
