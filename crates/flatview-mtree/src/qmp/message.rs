//! What QEMU says, as far as we listen.

use std::fmt;

use serde::Deserialize;
use serde_json::value::RawValue;

/// A line from QEMU. What is not needed is checked to be JSON, and not remembered: a line of little text can be a
/// large tree.
#[derive(Debug, Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub(super) id: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "return")]
    pub(super) answer: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(super) event: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "QMP")]
    pub(super) greeting: Option<&'a RawValue>,
}

/// What stands behind `"QMP"`.
#[derive(Debug, Deserialize)]
pub(super) struct Greeting {
    pub(super) version: Version,
}

/// What stands behind `"error"`.
#[derive(Debug, Deserialize)]
pub(super) struct Failure {
    pub(super) class: String,
    #[serde(rename = "desc")]
    pub(super) description: String,
}

/// Which QEMU it is. As text: `7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "WireVersion")]
#[non_exhaustive]
pub struct Version {
    /// The 7 of 7.2.22.
    pub major: u32,
    /// The 2 of 7.2.22.
    pub minor: u32,
    /// The 22 of 7.2.22.
    pub micro: u32,
    /// What the distribution calls it; empty if nobody said.
    pub package: String,
}

#[derive(Deserialize)]
struct WireVersion {
    qemu: Numbers,
    #[serde(default)]
    package: String,
}

#[derive(Deserialize)]
struct Numbers {
    major: u32,
    minor: u32,
    micro: u32,
}

impl From<WireVersion> for Version {
    fn from(wire: WireVersion) -> Self {
        let Numbers { major, minor, micro } = wire.qemu;
        Self {
            major,
            minor,
            micro,
            package: wire.package,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.micro)?;
        // Upstream's own builds put the parentheses into the name, or did: ` (v2.6.0-rc1)`.
        match self.package.trim().trim_matches(['(', ')']) {
            "" => Ok(()),
            package => write!(f, " ({package})"),
        }
    }
}
