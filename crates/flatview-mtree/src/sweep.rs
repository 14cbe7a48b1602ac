//! Two lists of ranges side by side.

use flatview::AddressRange;

/// Goes through all addresses from 0 on, in the longest runs in which neither of two sorted, disjoint lists of ranges
/// changes, and says who is there.
pub(crate) fn sweep<'o, 'p, A, B>(
    one: &'o [A],
    other: &'p [B],
    (bounds_of_one, bounds_of_other): (impl Fn(&A) -> (u64, u64), impl Fn(&B) -> (u64, u64)),
    mut visit: impl FnMut(AddressRange, Option<&'o A>, Option<&'p B>),
) {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut at = 0;
    loop {
        while one.next_if(|range| bounds_of_one(range).1 < at).is_some() {}
        while other.next_if(|range| bounds_of_other(range).1 < at).is_some() {}
        let here = one.peek().map(|range| (*range, bounds_of_one(range)));
        let there = other.peek().map(|range| (*range, bounds_of_other(range)));
        let until = |bounds: Option<(u64, u64)>| match bounds {
            None => u64::MAX,
            Some((start, last)) if start <= at => last,
            Some((start, _)) => start - 1,
        };
        let last = until(here.map(|(_, bounds)| bounds)).min(until(there.map(|(_, bounds)| bounds)));
        let has_begun = |(start, _): (u64, u64)| start <= at;
        if let Some(run) = AddressRange::from_bounds(at, last) {
            visit(
                run,
                here.filter(|&(_, bounds)| has_begun(bounds))
                    .map(|(range, _)| range),
                there
                    .filter(|&(_, bounds)| has_begun(bounds))
                    .map(|(range, _)| range),
            );
        }
        match last.checked_add(1) {
            Some(next) => at = next,
            None => return,
        }
    }
}
