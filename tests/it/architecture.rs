//! The architecture as a test: which module may depend on which. See docs/architecture.md.
//!
//! Sources are read as tokens, so that a path counts in whatever form it is written: in nested
//! `use` groups, after `self`, `super`, `crate` or `lpips`, through a name that is imported or
//! re-exported, and in bodies and macros.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// What each part of `src` may depend on, beside itself: parts further down in this table. A part
/// is a top-level module or, under `eval`, a backend. Everything that is not listed is forbidden.
const MAY_NAME: &[(&str, &[&str])] = &[
    ("main", &["commands"]),
    (
        "commands",
        &[
            "batch",
            "check",
            "cli",
            "code",
            "column",
            "compare",
            "config",
            "decimal",
            "device",
            "error",
            "eval",
            "eval/cpu",
            "eval/cuda",
            "fetch",
            "fidelity",
            "hash",
            "image",
            "isa",
            "manifest",
            "memory",
            "net",
            "pair",
            "pairing",
            "part_file",
            "pipeline",
            "progress",
            "regular",
            "report",
            "run",
            "scheduler",
            "scorer",
            "selftest",
            "shard",
            "shell",
            "signals",
            "source",
            "spool",
            "stats",
            "stdout",
            "suggest",
        ],
    ),
    (
        "scorer",
        &["code", "column", "config", "device", "error", "eval", "image", "metric", "net", "pair"],
    ),
    ("device", &["config", "error", "eval", "eval/cpu", "eval/cuda", "scheduler"]),
    (
        "config",
        &[
            "cli",
            "column",
            "error",
            "eval",
            "eval/cpu",
            "eval/cuda",
            "fidelity",
            "image",
            "manifest",
            "masks",
            "memory",
            "metric",
            "net",
            "pairing",
            "pipeline",
            "progress",
            "run",
            "scheduler",
            "shard",
            "shell",
            "signals",
            "source",
            "suggest",
        ],
    ),
    (
        "cli",
        &["compare", "eval", "image", "memory", "metric", "net", "pipeline", "progress", "shard"],
    ),
    ("source", &["batch", "error", "manifest", "pairing"]),
    ("fetch", &["hash"]),
    (
        "check",
        &[
            "batch", "code", "error", "fidelity", "image", "manifest", "masks", "net", "pair",
            "pairing", "regular",
        ],
    ),
    ("pairing", &["batch", "code", "decimal", "error", "shell", "suggest", "system"]),
    (
        "pipeline",
        &[
            "batch", "code", "column", "error", "eval", "image", "manifest", "masks", "metric",
            "pair", "progress", "run", "shard", "signals",
        ],
    ),
    ("masks", &["code", "error", "image", "metric"]),
    ("progress", &["error", "run"]),
    (
        "run",
        &[
            "batch",
            "code",
            "column",
            "decimal",
            "error",
            "eval",
            "hash",
            "image",
            "manifest",
            "metric",
            "net",
            "pair",
            "part_file",
            "regular",
            "scheduler",
            "shard",
            "shell",
            "spool",
            "stats",
            "suggest",
        ],
    ),
    ("report", &["column", "compare", "decimal", "image", "random", "stats"]),
    ("compare", &["column", "decimal", "stats"]),
    ("column", &["code", "error", "eval", "fidelity", "image", "metric", "net"]),
    ("metric", &["code", "eval", "fidelity", "image", "net", "suggest"]),
    ("fidelity", &["image", "isa", "random"]),
    ("signals", &["error"]),
    ("manifest", &["batch", "error", "hash", "regular", "suggest"]),
    ("selftest", &["batch", "eval", "eval/cpu", "image", "net", "oracle"]),
    ("oracle", &["eval", "image", "net"]),
    ("eval/cuda", &["batch", "error", "eval", "image", "memory", "net"]),
    ("eval/cpu", &["batch", "eval", "image", "isa", "memory", "net", "random"]),
    ("eval", &["batch", "code", "image", "net", "pair"]),
    ("pair", &["batch", "code", "image"]),
    ("batch", &["image"]),
    ("image", &["code", "regular", "suggest", "system"]),
    ("net", &["hash", "random", "regular"]),
    ("isa", &[]),
    ("decimal", &[]),
    ("hash", &[]),
    ("regular", &["error"]),
    ("stats", &["random"]),
    ("random", &[]),
    ("suggest", &[]),
    ("scheduler", &["error", "shard"]),
    ("shard", &[]),
    ("memory", &[]),
    ("spool", &["error"]),
    ("error", &["code", "system"]),
    ("part_file", &[]),
    ("shell", &[]),
    ("stdout", &[]),
    ("code", &[]),
    ("system", &[]),
];

/// A module is a path of names, that of the crate is empty: `["eval", "cpu", "conv"]`.
type Module = Vec<String>;

/// A path as it is written somewhere.
#[derive(Debug)]
struct Written {
    segments: Vec<String>,
    /// The module that it is written in, which may be an inline one.
    module: Module,
    is_test: bool,
}

/// Everything about the sources that decides their dependencies.
#[derive(Debug, Default)]
struct Sources {
    /// Modules with a file of their own.
    files: BTreeSet<Module>,
    /// Modules that are part of a file.
    inline: BTreeSet<Module>,
    /// Modules that exist only in tests.
    tests: BTreeSet<Module>,
    /// What a name that a `use` introduces stands for, by module and name.
    imports: BTreeMap<(Module, String), Vec<String>>,
    written: Vec<Written>,
}

/// One file depends on another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Arrow {
    from: Module,
    to: Module,
    is_test: bool,
}

impl Sources {
    fn read(texts: &[(&str, &str)]) -> Sources {
        let mut sources = Sources::default();
        for (name, text) in texts {
            let module = module_of(name);
            let tokens: TokenStream = text.parse().unwrap();
            sources.files.insert(module.clone());
            sources.walk(tokens, &module, false);
        }
        sources
    }

    /// Notes the modules, imports and paths of `tokens`, which stand in `module`.
    fn walk(&mut self, tokens: TokenStream, module: &Module, is_test: bool) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut of_test = is_test; // Whether the present item is for tests alone.
        let mut at = 0;
        while at < tokens.len() {
            let rest = &tokens[at..];
            at += match rest {
                [hash, TokenTree::Group(group), ..] if is(hash, '#') => {
                    let text = group.stream().to_string().replace(' ', "");
                    of_test |= text == "cfg(test)";
                    if !text.starts_with("doc=") {
                        self.walk(group.stream(), module, of_test);
                    }
                    2
                }
                [word, ..] if is_word(word, "use") => {
                    let len = rest.iter().position(|token| is(token, ';')).unwrap_or(rest.len());
                    self.import(&rest[1..len], &[], module, of_test);
                    of_test = is_test;
                    len
                }
                [word, TokenTree::Ident(name), body, ..] if is_word(word, "mod") => {
                    let child = [module.as_slice(), &[name.to_string()]].concat();
                    if of_test {
                        self.tests.insert(child.clone());
                    }
                    if let TokenTree::Group(body) = body {
                        self.inline.insert(child.clone());
                        self.walk(body.stream(), &child, of_test);
                    }
                    of_test = is_test;
                    3
                }
                [TokenTree::Ident(_), colon, ..] if is(colon, ':') => {
                    let (segments, len) = path_at(rest);
                    let is_rooted =
                        at < 2 || !is(&tokens[at - 1], ':') || !is(&tokens[at - 2], ':');
                    if segments.len() > 1 && is_rooted {
                        self.written.push(Written {
                            segments,
                            module: module.clone(),
                            is_test: of_test,
                        });
                    }
                    len
                }
                [TokenTree::Group(group), ..] => {
                    self.walk(group.stream(), module, of_test);
                    if group.delimiter() == Delimiter::Brace {
                        of_test = is_test;
                    }
                    1
                }
                [end, ..] => {
                    if is(end, ';') {
                        of_test = is_test;
                    }
                    1
                }
                [] => unreachable!("the loop ends before"),
            };
        }
    }

    /// Notes what one `use` names: `tokens` follow the segments `before`.
    fn import(&mut self, tokens: &[TokenTree], before: &[String], module: &Module, is_test: bool) {
        if before.is_empty() && tokens.first().is_some_and(|token| is(token, ':')) {
            return; // `::name` is another crate.
        }
        let mut segments = before.to_vec();
        let mut local = None;
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Ident(_) if is_word(&tokens[at], "as") => {
                    local = tokens.get(at + 1).map(ToString::to_string);
                    at += 1;
                }
                TokenTree::Ident(name) => segments.push(name.to_string()),
                TokenTree::Group(group) => {
                    for one in of_group(group) {
                        self.import(&one, &segments, module, is_test);
                    }
                    return;
                }
                _ => {}
            }
            at += 1;
        }
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        if let Some(local) = local.or_else(|| segments.last().cloned()) {
            self.imports.insert((module.clone(), local), segments.clone());
        }
        self.written.push(Written { segments, module: module.clone(), is_test });
    }

    fn exists(&self, module: &Module) -> bool {
        self.files.contains(module) || self.inline.contains(module)
    }

    /// The module that defines what `segments` name in `module`; `None` for other crates.
    fn definition(&self, segments: &[String], module: &Module, depth: usize) -> Option<Module> {
        let (first, rest) = segments.split_first()?;
        if depth > 20 {
            return None; // A name that is imported under itself.
        }
        match first.as_str() {
            "crate" | "lpips" => return self.member(rest, Module::new(), depth),
            "self" => return self.member(rest, module.clone(), depth),
            "super" => {
                let (_, parent) = module.split_last()?;
                let supers = rest.iter().take_while(|one| *one == "super").count();
                let parent = &parent[..parent.len().checked_sub(supers)?];
                return self.member(&rest[supers..], parent.to_vec(), depth);
            }
            _ => {}
        }
        let child = [module.as_slice(), &segments[..1]].concat();
        if self.exists(&child) || self.imports.contains_key(&(module.clone(), first.clone())) {
            return self.member(segments, module.clone(), depth);
        }
        None
    }

    /// The module that defines what `segments` name as members of `module`.
    fn member(&self, segments: &[String], module: Module, depth: usize) -> Option<Module> {
        let Some((first, rest)) = segments.split_first() else { return Some(module) };
        let child = [module.as_slice(), &segments[..1]].concat();
        if self.exists(&child) {
            return self.member(rest, child, depth);
        }
        match self.imports.get(&(module.clone(), first.clone())) {
            Some(path) => {
                let path = [path.as_slice(), rest].concat();
                self.definition(&path, &module, depth + 1).or(Some(module))
            }
            None => Some(module),
        }
    }

    /// The file that a module is written in.
    fn file_of(&self, module: &Module) -> Module {
        let lens = (0..=module.len()).rev();
        let mut files = lens.map(|len| module[..len].to_vec());
        files.find(|file| self.files.contains(file)).unwrap_or_default()
    }

    fn arrows(&self) -> BTreeSet<Arrow> {
        let mut arrows = BTreeSet::new();
        for Written { segments, module, is_test } in &self.written {
            let Some(to) = self.definition(segments, module, 0) else { continue };
            let (from, to) = (self.file_of(module), self.file_of(&to));
            let in_tests = (0..=module.len()).any(|len| self.tests.contains(&module[..len]));
            if from != to {
                arrows.insert(Arrow { from, to, is_test: *is_test || in_tests });
            }
        }
        arrows
    }
}

/// `eval/cpu/conv` is a name of a file without extension.
fn module_of(name: &str) -> Module {
    if name == "lib" { Module::new() } else { name.split('/').map(str::to_owned).collect() }
}

fn is(token: &TokenTree, expected: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == expected)
}

fn is_word(token: &TokenTree, expected: &str) -> bool {
    matches!(token, TokenTree::Ident(word) if word == expected)
}

/// The segments `a::b::c` that `tokens` start with, and how many tokens they are.
fn path_at(tokens: &[TokenTree]) -> (Vec<String>, usize) {
    let mut segments = vec![tokens[0].to_string()];
    let mut at = 1;
    while let [one, two, TokenTree::Ident(name), ..] = &tokens[at..] {
        if !is(one, ':') || !is(two, ':') {
            break;
        }
        segments.push(name.to_string());
        at += 3;
    }
    (segments, at)
}

/// What the commas of a group separate.
fn of_group(group: &Group) -> Vec<Vec<TokenTree>> {
    let tokens: Vec<TokenTree> = group.stream().into_iter().collect();
    tokens.split(|token| is(token, ',')).map(<[TokenTree]>::to_vec).collect()
}

/// Circles of files, each as a shortest way from a file back to itself. What a module and one of
/// its own ancestors name of each other is Rust's normal form and no circle.
fn circles(arrows: &BTreeSet<Arrow>) -> Vec<String> {
    let is_kin = |a: &Module, b: &Module| a.starts_with(b) || b.starts_with(a);
    let mut next: BTreeMap<&Module, Vec<&Module>> = BTreeMap::new();
    for arrow in arrows.iter().filter(|arrow| !arrow.is_test && !is_kin(&arrow.from, &arrow.to)) {
        next.entry(&arrow.from).or_default().push(&arrow.to);
    }
    let mut found: BTreeSet<BTreeSet<&Module>> = BTreeSet::new();
    let mut shown = Vec::new();
    for &start in next.keys() {
        let Some(way) = way_back(start, &next) else { continue };
        if found.insert(way.iter().copied().collect()) {
            let names: Vec<String> = way.iter().map(|module| module.join("/")).collect();
            shown.push(format!("{} -> {}", names.join(" -> "), names[0]));
        }
    }
    shown
}

fn way_back<'a>(
    start: &'a Module,
    next: &BTreeMap<&'a Module, Vec<&'a Module>>,
) -> Option<Vec<&'a Module>> {
    let mut ways = VecDeque::from([vec![start]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for &to in next.get(way[way.len() - 1]).into_iter().flatten() {
            if to == start {
                return Some(way);
            }
            if seen.insert(to) {
                ways.push_back([way.as_slice(), &[to]].concat());
            }
        }
    }
    None
}

/// `eval/cpu/conv` belongs to `eval/cpu`, `run/tables` to `run`.
fn part_of(module: &Module) -> String {
    let len = match module.as_slice() {
        [eval, backend, ..] if eval == "eval" && (backend == "cpu" || backend == "cuda") => 2,
        _ => module.len().min(1),
    };
    module[..len].join("/")
}

/// Arrows that [`MAY_NAME`] does not allow.
fn forbidden(arrows: &BTreeSet<Arrow>) -> BTreeSet<String> {
    let mut faults = BTreeSet::new();
    for Arrow { from, to, .. } in arrows {
        let (part, named) = (part_of(from), part_of(to));
        if from.is_empty() || to.is_empty() || part == named {
            continue; // The crate's root declares all parts.
        }
        let allowed = MAY_NAME.iter().find(|(name, _)| *name == part).map(|(_, parts)| parts);
        if !allowed.is_some_and(|parts| parts.contains(&named.as_str())) {
            let from = from.join("/");
            faults.insert(format!("src/{from}.rs: `{part}` must not depend on `{named}`"));
        }
    }
    faults
}

fn find_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs_err::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The sources by name, such as `eval/cpu/conv`.
fn all_sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    find_files(&root, &mut paths);
    paths.sort();
    let relative = |path: &Path| {
        path.strip_prefix(&root).unwrap().with_extension("").to_string_lossy().into_owned()
    };
    paths.iter().map(|path| (relative(path), fs_err::read_to_string(path).unwrap())).collect()
}

/// The arrows between all files of `src`.
fn all_arrows() -> BTreeSet<Arrow> {
    let sources = all_sources();
    let texts: Vec<(&str, &str)> =
        sources.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    Sources::read(&texts).arrows()
}

#[test]
fn dependencies_point_one_way() {
    let faults: Vec<String> = forbidden(&all_arrows()).into_iter().collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_files_depend_on_each_other_in_a_circle() {
    let circles = circles(&all_arrows());
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn the_table_allows_arrows_downwards_only() {
    for (place, (part, allowed)) in MAY_NAME.iter().enumerate() {
        for named in *allowed {
            let below = MAY_NAME[place + 1..].iter().any(|(name, _)| name == named);
            assert!(below, "`{part}` may depend on `{named}`, which is not further down");
        }
    }
}

/// The arrows of sources that are given as text, as `from -> to`.
fn planted(texts: &[(&str, &str)]) -> BTreeSet<String> {
    let arrows = Sources::read(texts).arrows();
    arrows.iter().map(|arrow| [arrow.from.join("/"), arrow.to.join("/")].join(" -> ")).collect()
}

#[test]
fn every_form_of_a_path_is_an_arrow() {
    for text in [
        "use crate::eval::cuda::conv;",
        "use crate::{error::Exit, eval::{cpu, cuda::{conv::Way, probe}}};",
        "use super::super::eval::cuda::conv::Way as Other;",
        "fn f() { let x: u8 = crate::eval::cuda::conv::way(1); }",
        "fn f() { assert!(super::super::eval::cuda::conv::way(1) == 2); }",
        "mod inner { use super::super::super::eval::cuda::conv; }",
        "use crate::eval; fn f() { eval::cuda::conv::way() }",
        "use crate::eval::{self as other}; fn f(x: &other::cuda::conv::Way) {}",
        "#[arg(value_parser = crate::eval::cuda::conv::way)] struct S;",
        // Through a name that `eval` re-exports.
        "use crate::eval::Way;",
        "#[cfg(test)] mod tests { use crate::eval::cuda::conv; }",
    ] {
        let eval = "pub mod cuda; pub use self::cuda::Way;";
        let cuda = "pub mod conv; pub use conv::Way;";
        let sources =
            [("run/plan", text), ("eval", eval), ("eval/cuda", cuda), ("eval/cuda/conv", "")];
        let found = planted(&sources);
        assert!(found.contains("run/plan -> eval/cuda/conv"), "{text}: {found:?}");
        let forbidden = forbidden(&Sources::read(&sources).arrows());
        let expected = "src/run/plan.rs: `run` must not depend on `eval/cuda`";
        assert!(forbidden.contains(expected), "{text}: {forbidden:?}");
    }
}

#[test]
fn the_program_names_the_library() {
    let found = planted(&[("main", "use lpips::{net::plan};"), ("net", ""), ("net/plan", "")]);
    assert_eq!(found, ["main -> net/plan".to_owned()].into());
}

#[test]
fn other_crates_comments_and_strings_are_no_arrows() {
    let text = "//! See crate::image.\n/// And [`crate::image`].\nuse ::image::ImageFormat;\n\
                fn f() { ::image::load(\"crate::image\"); image.b::<u8>(); // crate::image\n }";
    assert_eq!(planted(&[("run", text), ("image", "")]), BTreeSet::new());
}

#[test]
fn planted_circles_are_found() {
    let found = |texts: &[(&str, &str)]| circles(&Sources::read(texts).arrows());
    let two = [("run/a", "use super::b::B;"), ("run/b", "fn f() { crate::run::a::g() }")];
    assert_eq!(
        found(&[&two[..], &[("run", "mod a; mod b;")]].concat()),
        ["run/a -> run/b -> run/a"]
    );
    // Through a name that the parent imports.
    let parent = ("run", "mod a; mod b; use a::A; use b::B;");
    let two = [parent, ("run/a", "use super::B;"), ("run/b", "use super::A;")];
    assert_eq!(found(&two), ["run/a -> run/b -> run/a"]);
    let three = [("a", "use crate::b::B;"), ("b", "use crate::c;"), ("c", "use crate::a::{self};")];
    assert_eq!(found(&three), ["a -> b -> c -> a"]);
    // A module and its parent are none, nor is what only tests close.
    assert!(found(&[("a", "mod b; use b::B;"), ("a/b", "use super::A;")]).is_empty());
    let tests = [("a", "use crate::b;"), ("b", "#[cfg(test)] mod tests { use crate::a; }")];
    assert!(found(&tests).is_empty());
    let tests =
        [("a", "use crate::b;"), ("b", "#[cfg(test)] mod tests;"), ("b/tests", "use crate::a;")];
    assert!(found(&tests).is_empty());
}

/// The string literals of `tokens`, without documentation.
fn literals(tokens: TokenStream, found: &mut Vec<String>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => {
                let is_doc = at > 0
                    && is(&tokens[at - 1], '#')
                    && group.stream().to_string().starts_with("doc");
                if !is_doc {
                    literals(group.stream(), found);
                }
            }
            TokenTree::Literal(literal) => found.push(literal.to_string()),
            _ => {}
        }
    }
}

/// Codes that are spelled in `text` among those of `codes`.
fn spelled(text: &str, codes: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    literals(text.parse().unwrap(), &mut found);
    found.retain(|literal| codes.iter().any(|code| literal.contains(code.as_str())));
    found
}

#[test]
fn codes_are_spelled_in_their_table_alone() {
    let sources = all_sources();
    let table = &sources.iter().find(|(name, _)| name == "code").unwrap().1;
    let mut codes = Vec::new();
    literals(table.parse().unwrap(), &mut codes);
    let codes: Vec<String> = codes
        .iter()
        .map(|literal| literal.trim_matches('"').to_owned())
        .filter(|text| (text.starts_with("E_") || text.starts_with("W_")) && text.len() > 2)
        .collect();
    assert!(codes.iter().any(|code| code == "E_SIZE"), "{codes:?}");
    for (name, text) in sources.iter().filter(|(name, _)| name != "code") {
        let found = spelled(text, &codes);
        assert!(found.is_empty(), "src/{name}.rs spells {found:?}: use `Code`");
    }
    let planted = "/// Not `E_SIZE`.\nfn f() { assert!(x == \"E_SIZE: no\", \"{x}\") }";
    assert_eq!(spelled(planted, &codes), ["\"E_SIZE: no\""]);
}

#[test]
fn cudarc_is_named_under_eval_cuda_alone() {
    for (name, text) in all_sources() {
        let is_cuda = part_of(&module_of(&name)) == "eval/cuda";
        assert!(is_cuda || !text.contains("cudarc"), "src/{name}.rs");
    }
}

#[test]
fn files_and_lines_stay_short() {
    let mut faults = Vec::new();
    for (module, text) in all_sources() {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code.lines().count();
        if lines > 400 {
            faults
                .push(format!("src/{module}.rs has {lines} lines without its tests, at most 400"));
        }
        let long = text.lines().position(|line| line.chars().count() > 100);
        if let Some(line) = long {
            faults.push(format!("src/{module}.rs:{}: longer than 100 characters", line + 1));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
