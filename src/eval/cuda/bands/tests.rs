use super::*;
use crate::eval::cuda::Limits;
use crate::net::{DISTS, Net};

fn specs() -> impl Iterator<Item = &'static NetSpec> {
    Net::ALL.map(Net::spec).into_iter().chain([&DISTS])
}

/// fp32 with cuDNN, pairs.
fn footprint(limit: usize) -> Footprint {
    Footprint { element: 2 * size_of::<f32>(), input_channels: 3, limit }
}

fn of(spec: &NetSpec, width: usize, height: usize, limit: usize) -> Bands {
    Bands::new(spec, Size { width, height }, footprint(limit)).unwrap()
}

/// Every row of every tap and of the kept map is used once, in order.
fn assert_complete(bands: &Bands) {
    for section in &bands.sections {
        let mut taps = vec![0; section.plan.taps.len()];
        let mut kept = 0;
        for band in &section.bands {
            let all = band.taps.iter().zip(&mut taps).chain([(&band.kept, &mut kept)]);
            for (rows, done) in all {
                assert_eq!(rows.whole_first, *done);
                *done += rows.count;
            }
            assert!(band.first + section.plan.input.h <= section.whole.input.h);
        }
        let heights: Vec<usize> = section.whole.taps.iter().map(|tap| tap.h).collect();
        assert_eq!((taps, kept), (heights, section.output().h));
    }
}

#[test]
fn sizes_that_keep_to_the_limit_are_whole() {
    for spec in specs() {
        let bands = of(spec, 1024, 1024, Limits::USUAL.activation_bytes);
        assert!(bands.sections.len() == 1 && bands.sections[0].is_whole(), "{}", spec.name);
        assert_complete(&bands);
    }
}

#[test]
fn every_row_is_used_once_whatever_the_limit() {
    for spec in specs() {
        for (width, height) in [(16, 700), (40, 333), (35, 16), (64, 480)] {
            let width = width.max(spec.min_side);
            let height = height.max(spec.min_side);
            let whole = of(spec, width, height, usize::MAX);
            let mut counts = Vec::new();
            for part in [1, 2, 3, 5, 9, usize::MAX] {
                let bands = of(spec, width, height, whole.bytes(footprint(0)) / part);
                assert_complete(&bands);
                assert_eq!(bands.taps(), whole.taps());
                assert!(bands.flops() >= whole.flops());
                counts.push(bands.sections.iter().map(|section| section.bands.len()).max());
            }
            assert_eq!(counts[0], Some(1));
            assert!(height < 400 || counts[5] > counts[1], "{} {counts:?}", spec.name);
        }
    }
}

/// Each output row of a band that is used depends on no row outside of the band, except on those
/// outside of the image: the rows are traced one by one through the plan.
#[test]
fn rows_that_are_used_are_those_of_the_whole_image() {
    for spec in specs() {
        let (width, height) = (spec.min_side, 421);
        let whole = of(spec, width, height, usize::MAX);
        for part in [3, 7, usize::MAX] {
            let bands = of(spec, width, height, whole.bytes(footprint(0)) / part);
            for section in &bands.sections {
                let expected = fingerprints(&section.whole, 0, section.whole.input.h);
                for band in &section.bands {
                    let found = fingerprints(&section.plan, band.first, section.whole.input.h);
                    let all = band.taps.iter().chain([&band.kept]);
                    for (rows, (found, expected)) in all.zip(found.iter().zip(&expected)) {
                        let found = &found[rows.first..][..rows.count];
                        let expected = &expected[rows.whole_first..][..rows.count];
                        assert_eq!(found, expected, "{}", spec.name);
                    }
                }
            }
        }
    }
}

/// For every output a number for each row, made of those of the rows that it is computed from.
/// Row y of the input is row `first + y` of the whole input.
fn fingerprints(plan: &Plan, first: usize, whole: usize) -> Vec<Vec<u64>> {
    let mix =
        |left: u64, right: u64| (left.rotate_left(7) ^ right).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let input: Vec<u64> = (0..plan.input.h).map(|row| 1 + (first + row) as u64).collect();
    assert!(first + input.len() <= whole);
    let mut buffers = vec![Vec::new(); BUFFERS];
    let of = |buffers: &[Vec<u64>], view: View| match view.slot {
        Slot::Input => input.clone(),
        Slot::Buffer(index) => buffers[index].clone(),
    };
    let mut outputs = Vec::new();
    for step in &plan.steps {
        let (src, [kernel, stride, pad]) = match *step {
            Step::Conv(ConvStep { kernel, stride, pad, src, .. }) => (src, [kernel, stride, pad]),
            Step::MaxPool { kernel, stride, src, .. } => (src, [kernel, stride, 0]),
            Step::L2Pool { src, .. } => (src, [3, 2, 1]),
            Step::Tap { src, .. } => {
                outputs.push(of(&buffers, src));
                continue;
            }
        };
        let from = of(&buffers, src);
        let dst = step.dst();
        let Slot::Buffer(index) = dst.slot else { panic!("a step writes the input") };
        let before = std::mem::take(&mut buffers[index]);
        let row = |row: usize| {
            // Zeros outside of the rows.
            let values = (0..kernel).map(|tap| {
                (row * stride + tap).checked_sub(pad).and_then(|at| from.get(at)).copied()
            });
            let own = values.map(|value| value.unwrap_or(0)).fold(kernel as u64, mix);
            if dst.c_first > 0 { mix(before[row], own) } else { own }
        };
        buffers[index] = (0..dst.shape.h).map(row).collect();
    }
    outputs.extend(plan.steps.last().map(|step| of(&buffers, step.dst())));
    outputs
}

/// What tests/cuda/bands.rs relies on: a pair of the smallest side by 341 rows is divided.
#[test]
fn low_limits_make_bands_and_sections() {
    let shape = |spec: &NetSpec, limit: usize| {
        let bands = of(spec, spec.min_side, 341, limit);
        bands.sections.iter().map(|section| section.bands.len()).collect::<Vec<_>>()
    };
    for spec in specs() {
        let lowest = shape(spec, 1);
        println!("{} {lowest:?} {:?}", spec.name, shape(spec, 2 << 20));
        assert!(lowest.iter().sum::<usize>() > lowest.len(), "{}: {lowest:?}", spec.name);
    }
    assert!(shape(Net::Vgg.spec(), 2 << 20) != shape(Net::Vgg.spec(), 1));
}

/// What the kept map, the bands and the pixels of a pair take; and the work that is done twice.
#[test]
fn forty_megapixels_of_vgg_fit_eight_gigabytes_in_fp32() {
    // The limits of a convolution's scratch memory, and what a card needs for itself: context,
    // libraries and weights.
    const WORKSPACE: usize = 1 << 30;
    const OTHERS: usize = 1 << 30;
    let (width, height) = (7680, 5184);
    let pixels = 2 * 3 * width * height;
    for spec in specs() {
        let bands = of(spec, width, height, Limits::USUAL.activation_bytes);
        let bytes = bands.bytes(footprint(0));
        assert!(bytes <= Limits::USUAL.activation_bytes, "{}: {bytes}", spec.name);
        assert!(bytes + pixels + WORKSPACE + OTHERS <= 8_000_000_000, "{}: {bytes}", spec.name);
        let whole = of(spec, width, height, usize::MAX);
        let twice = bands.flops() as f64 / whole.flops() as f64 - 1.0;
        let heights: Vec<_> =
            bands.sections.iter().map(|it| (it.bands.len(), it.plan.input.h)).collect();
        println!("{}: {bytes} bytes, {heights:?}, {:.1} % twice", spec.name, 100.0 * twice);
        assert!(twice <= 0.25, "{}: {twice}", spec.name);
    }
}
