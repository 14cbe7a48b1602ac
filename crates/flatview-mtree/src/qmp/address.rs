//! Where a QMP socket is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// Where a QMP socket is: what `-qmp` of QEMU's command line says, without its options.
///
/// As text it is `PATH`, `unix:PATH` or `tcp:HOST:PORT`. There is no encryption and nobody is asked who they are:
/// whoever can reach a QMP socket owns the machine behind it, so TCP is for one's own host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A Unix socket.
    Unix(PathBuf),
    /// `HOST:PORT`, with an IPv6 address in brackets.
    Tcp(String),
}

/// Why a text is no [`Address`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseAddressError {
    /// Nothing where a path should be.
    #[error("the path of a Unix socket is missing: expected PATH, unix:PATH or tcp:HOST:PORT")]
    NoPath,
    /// After `tcp:` comes no host and port.
    #[error(
        "`{0}` is no host and port: expected tcp:HOST:PORT, such as tcp:localhost:4444 or tcp:[::1]:4444"
    )]
    NoHostAndPort(String),
}

impl Address {
    /// A Unix socket.
    #[must_use]
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self::Unix(path.into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host_and_port) => write!(f, "tcp:{host_and_port}"),
        }
    }
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        if let Some(host_and_port) = text.strip_prefix("tcp:") {
            let port = host_and_port
                .rsplit_once(':')
                .filter(|(host, _)| !host.is_empty());
            return match port.map(|(_, port)| port.parse::<u16>()) {
                Some(Ok(_)) => Ok(Self::Tcp(host_and_port.to_owned())),
                _ => Err(ParseAddressError::NoHostAndPort(host_and_port.to_owned())),
            };
        }
        match text.strip_prefix("unix:").unwrap_or(text) {
            "" => Err(ParseAddressError::NoPath),
            path => Ok(Self::unix(path)),
        }
    }
}

#[cfg(test)]
#[path = "address_test.rs"]
mod tests;
