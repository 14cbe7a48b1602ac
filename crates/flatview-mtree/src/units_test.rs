use super::*;

#[test]
fn sizes_are_exact_where_they_can_be_and_cut_where_not() {
    let text = |bytes: u128| Bytes(bytes).to_string();
    assert_eq!(text(0), "0 bytes");
    assert_eq!(text(1), "1 byte");
    assert_eq!(text(1023), "1023 bytes");
    assert_eq!(text(1 << 16), "64 KiB");
    assert_eq!(text((1 << 20) - 1), "1023.9 KiB");
    assert_eq!(text(1 << 64), "16 EiB");
}

#[test]
fn spaces_stand_in_the_order_in_which_people_ask_for_them() {
    let mut spaces = ["e1000", "cpu-memory-0", "I/O", "memory"].map(str::to_owned);
    sort_spaces(&mut spaces);
    assert_eq!(spaces, ["memory", "I/O", "cpu-memory-0", "e1000"]);
    assert_eq!(Spaces(&spaces).to_string(), "memory and 3 other spaces");
    assert_eq!(Spaces(&spaces[..2]).to_string(), "memory and I/O");
}
