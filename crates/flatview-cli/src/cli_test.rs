use std::os::unix::ffi::OsStringExt;

use clap::CommandFactory;

use super::*;

fn mtree(arguments: &[&str]) -> Result<MtreeArgs, clap::Error> {
    let cli = Cli::try_parse_from(["flatview", "mtree", "dump"].iter().chain(arguments))?;
    match cli.command {
        Command::Mtree(arguments) => Ok(arguments),
        other => panic!("{other:?}"),
    }
}

fn dump(arguments: &[&str]) -> Result<DumpArgs, clap::Error> {
    match mtree(arguments)?.command {
        MtreeCommand::Dump(arguments) => Ok(arguments),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_arguments_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn sources() {
    for (arguments, source) in [
        (&["-"][..], Source::Stdin),
        (&["a.mtree"], Source::File("a.mtree".into())),
        (&["./qmp:a"], Source::File("./qmp:a".into())),
        (&["qmp:a.sock"], Source::Qemu(Address::unix("a.sock"))),
        (&["qmp:tcp:[::1]:1"], Source::Qemu(Address::Tcp("[::1]:1".into()))),
    ] {
        assert_eq!(dump(arguments).unwrap().source, Some(source), "{arguments:?}");
    }
    for arguments in [&["--qmp", "unix:a.sock"][..], &["--qmp=a.sock"]] {
        assert_eq!(
            mtree(arguments).unwrap().live.qmp,
            Some(Address::unix("a.sock")),
            "{arguments:?}"
        );
    }
    // It may stand before the command, too.
    let cli = Cli::try_parse_from(["flatview", "mtree", "--qmp", "a", "dump"]).unwrap();
    assert!(matches!(
        cli.command,
        Command::Mtree(MtreeArgs {
            live: LiveArgs { qmp: Some(_), .. },
            ..
        })
    ));
}

#[test]
fn a_path_need_not_be_text() {
    let path = OsString::from_vec(b"\xff.mtree".to_vec());
    let arguments = ["flatview".into(), "mtree".into(), "dump".into(), path.clone()];
    let Command::Mtree(MtreeArgs { command, .. }) = Cli::try_parse_from(arguments).unwrap().command else {
        panic!("another command")
    };
    let MtreeCommand::Dump(dump) = command else {
        panic!("another command")
    };
    assert_eq!(dump.source, Some(Source::File(path.into())));
}

#[test]
fn wrong_questions() {
    for arguments in [
        &["a", "b"][..],
        &["qmp:"],
        &["--qmp", "tcp:nowhere"],
        &["a", "--timeout", "0"],
        &["a", "--timeout", "-1"],
        &["a", "--timeout", "inf"],
        &["a", "--timeout", "soon"],
        &["a", "--color", "red"],
    ] {
        let error = dump(arguments).expect_err(&format!("{arguments:?}"));
        assert_eq!(error.exit_code(), 2, "{arguments:?}");
    }
}

#[test]
fn flags_and_time() {
    let arguments = dump(&["a", "-fdo", "--timeout", "2.5"]).unwrap();
    let expected = Flags {
        flat: true,
        dispatch: true,
        owners: true,
        disabled: false,
    };
    assert_eq!(arguments.flags.flags(), expected);
    let options = mtree(&["a", "--timeout", "2.5"]).unwrap().live.options();
    assert_eq!(
        (options.connect, options.answer),
        (Duration::from_millis(2500), Duration::from_millis(2500))
    );
    assert_eq!(mtree(&["a"]).unwrap().live.options(), Options::default());
}
