//! Choosing among the functions that were made for each operand size and kind.

/// The function for an operand size in bytes.
macro_rules! sized {
    ($size:expr, $function:ident $(, $argument:expr)*) => {
        match $size {
            1 => $function::<u8 $(, { $argument })*> as $crate::ops::Run,
            2 => $function::<u16 $(, { $argument })*>,
            4 => $function::<u32 $(, { $argument })*>,
            _ => $function::<u64 $(, { $argument })*>,
        }
    };
}

/// The function for an operand size in bytes that is not 1.
macro_rules! wide {
    ($size:expr, $function:ident $(, $argument:expr)*) => {
        match $size {
            2 => $function::<u16 $(, { $argument })*> as $crate::ops::Run,
            4 => $function::<u32 $(, { $argument })*>,
            _ => $function::<u64 $(, { $argument })*>,
        }
    };
}

/// The function for an operand in a register or in memory.
macro_rules! by_place {
    ($place:expr, $size:expr, $function:ident $(, $argument:expr)*) => {
        if $place == $crate::ops::R {
            sized!($size, $function, $crate::ops::R $(, $argument)*)
        } else {
            sized!($size, $function, $crate::ops::M $(, $argument)*)
        }
    };
}

/// As `by_place`, without bytes.
macro_rules! wide_by_place {
    ($place:expr, $size:expr, $function:ident $(, $argument:expr)*) => {
        if $place == $crate::ops::R {
            wide!($size, $function, $crate::ops::R $(, $argument)*)
        } else {
            wide!($size, $function, $crate::ops::M $(, $argument)*)
        }
    };
}
