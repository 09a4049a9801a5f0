//! The kernels of `kernels/` as data: names, arguments, launch geometry.
//!
//! The launcher, the host build of the kernels and the tests all read this table; the tests compare
//! it with the committed PTX and with the C++ of every kernel. `kernels/README.md` states what each
//! kernel computes and what its arguments mean. This module does not depend on devices.

/// The element type of a device buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Element {
    /// One byte.
    U8,
    /// 32-bit unsigned integer.
    U32,
    /// IEEE half.
    F16,
    /// IEEE single.
    F32,
    /// IEEE double.
    F64,
}

impl Element {
    /// Bytes of one element.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Element::U8 => 1,
            Element::F16 => 2,
            Element::U32 | Element::F32 => 4,
            Element::F64 => 8,
        }
    }
}

/// One argument of a kernel. Buffers are device pointers, aligned to 16 bytes (of
/// f64: to 8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arg {
    /// A buffer that is only written.
    Out(Element),
    /// A buffer that is only written, or null if the result is not wanted.
    OutOrNull(Element),
    /// A buffer that is read and written.
    InOut(Element),
    /// A buffer that is only read (`const` in the source).
    In(Element),
    /// A 32-bit unsigned integer.
    U32,
    /// A float.
    F32,
}

impl Arg {
    /// Element and direction of a buffer; `None` for a scalar.
    #[must_use]
    pub const fn element(self) -> Option<Element> {
        match self {
            Arg::Out(element)
            | Arg::OutOrNull(element)
            | Arg::InOut(element)
            | Arg::In(element) => Some(element),
            Arg::U32 | Arg::F32 => None,
        }
    }
}

/// Largest number of items of one group: 32 bits can number them after rounding up to blocks.
pub const ITEMS_MAX: u64 = 1 << 31;

/// One kernel entry.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Symbol in the PTX and in the source.
    pub name: &'static str,
    /// Stem of the files in `kernels/`.
    pub module: &'static str,
    /// Name and kind of every argument, in order.
    pub args: &'static [(&'static str, Arg)],
    /// Threads of a block, which is one-dimensional.
    pub threads: u32,
    /// Items of one block; `kernels/README.md` states what an item of each kernel is.
    pub items_per_block: u32,
}

impl Entry {
    /// Blocks for `items` of each of `groups` (pairs, or 1); blocks never span two groups. `None`
    /// above [`ITEMS_MAX`], or where a one-dimensional grid cannot hold them.
    #[must_use]
    pub fn blocks(&self, groups: u64, items: u64) -> Option<u32> {
        if items > ITEMS_MAX {
            return None;
        }
        let blocks = groups.checked_mul(self.tiles(items))?;
        u32::try_from(blocks).ok().filter(|&blocks| blocks <= i32::MAX as u32)
    }

    /// Blocks of one group. For a tap: partial sums of one pair.
    #[must_use]
    pub fn tiles(&self, items: u64) -> u64 {
        items.div_ceil(u64::from(self.items_per_block))
    }
}

/// The entry called `name`.
#[must_use]
pub fn entry(name: &str) -> Option<&'static Entry> {
    ENTRIES.iter().find(|entry| entry.name == name)
}

type Args<const N: usize> = [(&'static str, Arg); N];

const fn normalise(dst: Element, src: Element) -> Args<13> {
    [
        ("dst", Arg::Out(dst)),
        ("src", Arg::In(src)),
        ("images", Arg::U32),
        ("positions", Arg::U32),
        ("c_dst", Arg::U32),
        ("gain", Arg::F32),
        ("bias", Arg::F32),
        ("shift_r", Arg::F32),
        ("shift_g", Arg::F32),
        ("shift_b", Arg::F32),
        ("scale_r", Arg::F32),
        ("scale_g", Arg::F32),
        ("scale_b", Arg::F32),
    ]
}

const fn bias_relu(element: Element) -> Args<7> {
    [
        ("data", Arg::InOut(element)),
        ("bias", Arg::In(Element::F32)),
        ("images", Arg::U32),
        ("positions", Arg::U32),
        ("c", Arg::U32),
        ("c_slot", Arg::U32),
        ("c_first", Arg::U32),
    ]
}

const fn max_pool(element: Element) -> Args<10> {
    [
        ("dst", Arg::Out(element)),
        ("src", Arg::In(element)),
        ("images", Arg::U32),
        ("c", Arg::U32),
        ("height", Arg::U32),
        ("width", Arg::U32),
        ("height_out", Arg::U32),
        ("width_out", Arg::U32),
        ("kernel", Arg::U32),
        ("stride", Arg::U32),
    ]
}

const fn l2_pool(element: Element) -> Args<6> {
    [
        ("dst", Arg::Out(element)),
        ("src", Arg::In(element)),
        ("images", Arg::U32),
        ("c", Arg::U32),
        ("height", Arg::U32),
        ("width", Arg::U32),
    ]
}

const fn im2col(element: Element) -> Args<13> {
    [
        ("dst", Arg::Out(element)),
        ("src", Arg::In(element)),
        ("c", Arg::U32),
        ("height", Arg::U32),
        ("width", Arg::U32),
        ("height_out", Arg::U32),
        ("width_out", Arg::U32),
        ("kernel", Arg::U32),
        ("stride", Arg::U32),
        ("pad", Arg::U32),
        ("first_row", Arg::U32),
        ("rows", Arg::U32),
        ("k_dst", Arg::U32),
    ]
}

const fn tap(element: Element) -> Args<15> {
    [
        ("partial", Arg::Out(Element::F64)),
        ("map", Arg::OutOrNull(Element::F32)),
        ("features", Arg::In(element)),
        ("pair_indices", Arg::In(Element::U32)),
        ("lin", Arg::In(Element::F32)),
        ("pairs", Arg::U32),
        ("positions", Arg::U32),
        ("first", Arg::U32),
        ("count", Arg::U32),
        ("whole", Arg::U32),
        ("whole_first", Arg::U32),
        ("tiles", Arg::U32),
        ("first_tile", Arg::U32),
        ("eps_inside", Arg::F32),
        ("eps_outside", Arg::F32),
    ]
}

const fn tap_pool(element: Element) -> Args<14> {
    [
        ("partial", Arg::Out(Element::F64)),
        ("map", Arg::OutOrNull(Element::F32)),
        ("pooled", Arg::Out(element)),
        ("features", Arg::In(element)),
        ("pair_indices", Arg::In(Element::U32)),
        ("pools", Arg::In(Element::U32)),
        ("lin", Arg::In(Element::F32)),
        ("pairs", Arg::U32),
        ("height", Arg::U32),
        ("width", Arg::U32),
        ("height_out", Arg::U32),
        ("width_out", Arg::U32),
        ("eps_inside", Arg::F32),
        ("eps_outside", Arg::F32),
    ]
}

const fn channel_sum(element: Element) -> Args<10> {
    [
        ("dst", Arg::Out(Element::F32)),
        ("features", Arg::In(element)),
        ("pair_indices", Arg::In(Element::U32)),
        ("pairs", Arg::U32),
        ("c", Arg::U32),
        ("positions", Arg::U32),
        ("first", Arg::U32),
        ("count", Arg::U32),
        ("whole", Arg::U32),
        ("whole_first", Arg::U32),
    ]
}

const fn moments(element: Element) -> Args<11> {
    [
        ("partial", Arg::InOut(Element::F64)),
        ("features", Arg::In(element)),
        ("pair_indices", Arg::In(Element::U32)),
        ("pairs", Arg::U32),
        ("c", Arg::U32),
        ("c_slot", Arg::U32),
        ("positions", Arg::U32),
        ("first", Arg::U32),
        ("count", Arg::U32),
        ("tiles", Arg::U32),
        ("first_tile", Arg::U32),
    ]
}

const DISTS: Args<9> = [
    ("out", Arg::InOut(Element::F64)),
    ("partial", Arg::In(Element::F64)),
    ("weights", Arg::In(Element::F64)),
    ("pairs", Arg::U32),
    ("tiles", Arg::U32),
    ("c", Arg::U32),
    ("positions", Arg::U32),
    ("layers", Arg::U32),
    ("layer", Arg::U32),
];

const FINISH: Args<6> = [
    ("out", Arg::Out(Element::F64)),
    ("partial", Arg::In(Element::F64)),
    ("tiles", Arg::In(Element::U32)),
    ("positions", Arg::In(Element::U32)),
    ("pairs", Arg::U32),
    ("layers", Arg::U32),
];

const DIFFER: Args<4> = [
    ("flag", Arg::InOut(Element::U32)),
    ("data", Arg::In(Element::U32)),
    ("images", Arg::U32),
    ("words", Arg::U32),
];

macro_rules! entries {
    ($($module:literal $threads:literal $items:literal { $($name:literal: $args:expr,)* })*) => {
        &[$($(Entry {
            name: $name,
            module: $module,
            args: &$args,
            threads: $threads,
            items_per_block: $items,
        },)*)*]
    };
}

use Element::{F16, F32, U8};

/// Every kernel: module, threads of a block and items of a block, then its entries.
#[rustfmt::skip]
pub static ENTRIES: &[Entry] = entries! {
    "normalise" 256 2048 {
        "normalise_u8_nchw_f32": normalise(F32, U8),
        "normalise_u8_nhwc_f32": normalise(F32, U8),
        "normalise_u8_nhwc_f16": normalise(F16, U8),
        "normalise_f32_nchw_f32": normalise(F32, F32),
        "normalise_f32_nhwc_f32": normalise(F32, F32),
        "normalise_f32_nhwc_f16": normalise(F16, F32),
    }
    "bias_relu" 256 1024 { "bias_relu_nchw_f32": bias_relu(F32), }
    "bias_relu" 256 512 {
        "bias_relu_nhwc_f32": bias_relu(F32),
        "bias_relu_nhwc_f16": bias_relu(F16),
    }
    "max_pool" 256 256 {
        "max_pool_nchw_f32": max_pool(F32),
        "max_pool_nhwc_f32": max_pool(F32),
        "max_pool_nhwc_f16": max_pool(F16),
    }
    "l2_pool" 256 256 {
        "l2_pool_nchw_f32": l2_pool(F32),
        "l2_pool_nhwc_f32": l2_pool(F32),
        "l2_pool_nhwc_f16": l2_pool(F16),
    }
    "im2col" 256 8 { "im2col_f32": im2col(F32), "im2col_f16": im2col(F16), }
    "tap_nchw" 256 128 { "tap_nchw_f32_c64": tap(F32), }
    "tap_nchw" 256 64 { "tap_nchw_f32_c128": tap(F32), }
    "tap_nchw" 256 32 { "tap_nchw_f32_c192": tap(F32), "tap_nchw_f32_c256": tap(F32), }
    "tap_nchw" 512 32 { "tap_nchw_f32_c384": tap(F32), "tap_nchw_f32_c512": tap(F32), }
    "tap_nhwc" 256 128 { "tap_nhwc_f32_c64": tap(F32), "tap_nhwc_f16_c64": tap(F16), }
    "tap_nhwc" 256 64 { "tap_nhwc_f32_c128": tap(F32), "tap_nhwc_f16_c128": tap(F16), }
    "tap_nhwc" 256 32 {
        "tap_nhwc_f32_c192": tap(F32),
        "tap_nhwc_f16_c192": tap(F16),
        "tap_nhwc_f32_c256": tap(F32),
        "tap_nhwc_f16_c256": tap(F16),
        "tap_nhwc_f32_c384": tap(F32),
        "tap_nhwc_f16_c384": tap(F16),
        "tap_nhwc_f32_c512": tap(F32),
        "tap_nhwc_f16_c512": tap(F16),
    }
    "tap_pool_nchw" 256 32 {
        "tap_pool2_nchw_f32_c64": tap_pool(F32), "tap_pool3_nchw_f32_c64": tap_pool(F32),
    }
    "tap_pool_nchw" 256 16 {
        "tap_pool2_nchw_f32_c128": tap_pool(F32), "tap_pool3_nchw_f32_c128": tap_pool(F32),
    }
    "tap_pool_nchw" 256 8 {
        "tap_pool2_nchw_f32_c256": tap_pool(F32), "tap_pool3_nchw_f32_c256": tap_pool(F32),
        "tap_pool3_nchw_f32_c192": tap_pool(F32),
    }
    "tap_pool_nchw" 512 8 { "tap_pool2_nchw_f32_c512": tap_pool(F32), }
    "tap_pool_nhwc" 256 32 {
        "tap_pool2_nhwc_f32_c64": tap_pool(F32), "tap_pool3_nhwc_f32_c64": tap_pool(F32),
        "tap_pool2_nhwc_f16_c64": tap_pool(F16), "tap_pool3_nhwc_f16_c64": tap_pool(F16),
        "tap_pool3_nhwc_f32_c192": tap_pool(F32), "tap_pool3_nhwc_f16_c192": tap_pool(F16),
    }
    "tap_pool_nhwc" 256 16 {
        "tap_pool2_nhwc_f32_c128": tap_pool(F32), "tap_pool3_nhwc_f32_c128": tap_pool(F32),
        "tap_pool2_nhwc_f16_c128": tap_pool(F16), "tap_pool3_nhwc_f16_c128": tap_pool(F16),
    }
    "tap_pool_nhwc" 256 8 {
        "tap_pool2_nhwc_f32_c256": tap_pool(F32), "tap_pool3_nhwc_f32_c256": tap_pool(F32),
        "tap_pool2_nhwc_f16_c256": tap_pool(F16), "tap_pool3_nhwc_f16_c256": tap_pool(F16),
        "tap_pool2_nhwc_f32_c512": tap_pool(F32), "tap_pool2_nhwc_f16_c512": tap_pool(F16),
    }
    "channel_sum" 256 256 { "channel_sum_nchw_f32": channel_sum(F32), }
    "channel_sum" 256 32 {
        "channel_sum_nhwc_f32": channel_sum(F32),
        "channel_sum_nhwc_f16": channel_sum(F16),
    }
    "moments" 256 1024 {
        "moments_nchw_f32": moments(F32),
        "moments_nhwc_f32": moments(F32),
        "moments_nhwc_f16": moments(F16),
    }
    "dists" 256 1 { "dists": DISTS, }
    "finish" 256 1 { "finish": FINISH, }
    "differ" 256 1024 { "differ": DIFFER, }
};

/// Stems of the files in `kernels/`, each one module of PTX.
pub const MODULES: [&str; 14] = [
    "normalise",
    "bias_relu",
    "max_pool",
    "l2_pool",
    "im2col",
    "tap_nchw",
    "tap_nhwc",
    "tap_pool_nchw",
    "tap_pool_nhwc",
    "channel_sum",
    "moments",
    "dists",
    "finish",
    "differ",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_never_span_two_groups() {
        let tap = entry("tap_nhwc_f16_c128").unwrap();
        assert_eq!((tap.tiles(64), tap.tiles(65)), (1, 2));
        assert_eq!(tap.blocks(3, 65), Some(6));
        assert_eq!(tap.blocks(u64::from(u32::MAX), 64), None);
        assert_eq!(tap.blocks(u64::MAX, 65), None);
        assert_eq!(tap.blocks(1, ITEMS_MAX), Some(1 << 25));
        assert_eq!(tap.blocks(1, ITEMS_MAX + 1), None);
    }

    #[test]
    fn names_are_unique_and_modules_known() {
        for (index, entry) in ENTRIES.iter().enumerate() {
            assert!(MODULES.contains(&entry.module), "{}", entry.name);
            assert!(ENTRIES[..index].iter().all(|other| other.name != entry.name));
        }
    }
}
