//! Which instructions there are, in the notation of [`generate`](super).

/// Instructions that belong together.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Its name in reports and on the command line.
    pub name: &'static str,
    /// See [`generate`](super).
    pub patterns: &'static [&'static str],
}

/// All of them.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "add-or-adc-sbb-and-sub-xor-cmp",
        patterns: &[
            "00 /r lock",
            "01 /r lock",
            "02 /r",
            "03 /r",
            "04 ib",
            "05 iz", //
            "08 /r lock",
            "09 /r lock",
            "0a /r",
            "0b /r",
            "0c ib",
            "0d iz", //
            "10 /r lock",
            "11 /r lock",
            "12 /r",
            "13 /r",
            "14 ib",
            "15 iz", //
            "18 /r lock",
            "19 /r lock",
            "1a /r",
            "1b /r",
            "1c ib",
            "1d iz", //
            "20 /r lock",
            "21 /r lock",
            "22 /r",
            "23 /r",
            "24 ib",
            "25 iz", //
            "28 /r lock",
            "29 /r lock",
            "2a /r",
            "2b /r",
            "2c ib",
            "2d iz", //
            "30 /r lock",
            "31 /r lock",
            "32 /r",
            "33 /r",
            "34 ib",
            "35 iz", //
            "38 /r",
            "39 /r",
            "3a /r",
            "3b /r",
            "3c ib",
            "3d iz",
        ],
    },
    Family {
        name: "group1",
        patterns: &[
            "80 /0 ib lock",
            "80 /1 ib lock",
            "80 /2 ib lock",
            "80 /3 ib lock", //
            "80 /4 ib lock",
            "80 /5 ib lock",
            "80 /6 ib lock",
            "80 /7 ib", //
            "81 /0 iz lock",
            "81 /1 iz lock",
            "81 /2 iz lock",
            "81 /3 iz lock", //
            "81 /4 iz lock",
            "81 /5 iz lock",
            "81 /6 iz lock",
            "81 /7 iz", //
            "83 /0 ib lock",
            "83 /1 ib lock",
            "83 /2 ib lock",
            "83 /3 ib lock", //
            "83 /4 ib lock",
            "83 /5 ib lock",
            "83 /6 ib lock",
            "83 /7 ib",
            "82 /r ib !64",
        ],
    },
    Family {
        name: "inc-dec-not-neg-test",
        patterns: &[
            "40 +r !64",
            "48 +r !64",
            "fe /0 lock",
            "fe /1 lock",
            "ff /0 lock",
            "ff /1 lock", //
            "f6 /2 lock",
            "f7 /2 lock",
            "f6 /3 lock",
            "f7 /3 lock",
            "f6 /0 ib",
            "f7 /0 iz",
            "f6 /1 ib", //
            "84 /r",
            "85 /r",
            "a8 ib",
            "a9 iz",
        ],
    },
    Family {
        name: "shift-rotate",
        patterns: &[
            "c0 /r ib", "c1 /r ib", "d0 /r", "d1 /r", "d2 /r", "d3 /r", //
            "c0 /2 ib", "c1 /2 ib", "c0 /3 ib", "c1 /3 ib", "d2 /2", "d3 /2", "d2 /3", "d3 /3",
        ],
    },
    Family {
        name: "shld-shrd",
        patterns: &["0f a4 /r ib", "0f a5 /r", "0f ac /r ib", "0f ad /r"],
    },
    Family {
        name: "mul-imul",
        patterns: &[
            "f6 /4", "f7 /4", "f6 /5", "f7 /5", "0f af /r", "69 /r iz", "6b /r ib",
        ],
    },
    Family {
        name: "div-idiv",
        patterns: &["f6 /6 @divide", "f7 /6 @divide", "f6 /7 @divide", "f7 /7 @divide"],
    },
    Family {
        name: "bit-test",
        patterns: &[
            "0f a3 /r @bits",
            "0f ab /r lock @bits",
            "0f b3 /r lock @bits",
            "0f bb /r lock @bits", //
            "0f ba /4 ib",
            "0f ba /5 ib lock",
            "0f ba /6 ib lock",
            "0f ba /7 ib lock",
        ],
    },
    Family {
        name: "bit-scan-bswap",
        patterns: &["0f bc /r", "0f bd /r", "0f c8 +r no66"],
    },
    Family {
        name: "cmov-setcc",
        patterns: &["0f 40 +c /r", "0f 90 +c /r"],
    },
    Family {
        name: "mov",
        patterns: &[
            "88 /r",
            "89 /r",
            "8a /r",
            "8b /r",
            "c6 /0 ib",
            "c7 /0 iz",
            "b0 +r ib",
            "b8 +r iv", //
            "a0 moffs",
            "a1 moffs",
            "a2 moffs",
            "a3 moffs",
            "0f b6 /r",
            "0f b7 /r",
            "0f be /r",
            "0f bf /r", //
            "63 /r =64",
            "86 /r lock",
            "87 /r lock",
            "90 +r",
        ],
    },
    Family {
        name: "lea",
        patterns: &["8d /lea", "8d /lea", "8d /rr"],
    },
    Family {
        name: "xadd-cmpxchg",
        patterns: &[
            "0f c0 /r lock",
            "0f c1 /r lock",
            "0f b0 /r lock @compare",
            "0f b1 /r lock @compare", //
            "0f c7 /1m lock no66 @compare",
            "0f c7 /1r",
        ],
    },
    Family {
        name: "string",
        patterns: &[
            "a4 rep @string",
            "a5 rep @string",
            "a6 repne @string",
            "a7 repne @string",
            "aa rep @string", //
            "ab rep @string",
            "ac rep @string",
            "ad rep @string",
            "ae repne @string",
            "af repne @string",
        ],
    },
    Family {
        name: "stack",
        patterns: &[
            "50 +r",
            "58 +r",
            "68 iz",
            "6a ib",
            "ff /6",
            "8f /0",
            "60 !64",
            "61 !64",
            "06 !64",
            "0e !64",
            "16 !64", //
            "1e !64",
            "0f a8",
            "c8 iw ib @frame",
            "c9 @frame",
            "9c",
            "9d @flags",
        ],
    },
    Family {
        name: "flags",
        patterns: &[
            "9e",
            "9f",
            "f5",
            "f8",
            "f9",
            "fc",
            "fd",
            "98",
            "99",
            "9c",
            "9d @flags",
            "d6 !64",
        ],
    },
    Family {
        name: "decimal",
        patterns: &[
            "27 !64",
            "2f !64",
            "37 !64",
            "3f !64",
            "d4 ib !64",
            "d5 ib !64",
            "d4 0a !64",
            "d5 0a !64",
        ],
    },
    Family {
        name: "xlat",
        patterns: &["d7 @xlat"],
    },
    Family {
        name: "branch",
        patterns: &[
            "70 +c jb no66",
            "0f 80 +c jz no66",
            "eb jb no66",
            "e9 jz no66",
            "e8 jz no66", //
            "70 +c jb !64",
            "0f 80 +c jz !64",
            "eb jb !64",
            "e9 jz !64",
            "e8 jz !64", //
            "e0 jb no66 @count",
            "e1 jb no66 @count",
            "e2 jb no66 @count",
            "e3 jb no66 @count",
            "e2 jb !64 @count", //
            "c3 no66 @return",
            "c2 iw no66 @return",
            "c3 !64 @return",
            "c2 iw !64 @return", //
            "ff /2 no66 @branch",
            "ff /4 no66 @branch",
            "ff /2 !64 @branch",
            "ff /4 !64 @branch",
        ],
    },
    Family {
        name: "segment",
        patterns: &[
            "8c /0",
            "8c /1",
            "8c /2",
            "8c /3",
            "8c /5",
            "8e /0 @selector",
            "8e /2 @selector",
            "8e /3 @selector", //
            "8e /5 @selector",
            "8e /1",
            "8e /6",
            "07 !64 @popped",
            "17 !64 @popped",
            "1f !64 @popped",
            "0f a9 @popped", //
            "c4 /rm !64 @far",
            "c5 /rm !64 @far",
            "0f b5 /rm @far",
            "0f b2 /rm @far",
        ],
    },
    Family {
        name: "far",
        patterns: &[
            "ea iz iw !64 @farcode",
            "9a iz iw !64 @farcode",
            "ff /3m noW @farcode",
            "ff /5m noW @farcode", //
            "cb @farreturn",
            "ca iw @farreturn",
            "cf @farreturn",
        ],
    },
    Family {
        name: "descriptor",
        patterns: &[
            "0f 02 /r @selector",
            "0f 03 /r @selector",
            "0f 00 /4 @selector",
            "0f 00 /5 @selector",
            "63 /r !64 @selector",
        ],
    },
    Family {
        name: "prefixes",
        patterns: &[
            "01 /r lock many",
            "8b /r many",
            "0f b6 /r many",
            "f7 /3 lock many",
            "a5 rep many @string", //
            "ae repne many @string",
            "90 many",
            "b8 +r iv many",
            "81 /0 iz many",
            "c7 /0 iz many",
        ],
    },
    Family {
        name: "faults",
        patterns: &[
            "f4",
            "fa",
            "fb",
            "6c @string",
            "6e @string",
            "e4 ib",
            "e6 ib",
            "ec",
            "ee",
            "0f 06",
            "0f 08",
            "0f 09", //
            "0f 20 /rr",
            "0f 22 /rr",
            "0f 32",
            "0f 30",
            "0f 01 /2m",
            "0f 01 /3m",
            "0f 01 /7m",
            "0f 00 /2",
            "0f 00 /3", //
            "0f 0b",
            "0f b9 /r",
            "cd ib @vector",
            "cc",
            "ce !64",
            "62 /rm !64",
            "0f 21 /rr",
            "0f 23 /rr",
            "fe /7 no66", //
            "ff /7 no66",
            "0f 1f /0",
            "f0 90",
            "f0 01 /rr",
            "f0 8b /rm",
            "0f ff /r",
        ],
    },
];
