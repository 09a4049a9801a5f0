//! The weights of models: published ones, files that are named, random ones.

use std::path::Path;

use anyhow::Context as _;

use super::{MetricOptions, Protocol};
use crate::column::{Lpips, Mode};
use crate::error::Refusal;
use crate::eval::{self, Metric, Model, Precision, Wanted};
use crate::image::Rules;
use crate::metric::Reduction;
use crate::net::Net;
use crate::net::weights::{CustomWeights, Lin, Recognised, SearchPath, Source, Trunk, recognise};

/// The weights of one model.
pub(super) struct Weights {
    trunk: Trunk,
    lin: Option<Lin>,
}

impl Weights {
    pub(super) fn load(
        net: Net,
        protocol: Protocol,
        args: &MetricOptions,
        search: &SearchPath,
        loaded: &[Model],
    ) -> anyhow::Result<Weights> {
        let trunk = match &args.trunk {
            None => published(net, search, loaded)?,
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
    pub(super) fn origins(&self, args: &MetricOptions, search: &SearchPath) -> Vec<String> {
        let net = self.trunk.net;
        let line = |part: &str, custom: &Option<CustomWeights>, published: Option<Source>| {
            let custom = custom.as_ref().map(ToString::to_string);
            let from = custom.or_else(|| Some(published?.to_string())).unwrap_or_default();
            format!("{part} of {net}: {from}")
        };
        let lin = self.lin.iter().map(|_| line("lin weights", &args.lin, Some(Source::Embedded)));
        [line("trunk", &args.trunk, search.find(net).ok())].into_iter().chain(lin).collect()
    }

    pub(super) fn lpips<'a>(
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

    pub(super) fn model(self, protocol: Protocol, wanted: Wanted) -> Model {
        let Protocol { input, version, epsilon, .. } = protocol;
        let lin = self.lin.map(|lin| lin.layers);
        let metric = Metric::Lpips(eval::Lpips { lin, epsilon, wanted });
        Model { trunk: self.trunk, input, version, metric }
    }
}

/// The published trunk, shared with a model of `loaded` that has it: none of these may have
/// another.
pub(super) fn published(net: Net, search: &SearchPath, loaded: &[Model]) -> anyhow::Result<Trunk> {
    if let Some(model) = loaded.iter().find(|model| model.trunk.net == net) {
        return Ok(model.trunk.clone());
    }
    let source = search
        .find(net)
        .map_err(|missing| Refusal::environment(missing.to_string()).hint(missing.remedy()))?;
    Trunk::load(net, &source).with_context(|| {
        Refusal::environment("the weights are not the published ones").hint(format!(
            "get the file again with `lpips weights fetch {net}`, or name it with `--trunk`"
        ))
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
