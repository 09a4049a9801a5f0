//! Options that decide the numbers: which metrics, and how files become samples.

use std::num::NonZeroU64;
use std::path::PathBuf;

use clap::Args;

use crate::image::{Alpha, Range, SizePolicy};
use crate::metric::{CropBorder, Preset};
use crate::net::Net;
use crate::net::weights::{CustomWeights, Version};

/// What is computed.
#[derive(Debug, Args)]
pub struct MetricArgs {
    /// The columns, separated by commas, in this order: lpips, psnr_rgb, psnr_y, ssim_rgb, ssim_y,
    /// dists; with a preset that sets columns, some of those [default: lpips]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub metrics: Vec<String>,

    /// Trunks of LPIPS, separated by commas: one decode serves all [default: alex]
    #[arg(long, value_enum, value_delimiter = ',')]
    pub net: Vec<Net>,

    /// Whose numbers to compute. Of LPIPS: lpips-0.1.4, pyiqa, lpips+, torchmetrics, 3dgs. Of PSNR,
    /// SSIM and LPIPS, for super-resolution by S: basicsr:S, ntire-x4, kair:S, sr-diffusion,
    /// pyiqa-default. See docs/metrics.md [default: lpips-0.1.4]
    #[arg(long, value_name = "NAME")]
    pub preset: Option<Preset>,

    /// Version of the published metric
    #[arg(long, value_enum, default_value = "0.1")]
    pub lpips_version: Version,

    /// Sum over channels without the lin weights (`lpips=False` in Python)
    #[arg(long)]
    pub baseline: bool,

    /// Weight each layer's map by the activity of tap K of the REFERENCE, from 0; `lpips+` is alex
    /// with K = 2. Not symmetric: exchanging ref and dist gives another number
    #[arg(long, value_name = "K", conflicts_with = "baseline")]
    pub semantic_layer: Option<usize>,

    /// Folder of masks, `<item>.png`: grey images of weights; adds a column `lpips_masked_<net>`
    #[arg(long, value_name = "DIR", conflicts_with = "semantic_layer")]
    pub mask: Option<PathBuf>,

    /// Trunk of another training: a checkpoint (.pth, .safetensors), or random:SEED
    #[arg(long, value_name = "FILE|random:SEED")]
    pub trunk: Option<CustomWeights>,

    /// Lin weights of another training: a checkpoint (.pth, .safetensors), or random:SEED
    #[arg(long, value_name = "FILE|random:SEED", conflicts_with = "baseline")]
    pub lin: Option<CustomWeights>,

    /// The only folder to take trunk weights from
    #[arg(long, value_name = "DIR")]
    pub weights_dir: Option<PathBuf>,
}

/// How files become samples.
#[derive(Debug, Args)]
pub struct PixelArgs {
    /// What float samples (.npy, float TIFF) stand for; others are refused
    #[arg(long, value_enum, default_value = "0..1", allow_hyphen_values = true)]
    pub range: Range,

    /// What becomes of transparency
    #[arg(long, value_enum, default_value = "drop")]
    pub alpha: Alpha,

    /// Cut N pixels off each side, after --size-policy; `psnr,ssim:N` for these columns only
    /// [default: 0]
    #[arg(long, value_name = "[LIST:]N")]
    pub crop_border: Option<CropBorder>,

    /// `modcrop:N` cuts sides to multiples of N; sizes that still differ fail their pair
    /// [default: error]
    #[arg(long, value_name = "error|modcrop:N")]
    pub size_policy: Option<SizePolicy>,

    /// Refuse images of more pixels as decompression bombs [default: 268435456]
    #[arg(long, value_name = "N")]
    pub max_pixels: Option<NonZeroU64>,
}
