//! What happens to a world, drawn at random.
//!
//! Steps name regions, spaces and listeners by raw numbers; the world takes each modulo what there is when
//! it gets there. So every step has a meaning in every world, and shrinking can take steps out.

use proptest::prelude::*;
use proptest::{collection::vec, option, sample::select};

use crate::listener::Failure;
use crate::model::Kind;

/// Which numbers a world is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Addresses below 64: every byte that can show something is compared.
    Tiny,
    /// All of 64 bits.
    Full,
}

impl Scale {
    /// Up to where to compare every byte. Nothing tiny shows anything beyond.
    pub(crate) fn every_byte(self) -> u64 {
        match self {
            Scale::Tiny => 160,
            Scale::Full => 0,
        }
    }
}

/// Which of a list, whatever its length.
pub(crate) type Pick = u16;

#[derive(Clone, Debug)]
pub(crate) struct NewRegion {
    pub(crate) kind: Kind,
    pub(crate) size: u128,
    /// Readonly, nonvolatile, unmergeable, disabled, each with its bit.
    pub(crate) attributes: u8,
    pub(crate) target: Pick,
    pub(crate) offset: u64,
    /// An alias shows the whole of its target, as bus masters do (rule C30).
    pub(crate) whole: bool,
    /// Mapped at once: where, how high, in which container.
    pub(crate) mapped: Option<(u64, i32, Pick)>,
}

#[derive(Clone, Debug)]
pub(crate) enum Verb {
    New(NewRegion),
    /// Many small regions in one container, so that it finds them by its index.
    Crowd {
        container: Pick,
        count: u8,
        stride: u64,
        size: u64,
    },
    Add {
        container: Pick,
        sub: Pick,
        offset: u64,
        /// `None` for the verb without overlap.
        priority: Option<i32>,
        /// Whether to look for ones that can be added.
        sensible: bool,
    },
    Del {
        sub: Pick,
        /// Usually its own.
        container: Option<Pick>,
    },
    SetAddress(Pick, u64),
    SetSize(Pick, u128),
    SetEnabled(Pick, bool),
    SetReadonly(Pick, bool),
    SetNonvolatile(Pick, bool),
    SetUnmergeable(Pick, bool),
    SetAliasOffset(Pick, u64, bool),
    SetRomd(Pick, bool, bool),
    SetLog(Pick, bool),
    SetCodeLogging(bool),
    AddEventFd {
        region: Pick,
        offset: u64,
        size: u32,
        datamatch: Option<u64>,
        notifier: usize,
    },
    DelEventFd {
        region: Pick,
        /// One that the region has, or the offset of one it probably has not.
        which: Result<Pick, u64>,
    },
    AddCoalescing(Pick, u64, u128),
    SetCoalescing(Pick),
    ClearCoalescing(Pick),
    SetFlushCoalesced(Pick, bool),
    /// A region of another memory is refused, in whichever verb.
    Foreign(Pick),
    /// What must not be begun within a transaction.
    Nested(Pick),
    /// A listener leaves: it does so when the transaction is over.
    Leave(Pick),
    /// A handle is dropped before the transaction ends.
    Drop(Pick),
}

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Commit,
    Fails(Failure),
}

/// Which callback of those to come fails, and which one then fails while everything is put back.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) at: Pick,
    pub(crate) how: Failure,
    pub(crate) again: Option<Pick>,
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Update {
        verbs: Vec<Verb>,
        ending: Ending,
        fault: Option<Fault>,
    },
    CreateSpace(Pick),
    DestroySpace(Pick),
    DropSpace(Pick),
    Register {
        space: Pick,
        priority: u32,
        wants_nop: bool,
        queues: bool,
        fault: Option<Fault>,
    },
    Unregister {
        listener: Pick,
        by_drop: bool,
        fault: Option<Fault>,
    },
    TrackStart(u8, Option<Fault>),
    TrackStop(u8, Option<Fault>),
    HoldView(Pick),
    DropView(Pick),
    ReaderLooks(Pick),
    ReaderReleases(Pick),
    DropHandle(Pick),
    Find(Pick, u64, u128),
}

/// What a property is about: which steps come how often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plot {
    pub(crate) scale: Scale,
    pub(crate) listeners: u32,
    pub(crate) faults: u32,
    pub(crate) endings: u32,
    pub(crate) lifecycle: u32,
    pub(crate) steps: usize,
    /// Worlds begin with this many more regions side by side, twice, one row over the other: enough for views
    /// and containers to be kept in more than one piece.
    pub(crate) crowd: u8,
}

fn address(scale: Scale) -> BoxedStrategy<u64> {
    match scale {
        Scale::Tiny => prop_oneof![3 => Just(0), 3 => (0u64..12).prop_map(|n| n * 4), 2 => 0u64..48].boxed(),
        Scale::Full => prop_oneof![
            4 => Just(0),
            4 => (0u64..16).prop_map(|n| n << 12),
            2 => (0u64..8).prop_map(|n| n << 29),
            1 => (0u64..4).prop_map(|n| (1 << 63) + (n << 12)),
            2 => (0u64..16).prop_map(|n| u64::MAX - n),
            2 => (0u64..16).prop_map(|n| (n << 12).wrapping_neg()),
            1 => any::<u64>(),
        ]
        .boxed(),
    }
}

fn size(scale: Scale) -> BoxedStrategy<u128> {
    match scale {
        Scale::Tiny => {
            prop_oneof![1 => Just(0), 1 => Just(1), 8 => select(vec![4, 8, 16, 32, 64]), 4 => 0u128..=64]
                .boxed()
        }
        Scale::Full => prop_oneof![
            1 => Just(0),
            1 => Just(1),
            9 => (1u128..16).prop_map(|n| n << 12),
            4 => (1u128..16).prop_map(|n| n << 29),
            1 => (0u128..3).prop_map(|n| (1 << 63) - 1 + n),
            3 => (0u128..3).prop_map(|n| (1 << 64) - n),
            1 => any::<u64>().prop_map(u128::from),
        ]
        .boxed(),
    }
}

/// Containers are mostly big, or nothing would be seen.
fn container_size(scale: Scale) -> BoxedStrategy<u128> {
    let big = match scale {
        Scale::Tiny => 64,
        Scale::Full => 1 << 64,
    };
    prop_oneof![3 => Just(big), 1 => size(scale)].boxed()
}

fn priority() -> impl Strategy<Value = i32> {
    prop_oneof![4 => Just(0), 4 => -2..=2, 1 => select(vec![i32::MIN, i32::MAX])]
}

fn new_region(scale: Scale) -> impl Strategy<Value = NewRegion> {
    let kind = prop_oneof![
        3 => Just(Kind::Container),
        3 => Just(Kind::Ram),
        1 => Just(Kind::RamDevice),
        1 => Just(Kind::RomDevice),
        2 => Just(Kind::Mmio),
        1 => Just(Kind::Reservation),
        1 => Just(Kind::Iommu),
        5 => Just(Kind::Alias),
    ];
    let attributes = prop_oneof![4 => Just(0), 2 => (0u8..4).prop_map(|bit| 1 << bit), 1 => 0u8..16];
    let mapped = option::weighted(0.9, (address(scale), priority(), any::<Pick>()));
    let whole = prop::bool::weighted(0.3);
    let sizes = (size(scale), container_size(scale));
    (
        kind,
        sizes,
        attributes,
        any::<Pick>(),
        address(scale),
        whole,
        mapped,
    )
        .prop_map(
            |(kind, (size, container_size), attributes, target, offset, whole, mapped)| NewRegion {
                kind,
                size: if kind == Kind::Container {
                    container_size
                } else {
                    size
                },
                attributes,
                target,
                offset,
                whole,
                mapped,
            },
        )
}

fn verb(scale: Scale) -> impl Strategy<Value = Verb> {
    let pick = any::<Pick>;
    let flag = any::<bool>;
    let sizes = match scale {
        Scale::Tiny => 1..=3u64,
        Scale::Full => 1..=0x3000,
    };
    let add = (
        pick(),
        pick(),
        address(scale),
        option::of(priority()),
        prop::bool::weighted(0.85),
    )
        .prop_map(|(container, sub, offset, priority, sensible)| Verb::Add {
            container,
            sub,
            offset,
            priority,
            sensible,
        });
    let crowd =
        (pick(), 14u8..24, sizes.clone(), sizes).prop_map(|(container, count, stride, size)| Verb::Crowd {
            container,
            count,
            stride,
            size,
        });
    let add_eventfd = (
        pick(),
        address(scale),
        select(vec![0, 0, 1, 2, 4, 8, 3]),
        option::of(0u64..3),
        0..4usize,
    )
        .prop_map(|(region, offset, size, datamatch, notifier)| Verb::AddEventFd {
            region,
            offset,
            size,
            datamatch,
            notifier,
        });
    let del_eventfd = (
        pick(),
        prop_oneof![4 => pick().prop_map(Ok), 1 => address(scale).prop_map(Err)],
    )
        .prop_map(|(region, which)| Verb::DelEventFd { region, which });
    let attribute = prop_oneof![
        (pick(), flag()).prop_map(|(region, on)| Verb::SetReadonly(region, on)),
        (pick(), flag()).prop_map(|(region, on)| Verb::SetNonvolatile(region, on)),
        (pick(), flag()).prop_map(|(region, on)| Verb::SetUnmergeable(region, on)),
        (pick(), flag(), flag()).prop_map(|(region, on, fit)| Verb::SetRomd(region, on, fit)),
    ];
    let coalescing = prop_oneof![
        3 => (pick(), address(scale), size(scale)).prop_map(|(region, at, size)| {
            Verb::AddCoalescing(region, at, size)
        }),
        1 => pick().prop_map(Verb::SetCoalescing),
        1 => pick().prop_map(Verb::ClearCoalescing),
        1 => (pick(), flag()).prop_map(|(region, on)| Verb::SetFlushCoalesced(region, on)),
    ];
    let logging = prop_oneof![
        3 => (pick(), prop::bool::weighted(0.6)).prop_map(|(region, on)| Verb::SetLog(region, on)),
        2 => flag().prop_map(Verb::SetCodeLogging),
    ];
    let misuse = prop_oneof![
        pick().prop_map(Verb::Foreign),
        pick().prop_map(Verb::Nested),
        pick().prop_map(Verb::Leave),
        pick().prop_map(Verb::Drop),
    ];
    prop_oneof![
        6 => new_region(scale).prop_map(Verb::New),
        8 => add,
        1 => crowd,
        5 => (pick(), option::weighted(0.1, pick())).prop_map(|(sub, container)| Verb::Del { sub, container }),
        4 => (pick(), address(scale)).prop_map(|(region, to)| Verb::SetAddress(region, to)),
        4 => (pick(), size(scale)).prop_map(|(region, size)| Verb::SetSize(region, size)),
        4 => (pick(), prop::bool::weighted(0.6)).prop_map(|(region, on)| Verb::SetEnabled(region, on)),
        4 => attribute,
        3 => (pick(), address(scale), prop::bool::weighted(0.9))
            .prop_map(|(alias, to, fit)| Verb::SetAliasOffset(alias, to, fit)),
        4 => logging,
        3 => add_eventfd,
        1 => del_eventfd,
        3 => coalescing,
        2 => misuse,
    ]
}

fn failure() -> impl Strategy<Value = Failure> {
    select(vec![Failure::Error, Failure::Panic])
}

/// `Some` so many times in a hundred. Shrinks to `None`.
fn now_and_then<T: std::fmt::Debug>(
    percent: u32,
    strategy: impl Strategy<Value = T>,
) -> impl Strategy<Value = Option<T>> {
    (0u32..100, strategy).prop_map(move |(roll, value)| (roll >= 100 - percent).then_some(value))
}

fn fault(plot: Plot, again: u32) -> impl Strategy<Value = Option<Fault>> {
    let fault = (any::<Pick>(), failure(), now_and_then(again, any::<Pick>()));
    let fault = fault.prop_map(|(at, how, again)| Fault { at, how, again });
    now_and_then(plot.faults, fault)
}

fn step(plot: Plot) -> impl Strategy<Value = Step> {
    let pick = any::<Pick>;
    let ending = prop_oneof![
        100 - plot.endings => Just(Ending::Commit),
        plot.endings => failure().prop_map(Ending::Fails),
    ];
    let update = (vec(verb(plot.scale), 1..6), ending, fault(plot, 10))
        .prop_map(|(verbs, ending, fault)| Step::Update { verbs, ending, fault });
    let register = (pick(), 0u32..3, any::<bool>(), any::<bool>(), fault(plot, 0)).prop_map(
        |(space, priority, wants_nop, queues, fault)| Step::Register {
            space,
            priority,
            wants_nop,
            queues,
            fault,
        },
    );
    let unregister =
        (pick(), any::<bool>(), fault(plot, 0)).prop_map(|(listener, by_drop, fault)| Step::Unregister {
            listener,
            by_drop,
            fault,
        });
    let listening = prop_oneof![
        3 => register,
        1 => unregister,
        1 => (1u8..8, fault(plot, 10)).prop_map(|(why, fault)| Step::TrackStart(why, fault)),
        1 => (1u8..8, fault(plot, 10)).prop_map(|(why, fault)| Step::TrackStop(why, fault)),
    ];
    let lifecycle = prop_oneof![
        4 => pick().prop_map(Step::CreateSpace),
        1 => pick().prop_map(Step::DestroySpace),
        1 => pick().prop_map(Step::DropSpace),
        2 => pick().prop_map(Step::HoldView),
        2 => pick().prop_map(Step::DropView),
        2 => pick().prop_map(Step::ReaderLooks),
        1 => pick().prop_map(Step::ReaderReleases),
        3 => pick().prop_map(Step::DropHandle),
        1 => (pick(), address(plot.scale), size(plot.scale))
            .prop_map(|(region, at, size)| Step::Find(region, at, size)),
    ];
    prop_oneof![
        10 => update,
        plot.listeners => listening,
        plot.lifecycle => lifecycle,
    ]
}

/// A world begins with some regions and spaces, and a listener if the plot has any.
pub(crate) fn story(plot: Plot) -> impl Strategy<Value = Vec<Step>> {
    let begin = (
        vec(new_region(plot.scale).prop_map(Verb::New), 3..20),
        vec(any::<Pick>(), 1..4),
    )
        .prop_map(move |(mut regions, spaces)| {
            if plot.crowd > 0 {
                let rows = [(0x3000, 0x2000), (0x5000, 0x1000)];
                regions.extend(rows.map(|(stride, size)| Verb::Crowd {
                    container: 0,
                    count: plot.crowd,
                    stride,
                    size,
                }));
            }
            let mut steps = vec![Step::Update {
                verbs: regions,
                ending: Ending::Commit,
                fault: None,
            }];
            steps.extend(spaces.into_iter().map(Step::CreateSpace));
            if plot.listeners > 0 {
                steps.push(Step::Register {
                    space: 0,
                    priority: 1,
                    wants_nop: true,
                    queues: false,
                    fault: None,
                });
            }
            steps
        });
    (begin, vec(step(plot), 1..plot.steps)).prop_map(|(mut begin, rest)| {
        begin.extend(rest);
        begin
    })
}
