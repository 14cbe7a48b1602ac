//! The client of QMP with a real QEMU.

use std::thread;
use std::time::{Duration, Instant};

use flatview_mtree::qmp::{Address, Client, Error, Flags, Options};
use flatview_testkit::Qemu;

fn small_pc() -> Option<Qemu> {
    Qemu::start(&["-M", "pc", "-m", "64"])
}

fn connect(qemu: &Qemu) -> Client {
    Client::connect(&Address::unix(qemu.socket())).expect("a client")
}

#[test]
fn a_real_qemu_prints_with_all_flags() {
    let Some(qemu) = small_pc() else { return };
    let mut client = connect(&qemu);
    assert!(client.version().major >= 4, "{}", client.version());

    for bits in 0..16 {
        let [flat, dispatch, owners, disabled] = [1, 2, 4, 8].map(|bit| bits & bit != 0);
        let dump = client
            .info_mtree(Flags {
                flat,
                dispatch,
                owners,
                disabled,
            })
            .unwrap();
        assert!(!dump.contains('\r'));
        assert_eq!(dump.contains("FlatView #0"), flat, "{bits}");
        assert_eq!(dump.contains("address-space: memory"), !flat, "{bits}");
        assert_eq!(dump.contains("Dispatch"), flat && dispatch, "{bits}");
        assert_eq!(dump.contains("owner:{"), owners, "{bits}");
        assert_eq!(dump.contains("[disabled]"), disabled && !flat, "{bits}");
        assert!(dump.contains("pc.ram"), "{bits}");
    }
}

#[test]
fn a_real_monitor_complains_in_words() {
    let Some(qemu) = small_pc() else { return };
    let mut client = connect(&qemu);
    let text = client.human_monitor_command("info mtree -x").unwrap();
    assert!(text.starts_with("mtree: unsupported option -x\n"), "{text}");
    let text = client.human_monitor_command("info nonsense").unwrap();
    assert!(text.starts_with("unknown command"), "{text}");
    // And goes on.
    client.info_mtree(Flags::default()).unwrap();
}

#[test]
fn a_real_qemu_lets_the_second_client_wait_until_the_first_leaves() {
    let Some(qemu) = small_pc() else { return };
    let first = connect(&qemu);
    let options = Options {
        connect: Duration::from_millis(300),
        ..Options::default()
    };
    let address = Address::unix(qemu.socket());
    // More than its queue holds.
    for _ in 0..5 {
        let begin = Instant::now();
        let error = Client::connect_with(&address, options).unwrap_err();
        assert!(matches!(error, Error::NoGreeting { .. }), "{error:?}");
        assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    }
    drop(first);
    connect(&qemu).info_mtree(Flags::default()).unwrap();
}

#[test]
fn a_real_qemu_sends_events_in_between() {
    let Some(qemu) = small_pc() else { return };
    let mut client = connect(&qemu);
    let before = client.info_mtree(Flags::default()).unwrap();
    for _ in 0..20 {
        // RESUME and STOP come before the answers.
        assert_eq!(client.human_monitor_command("cont").unwrap(), "");
        thread::sleep(Duration::from_millis(20));
        assert_eq!(client.human_monitor_command("stop").unwrap(), "");
    }
    let after = client.info_mtree(Flags::default()).unwrap();
    assert!(before.contains("pc.ram") && after.contains("pc.ram"));
}

#[test]
fn a_real_qemu_that_quits_is_an_error() {
    let Some(qemu) = small_pc() else { return };
    let mut client = connect(&qemu);
    // It may answer before it goes, or not.
    let _ = client.human_monitor_command("quit");
    let error = client.info_mtree(Flags::default()).unwrap_err();
    assert!(matches!(error, Error::Closed { .. }), "{error:?}");
}
