//! The folders where CUDA's libraries may be: those that the user names, the loader's path, Python
//! environments, conda, toolkits, the system.
//!
//! Reads only the names of files, and opens none.

use std::path::{Path, PathBuf};

use super::LIBRARIES_VARIABLE;
use super::environments::{Surroundings, packages, targets};
use super::files::children;

/// Parts that every cuDNN 9 has and opens itself. It ends the process if one is missing.
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
        let mut explicit = explicit.to_vec();
        explicit.extend(listed(LIBRARIES_VARIABLE));
        // A user may name the root of a Python environment's packages, too.
        let within = explicit.iter().flat_map(|path| packages(path)).collect::<Vec<_>>();
        explicit.extend(within);
        let mut all = explicit.clone();
        all.extend(loader_path());
        all.extend(Surroundings::new().folders());
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

    /// The library of cuBLAS that a cuDNN in `folder` opens by name, as the loader finds it: on its
    /// path, beside cuDNN, in the Python packages beside cuDNN's, or elsewhere.
    pub(super) fn cublas_lt_of_cudnn(&self, folder: &Path, newest: i32) -> Option<PathBuf> {
        let beside = ["", "../../cublas/lib", "../../cu13/lib"].map(|path| folder.join(path));
        let folders: Vec<PathBuf> =
            loader_path().into_iter().chain(beside).chain(self.all.clone()).collect();
        majors(newest).find_map(|major| {
            let mut files =
                folders.iter().map(|folder| folder.join(format!("libcublasLt.so.{major}")));
            files.find(|file| file.is_file())
        })
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

/// The folders in an environment variable, which has colons between them.
fn listed(variable: &str) -> Vec<PathBuf> {
    let value = std::env::var_os(variable).unwrap_or_default();
    std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect()
}

/// Folders that the loader searches before all others.
fn loader_path() -> Vec<PathBuf> {
    listed("LD_LIBRARY_PATH")
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

    /// Its parts: those that every version has, each after those that it uses, then all others of
    /// the folder.
    pub(super) fn parts(&self) -> Vec<(String, PathBuf)> {
        let folder = self.folder();
        let name_of = |path: PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        let is_later = |name: &String| {
            let is_part = name.starts_with("libcudnn_") && name.ends_with(".so.9");
            is_part && !CUDNN_PARTS.contains(&name.as_str())
        };
        let later = children(folder).into_iter().filter_map(name_of).filter(is_later);
        let names = CUDNN_PARTS.map(str::to_owned).into_iter().chain(later);
        names.map(|name| (name.clone(), folder.join(name))).collect()
    }

    /// The problem that the names of the files reveal, if any. Where files are links, the names of
    /// their targets contain versions.
    pub(super) fn flaw(&self) -> Option<String> {
        let expected = version_in_name(&self.main);
        self.parts().into_iter().find_map(|(name, part)| {
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

fn toolkits() -> Vec<PathBuf> {
    let mut roots = children(Path::new("/usr/local"));
    roots.retain(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cuda"))
    });
    // The shortest name is the plain `cuda`, which is the administrator's choice.
    roots.sort_by_key(|path| path.as_os_str().len());
    roots.extend(["CUDA_HOME", "CUDA_PATH"].iter().filter_map(std::env::var_os).map(PathBuf::from));
    let within = |root: &PathBuf| {
        let folders = ["lib64", "lib"].map(|folder| root.join(folder));
        folders
            .into_iter()
            .filter(|folder| folder.is_dir())
            .chain(targets(root))
            .collect::<Vec<_>>()
    };
    roots.iter().flat_map(within).collect()
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

    #[test]
    fn parts_of_newer_versions_follow_those_that_every_version_has() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("libcudnn.so.9");
        for name in CUDNN_PARTS.into_iter().chain([
            "libcudnn.so.9",
            "libcudnn_engines_tensor_ir.so.9",
            "libcudnn_ext.so.9",
            "libcudnn_graph.so.8",
        ]) {
            touch(&folder.path().join(name));
        }
        let names: Vec<String> = Cudnn { main }.parts().into_iter().map(|(name, _)| name).collect();
        let (first, later) = names.split_at(CUDNN_PARTS.len());
        assert_eq!(first, CUDNN_PARTS);
        assert_eq!(later, ["libcudnn_engines_tensor_ir.so.9", "libcudnn_ext.so.9"]);
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
}
