//! Where people have CUDA's libraries: folders they name, the loader's path, Python environments,
//! conda, toolkits, the system.
//!
//! Only looks at names of files; opens nothing.

use std::path::{Path, PathBuf};

use super::LIBRARIES_VARIABLE;

/// Parts that cuDNN 9 opens by itself. It ends the process when one is missing.
const CUDNN_PARTS: [&str; 7] = [
    "libcudnn_graph.so.9",
    "libcudnn_ops.so.9",
    "libcudnn_cnn.so.9",
    "libcudnn_adv.so.9",
    "libcudnn_heuristic.so.9",
    "libcudnn_engines_precompiled.so.9",
    "libcudnn_engines_runtime_compiled.so.9",
];

/// Files to open, in this order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Found {
    pub(super) files: Vec<PathBuf>,
    /// A part that belongs to them and is not there.
    pub(super) missing: Option<&'static str>,
}

/// Folders in the order in which they are searched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Places {
    /// Named by the user.
    explicit: Vec<PathBuf>,
    /// Those and all others.
    all: Vec<PathBuf>,
}

impl Places {
    pub(super) fn new(explicit: &[PathBuf]) -> Places {
        let listed = |name: &str| -> Vec<PathBuf> {
            let value = std::env::var_os(name).unwrap_or_default();
            std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect()
        };
        let mut explicit = explicit.to_vec();
        explicit.extend(listed(LIBRARIES_VARIABLE));
        // A user may name the root of a Python environment's packages, too.
        let within = explicit.iter().flat_map(|path| packages(path)).collect::<Vec<_>>();
        explicit.extend(within);
        let mut all = explicit.clone();
        all.extend(listed("LD_LIBRARY_PATH"));
        all.extend(environments().iter().flat_map(|root| of_environment(root)));
        all.extend(toolkits());
        let system = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"];
        all.extend(system.map(PathBuf::from));
        Places { explicit, all }
    }

    /// The driver where the user names it. Elsewhere only the loader's own answer counts: toolkits
    /// carry a stub of that name.
    pub(super) fn driver(&self) -> Option<PathBuf> {
        let mut candidates = self.explicit.iter().map(|folder| folder.join("libcuda.so.1"));
        candidates.find(|path| path.is_file())
    }

    /// cuBLAS and the library below it.
    pub(super) fn cublas(&self) -> Option<Found> {
        let of_folder = |folder: &PathBuf| {
            ["13", "12"].iter().find_map(|major| {
                let files = ["libcublasLt.so", "libcublas.so"]
                    .map(|name| folder.join(format!("{name}.{major}")));
                let is_whole = files.iter().all(|file| file.is_file());
                is_whole.then(|| Found { files: files.to_vec(), missing: None })
            })
        };
        self.all.iter().find_map(of_folder)
    }

    /// cuDNN with its parts; an incomplete one only where there is no other.
    pub(super) fn cudnn(&self) -> Option<Found> {
        let of_folder = |folder: &PathBuf| {
            let main = folder.join("libcudnn.so.9");
            if !main.is_file() {
                return None;
            }
            let missing = missing_part(&main);
            let parts = CUDNN_PARTS.iter().map(|name| folder.join(name));
            let files = parts.filter(|file| file.is_file()).chain([main]).collect();
            Some(Found { files, missing })
        };
        let found: Vec<Found> = self.all.iter().filter_map(of_folder).collect();
        let whole = found.iter().find(|found| found.missing.is_none());
        whole.or(found.first()).cloned()
    }
}

/// The first part of cuDNN that does not lie beside `main`, or is of another version. Versions show
/// where names are links to files that carry them.
pub(super) fn missing_part(main: &Path) -> Option<&'static str> {
    let folder = main.parent().unwrap_or(Path::new(""));
    let version = |path: &Path| {
        let target = fs_err::canonicalize(path).ok()?;
        let name = target.file_name()?.to_str()?.to_owned();
        name.split_once(".so.").map(|(_, version)| version.to_owned())
    };
    let expected = version(main);
    CUDNN_PARTS.into_iter().find(|name| {
        let part = folder.join(name);
        !part.is_file() || version(&part) != expected
    })
}

/// The file that the code at `address` was mapped from.
pub(super) fn mapped(address: Option<usize>) -> Option<PathBuf> {
    let address = address?;
    let maps = fs_err::read_to_string("/proc/self/maps").ok()?;
    maps.lines().find_map(|line| {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = usize::from_str_radix(start, 16).ok()?;
        let end = usize::from_str_radix(end, 16).ok()?;
        let path = rest.find('/').map(|at| PathBuf::from(&rest[at..]));
        if (start..end).contains(&address) { path } else { None }
    })
}

/// Roots of Python environments, the active ones first.
fn environments() -> Vec<PathBuf> {
    let active = ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(std::env::var_os);
    let mut roots: Vec<PathBuf> = active.map(PathBuf::from).collect();
    let path = std::env::var_os("PATH").unwrap_or_default();
    for folder in std::env::split_paths(&path) {
        let python = folder.join("python3");
        if let Ok(python) = fs_err::canonicalize(&python) {
            // As it is named, and where it really is: an environment links to its Python.
            roots.extend(folder.parent().map(Path::to_owned));
            roots.extend(python.parent().and_then(Path::parent).map(Path::to_owned));
            break;
        }
    }
    roots
}

/// Folders of libraries of an environment: its own, and those of NVIDIA's packages.
fn of_environment(root: &Path) -> Vec<PathBuf> {
    let lib = root.join("lib");
    let mut folders = vec![lib.clone()];
    let mut pythons = children(&lib);
    pythons.retain(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3"))
    });
    for python in pythons {
        for name in ["site-packages", "dist-packages"] {
            folders.extend(packages(&python.join(name)));
        }
    }
    folders
}

/// `nvidia/*/lib` below a folder of Python packages.
fn packages(site: &Path) -> Vec<PathBuf> {
    let all = children(&site.join("nvidia")).into_iter().map(|package| package.join("lib"));
    all.filter(|lib| lib.is_dir()).collect()
}

fn toolkits() -> Vec<PathBuf> {
    let mut roots = children(Path::new("/usr/local"));
    roots.retain(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cuda"))
    });
    // The plain name, the one that an administrator chose, is the shortest.
    roots.sort_by_key(|path| path.as_os_str().len());
    roots.extend(["CUDA_HOME", "CUDA_PATH"].iter().filter_map(std::env::var_os).map(PathBuf::from));
    let within = |root: &PathBuf| {
        ["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"]
            .map(|folder| root.join(folder))
    };
    roots.iter().flat_map(within).filter(|path| path.is_dir()).collect()
}

/// What a folder holds, by name; nothing where it cannot be read.
fn children(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs_err::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, "").unwrap();
    }

    fn only(folder: &Path) -> Places {
        let explicit = vec![folder.to_owned()];
        let within: Vec<PathBuf> = packages(folder);
        let all = explicit.iter().cloned().chain(within).collect();
        Places { explicit, all }
    }

    #[test]
    fn a_whole_cudnn_is_preferred_to_an_incomplete_one() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("nvidia/a/lib");
        let second = folder.path().join("nvidia/cudnn/lib");
        touch(&first.join("libcudnn.so.9"));
        let incomplete = only(folder.path()).cudnn().unwrap();
        assert_eq!(incomplete.missing, Some("libcudnn_graph.so.9"));
        touch(&second.join("libcudnn.so.9"));
        for part in CUDNN_PARTS {
            touch(&second.join(part));
        }
        let Found { files, missing } = only(folder.path()).cudnn().unwrap();
        assert_eq!(missing, None);
        assert_eq!(files.len(), 8);
        assert_eq!(files[7], second.join("libcudnn.so.9"), "parts are opened first");
        assert!(files.iter().all(|file| file.parent() == Some(&second)));
    }

    #[cfg(unix)]
    #[test]
    fn parts_of_another_version_are_seen_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let link = |name: &str, version: &str| {
            let target = folder.path().join(name.replace(".so.9", version));
            touch(&target);
            std::os::unix::fs::symlink(&target, folder.path().join(name)).unwrap();
        };
        link("libcudnn.so.9", ".so.9.1.0");
        for part in CUDNN_PARTS {
            link(part, if part.contains("_cnn") { ".so.9.0.0" } else { ".so.9.1.0" });
        }
        let main = folder.path().join("libcudnn.so.9");
        assert_eq!(missing_part(&main), Some("libcudnn_cnn.so.9"));
    }

    #[test]
    fn cublas_needs_the_library_below_it() {
        let folder = tempfile::tempdir().unwrap();
        let lib = folder.path().join("nvidia/cu13/lib");
        touch(&lib.join("libcublas.so.13"));
        assert_eq!(only(folder.path()).cublas(), None);
        touch(&lib.join("libcublasLt.so.13"));
        let files = only(folder.path()).cublas().unwrap().files;
        assert_eq!(files, [lib.join("libcublasLt.so.13"), lib.join("libcublas.so.13")]);
    }

    #[test]
    fn an_address_leads_to_the_file_it_was_mapped_from() {
        let here = an_address_leads_to_the_file_it_was_mapped_from as *const () as usize;
        assert_eq!(mapped(Some(here)), std::env::current_exe().ok());
        assert_eq!(mapped(Some(1)), None);
    }
}
