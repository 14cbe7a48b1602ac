//! Where the firmware comes from.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flatview_pc::firmware::images::{
    ImageError, fetch_debian_seabios, find_bios, find_vga_bios, load_bios, load_option_rom,
};
use indicatif::ProgressBar;

use super::option;
use crate::error::BootError;
use crate::output;

pub(super) struct Firmware {
    pub(super) bios: Vec<u8>,
    pub(super) vga_bios: Option<Vec<u8>>,
}

/// The firmware that the user named, or Debian's SeaBIOS: the system's, or one that is fetched.
pub(super) fn find(named: Option<&Path>, vga_bios: Option<&Path>) -> Result<Firmware, BootError> {
    let cache = cache();
    let kept = cache.join("seabios");
    let bios = match find_bios(named, Some(&kept)) {
        Err(ImageError::NotFound { .. }) if named.is_none() => {
            fetch(&cache)?;
            find_bios(None, Some(&kept))
        }
        found => found,
    };
    let bios = bios.map_err(option("--bios"))?;
    let found = find_vga_bios(vga_bios, &bios).and_then(|file| load_option_rom(&file));
    Ok(Firmware {
        bios: load_bios(&bios).map_err(option("--bios"))?,
        vga_bios: match vga_bios {
            Some(_) => Some(found.map_err(option("--vga-bios"))?),
            // Firmware of another kind brings what it needs for the screen, or has none.
            None => found.ok(),
        },
    })
}

/// Says what it does: it takes some seconds, and the network.
fn fetch(cache: &Path) -> Result<(), BootError> {
    output::error(&format!(
        "flatview: no SeaBIOS on this system: fetching Debian's package into {}\n",
        cache.display()
    ));
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(100));
    let fetched = fetch_debian_seabios(cache, |step| {
        if bar.is_hidden() {
            output::error(&format!("flatview: {step}\n"));
        } else {
            bar.set_message(step.to_string());
        }
    });
    bar.finish_and_clear();
    fetched.map(|_| ()).map_err(BootError::Fetch)
}

/// Where fetched firmware is kept: below cargo's target folder if this program lies in one, so that `cargo clean`
/// takes it away; otherwise where programs of the user keep such things.
fn cache() -> PathBuf {
    let program = env::current_exe().ok();
    let target = program.as_deref().and_then(Path::parent).and_then(Path::parent);
    if let Some(target) = target.filter(|folder| folder.join("CACHEDIR.TAG").is_file()) {
        return target.join("flatview-cache");
    }
    let folder = |name: &str| {
        env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    folder("XDG_CACHE_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".cache")))
        .unwrap_or_else(env::temp_dir)
        .join("flatview")
}
