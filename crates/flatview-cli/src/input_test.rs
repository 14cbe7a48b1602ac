use std::fs;

use super::*;

fn read_bytes(bytes: &[u8]) -> Result<String, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mtree");
    fs::write(&path, bytes).unwrap();
    read(&Source::File(path), Flags::default(), Options::default()).map(|input| {
        assert_eq!(input.version, None);
        input.text
    })
}

#[test]
fn a_file_is_read_as_it_is() {
    for text in ["", "a\r\nb\n", "\u{20ac}", "\0"] {
        assert_eq!(read_bytes(text.as_bytes()).unwrap(), text);
    }
}

#[test]
fn what_is_no_text_says_where() {
    for (bytes, byte, offset, line) in [
        (&b"a\nb\n\xff"[..], 0xff, 4, 3),
        (b"\x80", 0x80, 0, 1),
        (b"ab\xe2\x82", 0xe2, 2, 1),
    ] {
        let error = read_bytes(bytes).unwrap_err();
        let Error::NotText {
            byte: b,
            offset: o,
            line: l,
            ..
        } = &error
        else {
            panic!("{error:?}")
        };
        assert_eq!((*b, *o, *l), (byte, offset, line));
    }
    let error = text(b"\n\xff".to_vec(), "x".into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "x is no text: byte 0xff at offset 1, in line 2, is not UTF-8"
    );
}

#[test]
fn what_cannot_be_read_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().join("none"), folder.path().to_owned()] {
        let name = path.display().to_string();
        let error = read(&Source::File(path), Flags::default(), Options::default()).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot read {name}"));
    }
}

#[test]
fn a_file_that_claims_to_be_huge_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    // More than there are addresses. ext4 refuses, and then there is nothing to test; tmpfs does not.
    if File::create(&path).unwrap().set_len(1 << 50).is_err() {
        return;
    }
    let error = read(&Source::File(path), Flags::default(), Options::default());
    assert!(matches!(error, Err(Error::Read { .. })), "{error:?}");
}

#[test]
fn progress_is_for_large_files_on_terminals() {
    assert!(wants_progress(LARGE + 1, true));
    assert!(!wants_progress(LARGE, true));
    assert!(!wants_progress(LARGE + 1, false));
    style();
}
