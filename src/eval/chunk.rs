//! Cuts the pairs of a batch into chunks that an evaluator walks at once.

use crate::batch::Pair;

/// Pairs that are walked together, and the images that they name.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Chunk {
    /// Indices into `images`.
    pub(super) pairs: Vec<Pair>,
    /// Indices into the batch, each once, in order of first use.
    pub(super) images: Vec<usize>,
}

/// Takes the longest run of `rest` that has at most `pair_max` pairs and names at most `image_max`
/// images; one pair is always taken.
pub(super) fn take_chunk(rest: &mut &[Pair], image_max: usize, pair_max: usize) -> Chunk {
    let mut chunk = Chunk::default();
    while let Some((pair, later)) = rest.split_first() {
        let Chunk { pairs, images } = &mut chunk;
        let new = |image: usize| usize::from(!images.contains(&image));
        let added = match pair.reference == pair.distorted {
            true => new(pair.reference),
            false => new(pair.reference) + new(pair.distorted),
        };
        if !pairs.is_empty() && (images.len() + added > image_max || pairs.len() == pair_max) {
            break;
        }
        let mut index_of = |image: usize| {
            images.iter().position(|&known| known == image).unwrap_or_else(|| {
                images.push(image);
                images.len() - 1
            })
        };
        let (reference, distorted) = (index_of(pair.reference), index_of(pair.distorted));
        pairs.push(Pair { reference, distorted });
        *rest = later;
    }
    chunk
}

/// As [`take_chunk`] for any number of pairs, but pairs that follow each other with one reference
/// are not cut where a chunk of their own holds them: that would be another pass of the reference.
pub(super) fn take_groups(rest: &mut &[Pair], image_max: usize) -> Chunk {
    let mut later = *rest;
    let chunk = take_chunk(&mut later, image_max, usize::MAX);
    let taken = &rest[..rest.len() - later.len()];
    let is_of_cut = |pair: &&Pair| later.first().is_some_and(|cut| cut.reference == pair.reference);
    let begun = taken.iter().rev().take_while(is_of_cut).count();
    let pairs = begun + later.iter().take_while(is_of_cut).count();
    if begun == 0 || begun == taken.len() || 1 + pairs > image_max {
        *rest = later;
        return chunk;
    }
    let (mut whole, later) = rest.split_at(taken.len() - begun);
    *rest = later;
    take_chunk(&mut whole, image_max, usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(reference: usize, distorted: usize) -> Pair {
        Pair { reference, distorted }
    }

    #[test]
    fn chunks_name_few_images_and_lose_no_pair() {
        let pairs = [pair(0, 1), pair(0, 2), pair(0, 3), pair(4, 5), pair(5, 5), pair(0, 4)];
        for image_max in 2..7 {
            for pair_max in 1..4 {
                let mut rest = pairs.as_slice();
                let mut seen = Vec::new();
                while !rest.is_empty() {
                    let Chunk { pairs, images } = take_chunk(&mut rest, image_max, pair_max);
                    assert!(!pairs.is_empty() && pairs.len() <= pair_max);
                    assert!(images.len() <= image_max);
                    seen.extend(
                        pairs.iter().map(|p| pair(images[p.reference], images[p.distorted])),
                    );
                }
                assert_eq!(seen, pairs);
            }
        }
    }

    #[test]
    fn groups_are_whole_where_a_chunk_holds_them() {
        let groups = |methods: usize| {
            let of_group = |group: usize| group * (methods + 1);
            let pairs = (0..5).flat_map(move |group| {
                (1..=methods).map(move |method| pair(of_group(group), of_group(group) + method))
            });
            pairs.collect::<Vec<Pair>>()
        };
        let cut = |methods: usize, image_max: usize| {
            let pairs = groups(methods);
            let (mut rest, mut images, mut seen) = (pairs.as_slice(), Vec::new(), Vec::new());
            while !rest.is_empty() {
                let chunk = take_groups(&mut rest, image_max);
                images.push(chunk.images.len());
                let named = |p: &Pair| pair(chunk.images[p.reference], chunk.images[p.distorted]);
                seen.extend(chunk.pairs.iter().map(named));
            }
            assert_eq!(seen, pairs);
            images
        };
        assert_eq!(cut(4, 12), [10, 10, 5]);
        assert_eq!(cut(4, 5), [5; 5]);
        assert_eq!(cut(4, 100), [25]);
        // A chunk holds three pairs of one reference.
        assert_eq!(cut(4, 4), [4, 4, 4, 4, 4, 4, 4, 2]);
        assert_eq!(cut(1, 3), [2; 5]);
    }
}
