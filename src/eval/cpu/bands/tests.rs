//! Bands against whole maps: the same bits, and windows that hold what is needed and no more.

use super::*;
use crate::eval::cpu::{Config, CpuEvaluator};
use crate::eval::{Affine, Epsilon, Lpips, Metric, Model, PairScore, score_pairs};
use crate::image::{Image, Pixels};
use crate::net::weights::{Dists, Lin, Trunk, Version};
use crate::net::{DISTS, Net};
use crate::random::SplitMix64;

/// Everything at once.
const WHOLE: Limits = Limits { band_bytes: usize::MAX, stage_tiles: usize::MAX };
/// The smallest bands, without stages and with the blocks of stages, and some between.
const BANDED: [Limits; 4] = [
    Limits { band_bytes: 0, stage_tiles: 0 },
    Limits { band_bytes: 0, stage_tiles: 3 },
    Limits { band_bytes: 50_000, stage_tiles: 0 },
    Limits { band_bytes: 300_000, stage_tiles: usize::MAX },
];

fn size(width: usize, height: usize) -> Size {
    Size { width, height }
}

/// Smooth waves with noise.
fn image(size: Size, seed: u64) -> Image {
    let mut random = SplitMix64::new(seed);
    let sample = |index: usize| {
        let (y, x, c) = (index / 3 / size.width, index / 3 % size.width, index % 3);
        let wave = ((x as f64 / 9.0 + c as f64).sin() + (y as f64 / 7.0).cos()) * 50.0 + 128.0;
        (wave + random.below(40) as f64 - 20.0) as u8
    };
    Image::new(size, Pixels::U8((0..size.samples()).map(sample).collect()))
}

fn models(net: &'static NetSpec) -> Vec<Model> {
    let trunk = Trunk::random(net.net, 1);
    if std::ptr::eq(net, &DISTS) {
        return vec![Model::dists(trunk, Affine::UNIT, Dists::load().unwrap())];
    }
    let lin = Some(Lin::random(net.net, 1).layers);
    let wanted = Wanted { layers: true, reference_sum: Some(net.tap_channels().len() - 2) };
    let metric = Metric::Lpips(Lpips { lin, epsilon: Epsilon::LPIPS, wanted });
    vec![Model { trunk, input: Affine::UNIT, version: Version::V0_1, metric }]
}

fn scores(net: &'static NetSpec, size: Size, threads: usize, limits: Limits) -> Vec<PairScore> {
    let config = Config { threads, pairs_max: None, isa: None, memory: None };
    let mut evaluator = CpuEvaluator::with_limits(models(net), config, limits).unwrap();
    let images: Vec<Image> = (0..3).map(|seed| image(size, seed)).collect();
    let pairs = [(0, 1), (0, 2), (2, 1), (1, 1)];
    score_pairs(&mut evaluator, pairs.map(|(a, b)| (&images[a], &images[b]))).unwrap()
}

fn nets() -> impl Iterator<Item = &'static NetSpec> {
    Net::ALL.map(Net::spec).into_iter().chain([&DISTS])
}

#[test]
fn bands_give_the_bits_of_whole_maps() {
    for net in nets() {
        let least = net.min_side;
        for size in [
            size(least, least),
            size(least + 3, 157),
            size(149, least + 1),
            size(67, 101),
            size(96, 64),
        ] {
            let whole = scores(net, size, 1, WHOLE);
            assert!(whole.iter().all(|score| score[0].is_ok()), "{} {size}", net.name);
            for (threads, limits) in (1..).zip(BANDED) {
                let banded = scores(net, size, threads, limits);
                assert_eq!(banded, whole, "{} {size} {limits:?}", net.name);
            }
        }
    }
}

/// Follows the windows as the evaluator moves them.
#[test]
fn windows_hold_the_rows_that_are_needed() {
    for (net, limits) in nets().flat_map(|net| BANDED.map(|limits| (net, limits))) {
        for size in [size(net.min_side, 200), size(203, 91), size(64, 1000), size(500, 333)] {
            let context = format!("{} {size} {limits:?}", net.name);
            let bands = Bands::new(net, size, Isa::Portable, limits).unwrap();
            let mut done = vec![0; bands.passes.len()];
            let mut tops = vec![ABOVE; bands.windows.len()];
            let mut ends = vec![0; bands.windows.len()];
            for Band { pass, rows, dst_rows, is_first, keep } in &bands.bands {
                let Pass { op, src, dst, .. } = bands.passes[*pass];
                let of = &bands.passes[*pass];
                assert_eq!(
                    (rows.start, *is_first && dst == src),
                    (done[*pass], op == Op::Normalise && rows.start == 0),
                    "{context}"
                );
                done[*pass] = rows.end;
                if op != Op::Normalise {
                    let source = bands.windows[src].layout;
                    assert!(of.first_needed(rows.start, source) >= tops[src].min(0), "{context}");
                    assert!(of.first_needed(rows.start, source) >= tops[src] || tops[src] == ABOVE);
                    assert!(of.reach(ends[src], source) >= rows.end, "{context}");
                }
                if !of.is_tap() {
                    let Window { layout, rows, .. } = bands.windows[dst];
                    let end = layout.with_border(dst_rows.end);
                    if end - tops[dst] > rows as isize {
                        tops[dst] = *keep;
                    }
                    assert!(end - tops[dst] <= rows as isize, "{context}");
                    ends[dst] = ends[dst].max(dst_rows.end);
                }
            }
            for (pass, done) in bands.passes.iter().zip(done) {
                assert_eq!(done, pass.height, "{context}");
            }
        }
    }
}

/// Bands of different layers meet differently at some heights, so that windows differ a little.
#[test]
fn memory_grows_with_the_width_alone() {
    for net in nets() {
        let bytes = |width: usize, height: usize| {
            let bands = Bands::new(net, size(width, height), Isa::best(), Limits::USUAL).unwrap();
            bands.image_bytes(2) as f64
        };
        let (high, tall) = (bytes(4096, 4096), bytes(4096, 32768));
        assert!((0.8..1.2).contains(&(tall / high)), "{}: {high} {tall}", net.name);
        let (narrow, wide) = (bytes(8192, 16384), bytes(32768, 16384));
        assert!((1.5..4.5).contains(&(wide / narrow)), "{}: {narrow} {wide}", net.name);
    }
}
