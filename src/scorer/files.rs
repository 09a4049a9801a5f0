//! Pairs of files, decoded by several threads while earlier ones are scored.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::mpsc::SyncSender;

use rayon::ThreadPool;
use rayon::prelude::*;

use super::{Error, Image};
use crate::image::Rules;

/// Pairs per thread that are decoded at once. Four such chunks may be in memory: one that is
/// scored, one that waits, one that is decoded, and the one before it.
const PAIRS_PER_THREAD: usize = 2;

/// Pairs in order, or why one of the two files gives no image.
pub(super) type Chunk = Vec<Result<(Image, Image), Error>>;

/// Decodes `pairs` in order and sends them in chunks, until the receiver is gone. A file that
/// pairs of one chunk or of two successive ones name is decoded once.
pub(super) fn decode_all<P: AsRef<Path> + Sync>(
    pairs: &[(P, P)],
    rules: &Rules,
    pool: &ThreadPool,
    to: &SyncSender<Chunk>,
) {
    let mut known: HashMap<&Path, Result<Image, Error>> = HashMap::new();
    for pairs in pairs.chunks(PAIRS_PER_THREAD * pool.current_num_threads()) {
        let pairs: Vec<[&Path; 2]> = pairs.iter().map(|(a, b)| [a.as_ref(), b.as_ref()]).collect();
        let paths: HashSet<&Path> = pairs.iter().flatten().copied().collect();
        known = pool.install(|| {
            let decode = |path: &Path| {
                known.get(path).cloned().unwrap_or_else(|| Image::decode(path, rules))
            };
            paths.into_par_iter().map(|path| (path, decode(path))).collect()
        });
        let pair = |[reference, distorted]: [&Path; 2]| {
            Ok((known[reference].clone()?, known[distorted].clone()?))
        };
        if to.send(pairs.into_iter().map(pair).collect()).is_err() {
            return;
        }
    }
}
