//! What the tests share: where data is, models, and runs of the program.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use lpips::eval::{Evaluator, Lpips, Metric, Model, PairScore, Wanted, score_pairs};
use lpips::image::{self, Image};
use lpips::net::Net;
use lpips::net::weights::{Lin, SearchPath, Trunk, Version};

/// A path below tests/data.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The real trunk, SqueezeNet's formula trunk, or `None` where VGG16's file is absent.
///
/// # Panics
/// Under `LPIPS_REQUIRE_VGG=1` instead of `None`.
pub(crate) fn trunk(net: Net) -> Option<Trunk> {
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
    match net {
        Net::Squeeze => Some(Trunk::formula(net)),
        Net::Alex | Net::Vgg => match SearchPath::new(Some(&weights)).find(net) {
            Ok(source) => Some(Trunk::load(net, &source).unwrap()),
            Err(missing) => {
                let required = std::env::var_os("LPIPS_REQUIRE_VGG").is_some_and(|set| set == "1");
                assert!(!required, "LPIPS_REQUIRE_VGG=1, but {missing}");
                eprintln!(
                    "SKIPPED: {missing}; run `python3 scripts/fetch_weights.py --dir weights {net}`"
                );
                None
            }
        },
    }
}

/// A model with lin weights, or without (`baseline`).
pub(crate) fn model(trunk: &Trunk, version: Version, baseline: bool) -> Model {
    let lin = (!baseline).then(|| Lin::load(trunk.net, version).unwrap().layers);
    Model::published(trunk.clone(), version, lin)
}

/// A model of LPIPS that gives back other maps.
pub(crate) fn wanting(model: Model, wanted: Wanted) -> Model {
    let Metric::Lpips(lpips) = model.metric else { panic!("DISTS has no maps") };
    Model { metric: Metric::Lpips(Lpips { wanted, ..lpips }), ..model }
}

/// Writes SqueezeNet's formula trunk to a file for `--trunk`.
pub(crate) fn write_squeeze(folder: &Path) -> String {
    write_trunk(folder, &Trunk::formula(Net::Squeeze))
}

/// Writes a trunk to a file for `--trunk`.
pub(crate) fn write_trunk(folder: &Path, trunk: &Trunk) -> String {
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = trunk
        .convs
        .iter()
        .flat_map(|conv| {
            let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
            let (name, shape) = (&conv.spec.name, conv.spec.weight_shape());
            [
                (format!("{name}.weight"), shape.to_vec(), bytes(&conv.weight)),
                (format!("{name}.bias"), vec![conv.spec.c_out], bytes(&conv.bias)),
            ]
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        let view =
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name, view.unwrap())
    });
    let path = folder.join(format!("{}.safetensors", trunk.net));
    safetensors::serialize_to_file(views, None, &path).unwrap();
    path.display().to_string()
}

/// Decodes an image that must be good.
pub(crate) fn decode(path: &Path) -> Image {
    image::decode(path, &image::Rules::default()).unwrap()
}

/// Scores pairs of equal size, in as few batches as possible.
pub(crate) fn score(evaluator: &mut dyn Evaluator, pairs: &[(&Image, &Image)]) -> Vec<PairScore> {
    score_pairs(evaluator, pairs.iter().copied()).unwrap()
}

/// Runs the program in `folder`.
pub(crate) fn lpips(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lpips"));
    command.current_dir(folder).args(args).env_remove("LPIPS_WEIGHTS_DIR");
    command.output().unwrap()
}

/// What the program said to people.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A CSV file as rows of cells, the header first.
pub(crate) fn csv(path: &Path) -> Vec<Vec<String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_path(path).unwrap();
    let rows = reader.records().map(|row| row.unwrap().iter().map(String::from).collect());
    rows.collect()
}
