//! The library's public face: its numbers are the command's, and its errors state their kind.

use std::path::{Path, PathBuf};

use lpips::image::{Pixels, Rules, decode};
use lpips::{Code, Device, Error, Image, Lpips, Net, Options, Precision, Preset, Range, Score};

use crate::support::{csv, data, lpips, stderr};

fn open(options: Options) -> Lpips {
    Lpips::open(&Options { device: Device::Cpu, ..options }).unwrap()
}

/// The error of options that must be refused.
fn refused(options: Options) -> Error {
    Lpips::open(&Options { device: Device::Cpu, ..options }).unwrap_err()
}

/// Pairs of real images, reference and distorted.
fn files() -> Vec<(PathBuf, PathBuf)> {
    let manifest = data("sr/manifest.csv");
    let rows = csv(&manifest);
    let folder = manifest.parent().unwrap();
    let at = |name: &str| rows[0].iter().position(|header| header == name).unwrap();
    let (reference, distorted) = (at("ref"), at("dist"));
    let paths = |row: &Vec<String>| (folder.join(&row[reference]), folder.join(&row[distorted]));
    rows[1..].iter().map(paths).collect()
}

/// Total and layers of each row as the command writes them, and the signature of its column.
fn of_command(options: &[&str]) -> (Vec<Vec<String>>, String) {
    let folder = tempfile::tempdir().unwrap();
    let manifest = data("sr/manifest.csv");
    let line = ["eval", manifest.to_str().unwrap(), "-o", "run", "--per-layer", "--device", "cpu"];
    let output = lpips(folder.path(), &[&line[..], options].concat());
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{printed}");
    let rows = csv(&folder.path().join("run/pairs.csv"));
    let first = rows[0].iter().position(|header| header.ends_with("_alex")).unwrap();
    let values = rows[1..].iter().map(|row| row[first..first + 6].to_vec()).collect();
    let signature = printed.lines().find_map(|line| line.strip_prefix("signature of "));
    (values, signature.unwrap().split_once(": ").unwrap().1.to_owned())
}

/// A score as the command writes it.
fn cells(score: &Score) -> Vec<String> {
    let values = std::iter::once(&score.total).chain(&score.layers);
    values.map(|&value| lpips::decimal::nine_digits(value)).collect()
}

fn grey(lpips: &Lpips, side: usize, value: u8) -> Image {
    lpips.bytes(side, side, vec![value; side * side * 3]).unwrap()
}

#[test]
fn scores_are_those_of_the_command() {
    let default = Options::default;
    for (options, line) in [
        (default(), &[][..]),
        (Options { preset: Preset::LpipsPlus, ..default() }, &["--preset", "lpips+"]),
        (Options { preset: Preset::Torchmetrics, ..default() }, &["--preset", "torchmetrics"]),
        (Options { baseline: true, ..default() }, &["--baseline"]),
        (Options { range: Range::Signed, ..default() }, &["--range", "-1..1"]),
    ] {
        let (expected, signature) = of_command(line);
        let mut scorer = open(options);
        let scores = scorer.score_files(&files()).unwrap();
        let found: Vec<_> = scores.iter().map(|score| cells(score.as_ref().unwrap())).collect();
        assert_eq!(found, expected, "{line:?}");
        assert_eq!(scorer.signature(), signature, "{line:?}");
    }
}

/// From files or from memory, in batches or one by one, with one thread or several.
#[test]
fn every_form_gives_the_same_bits() {
    let mut scorer = open(Options::default());
    let files = files();
    let expected: Vec<Score> =
        scorer.score_files(&files).unwrap().into_iter().map(Result::unwrap).collect();
    let in_memory = |path: &Path| {
        let image = decode(path, &Rules::default()).unwrap();
        let Pixels::U8(samples) = image.pixels else { panic!("expected bytes") };
        scorer.bytes(image.size.width, image.size.height, samples).unwrap()
    };
    let images: Vec<(Image, Image)> =
        files.iter().map(|(a, b)| (in_memory(a), in_memory(b))).collect();
    let scores = scorer.score_all(images.iter().cloned()).unwrap();
    let scores: Vec<Score> = scores.into_iter().map(Result::unwrap).collect();
    assert_eq!(scores, expected);
    for ((reference, distorted), expected) in images.iter().zip(&expected) {
        assert_eq!(&scorer.score(reference, distorted).unwrap(), expected);
    }
    for threads in [1, 3] {
        let batch = 2.try_into().ok();
        let mut other =
            open(Options { threads: threads.try_into().ok(), batch, ..Options::default() });
        let scores = other.score_files(&files).unwrap();
        assert_eq!(scores.into_iter().map(Result::unwrap).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_pair_that_cannot_be_scored_does_not_stop_the_others() {
    let mut scorer = open(Options { spatial: true, ..Options::default() });
    let [noisy, black] = [128, 0].map(|value| grey(&scorer, 40, value));
    let (other, small) = (grey(&scorer, 48, 0), grey(&scorer, 8, 0));
    let pairs = [(&noisy, &black), (&noisy, &other), (&small, &small), (&noisy, &noisy)];
    let scores = scorer.score_all(pairs.map(|(a, b)| (a.clone(), b.clone()))).unwrap();
    assert_eq!(codes(&scores), [None, Some(Code::Size), Some(Code::TooSmall), None]);
    let of = |index: usize| scores[index].as_ref().unwrap();
    assert_eq!(of(3).total, 0.0);
    let map = of(0).map.as_ref().unwrap();
    assert_eq!((map.height, map.width, map.values.len()), (40, 40, 40 * 40));
    assert!(map.values.iter().all(|value| value.is_finite()) && of(0).total > 0.0);

    let mut files: Vec<(PathBuf, PathBuf)> = files().into_iter().take(3).collect();
    let good = scorer.score_files(&files).unwrap();
    let gone = PathBuf::from("gone.png");
    files.insert(1, (files[0].0.clone(), gone.clone()));
    files.push((gone, files[0].0.clone()));
    let mut scores = scorer.score_files(&files).unwrap();
    let missing = Some(Code::Missing);
    assert_eq!(codes(&scores), [None, missing, None, None, missing]);
    scores.retain(Result::is_ok);
    assert_eq!(scores, good);
}

fn codes(scores: &[Result<Score, Error>]) -> Vec<Option<Code>> {
    let code = |score: &Result<Score, Error>| match score {
        Ok(_) => None,
        Err(Error::Pair { code, .. }) => Some(*code),
        Err(error) => panic!("{error:?}"),
    };
    scores.iter().map(code).collect()
}

#[test]
fn wrong_images_are_refused() {
    let scorer = open(Options::default());
    for (width, height, count) in [(4, 4, 47), (0, 4, 0), (usize::MAX, 2, 6)] {
        let error = scorer.bytes(width, height, vec![0; count]).unwrap_err();
        assert!(matches!(error, Error::Usage { .. }), "{error:?}");
        assert!(error.message().starts_with(&format!("{count} samples")), "{error}");
        assert!(error.hint().unwrap().contains("3 * width * height"));
    }
    let dark = scorer.floats(2, 1, vec![-0.9; 6]).unwrap_err();
    assert!(matches!(dark, Error::Pair { code: Code::Range, .. }), "{dark:?}");
    assert!(dark.message().contains("-1..1") && dark.hint().is_some(), "{dark}");
    let gone = scorer.file("none.png").unwrap_err();
    assert!(gone.to_string().starts_with("E_MISSING: "), "{gone}");

    let mut signed = open(Options { range: Range::Signed, ..Options::default() });
    let image = signed.floats(2, 1, vec![-0.9; 6]).unwrap();
    assert_eq!((image.width(), image.height()), (2, 1));
    assert_ne!(signed.signature(), scorer.signature());
    // The same samples mean another image there.
    let error = signed.score(&grey(&scorer, 40, 9), &grey(&scorer, 40, 0)).unwrap_err();
    assert!(matches!(error, Error::Usage { .. }), "{error:?}");
    assert!(error.message().contains("0..1") && error.hint().is_some(), "{error}");
}

#[test]
fn options_that_contradict_each_other_are_refused_as_the_command_refuses_them() {
    let default = Options::default;
    let lin = Some(PathBuf::from("lin.pth"));
    for (options, expected) in [
        (Options { preset: Preset::BasicSr(4), ..default() }, "--preset basicsr:4"),
        (Options { precision: Precision::Fp16, ..default() }, "--precision fp16"),
        (Options { precision: Precision::Tf32, ..default() }, "--precision tf32"),
        (Options { semantic_layer: Some(9), ..default() }, "no layer 9"),
        (Options { semantic_layer: Some(1), spatial: true, ..default() }, "--spatial"),
        (Options { semantic_layer: Some(1), baseline: true, ..default() }, "--semantic-layer"),
        (Options { lin, baseline: true, ..default() }, "--lin"),
        (
            Options { preset: Preset::Torchmetrics, baseline: true, ..default() },
            "--preset torchmetrics",
        ),
        (
            Options { preset: Preset::GaussianSplatting, range: Range::Signed, ..default() },
            "--range -1..1",
        ),
    ] {
        let error = refused(options);
        assert!(matches!(error, Error::Usage { .. }), "{error:?}");
        assert!(error.message().contains(expected) && error.hint().is_some(), "{error:?}");
    }
}

#[test]
fn missing_and_wrong_weights_are_errors_of_their_own() {
    let weights_dir = Some(PathBuf::from("/nowhere"));
    let error = refused(Options { net: Some(Net::Vgg), weights_dir, ..Options::default() });
    assert!(matches!(error, Error::Weights { .. }), "{error:?}");
    let expected = "no weights for vgg: tried `/nowhere/vgg.safetensors`";
    assert!(error.message().contains(expected), "{error}");
    assert!(error.hint().unwrap().contains("lpips weights fetch vgg"));
    let trunk = Some(data("golden/images/grey_ref.png"));
    let error = refused(Options { trunk, ..Options::default() });
    assert!(matches!(error, Error::Weights { .. }), "{error:?}");
    assert!(error.message().contains("grey_ref.png") && error.hint().is_some(), "{error}");
}

#[test]
fn a_scorer_moves_to_another_thread() {
    let mut scorer = open(Options::default());
    assert!(scorer.device().starts_with("CPU"), "{}", scorer.device());
    let (bright, black) = (grey(&scorer, 40, 128), grey(&scorer, 40, 0));
    let expected = scorer.score(&bright, &black);
    let moved = std::thread::spawn(move || scorer.score(&bright, &black));
    assert_eq!(moved.join().unwrap(), expected);
}
