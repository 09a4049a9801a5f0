//! `lpips weights import|fetch|export`: files of weights come and go.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::decimal::counted;
use crate::error::{Exit, Refusal};
use crate::fetch::{self, Remote};
use crate::hash::sha256_hex;
use crate::net::Net;
use crate::net::weights::{
    Lin, Recognised, SearchPath, Source, TRUNK_BYTES_MAX, Torchvision, Trunk, Version, published,
    recognise, safetensors_of, tensors_of, torchvision,
};
use crate::part_file;
use crate::progress::{Download, print_line};
use crate::regular;

/// `lpips weights import`.
pub(super) fn import(
    file: &Path,
    output: Option<&Path>,
    search: &SearchPath,
) -> anyhow::Result<Exit> {
    let found = recognise(file).with_context(|| {
        Refusal::inputs("cannot import weights")
            .hint("bring a checkpoint of torchvision, lpips or pyiqa for alex, vgg or squeeze")
    })?;
    let path = write(file, &found, output, search)?;
    print_line(&format!("`{}`: {}", file.display(), description(&found)));
    print_line(&format!("wrote `{}`, SHA-256 {}", path.path.display(), path.sha256));
    Ok(Exit::Complete)
}

fn description(found: &Recognised) -> String {
    let Recognised { net, trunk, lin, sha256, rounded, example, left_out } = found;
    let trunk = trunk.as_ref().map(|trunk| format!("trunk of {} convolutions", trunk.convs.len()));
    let lin = lin.as_ref().map(|lin| format!("{} layers of lin weights", lin.layers.len()));
    let parts: Vec<String> = trunk.into_iter().chain(lin).collect();
    let rest = match left_out.len() {
        0 => String::new(),
        count => {
            format!("; {} left out, such as `{}`", counted(count, "other tensor"), left_out[0])
        }
    };
    let rounded = match rounded {
        0 => String::new(),
        count => format!("\nwarning: rounded to float32: {count} of its values"),
    };
    let parts = parts.join(" and ");
    format!("{net}, {parts} (`{example}`...){rest}\nits SHA-256 is {sha256}{rounded}")
}

struct Written {
    path: PathBuf,
    sha256: String,
}

/// Writes what was recognised: all of it to `output`, or the published trunk where it is searched.
fn write(
    file: &Path,
    found: &Recognised,
    output: Option<&Path>,
    search: &SearchPath,
) -> anyhow::Result<Written> {
    let (path, bytes) = match output {
        Some(path) => {
            let tensors = tensors_of(found.trunk.as_ref(), found.lin.as_ref());
            (path.to_owned(), safetensors_of(&tensors)?)
        }
        None => {
            let bytes = published_bytes(file, found)?;
            (target(search)?.join(published(found.net).file), bytes)
        }
    };
    let sha256 = sha256_hex(&bytes);
    let is_there = regular::read(&path, bytes.len() as u64).is_ok_and(|there| there == bytes);
    if !is_there {
        publish(&path, &bytes)?;
    }
    Ok(Written { path, sha256 })
}

/// The content of the published file of the net that was recognised.
fn published_bytes(file: &Path, found: &Recognised) -> anyhow::Result<Vec<u8>> {
    let net = found.net;
    let expected = published(net);
    // SqueezeNet's is torchvision's file itself.
    let bytes = if found.sha256 == expected.sha256 {
        regular::read(file, TRUNK_BYTES_MAX)?
    } else {
        safetensors_of(&tensors_of(found.trunk.as_ref(), None))?
    };
    if sha256_hex(&bytes) == expected.sha256 {
        return Ok(bytes);
    }
    let text = format!(
        "`{}` is not torchvision's published trunk of {net}, which is what {} must be",
        file.display(),
        expected.file
    );
    Err(Refusal::inputs(text)
        .hint(format!(
            "name a file to write with `-o`, or use this one unchanged: `--net {net} --trunk FILE` \
             or `--lin FILE`"
        ))
        .into())
}

/// The folder that weights are written to.
fn target(search: &SearchPath) -> Result<&Path, Refusal> {
    search.target().ok_or_else(|| {
        Refusal::environment("no folder to write weights to: HOME is not set")
            .hint("name one with `--weights-dir`, or in LPIPS_WEIGHTS_DIR")
    })
}

/// Writes a new file, whole or not at all.
fn publish(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if path.exists() {
        let what = if path.is_dir() { "a folder" } else { "there with another content" };
        return Err(Refusal::inputs(format!("`{}` is {what}", path.display()))
            .hint("name another file with `-o`, or remove this one")
            .into());
    }
    let write = || -> anyhow::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        fs_err::create_dir_all(folder)?;
        let mut file = part_file::beside(path)?;
        std::io::Write::write_all(&mut file, bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        Ok(())
    };
    write().with_context(|| {
        Refusal::environment(format!("cannot write `{}`", path.display()))
            .hint("name a folder that can be written with `--weights-dir`, or a file with `-o`")
    })
}

/// `lpips weights fetch`.
pub(super) fn fetch(net: Net, url: Option<&str>, search: &SearchPath) -> anyhow::Result<Exit> {
    if let Ok(source) = search.find(net) {
        Trunk::load(net, &source)?;
        print_line(&format!("{net} is there: {source}"));
        return Ok(Exit::Complete);
    }
    let Torchvision { file: name, sha256, bytes } = torchvision(net);
    let url =
        url.map_or_else(|| format!("https://download.pytorch.org/models/{name}"), str::to_owned);
    let file = target(search)?.join(name);
    let remote = Remote { url: url.clone(), sha256: sha256.to_owned(), bytes };
    let mut download = Download::new(name);
    let fetched = fetch::fetch(&fetch::agent(), &remote, &file, &mut |have, total| {
        download.set(have, total);
    });
    download.finish();
    fetched.with_context(|| {
        Refusal::environment(format!("cannot fetch {name}")).hint(format!(
            "download {url} on a machine with a network, copy it here, and run `lpips weights \
             import {name}`; behind a proxy, set HTTPS_PROXY"
        ))
    })?;
    if name == published(net).file {
        Trunk::load(net, &Source::File(file.clone()))?;
        print_line(&format!("wrote `{}`, SHA-256 {sha256}", file.display()));
        return Ok(Exit::Complete);
    }
    let exit = import(&file, None, search)?;
    // What is needed of it is in the safetensors file now.
    fs_err::remove_file(&file)?;
    Ok(exit)
}

/// `lpips weights export`.
pub(super) fn export(
    net: Net,
    version: Version,
    output: &Path,
    search: &SearchPath,
) -> anyhow::Result<Exit> {
    let source: Source = search
        .find(net)
        .map_err(|missing| Refusal::environment(missing.to_string()).hint(missing.remedy()))?;
    let trunk = Trunk::load(net, &source)?;
    let lin = Lin::load(net, version)?;
    let bytes = safetensors_of(&tensors_of(Some(&trunk), Some(&lin)))?;
    publish(output, &bytes)?;
    print_line(&format!("wrote `{}`, SHA-256 {}", output.display(), sha256_hex(&bytes)));
    Ok(Exit::Complete)
}
