//! Plans of version 0.1 (format 1), which described the settings of all columns together.

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use super::Plan;
use crate::column::{Column, Lpips, Mode};
use crate::eval::{Affine, Epsilon, Precision};
use crate::image::{Alpha, Range, Rules, SizePolicy};
use crate::metric::Reduction;
use crate::net::Net;
use crate::net::weights::Version;
use crate::run::outputs::Kept;
use crate::scheduler::ArrayBase;

#[derive(Deserialize)]
struct Plan1 {
    shards: u32,
    pairs: usize,
    manifest: String,
    maps: Option<Kept>,
    per_layer: bool,
    group_by: Vec<String>,
    array: Option<ArrayBase>,
    fingerprint: Fingerprint1,
}

#[derive(Deserialize)]
struct Fingerprint1 {
    metrics: Vec<Metric1>,
    lpips_version: Version,
    mode: String,
    input_range: String,
    input: Affine1,
    epsilon: Epsilon1,
    pixel_rules: Rules1,
    precision: Precision,
    numerics_class: String,
    manifest_sha256: String,
}

#[derive(Deserialize)]
struct Metric1 {
    name: String,
    net: Net,
    trunk_sha256: String,
    lin_sha256: Option<String>,
    reduction: Reduction,
}

#[derive(Deserialize)]
struct Affine1 {
    gain: f32,
    bias: f32,
}

#[derive(Deserialize)]
struct Epsilon1 {
    inside: f32,
    outside: f32,
}

#[derive(Deserialize)]
struct Rules1 {
    alpha: String,
    size_policy: String,
    crop_border: usize,
    exif_and_icc: String,
    depth_16: String,
    decoders: String,
}

/// The plan in today's terms.
pub(super) fn parse(text: &[u8]) -> anyhow::Result<Plan> {
    let plan: Plan1 = serde_json::from_slice(text)?;
    Ok(Plan {
        schema: Plan::schema(),
        shards: plan.shards,
        pairs: plan.pairs,
        manifest: plan.manifest,
        manifest_sha256: plan.fingerprint.manifest_sha256.clone(),
        numerics_class: plan.fingerprint.numerics_class.clone(),
        columns: plan.fingerprint.columns()?,
        maps: plan.maps,
        per_layer: plan.per_layer,
        group_by: plan.group_by,
        array: plan.array,
    })
}

impl Fingerprint1 {
    fn columns(&self) -> anyhow::Result<Vec<Column>> {
        let rules = self.pixel_rules.rules(&self.input_range)?;
        let mode = match self.mode.as_str() {
            "lpips" => Mode::Lpips,
            "baseline" => Mode::Baseline,
            other => anyhow::bail!("`{other}` is no mode"),
        };
        let mut nets: Vec<Net> = Vec::new();
        let mut columns = Vec::new();
        for metric in &self.metrics {
            let net = metric.net;
            // A net has one model, whatever columns are made from it.
            let model = nets.iter().position(|&one| one == net).unwrap_or_else(|| {
                nets.push(net);
                nets.len() - 1
            });
            let lpips = Lpips {
                net,
                version: self.lpips_version,
                mode,
                reduction: metric.reduction,
                input: Affine { gain: self.input.gain, bias: self.input.bias },
                epsilon: Epsilon { inside: self.epsilon.inside, outside: self.epsilon.outside },
                rules: &rules,
                precision: self.precision,
                trunk_sha256: &metric.trunk_sha256,
                lin_sha256: metric.lin_sha256.as_deref(),
            };
            let column = lpips.column(model);
            ensure!(column.name == metric.name, "`{}` is no column of {net}", metric.name);
            columns.push(column);
        }
        Ok(columns)
    }
}

impl Rules1 {
    fn rules(&self, range: &str) -> anyhow::Result<Rules> {
        let default = Rules::default();
        let fixed = [&self.exif_and_icc, &self.depth_16, &self.decoders];
        ensure!(fixed == ["ignore", "scale", DECODERS], "unknown rules of pixels: {fixed:?}");
        let range = [Range::Unit, Range::Signed].into_iter().find(|one| one.name() == range);
        let alpha = [Alpha::Drop, Alpha::Black, Alpha::White];
        let alpha = alpha.into_iter().find(|alpha| alpha.name() == self.alpha);
        let size_policy: Result<SizePolicy, String> = self.size_policy.parse();
        Ok(Rules {
            range: range.context("unknown range of samples")?,
            alpha: alpha.with_context(|| format!("`{}` is no rule of alpha", self.alpha))?,
            size_policy: size_policy.map_err(anyhow::Error::msg)?,
            crop_border: self.crop_border,
            ..default
        })
    }
}

/// The only rules of version 0.1.
const DECODERS: &str = "libjpeg-turbo, libpng, libwebp, libtiff";

#[cfg(test)]
mod tests {
    use super::*;

    /// As version 0.1 wrote it.
    const TEXT: &str = r#"{
        "format": 1, "shards": 2, "pairs": 7, "manifest": "manifest.csv",
        "metrics": [{ "name": "lpips_alex", "layers": 5 }],
        "maps": { "columns": [{ "name": "lpips_alex", "metric": 0 }], "worst": 2 },
        "per_layer": true, "group_by": ["method"], "array": null,
        "fingerprint": {
            "metrics": [
                { "name": "lpips_alex", "net": "alex", "trunk_sha256": "a", "lin_sha256": "b",
                  "reduction": "mean" },
                { "name": "lpips_masked_alex", "net": "alex", "trunk_sha256": "a",
                  "lin_sha256": "b", "reduction": "masked" },
                { "name": "lpips_vgg", "net": "vgg", "trunk_sha256": "c", "lin_sha256": "b",
                  "reduction": "mean" }
            ],
            "lpips_version": "0.1", "mode": "lpips", "input_range": "0..1",
            "input": { "gain": 2.0, "bias": -1.0 },
            "epsilon": { "inside": 0.0, "outside": 1.000000013351432e-10 },
            "pixel_rules": {
                "alpha": "white", "size_policy": "modcrop:4", "crop_border": 3,
                "exif_and_icc": "ignore", "depth_16": "scale",
                "decoders": "libjpeg-turbo, libpng, libwebp, libtiff"
            },
            "precision": "fp32", "numerics_class": "cpu-avx2-fp32", "manifest_sha256": "m"
        }
    }"#;

    #[test]
    fn a_plan_of_format_1_has_the_columns_of_today() {
        let plan = parse(TEXT.as_bytes()).unwrap();
        assert_eq!((plan.shards, plan.pairs, plan.maps), (2, 7, Some(Kept { worst: Some(2) })));
        assert_eq!((plan.numerics_class.as_str(), plan.per_layer), ("cpu-avx2-fp32", true));
        let rules = Rules {
            alpha: Alpha::White,
            size_policy: SizePolicy::ModCrop(4),
            crop_border: 3,
            ..Rules::default()
        };
        let lpips = |net, reduction, trunk_sha256| Lpips {
            net,
            version: Version::V0_1,
            mode: Mode::Lpips,
            reduction,
            input: Affine::UNIT,
            epsilon: Epsilon::LPIPS,
            rules: &rules,
            precision: Precision::Fp32,
            trunk_sha256,
            lin_sha256: Some("b"),
        };
        let expected = [
            lpips(Net::Alex, Reduction::Mean, "a").column(0),
            lpips(Net::Alex, Reduction::Masked, "a").column(0),
            lpips(Net::Vgg, Reduction::Mean, "c").column(1),
        ];
        assert_eq!(plan.columns, expected);
    }

    #[test]
    fn what_version_0_1_could_not_have_written_is_refused() {
        for (from, to) in [("ignore", "apply"), ("0..1", "0..2"), ("\"alex\"", "\"lpips\"")] {
            assert!(parse(TEXT.replace(from, to).as_bytes()).is_err(), "{to}");
        }
    }
}
