//! Which metric columns a run has, and which models they need.

mod weights;

use std::path::PathBuf;

use self::weights::{Weights, published};
use super::requests::Requests;
use super::unique;
use crate::column::{self, Column, Mode};
use crate::error::Refusal;
use crate::eval::{Affine, Epsilon, Model, Precision};
use crate::image::{Range, Rules};
use crate::metric::{Preset, Reduction, Requested};
use crate::net::weights::{CustomWeights, Dists, SearchPath, Version};
use crate::net::{DISTS, Net, NetSpec};

/// The metric that is asked for; contradictions are not refused yet.
#[derive(Clone, Debug, Default)]
pub(crate) struct MetricOptions {
    /// The trunks; that of the preset if there are none.
    pub(crate) net: Vec<Net>,
    /// Whose numbers to compute.
    pub(crate) preset: Option<Preset>,
    /// Version of the published metric.
    pub(crate) lpips_version: Version,
    /// Sums over channels without the lin weights.
    pub(crate) baseline: bool,
    /// The tap of the reference that layers are weighted by.
    pub(crate) semantic_layer: Option<usize>,
    /// Weights of the trunk in place of the published ones.
    pub(crate) trunk: Option<CustomWeights>,
    /// Lin weights in place of the published ones.
    pub(crate) lin: Option<CustomWeights>,
    /// The only folder to take weights of trunks from.
    pub(crate) weights_dir: Option<PathBuf>,
}

/// What is made of LPIPS beside the metric itself.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extras {
    /// Spatial maps are written.
    pub(crate) spatial: bool,
    /// There are masks.
    pub(crate) masked: bool,
    /// There is a column per layer.
    pub(crate) per_layer: bool,
}

/// Everything that is computed.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) columns: Vec<Column>,
    pub(crate) models: Vec<Model>,
    /// Where the weights of the models come from.
    pub(crate) weights: Vec<String>,
}

/// The settings that all models of a run share.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Protocol {
    /// The name by which it was chosen.
    pub preset: Preset,
    /// Version of the metric.
    pub version: Version,
    /// With or without lin weights.
    pub mode: Mode,
    /// How maps become values.
    pub reduction: Reduction,
    /// What is done to samples first.
    pub input: Affine,
    /// What keeps norms from being 0.
    pub epsilon: Epsilon,
}

impl Protocol {
    fn resolve(args: &MetricOptions, range: Range) -> Result<Protocol, Refusal> {
        let preset = args.preset.unwrap_or(Preset::Lpips);
        let named = |option: &str, hint: &str| {
            let text = format!("`--preset {preset}` and `{option}` contradict each other");
            Err(Refusal::usage(text).hint(hint))
        };
        if preset.is_fixed() && args.lpips_version != Version::V0_1 {
            return named(
                "--lpips-version 0.0",
                "this preset is version 0.1; leave one of the two out",
            );
        }
        if args.baseline && (preset.is_fixed() || preset.semantic_layer().is_some()) {
            return named(
                "--baseline",
                "this preset uses the lin weights; leave one of the two out",
            );
        }
        let weighted =
            [("--semantic-layer", args.semantic_layer.is_some()), ("--lin", args.lin.is_some())];
        if let Some((option, _)) = weighted.iter().find(|(_, is_there)| args.baseline && *is_there)
        {
            let text = format!("`--baseline` and `{option}` contradict each other");
            return Err(Refusal::usage(text).hint("leave one of the two out"));
        }
        if preset.metrics().is_some() && !args.net.is_empty() {
            return named("--net", "this preset uses alex; leave one of the two out");
        }
        let of_preset = preset.semantic_layer();
        if let Some(layer) = args.semantic_layer
            && (preset.is_fixed() || of_preset.is_some_and(|of_preset| of_preset != layer))
        {
            return named(&format!("--semantic-layer {layer}"), "leave one of the two out");
        }
        let input = match (range, preset.input()) {
            (Range::Unit, input) => input,
            // Samples have the range of the trunk already.
            (Range::Signed, Affine::UNIT) => Affine::NONE,
            (Range::Signed, _) => {
                return named("--range -1..1", "this preset takes samples in 0..1");
            }
        };
        let semantic = args.semantic_layer.or(of_preset);
        Ok(Protocol {
            preset,
            version: args.lpips_version,
            mode: if args.baseline { Mode::Baseline } else { Mode::Lpips },
            reduction: semantic.map_or(Reduction::Mean, Reduction::Semantic),
            input,
            epsilon: preset.epsilon(),
        })
    }
}

/// The metrics, the nets and their settings; no weights are read yet.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    pub(crate) requests: Requests,
    /// The nets of LPIPS; none without it.
    pub(crate) nets: Vec<Net>,
    pub(crate) protocol: Protocol,
    extras: Extras,
}

impl Choice {
    /// Chooses the metrics, the nets and their protocol.
    ///
    /// # Errors
    /// When options contradict each other, or a layer does not exist.
    pub(crate) fn resolve(
        args: &MetricOptions,
        requests: Requests,
        range: Range,
        extras: Extras,
    ) -> Result<Choice, Refusal> {
        let protocol = Protocol::resolve(args, range)?;
        if !requests.has_lpips() {
            refuse_lpips_options(args, extras)?;
            return Ok(Choice { requests, nets: Vec::new(), protocol, extras });
        }
        let of_preset = protocol.preset.metrics();
        if of_preset.is_some_and(|metrics| !metrics.contains(&Requested::Lpips)) {
            return Err(Refusal::usage(format!("`{}` is no preset of LPIPS", protocol.preset)));
        }
        let Protocol { reduction, .. } = protocol;
        if let (Reduction::Semantic(_), Extras { spatial, masked, .. }) = (reduction, extras) {
            let option = if masked { "--mask" } else { "--spatial" };
            if spatial || masked {
                let text = format!("`{option}` and semantic weighting contradict each other");
                let hint = "leave out one of the two: `--semantic-layer` or a preset that weights \
                            by a layer on one hand, masks and spatial maps on the other";
                return Err(Refusal::usage(text).hint(hint));
            }
        }
        let nets = match args.net.is_empty() {
            true => vec![protocol.preset.net()],
            false => unique(&args.net),
        };
        for (option, given) in [("--trunk", &args.trunk), ("--lin", &args.lin)] {
            if matches!(given, Some(CustomWeights::File(_))) && nets.len() > 1 {
                let text = format!(
                    "`{option}` holds weights of one net, and `--net` names {}",
                    nets.len()
                );
                return Err(Refusal::usage(text).hint("run each net on its own"));
            }
        }
        for &net in &nets {
            check_layer(net, reduction)?;
        }
        Ok(Choice { requests, nets, protocol, extras })
    }

    /// The columns, with the models that they need, for images that are read by `rules`.
    ///
    /// # Errors
    /// A [`Refusal`] when weights are missing or have the wrong hash or shape.
    pub(crate) fn load(
        &self,
        args: &MetricOptions,
        rules: &Rules,
        precision: Precision,
    ) -> anyhow::Result<Metrics> {
        let mut chosen = Metrics::default();
        for metric in &self.requests.metrics {
            match *metric {
                Requested::Lpips => self.load_lpips(args, rules, precision, &mut chosen)?,
                Requested::Dists => self.load_dists(args, rules, precision, &mut chosen)?,
                Requested::Fidelity(metric) => {
                    chosen.columns.push(Column::of_pixels(metric, rules));
                }
            }
        }
        Ok(chosen)
    }

    /// Adds the columns of every net, with their models.
    fn load_lpips(
        &self,
        args: &MetricOptions,
        rules: &Rules,
        precision: Precision,
        chosen: &mut Metrics,
    ) -> anyhow::Result<()> {
        let Choice { protocol, extras, .. } = *self;
        let search = SearchPath::new(args.weights_dir.as_deref());
        for &net in &self.nets {
            let model = chosen.models.len();
            let weights = Weights::load(net, protocol, args, &search, &chosen.models)?;
            let masked = extras.masked.then_some(Reduction::Masked);
            for reduction in std::iter::once(protocol.reduction).chain(masked) {
                let lpips = weights.lpips(protocol, reduction, rules, precision);
                chosen.columns.push(lpips.column(model));
            }
            let mut wanted = protocol.reduction.wanted();
            wanted.layers |= extras.spatial || extras.masked;
            chosen.weights.extend(weights.origins(args, &search));
            chosen.models.push(weights.model(protocol, wanted));
        }
        Ok(())
    }

    /// Adds the column of DISTS, with its model.
    fn load_dists(
        &self,
        args: &MetricOptions,
        rules: &Rules,
        precision: Precision,
        chosen: &mut Metrics,
    ) -> anyhow::Result<()> {
        let net = DISTS.net;
        let search = SearchPath::new(args.weights_dir.as_deref());
        let loaded = if args.trunk.is_none() { chosen.models.as_slice() } else { &[] };
        let trunk = published(net, &search, loaded)?;
        let weights = Dists::load()?;
        let column = column::Dists {
            rules,
            precision,
            trunk_sha256: &trunk.sha256,
            weights_sha256: &weights.sha256,
        };
        chosen.columns.push(column.column(chosen.models.len()));
        let origin = search.find(net).map(|source| source.to_string()).unwrap_or_default();
        chosen.weights.push(format!("trunk of dists: {origin}"));
        let input = Affine::published(rules.range);
        chosen.models.push(Model::dists(trunk, input, weights));
        Ok(())
    }

    /// The architectures that are computed, those of LPIPS first.
    pub(crate) fn specs(&self) -> Vec<&'static NetSpec> {
        let dists = self.requests.metrics.contains(&Requested::Dists).then_some(&DISTS);
        self.nets.iter().map(|net| net.spec()).chain(dists).collect()
    }
}

/// Without a column of LPIPS its options would do nothing.
fn refuse_lpips_options(args: &MetricOptions, extras: Extras) -> Result<(), Refusal> {
    let of_preset = args.preset.filter(|preset| preset.metrics().is_none());
    let preset = of_preset.map(|preset| format!("--preset {preset}"));
    let given = [
        (preset.as_deref().unwrap_or_default(), preset.is_some()),
        ("--net", !args.net.is_empty()),
        ("--lpips-version", args.lpips_version != Version::V0_1),
        ("--baseline", args.baseline),
        ("--semantic-layer", args.semantic_layer.is_some()),
        ("--mask", extras.masked),
        ("--trunk", args.trunk.is_some()),
        ("--lin", args.lin.is_some()),
        ("--per-layer", extras.per_layer),
        ("--spatial", extras.spatial),
    ];
    match given.into_iter().find(|(_, is_given)| *is_given) {
        None => Ok(()),
        Some((option, _)) => {
            let text = format!("`{option}` is an option of LPIPS, which is not computed");
            Err(Refusal::usage(text)
                .hint(format!("add `lpips` to `--metrics`, or leave `{option}` out")))
        }
    }
}

fn check_layer(net: Net, reduction: Reduction) -> Result<(), Refusal> {
    let last = net.spec().tap_channels().len() - 1;
    match reduction {
        Reduction::Semantic(layer) if layer > last => {
            let text = format!("there is no layer {layer} of {net} to weight by");
            Err(Refusal::usage(text)
                .hint(format!("name a layer of {net} with `--semantic-layer`: 0 to {last}")))
        }
        _ => Ok(()),
    }
}
