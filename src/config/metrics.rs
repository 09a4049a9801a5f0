//! Which metric columns a run has, and which models they need.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::requests::Requests;
use super::unique;
use crate::column::{Column, Lpips, Mode};
use crate::error::Refusal;
use crate::eval::{self, Affine, Epsilon, Metric, Model, Precision, Wanted};
use crate::image::{Range, Rules};
use crate::metric::{Preset, Reduction, Requested};
use crate::net::Net;
use crate::net::weights::{
    CustomWeights, Lin, Recognised, SearchPath, Source, Trunk, Version, recognise,
};

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
        for (model, &net) in self.nets.iter().enumerate() {
            let weights = Weights::load(net, protocol, args, &search)?;
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

/// The weights of one model.
struct Weights {
    trunk: Trunk,
    lin: Option<Lin>,
}

impl Weights {
    fn load(
        net: Net,
        protocol: Protocol,
        args: &MetricOptions,
        search: &SearchPath,
    ) -> anyhow::Result<Weights> {
        let trunk = match &args.trunk {
            None => published(net, search)?,
            Some(CustomWeights::Random(seed)) => Trunk::random(net, *seed),
            Some(CustomWeights::File(path)) => given(net, "--trunk", path, |found| found.trunk)?,
        };
        let lin = match (protocol.mode, &args.lin) {
            (Mode::Baseline, _) => None,
            (Mode::Lpips, None) => Some(Lin::load(net, protocol.version)?),
            (Mode::Lpips, Some(CustomWeights::Random(seed))) => Some(Lin::random(net, *seed)),
            (Mode::Lpips, Some(CustomWeights::File(path))) => {
                Some(given(net, "--lin", path, |found| found.lin)?)
            }
        };
        Ok(Weights { trunk, lin })
    }

    /// Where they come from: a line for the trunk, and one for the lin weights.
    fn origins(&self, args: &MetricOptions, search: &SearchPath) -> Vec<String> {
        let net = self.trunk.net;
        let line = |part: &str, custom: &Option<CustomWeights>, published: Option<Source>| {
            let custom = custom.as_ref().map(ToString::to_string);
            let from = custom.or_else(|| Some(published?.to_string())).unwrap_or_default();
            format!("{part} of {net}: {from}")
        };
        let lin = self.lin.iter().map(|_| line("lin weights", &args.lin, Some(Source::Embedded)));
        [line("trunk", &args.trunk, search.find(net).ok())].into_iter().chain(lin).collect()
    }

    fn lpips<'a>(
        &'a self,
        protocol: Protocol,
        reduction: Reduction,
        rules: &'a Rules,
        precision: Precision,
    ) -> Lpips<'a> {
        let Protocol { version, mode, input, epsilon, .. } = protocol;
        Lpips {
            net: self.trunk.net,
            version,
            mode,
            reduction,
            input,
            epsilon,
            rules,
            precision,
            trunk_sha256: &self.trunk.sha256,
            lin_sha256: self.lin.as_ref().map(|lin| lin.sha256.as_str()),
        }
    }

    fn model(self, protocol: Protocol, wanted: Wanted) -> Model {
        let Protocol { input, version, epsilon, .. } = protocol;
        let lin = self.lin.map(|lin| lin.layers);
        let metric = Metric::Lpips(eval::Lpips { lin, epsilon, wanted });
        Model { trunk: self.trunk, input, version, metric }
    }
}

fn published(net: Net, search: &SearchPath) -> anyhow::Result<Trunk> {
    let source = search
        .find(net)
        .map_err(|missing| Refusal::environment(missing.to_string()).hint(missing.remedy()))?;
    Trunk::load(net, &source).with_context(|| {
        Refusal::environment("the weights are not the published ones")
            .hint("get the file again with `lpips weights fetch`, or name it with `--trunk`")
    })
}

/// One kind of weights from a file that was named for `net`.
fn given<T>(
    net: Net,
    option: &str,
    path: &Path,
    part: impl FnOnce(Recognised) -> Option<T>,
) -> anyhow::Result<T> {
    let refused = |hint: String| {
        let text = format!("cannot use `{option} {}` for {net}", path.display());
        Refusal::environment(text).hint(hint)
    };
    let found = recognise(path).with_context(|| {
        refused("name a checkpoint of torchvision, lpips or pyiqa, or an exported one".to_owned())
    })?;
    if found.net != net {
        let text = format!("these are weights of {}", found.net);
        return Err(anyhow::anyhow!(text)
            .context(refused(format!("pass `--net {}`, or name another file", found.net))));
    }
    if found.rounded > 0 {
        let text = format!("{} of its values are not float32", found.rounded);
        let hint =
            "`lpips weights import FILE -o OUT.safetensors` rounds them: use OUT.safetensors";
        return Err(anyhow::anyhow!(text).context(refused(hint.to_owned())));
    }
    part(found).ok_or_else(|| {
        anyhow::anyhow!("the file holds no such weights")
            .context(refused("trunks go with `--trunk`, lin weights with `--lin`".to_owned()))
    })
}
