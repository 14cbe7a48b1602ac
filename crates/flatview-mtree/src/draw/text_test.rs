use proptest::prelude::*;

use super::*;

#[test]
fn sizes_are_said_as_people_say_them() {
    for (bytes, text) in [
        (0, "0 B"),
        (1, "1 B"),
        (1023, "1023 B"),
        (0x1_0000, "64 KiB"),
        (1536, "1.5 KiB"),
        (0xc000_0000, "3 GiB"),
        (0xbfff_ffff, "~2.99 GiB"),
        (0x1_0000_0001, "~4 GiB"),
        (0x140_0000, "20 MiB"),
        (u128::from(u64::MAX), "~15.99 EiB"),
        (1 << 64, "16 EiB"),
    ] {
        assert_eq!(human(bytes), text, "{bytes:#x}");
    }
}

#[test]
fn what_fits_is_not_shortened() {
    assert_eq!(shorten("pc.ram", 12, 200), "pc.ram");
    assert_eq!(shorten("a rather long name", 12, 60), "a rather…");
    assert_eq!(shorten("name", 12, 15), "", "one letter tells nothing");
    assert_eq!(shorten("", 12, 0), "");
    assert_eq!(first("abc", 3), "abc");
    assert_eq!(first("äbcd", 1), "ä…");
}

proptest! {
    #[test]
    fn shortened_texts_fit(text in "\\PC*", room in 0..400_u64) {
        let short = shorten(&text, 11, room);
        prop_assert!(width(&short, 11) <= room);
        prop_assert!(short == text || short.is_empty() || short.ends_with('…'));
    }

    #[test]
    fn escaped_texts_are_xml(text in any::<String>()) {
        let xml = format!("<a b=\"{0}\" c='{0}'>{0}</a>", Escaped(&text));
        let document = roxmltree::Document::parse(&xml).unwrap();
        let root = document.root_element();
        prop_assert_eq!(root.children().filter(|child| child.is_element()).count(), 0);
        prop_assert_eq!(root.attributes().count(), 2);
    }
}
