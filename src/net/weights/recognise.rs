//! Which net a file of tensors belongs to, by the names and shapes that torchvision, lpips, pyiqa,
//! torchmetrics and this program write.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};

use super::checkpoint::{Checkpoint, Values};
use super::{Conv, Lin, Trunk, Version};
use crate::hash::sha256_hex_of;
use crate::net::{Net, NetSpec};
use crate::regular;

/// What training code wraps a state dict in.
const WRAPPERS: [&str; 8] =
    ["module", "model", "net", "params", "params_ema", "state_dict", "model_state_dict", "lpips"];

/// The weights of a file.
#[derive(Debug)]
pub struct Recognised {
    /// The net that they fit.
    pub net: Net,
    /// The convolutions, where the file has them.
    pub trunk: Option<Trunk>,
    /// The lin weights, where the file has them.
    pub lin: Option<Lin>,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Values of float64 that float32 does not hold exactly, and that were rounded.
    pub rounded: usize,
    /// A name of the file that was used, to show how it names tensors.
    pub example: String,
    /// Names that LPIPS has no use for.
    pub left_out: Vec<String>,
}

/// What a name stands for.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Part {
    /// torchvision's name, such as `features.3.squeeze.weight`.
    Trunk(String),
    /// The lin weights of a layer.
    Lin(usize),
    /// Shift or scale of the input.
    Scaling(&'static str),
}

/// Names of a file by what they stand for, with their shapes.
type Parts<'a> = BTreeMap<Part, (&'a str, &'a [usize])>;

/// Reads the weights of a file: a PyTorch checkpoint or a safetensors file.
///
/// # Errors
/// When the file cannot be read; has no tensor of a trunk or of lin weights; or has such tensors,
/// but not exactly those of one net.
pub fn recognise(path: &Path) -> anyhow::Result<Recognised> {
    let sha256 = sha256_hex_of(&mut regular::open(path)?)?;
    let file = Checkpoint::open(path)?;
    of_checkpoint(&file, sha256).with_context(|| format!("`{}`", path.display()))
}

fn of_checkpoint(file: &Checkpoint, sha256: String) -> anyhow::Result<Recognised> {
    let mut parts = Parts::new();
    let mut left_out = Vec::new();
    for (name, shape) in file.tensors() {
        let Some(part) = part_of(name) else {
            left_out.push(name.to_owned());
            continue;
        };
        if let Some((other, _)) = parts.insert(part, (name, shape)) {
            // lpips registers its lin layers twice.
            let is_same = file.read(other)?.values == file.read(name)?.values;
            ensure!(is_same, "tensors `{other}` and `{name}` should be the same, and are not");
        }
    }
    check_scaling(file, &parts)?;
    let has_trunk = parts.keys().any(|part| matches!(part, Part::Trunk(_)));
    let has_lin = parts.keys().any(|part| matches!(part, Part::Lin(_)));
    ensure!(
        has_trunk || has_lin,
        "no tensor of a trunk or of lin weights: expected names such as `features.0.weight`, \
         `net.slice1.0.weight` or `lin0.model.1.weight`, found {}",
        shown(&left_out)
    );
    let is_of = |net: &Net| {
        (!has_trunk || trunk_fault(net.spec(), &parts).is_none())
            && (!has_lin || lin_fault(net.spec(), &parts).is_none())
    };
    let Some(net) = Net::ALL.into_iter().find(is_of) else { bail!("{}", unlike(&parts)) };
    let rounded = Cell::new(0);
    let values = |part: &Part| -> anyhow::Result<Vec<f32>> {
        let found = file.read(parts[part].0)?;
        rounded.set(rounded.get() + found.rounded);
        Ok(found.values)
    };
    let conv = |spec: crate::net::ConvSpec| -> anyhow::Result<Arc<Conv>> {
        let tensor = |suffix| values(&Part::Trunk(format!("{}.{suffix}", spec.name)));
        Ok(Arc::new(Conv { weight: tensor("weight")?, bias: tensor("bias")?, spec }))
    };
    let convs = has_trunk.then(|| net.spec().convs().into_iter().map(conv).collect());
    let convs: Option<Vec<Arc<Conv>>> = convs.transpose()?;
    let layers = 0..net.spec().tap_channels().len();
    let layers = has_lin.then(|| layers.map(|layer| values(&Part::Lin(layer))).collect());
    let layers: Option<Vec<Vec<f32>>> = layers.transpose()?;
    let rounded = rounded.get();
    let example = parts.values().next().map(|(name, _)| (*name).to_owned()).unwrap_or_default();
    Ok(Recognised {
        net,
        trunk: convs.map(|convs| Trunk { net, convs, sha256: sha256.clone() }),
        lin: layers.map(|layers| Lin { layers, sha256: sha256.clone() }),
        sha256,
        rounded,
        example,
        left_out,
    })
}

/// What a name stands for, whatever it is wrapped in.
fn part_of(name: &str) -> Option<Part> {
    let parts: Vec<&str> = name.split('.').collect();
    let wrapped = parts.iter().take_while(|part| WRAPPERS.contains(part)).count();
    match &parts[wrapped..] {
        ["features", rest @ ..] => trunk_part(rest),
        ["slices", number, rest @ ..] if is_number(number) => trunk_part(rest),
        ["lins", layer, "model", "0" | "1", "weight"] => Some(Part::Lin(layer.parse().ok()?)),
        ["scaling_layer", "shift"] => Some(Part::Scaling("shift")),
        ["scaling_layer", "scale"] => Some(Part::Scaling("scale")),
        [first, rest @ ..] => {
            if let Some(layer) = first.strip_prefix("lin").filter(|layer| is_number(layer)) {
                let is_weight = matches!(rest, ["model", "0" | "1", "weight"] | ["weight"]);
                return is_weight.then_some(Part::Lin(layer.parse().ok()?));
            }
            if first.strip_prefix("slice").is_some_and(is_number) {
                return trunk_part(rest);
            }
            // The state dict of `features` alone.
            trunk_part(&parts[wrapped..])
        }
        [] => None,
    }
}

fn trunk_part(parts: &[&str]) -> Option<Part> {
    let is_known = match parts {
        [number, "weight" | "bias"] => is_number(number),
        [number, "squeeze" | "expand1x1" | "expand3x3", "weight" | "bias"] => is_number(number),
        _ => false,
    };
    is_known.then(|| Part::Trunk(format!("features.{}", parts.join("."))))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.len() < 4 && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A checkpoint may carry the constants of the input; ours are fixed.
fn check_scaling(file: &Checkpoint, parts: &Parts<'_>) -> anyhow::Result<()> {
    let published = Version::V0_1.scaling().into_iter();
    for (name, expected) in published.flat_map(|(a, b)| [("shift", a), ("scale", b)]) {
        let Some((stored, _)) = parts.get(&Part::Scaling(name)) else { continue };
        let Values { values: found, float, .. } = file.read(stored)?;
        ensure!(
            found == expected.map(|value| float.stored(value)),
            "`{stored}` is {found:?}, expected the published {expected:?}: these weights belong to \
             another metric"
        );
    }
    Ok(())
}

/// The first way in which the trunk tensors are not those of `spec`, and how many are.
fn trunk_fault(spec: &NetSpec, parts: &Parts<'_>) -> Option<(usize, String)> {
    let mut matching = 0;
    let mut fault = None;
    let mut expected = Vec::new();
    for conv in spec.convs() {
        let tensors = [("weight", conv.weight_shape().to_vec()), ("bias", vec![conv.c_out])];
        for (suffix, shape) in tensors {
            let name = format!("{}.{suffix}", conv.name);
            match parts.get(&Part::Trunk(name.clone())) {
                Some((_, found)) if *found == shape => matching += 1,
                Some((stored, found)) => {
                    fault.get_or_insert(format!("`{stored}` has shape {found:?}, not {shape:?}"));
                }
                None => {
                    fault.get_or_insert(format!("`{name}` is missing"));
                }
            }
            expected.push(name);
        }
    }
    let is_more = |part: &&Part| matches!(part, Part::Trunk(name) if !expected.contains(name));
    if let Some(more) = parts.keys().find(is_more) {
        fault.get_or_insert(format!("`{}` is too much", parts[more].0));
    }
    fault.map(|fault| (matching, fault))
}

/// The first way in which the lin tensors are not those of `spec`, and how many are.
fn lin_fault(spec: &NetSpec, parts: &Parts<'_>) -> Option<(usize, String)> {
    let channels = spec.tap_channels();
    let lins: Vec<(usize, &(&str, &[usize]))> = parts
        .iter()
        .filter_map(|(part, stored)| match part {
            Part::Lin(layer) => Some((*layer, stored)),
            _ => None,
        })
        .collect();
    let is_right = |layer: usize, shape: &[usize]| {
        let c = channels.get(layer);
        c.is_some_and(|&c| shape == [c] || shape == [1, c, 1, 1])
    };
    let right = lins.iter().filter(|(layer, (_, shape))| is_right(*layer, shape)).count();
    let wrong = lins.iter().find(|(layer, (_, shape))| !is_right(*layer, shape));
    let fault = match wrong {
        Some((_, (stored, found))) => {
            format!("`{stored}` of shape {found:?} does not belong to it")
        }
        None if right < channels.len() => {
            format!("it needs {} layers of lin weights, found {right}", channels.len())
        }
        None => return None,
    };
    Some((right, fault))
}

/// Says which net the tensors are most like, and what is wrong with that.
fn unlike(parts: &Parts<'_>) -> String {
    let faults = |net: Net| {
        let spec = net.spec();
        let of_trunk = trunk_fault(spec, parts);
        let of_lin = lin_fault(spec, parts);
        let matching = |fault: &Option<(usize, String)>| fault.as_ref().map_or(0, |(n, _)| *n);
        let most = matching(&of_trunk) + matching(&of_lin);
        let fault = of_trunk.or(of_lin).map(|(_, fault)| fault).unwrap_or_default();
        (most, net, fault)
    };
    let best = Net::ALL.into_iter().map(faults).max_by_key(|(most, net, _)| (*most, *net));
    match best {
        Some((most, net, fault)) if most > 0 => {
            format!("weights of no net of LPIPS: most like {net}, but {fault}")
        }
        _ => {
            let names: Vec<String> = parts.values().map(|(name, _)| (*name).to_owned()).collect();
            format!("weights of no net of LPIPS: found {}", shown(&names))
        }
    }
}

/// Some of `names`, for people.
fn shown(names: &[String]) -> String {
    let some: Vec<String> = names.iter().take(3).map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "no tensor".to_owned(),
        1..=3 => some.join(", "),
        more => format!("{} and {} more", some.join(", "), more - 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_whatever_they_are_wrapped_in() {
        let trunk = |name: &str| Some(Part::Trunk(name.to_owned()));
        let cases = [
            ("features.0.weight", trunk("features.0.weight")),
            ("0.bias", trunk("features.0.bias")),
            ("net.slice2.3.squeeze.bias", trunk("features.3.squeeze.bias")),
            ("module.net.slice1.0.weight", trunk("features.0.weight")),
            ("params.net.slices.4.10.expand3x3.weight", trunk("features.10.expand3x3.weight")),
            ("lin0.model.1.weight", Some(Part::Lin(0))),
            ("state_dict.lins.6.model.0.weight", Some(Part::Lin(6))),
            ("lin4.weight", Some(Part::Lin(4))),
            ("scaling_layer.shift", Some(Part::Scaling("shift"))),
            ("classifier.1.weight", None),
            ("optimizer.state.0.exp_avg", None),
            ("features.0.running_mean", None),
            ("lin0.model.2.weight", None),
        ];
        for (name, expected) in cases {
            assert_eq!(part_of(name), expected, "{name}");
        }
    }
}
