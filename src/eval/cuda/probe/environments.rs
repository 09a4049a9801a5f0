//! The folders of libraries that Python environments and conda bring: those of the environment that
//! is active, of the one that this program was installed into, and of the system.
//!
//! Reads only the names of files, and opens none.

use std::path::{Path, PathBuf};

use super::files::{children, mapped};

/// The part of a process's surroundings that leads to environments.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Surroundings {
    /// Roots of the environments that are active.
    active: Vec<PathBuf>,
    /// The file that this code is in: the program, or a Python module.
    code: Option<PathBuf>,
    /// Folders of programs.
    programs: Vec<PathBuf>,
    /// Root of what `pip install --user` installs.
    user: Option<PathBuf>,
}

impl Surroundings {
    pub(super) fn new() -> Surroundings {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = |name| variable(name).map(PathBuf::from);
        let of_home = || Some(path("HOME")?.join(".local"));
        let programs = variable("PATH").unwrap_or_default();
        Surroundings {
            active: ["VIRTUAL_ENV", "CONDA_PREFIX"].into_iter().filter_map(path).collect(),
            code: mapped(Some(Surroundings::new as *const () as usize)),
            programs: std::env::split_paths(&programs).collect(),
            user: path("PYTHONUSERBASE").or_else(of_home),
        }
    }

    /// Folders of libraries, those of active environments first.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let of_code = self.code.iter().flat_map(|code| beside(code));
        let mut folders: Vec<PathBuf> =
            self.active.iter().flat_map(|root| of_root(root)).chain(of_code).collect();
        let system = ["/usr/local", "/usr"].map(PathBuf::from);
        let later = self.python().into_iter().chain(self.user.clone()).chain(system);
        for folder in later.flat_map(|root| of_root(&root)) {
            if !folders.contains(&folder) {
                folders.push(folder);
            }
        }
        folders
    }

    /// Roots of the first Python: its folder's, and that of the target of its link, since an
    /// environment links to the Python that it was made with.
    fn python(&self) -> Vec<PathBuf> {
        let find = |folder: &PathBuf| {
            let python = fs_err::canonicalize(folder.join("python3")).ok()?;
            let roots = [folder.parent(), python.parent().and_then(Path::parent)];
            Some(roots.into_iter().flatten().map(Path::to_owned).collect())
        };
        self.programs.iter().find_map(find).unwrap_or_default()
    }
}

/// Folders of the environment that the file `code` is installed in: as a program in its `bin`, or
/// among its Python packages.
fn beside(code: &Path) -> Vec<PathBuf> {
    let named = |folder: &Path, names: &[&str]| {
        folder.file_name().is_some_and(|name| names.iter().any(|it| name == *it))
    };
    let Some(folder) = code.parent() else { return Vec::new() };
    let root = folder.parent().filter(|_| named(folder, &["bin"]));
    let is_site = |folder: &&Path| named(folder, &SITES);
    let site = code.ancestors().find(is_site).map(packages);
    root.map(of_root).into_iter().chain(site).flatten().collect()
}

/// Names of the folders of a Python's packages. Debian has one of its own.
const SITES: [&str; 2] = ["site-packages", "dist-packages"];

/// Folders of libraries of an environment: its own, that of conda's toolkits, and those of NVIDIA's
/// Python packages.
fn of_root(root: &Path) -> Vec<PathBuf> {
    let mut folders = vec![root.join("lib")];
    folders.extend(targets(root));
    for lib in ["lib", "lib64"] {
        let mut pythons = children(&root.join(lib));
        pythons.retain(|path| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python3"))
        });
        let sites = pythons.iter().flat_map(|python| SITES.map(|name| python.join(name)));
        folders.extend(sites.flat_map(|site| packages(&site)));
    }
    folders
}

/// Folders of libraries by architecture, below the root of a toolkit.
pub(super) fn targets(root: &Path) -> impl Iterator<Item = PathBuf> {
    let folders = ["targets/x86_64-linux/lib", "targets/sbsa-linux/lib"];
    folders.map(|folder| root.join(folder)).into_iter().filter(|folder| folder.is_dir())
}

/// `nvidia/*/lib` below a folder of Python packages.
pub(super) fn packages(site: &Path) -> Vec<PathBuf> {
    let all = children(&site.join("nvidia")).into_iter().map(|package| package.join("lib"));
    all.filter(|lib| lib.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with a folder of one NVIDIA package among the Python packages at `site`.
    fn with_package(root: &Path, site: &str) -> PathBuf {
        let lib = root.join(site).join("nvidia/cudnn/lib");
        fs_err::create_dir_all(&lib).unwrap();
        lib
    }

    #[test]
    fn libraries_are_found_wherever_python_installs_them() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let none = Surroundings::default();
        // An environment whose program runs without being activated, as of pip, pipx, uv and conda.
        let venv = with_package(&at("venv"), "lib/python3.12/site-packages");
        let code = Some(at("venv/bin/lpips"));
        assert!(Surroundings { code, ..none.clone() }.folders().contains(&venv));
        // A module that Python imports.
        let code = Some(at("venv/lib/python3.12/site-packages/lpips_eval/lpips_eval.abi3.so"));
        assert!(Surroundings { code, ..none.clone() }.folders().contains(&venv));
        // `pip install --user`.
        let user = with_package(&at("user"), "lib/python3.11/site-packages");
        assert!(!none.folders().contains(&user));
        let of_user = Surroundings { user: Some(at("user")), ..none.clone() };
        assert!(of_user.folders().contains(&user));
        // Debian's folder, and that of Fedora.
        for site in ["lib/python3/dist-packages", "lib64/python3.13/site-packages"] {
            let debian = with_package(&at("debian"), site);
            assert!(of_root(&at("debian")).contains(&debian), "{site}");
        }
        // A toolkit of conda.
        let toolkit = at("conda/targets/x86_64-linux/lib");
        fs_err::create_dir_all(&toolkit).unwrap();
        let conda = Surroundings { active: vec![at("conda")], ..none };
        assert_eq!(conda.folders()[..2], [at("conda/lib"), toolkit]);
    }

    #[test]
    fn the_active_environment_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let [active, own] = ["active", "own"].map(|name| folder.path().join(name));
        let first = with_package(&active, "lib/python3.12/site-packages");
        let second = with_package(&own, "lib/python3.12/site-packages");
        let surroundings = Surroundings {
            active: vec![active],
            code: Some(own.join("bin/lpips")),
            ..Surroundings::default()
        };
        let folders = surroundings.folders();
        let place = |folder| folders.iter().position(|one| one == folder).unwrap();
        assert!(place(&first) < place(&second));
    }
}
