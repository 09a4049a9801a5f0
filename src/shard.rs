//! Which pairs a process scores: one of N parts of a manifest, chosen by reference.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// One of `count` parts of a manifest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Shard {
    /// From 0.
    pub index: u32,
    /// How many there are.
    pub count: u32,
}

impl Shard {
    /// All pairs.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// The index, among `count` shards, of the shard that scores the pairs of `reference`, as it is
    /// written in the manifest. Pairs of one reference stay together; a pair's shard depends on
    /// nothing else.
    #[must_use]
    pub fn index_of(reference: &str, count: u32) -> u32 {
        // The remainder of a division by a u32 fits into a u32.
        (xxh3_64(reference.as_bytes()) % u64::from(count)) as u32
    }

    /// Whether the pairs of `reference` belong to this shard.
    #[must_use]
    pub fn holds(self, reference: &str) -> bool {
        self.count == 1 || Shard::index_of(reference, self.count) == self.index
    }
}

impl std::fmt::Display for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// `--shard` as it was typed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShardArg {
    /// `I/N`.
    Given(Shard),
    /// `auto/N`.
    Auto {
        /// Number of shards.
        count: u32,
    },
}

impl FromStr for ShardArg {
    type Err = String;

    fn from_str(text: &str) -> Result<ShardArg, String> {
        let expected = || format!("expected `I/N` or `auto/N`, such as `0/8`; found `{text}`");
        let (index, count) = text.split_once('/').ok_or_else(expected)?;
        let count: u32 = count.parse().map_err(|_| expected())?;
        if count == 0 {
            return Err("there must be at least one shard".to_owned());
        }
        if index == "auto" {
            return Ok(ShardArg::Auto { count });
        }
        let index: u32 = index.parse().map_err(|_| expected())?;
        if index >= count {
            let last = count - 1;
            return Err(format!("shards count from 0: the last of {count} is {last}"));
        }
        Ok(ShardArg::Given(Shard { index, count }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_is_typed_from_0() {
        assert_eq!("3/8".parse(), Ok(ShardArg::Given(Shard { index: 3, count: 8 })));
        assert_eq!("auto/8".parse(), Ok(ShardArg::Auto { count: 8 }));
        for wrong in ["8/8", "1", "auto", "/4", "-1/4", "0/0", "1/x"] {
            assert!(wrong.parse::<ShardArg>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_reference_has_one_shard_and_shards_are_about_equal() {
        let mut sizes = [0usize; 8];
        for reference in (0..8000).map(|number| format!("hr/{number:04}.png")) {
            let holders: Vec<u32> =
                (0..8).filter(|&index| Shard { index, count: 8 }.holds(&reference)).collect();
            assert_eq!(holders.len(), 1);
            sizes[holders[0] as usize] += 1;
        }
        assert!(sizes.iter().all(|&size| (900..1100).contains(&size)), "{sizes:?}");
        // By XXH3-64's reference implementation; the same in every release, or shards of an older
        // run would be other pairs.
        assert_eq!(Shard::index_of("hr/0801.png", 1000), 714);
    }
}
