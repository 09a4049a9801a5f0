//! Which metrics are computed, in which order, and what is cut off the images first.

use super::unique;
use crate::cli::{MetricArgs, PixelArgs};
use crate::error::Refusal;
use crate::fidelity;
use crate::image::SizePolicy;
use crate::metric::{CropBorder, Preset, Requested, canonical};
use crate::suggest::nearest;

/// The metrics, and the rules of cutting that presets set, too.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    /// In the order of their columns, each once.
    pub(crate) metrics: Vec<Requested>,
    /// What is cut off each side of an image for every column.
    pub(crate) crop_border: usize,
    pub(crate) size_policy: SizePolicy,
}

impl Requests {
    /// LPIPS alone, of whole images.
    pub(crate) fn of_lpips() -> Requests {
        let (metrics, size_policy) = (vec![Requested::Lpips], SizePolicy::Error);
        Requests { metrics, crop_border: 0, size_policy }
    }

    /// Resolves `--metrics`, `--preset`, `--crop-border` and `--size-policy`.
    ///
    /// # Errors
    /// When a metric is unknown, or a preset contradicts an option.
    pub(crate) fn resolve(args: &MetricArgs, pixels: &PixelArgs) -> Result<Requests, Refusal> {
        let preset = args.preset.filter(|preset| preset.metrics().is_some());
        let mut requests = Requests {
            metrics: metrics(&args.metrics, preset)?,
            crop_border: 0,
            size_policy: pixels.size_policy.unwrap_or(SizePolicy::Error),
        };
        for metric in &mut requests.metrics {
            if let Requested::Fidelity(metric) = metric {
                metric.range = pixels.range;
            }
        }
        match (&pixels.crop_border, preset) {
            (None, _) => {}
            (Some(_), Some(preset)) => {
                return Err(contradiction(preset, "--crop-border"));
            }
            (Some(CropBorder::All(border)), None) => requests.crop_border = *border,
            (Some(CropBorder::Of(names, border)), None) => requests.cut_some(names, *border)?,
        }
        if let Some(of_preset) = preset.and_then(Preset::size_policy) {
            if pixels.size_policy.is_some_and(|policy| policy != of_preset) {
                return Err(contradiction(preset.unwrap_or(Preset::Lpips), "--size-policy"));
            }
            requests.size_policy = of_preset;
        }
        Ok(requests)
    }

    /// Whether LPIPS is among them.
    pub(crate) fn has_lpips(&self) -> bool {
        self.metrics.contains(&Requested::Lpips)
    }

    /// Those of PSNR and SSIM.
    pub(crate) fn fidelity(&self) -> Vec<fidelity::Metric> {
        let of_pixels = |metric: &Requested| match metric {
            Requested::Lpips | Requested::Dists => None,
            Requested::Fidelity(metric) => Some(*metric),
        };
        self.metrics.iter().filter_map(of_pixels).collect()
    }

    /// Cuts a border for the metrics whose name, or a beginning of it, is in `names`.
    fn cut_some(&mut self, names: &[String], border: usize) -> Result<(), Refusal> {
        for name in names {
            let mut found = false;
            for metric in &mut self.metrics {
                let of_metric = metric.to_string();
                let is_meant = of_metric
                    .strip_prefix(name)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
                if let (Requested::Fidelity(metric), true) = (metric, is_meant) {
                    metric.border = border;
                    found = true;
                }
            }
            if !found {
                let text = format!("`--crop-border` names `{name}`, which is no column of pixels");
                let hint = if ["lpips", "dists"].contains(&name.as_str()) {
                    "a border of LPIPS or DISTS alone cannot be cut; `--crop-border N` cuts it \
                     for all columns"
                        .to_owned()
                } else {
                    format!("name columns of PSNR and SSIM of `--metrics {}`", list(&self.metrics))
                };
                return Err(Refusal::usage(text).hint(hint));
            }
        }
        Ok(())
    }
}

fn contradiction(preset: Preset, option: &str) -> Refusal {
    Refusal::usage(format!("`--preset {preset}` and `{option}` contradict each other"))
        .hint("the preset sets what is cut off the images; leave one of the two out")
}

/// The metrics of `names` among those of the preset, or among the usual ones.
fn metrics(names: &[String], preset: Option<Preset>) -> Result<Vec<Requested>, Refusal> {
    let known = preset.and_then(Preset::metrics).unwrap_or_else(|| Requested::usual().to_vec());
    if names.is_empty() {
        return Ok(if preset.is_some() { known } else { vec![Requested::Lpips] });
    }
    let find = |name: &String| {
        let name = canonical(name);
        let found = known.iter().find(|metric| metric.to_string() == name);
        found.copied().ok_or_else(|| unknown(&name, &known, preset))
    };
    Ok(unique(&names.iter().map(find).collect::<Result<Vec<_>, _>>()?))
}

fn unknown(name: &str, known: &[Requested], preset: Option<Preset>) -> Refusal {
    let names: Vec<String> = known.iter().map(ToString::to_string).collect();
    let near = nearest(name, names.iter().map(String::as_str));
    let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let (text, all) = match preset {
        Some(preset) => (
            format!("`{name}` is no column of `--preset {preset}`"),
            "`--metrics` may name some of its columns:",
        ),
        None => (format!("unknown metric `{name}`"), "metrics are"),
    };
    Refusal::usage(text).hint(format!("{near}{all} {}", names.join(", ")))
}

fn list(metrics: &[Requested]) -> String {
    metrics.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
