//! `--accel`: what executes the guest's instructions, written as QEMU writes it.

use std::str::FromStr;

use flatview_pc::accel::{AccelChoice, Chosen, IrqChipChoice, KvmOptions, choose};

use super::option;
use crate::error::BootError;
use crate::output;

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accel(pub(crate) AccelChoice);

impl FromStr for Accel {
    type Err = String;

    fn from_str(text: &str) -> Result<Accel, String> {
        let (name, options) = match text.split_once(',') {
            Some((name, options)) => (name, Some(options)),
            None => (text, None),
        };
        let choice = match name {
            "kvm" => AccelChoice::Kvm(kvm(options.into_iter().flat_map(|options| options.split(',')))?),
            "auto" | "soft" if options.is_some() => return Err(format!("`{name}` has no options")),
            "auto" => AccelChoice::Auto,
            "soft" => AccelChoice::Soft,
            _ => return Err("expected auto, soft, or kvm with options".into()),
        };
        Ok(Accel(choice))
    }
}

impl Accel {
    /// Chooses it, and says which one, if nobody asked for that one.
    pub(super) fn choose(&self, counted: bool) -> Result<Chosen, BootError> {
        let chosen = choose(&self.0, counted).map_err(option("--accel"))?;
        if let Some(why) = chosen.why() {
            let name = match chosen.accelerator().name() {
                "kvm" => "KVM",
                _ => "the software CPU",
            };
            output::error(&format!("flatview: on {name}: {why}\n"));
        }
        Ok(chosen)
    }
}

fn kvm<'a>(options: impl Iterator<Item = &'a str>) -> Result<KvmOptions, String> {
    let mut kvm = KvmOptions::default();
    for option in options {
        match option.split_once('=') {
            Some(("repair", value)) => kvm.repair = on_off(value)?,
            Some(("cpu", "host")) => kvm.host_cpu = true,
            Some(("cpu", "base")) => kvm.host_cpu = false,
            Some(("kernel-irqchip", "off")) => kvm.irqchip = IrqChipChoice::Off,
            Some(("kernel-irqchip", "split")) => kvm.irqchip = IrqChipChoice::Split,
            Some(("kernel-irqchip", "on")) => kvm.irqchip = IrqChipChoice::On,
            Some(("dirty-ring-size", value)) => kvm.dirty_ring = ring(value)?,
            _ => {
                return Err(format!(
                    "`{option}`: expected repair=on|off, cpu=base|host, kernel-irqchip=off|split|on, \
                     dirty-ring-size=ENTRIES"
                ));
            }
        }
    }
    Ok(kvm)
}

fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("`{text}`: expected on or off")),
    }
}

/// 0 is none.
fn ring(text: &str) -> Result<Option<u32>, String> {
    let entries: u32 = text
        .parse()
        .map_err(|_| format!("`{text}` is no number of entries"))?;
    match entries {
        0 => Ok(None),
        entries if entries.is_power_of_two() => Ok(Some(entries)),
        _ => Err("dirty-ring-size must be a power of two".into()),
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn it_is_written_as_qemu_writes_it() {
        let parse = |text: &str| text.parse::<Accel>().map(|accel| accel.0);
        assert_eq!(parse("auto"), Ok(AccelChoice::Auto));
        assert_eq!(parse("soft"), Ok(AccelChoice::Soft));
        assert_eq!(parse("kvm"), Ok(AccelChoice::Kvm(KvmOptions::default())));
        let options = KvmOptions {
            repair: false,
            host_cpu: true,
            dirty_ring: Some(4096),
            irqchip: IrqChipChoice::Split,
        };
        let text = "kvm,repair=off,cpu=host,dirty-ring-size=4096,kernel-irqchip=split";
        assert_eq!(parse(text), Ok(AccelChoice::Kvm(options)));
        assert_eq!(
            parse("kvm,dirty-ring-size=0"),
            Ok(AccelChoice::Kvm(KvmOptions::default()))
        );
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, why) in [
            ("tcg", "expected auto, soft, or kvm"),
            ("soft,repair=on", "`soft` has no options"),
            ("kvm,", "``: expected repair="),
            ("kvm,repair=maybe", "expected on or off"),
            ("kvm,kernel-irqchip=half", "`kernel-irqchip=half`: expected"),
            ("kvm,dirty-ring-size=1000", "must be a power of two"),
            ("kvm,dirty-ring-size=-1", "no number of entries"),
        ] {
            let error = text.parse::<Accel>().expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
