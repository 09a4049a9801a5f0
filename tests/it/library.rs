//! The library's public face: its numbers are the command's.

use std::path::Path;

use lpips::{Device, Error, Image, Lpips, Net, Options, Range};

use crate::support::{csv, data, lpips};

fn open(options: Options) -> Lpips {
    Lpips::open(&Options { device: Device::Cpu, ..options }).unwrap()
}

fn samples(image: &Image) -> Vec<u8> {
    match &image.pixels {
        lpips::image::Pixels::U8(samples) => samples.clone(),
        lpips::image::Pixels::F32(_) => panic!("expected bytes"),
    }
}

/// In one batch or one by one, from files or from memory.
#[test]
fn scores_are_those_of_the_command() {
    let run = tempfile::tempdir().unwrap();
    let manifest = data("sr/manifest.csv");
    let args = ["eval", manifest.to_str().unwrap(), "-o", "run", "-q", "--per-layer"];
    let output = lpips(run.path(), &[&args[..], &["--device", "cpu"]].concat());
    assert_eq!(output.status.code(), Some(0));
    let rows = csv(&run.path().join("run/pairs.csv"));
    let at = |name: &str| rows[0].iter().position(|header| header == name).unwrap();
    let mut scorer = open(Options::default());
    let folder = manifest.parent().unwrap();
    let image = |scorer: &Lpips, row: &[String], column| scorer.file(folder.join(&row[at(column)]));
    let images: Vec<(Image, Image)> = rows[1..]
        .iter()
        .map(|row| (image(&scorer, row, "ref").unwrap(), image(&scorer, row, "dist").unwrap()))
        .collect();
    let pairs: Vec<(&Image, &Image)> = images.iter().map(|(a, b)| (a, b)).collect();
    let scores = scorer.score_all(&pairs).unwrap();
    for ((row, score), (reference, distorted)) in rows[1..].iter().zip(scores).zip(pairs) {
        let score = score.unwrap();
        assert_eq!(lpips::decimal::nine_digits(score.total), row[at("lpips_alex")], "{row:?}");
        for (layer, value) in score.layers.iter().enumerate() {
            let cell = &row[at(&format!("lpips_alex_layer{layer}"))];
            assert_eq!(lpips::decimal::nine_digits(*value), *cell, "{row:?}");
        }
        let memory = |image: &Image| {
            scorer.bytes(image.size.width, image.size.height, samples(image)).unwrap()
        };
        let (reference, distorted) = (memory(reference), memory(distorted));
        assert_eq!(scorer.score(&reference, &distorted).unwrap(), score);
    }
    let run = fs_err::read_to_string(run.path().join("run/run.json")).unwrap();
    assert!(run.contains(&scorer.signature()), "{}", scorer.signature());
}

#[test]
fn a_pair_that_cannot_be_scored_does_not_stop_the_others() {
    let mut scorer = open(Options { spatial: true, ..Options::default() });
    let image = |side: usize, value: u8| scorer.bytes(side, side, vec![value; side * side * 3]);
    let (grey, black, other, small) = (image(40, 128), image(40, 0), image(48, 0), image(8, 0));
    let [grey, black, other, small] = [grey, black, other, small].map(Result::unwrap);
    let pairs = [(&grey, &black), (&grey, &other), (&small, &small), (&grey, &grey)];
    let scores = scorer.score_all(&pairs).unwrap();
    let codes = scores.iter().map(|score| match score {
        Ok(_) => "ok",
        Err(Error::Pair { code, .. }) => code.as_str(),
        Err(error) => panic!("{error}"),
    });
    assert_eq!(codes.collect::<Vec<_>>(), ["ok", "E_SIZE", "E_TOO_SMALL", "ok"]);
    let of = |index: usize| scores[index].as_ref().unwrap();
    assert_eq!(of(3).total, 0.0);
    // The mean of the map of an image of one colour is near the distance.
    let map = of(0).map.as_ref().unwrap();
    assert_eq!(map.len(), 40 * 40);
    assert!(map.iter().all(|value| value.is_finite()) && of(0).total > 0.0);
}

#[test]
fn wrong_images_and_missing_weights_are_told_apart() {
    let scorer = open(Options::default());
    let code = |image: Result<Image, Error>| match image {
        Err(Error::Pair { code, message }) => format!("{code}: {message}"),
        other => panic!("{other:?}"),
    };
    assert!(code(scorer.bytes(4, 4, vec![0; 47])).starts_with("E_SIZE: 47 samples"));
    assert!(code(scorer.bytes(0, 4, Vec::new())).starts_with("E_SIZE"));
    assert!(code(scorer.floats(2, 1, vec![-0.9; 6])).contains("-1..1"));
    assert!(code(scorer.file("none.png")).starts_with("E_MISSING"));
    let signed = open(Options { range: Range::Signed, ..Options::default() });
    assert!(signed.floats(2, 1, vec![-0.9; 6]).is_ok());
    assert_ne!(signed.signature(), scorer.signature());

    let weights_dir = Some(Path::new("/nowhere").to_owned());
    let options = Options { net: Net::Vgg, weights_dir, device: Device::Cpu, ..Options::default() };
    let Err(Error::Unusable { message, hint }) = Lpips::open(&options) else { panic!() };
    assert!(message.contains("no weights for vgg: tried `/nowhere/vgg.safetensors`"), "{message}");
    assert!(hint.unwrap().contains("lpips weights fetch vgg"));
}
