//! Pairs of files, decoded by several threads while earlier ones are scored.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::mpsc::SyncSender;

use rayon::ThreadPool;
use rayon::prelude::*;

use super::{Error, Image};
use crate::image::{Depth, Range, Rules, header};

/// Pairs per thread in a chunk.
const PAIRS_PER_THREAD: usize = 2;
/// Chunks in memory: one is scored, one waits, one is decoded, and one was decoded before it.
const CHUNKS: u64 = 4;

/// Pairs in order, or why one of the two files gives no image.
pub(super) type Chunk = Vec<Result<(Image, Image), Error>>;

/// Decodes files in chunks of pairs.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    pub(super) rules: &'a Rules,
    pub(super) pool: ThreadPool,
    /// Bytes that all decoded images may take; a single pair may take more.
    pub(super) bytes_max: u64,
}

impl Decoder<'_> {
    /// Decodes `pairs` in order and sends them in chunks, until the receiver is gone. A file that
    /// pairs of one chunk or of two successive ones name is decoded once.
    pub(super) fn run<P: AsRef<Path> + Sync>(&self, pairs: &[(P, P)], to: &SyncSender<Chunk>) {
        let pairs: Vec<[&Path; 2]> = pairs.iter().map(|(a, b)| [a.as_ref(), b.as_ref()]).collect();
        let mut known: HashMap<&Path, Result<Image, Error>> = HashMap::new();
        let mut rest = pairs.as_slice();
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(self.chunk_len(rest));
            rest = later;
            let paths: HashSet<&Path> = chunk.iter().flatten().copied().collect();
            known = self.pool.install(|| {
                let decode = |path: &Path| {
                    known.get(path).cloned().unwrap_or_else(|| Image::decode(path, self.rules))
                };
                paths.into_par_iter().map(|path| (path, decode(path))).collect()
            });
            let pair = |[reference, distorted]: &[&Path; 2]| {
                Ok((known[reference].clone()?, known[distorted].clone()?))
            };
            if to.send(chunk.iter().map(pair).collect()).is_err() {
                return;
            }
        }
    }

    /// How many of the next pairs are decoded at once: enough for all threads, and no more than
    /// memory holds, but at least one.
    fn chunk_len(&self, pairs: &[[&Path; 2]]) -> usize {
        let mut bytes: u64 = 0;
        let fits = |pair: &&[&Path; 2]| {
            bytes = pair.iter().fold(bytes, |sum, path| sum.saturating_add(self.bytes(path)));
            bytes <= self.bytes_max / CHUNKS
        };
        let len_max = PAIRS_PER_THREAD * self.pool.current_num_threads();
        pairs.iter().take(len_max).take_while(fits).count().max(1)
    }

    /// Bytes that the image of a file takes, as its header states them; 0 if it has none.
    fn bytes(&self, path: &Path) -> u64 {
        let Ok(header) = header(path) else { return 0 };
        let depth = if self.rules.range == Range::Unit { header.depth() } else { Depth::F32 };
        let pixels = (header.size.width as u64).saturating_mul(header.size.height as u64);
        pixels.saturating_mul(3 * depth.bytes() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::mpsc::sync_channel;

    use super::*;

    /// Lengths of the chunks of five pairs of images of 12 bytes, one of which is missing.
    fn chunks(threads: usize, bytes_max: u64) -> Vec<usize> {
        let folder = tempfile::tempdir().unwrap();
        let file = |index: usize| folder.path().join(format!("{index}.ppm"));
        for index in 0..5 {
            let samples = [index as u8; 12];
            fs_err::write(file(index), [&b"P6 2 2 255\n"[..], &samples].concat()).unwrap();
        }
        let pairs: Vec<(PathBuf, PathBuf)> = (0..5).map(|at| (file(0), file(at + 1))).collect();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let decoder = Decoder { rules: &Rules::default(), pool, bytes_max };
        let (to, found) = sync_channel(5);
        decoder.run(&pairs, &to);
        drop(to);
        let found: Vec<Chunk> = found.iter().collect();
        let all: Vec<_> = found.iter().flatten().collect();
        assert_eq!(all.len(), 5);
        assert!(all[..4].iter().all(|pair| pair.is_ok()) && all[4].is_err());
        found.iter().map(Vec::len).collect()
    }

    #[test]
    fn threads_and_memory_bound_a_chunk() {
        assert_eq!(chunks(1, u64::MAX), [2, 2, 1]);
        assert_eq!(chunks(3, u64::MAX), [5]);
        assert_eq!(chunks(3, 4 * 24), [1, 1, 1, 1, 1]);
        assert_eq!(chunks(3, 4 * 60), [2, 3]);
        assert_eq!(chunks(3, 0), [1, 1, 1, 1, 1]);
    }
}
