use super::*;

#[test]
fn flags_are_words_in_the_order_of_the_monitor() {
    let none = Flags::default();
    assert_eq!(none.command_line(), "info mtree");
    assert_eq!(Flags { flat: true, ..none }.command_line(), "info mtree -f");
    assert_eq!(
        Flags {
            disabled: true,
            owners: true,
            ..none
        }
        .command_line(),
        "info mtree -o -D"
    );
    let all = Flags {
        flat: true,
        dispatch: true,
        owners: true,
        disabled: true,
    };
    assert_eq!(all.command_line(), "info mtree -f -d -o -D");
}
