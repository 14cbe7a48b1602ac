use super::*;

#[test]
fn sizes_reach_two_to_the_sixty_four_and_no_further() {
    assert_eq!(Size::new(1 << 64), Some(Size::MAX));
    assert_eq!(Size::new((1 << 64) + 1), None);
    assert_eq!(Size::MAX.to_u64(), None);
    assert_eq!(Size::MAX.last_offset(), Some(u64::MAX));
    // A16: QEMU cannot say 2^64-1; we can.
    assert_eq!(Size::from(u64::MAX).to_u64(), Some(u64::MAX));
    assert_eq!(Size::ZERO.last_offset(), None);
}

#[test]
fn ranges_end_at_the_last_byte_without_overflow() {
    assert_eq!(AddressRange::new(0, Size::MAX), Some(AddressRange::ALL));
    assert_eq!(AddressRange::new(1, Size::MAX), None);
    assert_eq!(AddressRange::new(5, 0), None);
    assert_eq!(AddressRange::ALL.size(), Size::MAX);
    let top = AddressRange::new(u64::MAX, 1).unwrap();
    assert!(
        !top.abuts(AddressRange::new(0, 1).unwrap()),
        "the space does not wrap (C10)"
    );
    assert!(
        AddressRange::new(0, 1)
            .unwrap()
            .abuts(AddressRange::new(1, 1).unwrap())
    );
}

#[test]
fn clamp_cuts_what_lies_outside_the_space() {
    assert_eq!(AddressRange::clamp(-0x1000, 0), None);
    assert_eq!(AddressRange::clamp(-0x1000, 1), AddressRange::new(0, 1));
    assert_eq!(
        AddressRange::clamp((1 << 64) - 1, 1 << 65),
        AddressRange::new(u64::MAX, 1)
    );
    assert_eq!(AddressRange::clamp(1 << 64, 1 << 65), None);
    assert_eq!(AddressRange::clamp(7, 7), None);
}
