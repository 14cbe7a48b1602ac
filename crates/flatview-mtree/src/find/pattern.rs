//! What a person types to name regions.

use std::convert::Infallible;
use std::str::FromStr;

/// Which names are meant.
///
/// ```
/// use flatview_mtree::find::Pattern;
///
/// let matches = |pattern: &str, name: &str| Pattern::new(pattern).matches(name);
/// assert!(matches("vram", "VGA.vram"), "a part, whatever its case");
/// assert!(matches("pci*hole", "pci-hole") && !matches("pci*hole", "pci-hole64"), "all of the name");
/// assert!(matches("=pci", "pci") && !matches("=pci", "pci-hole"), "just this name");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// Names with this in them; upper or lower case does not matter.
    Part(String),
    /// Names that are like this from end to end, where `*` is anything and `?` any one character; upper or lower
    /// case does not matter.
    Glob(String),
    /// This name.
    Exact(String),
}

impl Pattern {
    /// What a text means: with `=` before it just this name, with a `*` or `?` in it a glob, otherwise a part.
    pub fn new(text: &str) -> Pattern {
        match text.strip_prefix('=') {
            Some(name) => Pattern::Exact(name.to_owned()),
            None if text.contains(['*', '?']) => Pattern::Glob(text.to_lowercase()),
            None => Pattern::Part(text.to_lowercase()),
        }
    }

    /// Whether it means this name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Pattern::Exact(exact) => name == exact,
            Pattern::Part(part) => name.to_lowercase().contains(&part.to_lowercase()),
            Pattern::Glob(glob) => {
                let chars = |text: &str| text.to_lowercase().chars().collect::<Vec<char>>();
                is_like(&chars(name), &chars(glob))
            }
        }
    }
}

impl FromStr for Pattern {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Pattern, Infallible> {
        Ok(Pattern::new(text))
    }
}

/// Without recursion: going back to the last `*` is enough, so it takes at most one length times the other.
fn is_like(name: &[char], glob: &[char]) -> bool {
    let (mut at, mut in_glob) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match glob.get(in_glob) {
            Some('*') => {
                star = Some((at, in_glob));
                in_glob += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == name[at] => {
                at += 1;
                in_glob += 1;
            }
            _ => {
                let Some((from, of)) = star else {
                    return false;
                };
                star = Some((from + 1, of));
                at = from + 1;
                in_glob = of + 1;
            }
        }
    }
    glob[in_glob..].iter().all(|&rest| rest == '*')
}
