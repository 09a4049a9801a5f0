//! How a run is named on the command line.

use std::path::{Path, PathBuf};

use crate::error::Refusal;
use crate::run::names;
use crate::suggest::nearest_file;

/// `[LABEL=]RUN[@METHOD]`, taken apart.
pub(super) struct Argument {
    pub(super) label: String,
    pub(super) path: PathBuf,
    pub(super) method: Option<String>,
}

impl Argument {
    /// A path that exists wins over the reading as label or method.
    pub(super) fn read(text: &str) -> Result<Argument, Refusal> {
        let labelled = text.split_once('=').map(|(label, rest)| (Some(label), rest));
        for (label, rest) in [(None, text)].into_iter().chain(labelled) {
            let with_method = rest.rsplit_once('@').map(|(path, method)| (path, Some(method)));
            for (path, method) in [(rest, None)].into_iter().chain(with_method) {
                if !path.is_empty() && Path::new(path).exists() {
                    return Ok(Argument {
                        label: label.map_or_else(|| default_label(path, method), str::to_owned),
                        path: PathBuf::from(path),
                        method: method.map(str::to_owned),
                    });
                }
            }
        }
        let path = labelled.map_or(text, |(_, rest)| rest);
        let near = nearest_file(Path::new(path));
        let near = near.map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        Err(Refusal::inputs(format!("`{path}` does not exist")).hint(format!(
            "{near}name a run directory, a pairs.csv or another CSV file: [LABEL=]RUN[@METHOD]"
        )))
    }
}

/// The last part of the path, and the method.
fn default_label(path: &str, method: Option<&str>) -> String {
    let path = Path::new(path);
    let is_table = path.file_name().is_some_and(|name| name == names::PAIRS);
    let parent = path.parent().filter(|parent| is_table && !parent.as_os_str().is_empty());
    let named = parent.unwrap_or(path);
    let name = named.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.unwrap_or_else(|| named.display().to_string());
    match method {
        Some(method) => format!("{name}@{method}"),
        None => name,
    }
}

/// Whether this is the pairs.csv of a run directory.
pub(super) fn is_table_of_run(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(Path::new(""));
    path.file_name().is_some_and(|name| name == names::PAIRS) && folder.join(names::PLAN).exists()
}
