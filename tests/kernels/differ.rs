//! Cases of `differ`: copies of one image, and copies of which one word was changed.

use lpips::eval::cuda::signature::Element::U32;
use lpips::eval::cuda::signature::entry;

use super::case::{Case, Expected, Random, input, number};

const NAN: u32 = f32::NAN.to_bits();
const OTHER_NAN: u32 = NAN + 1;
const ZERO: u32 = 0.0f32.to_bits();
const MINUS_ZERO: u32 = (-0.0f32).to_bits();
/// Words of a vector.
const VECTOR: usize = 4;

/// One image; word `w` is NaN where `w` modulo 9 is 2, and 0 where it is 5, so that both come up at
/// every place of a vector.
fn image(words: usize) -> Vec<u32> {
    let mut random = Random::new(words as u64);
    let word = |index| match index % 9 {
        2 => NAN,
        5 => ZERO,
        _ => random.bits(),
    };
    (0..words).map(word).collect()
}

/// `images` copies of one image, in which `change` is (image, word, its bits afterwards).
fn case(
    what: &str,
    (images, words): (usize, usize),
    change: Option<(usize, usize, u32)>,
    (before, after): (u32, u32),
) -> Case {
    let mut data = image(words).repeat(images);
    if let Some((image, word, bits)) = change {
        let found = &mut data[image * words + word];
        assert_ne!(*found, bits, "{what}: nothing changes");
        *found = bits;
    }
    let data: Vec<f64> = data.into_iter().map(f64::from).collect();
    Case::new(
        "differ",
        &format!("{images} images of {words} words, {what}, flag {before}"),
        (images - 1, words / VECTOR),
        vec![input(U32, &[f64::from(before)]), input(U32, &data), number(images), number(words)],
        vec![Expected::exactly(vec![f64::from(after)])],
    )
}

pub(crate) fn all() -> Vec<Case> {
    let threads = entry("differ").unwrap().threads as usize;
    let block = entry("differ").unwrap().items_per_block as usize * VECTOR;
    let mut cases = Vec::new();
    for (images, words) in [
        (2, VECTOR),
        (3, 9 * VECTOR),
        (5, threads * VECTOR),
        (2, block),
        (3, block + VECTOR),
        (4, 2 * block - VECTOR),
        (3, 2 * block + (threads + 7) * VECTOR),
    ] {
        let shape = (images, words);
        for flag in [0, 1, 7] {
            cases.push(case("all equal", shape, None, (flag, flag)));
        }
        let content = image(words);
        let flipped = |image: usize, word: usize, bit: u32| {
            let change = (image, word, content[word] ^ (1 << bit));
            let what = format!("bit {bit} of word {word} of image {image}");
            case(&what, shape, Some(change), (0, 1))
        };
        // The first image too: then all others differ from it, if not among themselves.
        for image in 0..images {
            cases.push(flipped(image, 0, 0));
            cases.push(flipped(image, words / 2 + image % 2, 31));
            cases.push(flipped(image, words - 1, 13));
        }
        // Every place of the last vector, and both sides of where a block ends.
        let edges = [block - 1, block, 2 * block - 1, 2 * block];
        let places = edges.into_iter().filter(|&word| word < words);
        for word in places.chain(words - VECTOR..words) {
            cases.push(flipped(images - 1, word, 7));
        }
    }
    // As numbers these are equal, or NaN both: what counts is bits. At every place of a vector.
    let words = 9 * VECTOR;
    for (kind, what, bits) in
        [(5, "-0 for 0", MINUS_ZERO), (2, "another NaN", OTHER_NAN), (5, "NaN for 0", NAN)]
    {
        for word in (kind..words).step_by(9) {
            let what = format!("{what} as word {word}");
            cases.push(case(&what, (2, words), Some((1, word, bits)), (0, 1)));
        }
    }
    cases
}
