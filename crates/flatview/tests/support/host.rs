//! What the kernel says about this process.
#![allow(dead_code, reason = "not every test looks at everything")]

use std::fs;

use flatview::RamBlock;

/// The mappings that meet some bytes: the lines of `/proc/self/smaps`, from the first to the next mapping's.
fn mappings_of(start: usize, size: u64) -> Vec<String> {
    let end = start as u64 + size;
    let smaps = fs::read_to_string("/proc/self/smaps").expect("there is a proc file system");
    let mut found: Vec<String> = Vec::new();
    let mut meets = false;
    for line in smaps.lines() {
        let bounds = line.split(' ').next().and_then(|bounds| {
            let (first, last) = bounds.split_once('-')?;
            let parse = |text| u64::from_str_radix(text, 16).ok();
            Some((parse(first)?, parse(last)?))
        });
        if let Some((first, last)) = bounds {
            meets = first < end && (start as u64) < last;
            if meets {
                found.push(String::new());
            }
        }
        if let (true, Some(mapping)) = (meets, found.last_mut()) {
            mapping.push_str(line);
            mapping.push('\n');
        }
    }
    found
}

/// Whether a memory file of that name is mapped. Addresses would not do: another test may map something there.
pub(crate) fn is_mapped(name: &str) -> bool {
    let maps = fs::read_to_string("/proc/self/maps").expect("there is a proc file system");
    let wanted = format!("/memfd:{name} ");
    maps.lines().any(|line| line.contains(&wanted))
}

/// How many bytes of a block are in memory.
pub(crate) fn resident(block: &RamBlock) -> u64 {
    let start = block.host_address().expect("it has host memory");
    let mappings = mappings_of(start, block.max_size());
    let lines = mappings.iter().flat_map(|mapping| mapping.lines());
    lines
        .filter_map(|line| {
            line.strip_prefix("Rss:")?
                .trim()
                .strip_suffix(" kB")?
                .parse::<u64>()
                .ok()
        })
        .sum::<u64>()
        * 1024
}

/// The two-letter flags of the mapping that a block begins with.
pub(crate) fn flags(block: &RamBlock) -> Vec<String> {
    let start = block.host_address().expect("it has host memory");
    let mappings = mappings_of(start, 1);
    let flags = mappings[0].lines().find_map(|line| line.strip_prefix("VmFlags:"));
    flags
        .expect("every mapping has flags")
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

/// How many bytes of addresses this process has mapped.
pub(crate) fn mapped_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("there is a proc file system");
    let pages = statm
        .split(' ')
        .next()
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number of pages") * 4096
}

/// How many descriptors this process has open.
pub(crate) fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd")
        .expect("there is a proc file system")
        .count()
}

/// Reads a word of a block.
pub(crate) fn load(block: &RamBlock, offset: u64) -> u64 {
    let window = block.window(offset, 8).expect("there is memory");
    window.load(0).expect("it is 8 bytes")
}

/// Writes a word of a block.
pub(crate) fn store(block: &RamBlock, offset: u64, value: u64) {
    let window = block.window(offset, 8).expect("there is memory");
    window.store(0, value).expect("it is 8 bytes");
}
