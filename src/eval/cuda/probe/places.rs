//! The folders where CUDA's libraries may be: those that the user names, the loader's path, Python
//! environments, conda, toolkits, the system.
//!
//! Reads only the names of files, and opens none.

use std::path::{Path, PathBuf};

use super::LIBRARIES_VARIABLE;

/// Parts that cuDNN 9 opens itself. It ends the process if one is missing.
const CUDNN_PARTS: [&str; 7] = [
    "libcudnn_graph.so.9",
    "libcudnn_ops.so.9",
    "libcudnn_cnn.so.9",
    "libcudnn_adv.so.9",
    "libcudnn_heuristic.so.9",
    "libcudnn_engines_precompiled.so.9",
    "libcudnn_engines_runtime_compiled.so.9",
];

/// Folders in the order in which they are searched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Places {
    /// Named by the user.
    explicit: Vec<PathBuf>,
    /// Those, then all others.
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

    /// Only the folders that the user names.
    pub(super) fn named(&self) -> Places {
        Places { explicit: self.explicit.clone(), all: self.explicit.clone() }
    }

    /// The driver in a folder that the user names. Other folders are left to the loader: toolkits
    /// contain a stub of that name.
    pub(super) fn driver(&self) -> Option<PathBuf> {
        let mut candidates = self.explicit.iter().map(|folder| folder.join("libcuda.so.1"));
        candidates.find(|path| path.is_file())
    }

    /// cuBLAS, preceded by the library that it depends on, for CUDA `newest` or older.
    pub(super) fn cublas(&self, newest: i32) -> Option<Vec<PathBuf>> {
        let of_folder = |folder: &PathBuf| {
            majors(newest).find_map(|major| {
                let files = ["libcublasLt.so", "libcublas.so"]
                    .map(|name| folder.join(format!("{name}.{major}")));
                files.iter().all(|file| file.is_file()).then(|| files.to_vec())
            })
        };
        self.all.iter().find_map(of_folder)
    }

    /// CUDA's run-time compiler, which cuDNN opens by name, and the library that the compiler
    /// opens.
    pub(super) fn compiler(&self, newest: i32) -> Vec<PathBuf> {
        let of_folder = |folder: &PathBuf| {
            let main = majors(newest).map(|major| folder.join(format!("libnvrtc.so.{major}")));
            let main = main.into_iter().find(|file| file.is_file())?;
            let is_builtin = |path: &PathBuf| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                name.starts_with("libnvrtc-builtins.so.")
            };
            Some(children(folder).into_iter().filter(is_builtin).chain([main]).collect())
        };
        self.all.iter().find_map(of_folder).unwrap_or_default()
    }

    /// cuDNN. An incomplete one is returned only if there is no other.
    pub(super) fn cudnn(&self) -> Option<Cudnn> {
        let of_folder = |folder: &PathBuf| {
            let main = folder.join("libcudnn.so.9");
            main.is_file().then_some(Cudnn { main })
        };
        let found: Vec<Cudnn> = self.all.iter().filter_map(of_folder).collect();
        let whole = found.iter().find(|found| found.flaw().is_none());
        whole.or(found.first()).cloned()
    }
}

/// Versions of CUDA whose libraries are looked for, newest first.
fn majors(newest: i32) -> impl Iterator<Item = i32> {
    [13, 12].into_iter().filter(move |&major| major <= newest)
}

/// The files of a cuDNN: the one that programs open, and its parts beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Cudnn {
    pub(super) main: PathBuf,
}

impl Cudnn {
    pub(super) fn folder(&self) -> &Path {
        self.main.parent().unwrap_or(Path::new(""))
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        CUDNN_PARTS.into_iter().map(|name| (name, self.folder().join(name)))
    }

    /// The problem that the names of the files reveal, if any. Where files are links, the names of
    /// their targets contain versions.
    pub(super) fn flaw(&self) -> Option<String> {
        let expected = version_in_name(&self.main);
        self.parts().find_map(|(name, part)| {
            if !part.is_file() {
                return Some(format!("there is no `{name}`"));
            }
            let found = version_in_name(&part);
            let shown = |version: &Option<String>| version.clone().unwrap_or("?".to_owned());
            let (found_shown, expected_shown) = (shown(&found), shown(&expected));
            (found != expected)
                .then(|| format!("`{name}` is {found_shown}, `libcudnn.so.9` {expected_shown}"))
        })
    }
}

/// The version, such as `9.1.0` or only `9`, in the name of the file that `path` leads to.
pub(super) fn version_in_name(path: &Path) -> Option<String> {
    let target = fs_err::canonicalize(path).ok()?;
    let name = target.file_name()?.to_str()?.to_owned();
    name.split_once(".so.").map(|(_, version)| version.to_owned())
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
            // Both the folder and the target of the link: an environment links to its Python.
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
    // The shortest name is the plain `cuda`, which is the administrator's choice.
    roots.sort_by_key(|path| path.as_os_str().len());
    roots.extend(["CUDA_HOME", "CUDA_PATH"].iter().filter_map(std::env::var_os).map(PathBuf::from));
    let within = |root: &PathBuf| {
        ["lib64", "lib", "targets/x86_64-linux/lib", "targets/sbsa-linux/lib"]
            .map(|folder| root.join(folder))
    };
    roots.iter().flat_map(within).filter(|path| path.is_dir()).collect()
}

/// The entries of a folder, sorted by name; none if it cannot be read.
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
    fn a_complete_cudnn_is_preferred_to_an_incomplete_one() {
        let folder = tempfile::tempdir().unwrap();
        let first = folder.path().join("nvidia/a/lib");
        let second = folder.path().join("nvidia/cudnn/lib");
        touch(&first.join("libcudnn.so.9"));
        let incomplete = only(folder.path()).cudnn().unwrap();
        assert!(incomplete.flaw().unwrap().contains("no `libcudnn_graph.so.9`"));
        touch(&second.join("libcudnn.so.9"));
        for part in CUDNN_PARTS {
            touch(&second.join(part));
        }
        let whole = only(folder.path()).cudnn().unwrap();
        assert_eq!((whole.flaw(), whole.folder()), (None, second.as_path()));
    }

    #[cfg(unix)]
    #[test]
    fn parts_of_another_version_are_detected_by_their_names() {
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
        let flaw = Cudnn { main: folder.path().join("libcudnn.so.9") }.flaw();
        assert_eq!(flaw.as_deref(), Some("`libcudnn_cnn.so.9` is 9.0.0, `libcudnn.so.9` 9.1.0"));
    }

    #[test]
    fn cublas_needs_the_library_that_it_depends_on() {
        let folder = tempfile::tempdir().unwrap();
        let lib = folder.path().join("nvidia/cu13/lib");
        touch(&lib.join("libcublas.so.13"));
        assert_eq!(only(folder.path()).cublas(13), None);
        touch(&lib.join("libcublasLt.so.13"));
        let files = only(folder.path()).cublas(13).unwrap();
        assert_eq!(files, [lib.join("libcublasLt.so.13"), lib.join("libcublas.so.13")]);
        assert_eq!(only(folder.path()).cublas(12), None, "for a driver of CUDA 12");
    }

    #[test]
    fn an_address_leads_to_the_file_it_was_mapped_from() {
        let here = an_address_leads_to_the_file_it_was_mapped_from as *const () as usize;
        assert_eq!(mapped(Some(here)), std::env::current_exe().ok());
        assert_eq!(mapped(Some(1)), None);
    }
}
