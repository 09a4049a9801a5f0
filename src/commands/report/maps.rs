//! Spatial maps of the pairs that a page shows: those of the run, or computed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::inputs::{Input, Metric};
use crate::image::Size;
use crate::net::Net;
use crate::net::weights::Version;
use crate::run::maps;
use crate::run::names;
use crate::scorer::{Lpips, Options};

/// A map that is computed is shown if its total is that of the run within this share: else the
/// images have changed, or the run has cut or masked them.
const AGREEMENT: f64 = 0.01;

/// A map at the size of its images, and its total.
#[derive(Debug)]
pub(super) struct Map {
    pub(super) values: Vec<f32>,
    pub(super) size: Size,
    pub(super) layers: Vec<f64>,
}

/// Where maps come from.
#[derive(Debug)]
pub(super) struct Maps {
    /// Files of the run directories, by run and id.
    stored: HashMap<(usize, String), PathBuf>,
    scorer: Result<Lpips, String>,
    /// Maps that were computed and did not agree.
    pub(super) refused: usize,
    /// Maps that could not be computed.
    pub(super) failed: usize,
}

impl Maps {
    /// The maps of a metric: those that the runs hold, and a scorer for all others.
    pub(super) fn of(inputs: &[Input], metric: Option<&Metric>) -> Maps {
        let mut stored = HashMap::new();
        for (index, input) in inputs.iter().enumerate() {
            let Some((folder, metric)) = input.run_dir.as_deref().zip(metric) else { continue };
            let folder = folder.join(names::MAPS);
            for (id, file) in maps::listed(&folder, &metric.name) {
                stored.insert((index, id), folder.join(file));
            }
        }
        let scorer = match metric {
            Some(metric) => open(metric),
            None => Err("no metric of the page has spatial maps".to_owned()),
        };
        Maps { stored, scorer, refused: 0, failed: 0 }
    }

    /// Why maps that the runs do not hold are left out, if they are.
    pub(super) fn obstacle(&self) -> Option<&str> {
        self.scorer.as_ref().err().map(String::as_str)
    }

    /// The map that the run holds of a pair.
    pub(super) fn stored(&self, input: usize, id: &str) -> Option<Map> {
        let path = self.stored.get(&(input, id.to_owned()))?;
        let (size, values) = maps::load(path)?;
        Some(Map { values, size, layers: Vec::new() })
    }

    /// Computes the maps of pairs of files, (reference, distorted, total in the run).
    pub(super) fn computed(&mut self, pairs: &[(&Path, &Path, f64)]) -> Vec<Option<Map>> {
        let none = || pairs.iter().map(|_| None).collect();
        let Ok(scorer) = &mut self.scorer else { return none() };
        if pairs.is_empty() {
            return Vec::new();
        }
        let mut maps = Vec::new();
        // One pair at a time: maps of large images take much memory.
        for &(reference, distorted, total) in pairs {
            let score = match scorer.score_files(&[(reference, distorted)]) {
                Ok(mut scores) => scores.pop().and_then(Result::ok),
                Err(error) => {
                    self.scorer = Err(error.to_string());
                    return none();
                }
            };
            let map = score.and_then(|score| {
                let map = score.map?;
                let size = Size { width: map.width, height: map.height };
                Some((score.total, Map { values: map.values, size, layers: score.layers }))
            });
            maps.push(match map {
                Some((found, map)) if (found - total).abs() <= AGREEMENT * total.abs() + 1e-6 => {
                    Some(map)
                }
                Some(_) => {
                    self.refused += 1;
                    None
                }
                None => {
                    self.failed += 1;
                    None
                }
            });
        }
        maps
    }
}

/// A scorer with the settings of a column, as far as maps need them.
fn open(metric: &Metric) -> Result<Lpips, String> {
    let unknown = || format!("it is not known how {} was computed", metric.name);
    let fingerprint = metric.fingerprint.as_ref().ok_or_else(unknown)?;
    let setting = |key: &str| fingerprint.get(key).unwrap_or_default();
    let net = Net::ALL.into_iter().find(|net| net.name() == setting("net"));
    let version = [Version::V0_0, Version::V0_1].into_iter().find(|one| one.name() == setting("v"));
    let (net, version) = net.zip(version).ok_or_else(unknown)?;
    let baseline = setting("mode") == "baseline";
    let options =
        Options { net: Some(net), version, baseline, spatial: true, ..Options::default() };
    Lpips::open(&options).map_err(|error| match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    })
}
