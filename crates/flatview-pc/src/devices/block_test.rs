#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::os::unix::fs::PermissionsExt;

use super::*;

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk.img");
    std::fs::write(&path, bytes).unwrap();
    (directory, path)
}

fn refusal(path: &Path, access: ImageAccess) -> String {
    let error = RawImage::open(path, access).unwrap_err();
    let text = error.to_string();
    assert!(text.contains(path.to_str().unwrap()), "names the image: {text}");
    text
}

#[test]
fn what_is_no_image_is_refused_by_name() {
    let (directory, path) = file(b"");
    assert!(refusal(&path, ImageAccess::ReadWrite).contains("empty"));
    assert!(refusal(directory.path(), ImageAccess::ReadOnly).contains("neither"));
    assert!(refusal(&directory.path().join("none"), ImageAccess::ReadOnly).contains("No such file"));
    assert!(refusal(Path::new("/dev/null"), ImageAccess::ReadOnly).contains("neither"));
    let large = File::create(&path).unwrap();
    // Not every file system has files that large.
    if large.set_len((MOST_SECTORS + 1) * SECTOR).is_ok() {
        assert!(refusal(&path, ImageAccess::ReadOnly).contains("0x20000000000200 bytes are more"));
    }
}

#[test]
fn an_image_that_ends_within_a_sector_is_filled_up_with_zeros() {
    let (_directory, path) = file(&[7; 700]);
    let image = RawImage::open(&path, ImageAccess::ReadWrite).unwrap();
    assert_eq!((image.size(), image.is_readonly()), (1024, false));
    let mut last = [1; 512];
    image.read_at(512, &mut last).unwrap();
    assert_eq!((&last[..188], &last[188..]), (&[7; 188][..], &[0; 324][..]));
    image.write_at(512, &[9; 512]).unwrap();
    image.flush().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1024);
    for (offset, len) in [(1024, 1), (513, 512), (u64::MAX, 2)] {
        assert!(image.read_at(offset, &mut vec![0; len]).is_err(), "{offset:#x}");
        assert!(image.write_at(offset, &vec![0; len]).is_err(), "{offset:#x}");
    }
}

#[test]
fn an_image_that_cannot_be_written_is_readonly_only_if_asked() {
    let (_directory, path) = file(&[0; 512]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    // Root may write anything.
    if OpenOptions::new().write(true).open(&path).is_err() {
        assert!(refusal(&path, ImageAccess::ReadWrite).contains("cannot be written"));
        let image = RawImage::open(&path, ImageAccess::ReadWriteIfAllowed).unwrap();
        assert!(image.is_readonly());
    }
    let image = RawImage::open(&path, ImageAccess::ReadOnly).unwrap();
    assert!(image.is_readonly() && image.write_at(0, &[1; 512]).is_err());
    assert_eq!(std::fs::read(&path).unwrap(), [0; 512]);
}

#[test]
fn two_machines_do_not_write_one_image() {
    let (_directory, path) = file(&[0; 512]);
    let first = RawImage::open(&path, ImageAccess::ReadWrite).unwrap();
    assert!(refusal(&path, ImageAccess::ReadWrite).contains("in use"));
    assert!(refusal(&path, ImageAccess::ReadOnly).contains("in use"));
    drop(first);
    let readers = [0; 2].map(|_| RawImage::open(&path, ImageAccess::ReadOnly).unwrap());
    assert!(refusal(&path, ImageAccess::ReadWrite).contains("in use"));
    drop(readers);
}
