//! Examines one reference with its distorted images: headers, and whether files are copies.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::{Question, Work};
use crate::batch::BatchShape;
use crate::code::Code;
use crate::error::Failure;
use crate::image::Size;
use crate::image::{self, Header};
use crate::manifest::{Entry, Manifest};
use crate::masks::Masks;
use crate::net::NetSpec;
use crate::net::plan::TooSmall;
use crate::pair::{self, Difference, Differences};
use crate::regular;

/// Files are compared in blocks of so many bytes.
const COMPARED_BYTES: usize = 1 << 16;

/// Rows with one reference.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) entries: Vec<Entry>,
    pub(super) reference: PathBuf,
    /// One for each entry.
    pub(super) distorted: Vec<PathBuf>,
}

/// The findings of one row.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Codes and messages.
    pub(super) findings: Vec<(Code, String)>,
    pub(super) is_scorable: bool,
    pub(super) is_identical: bool,
}

/// The findings of a group.
#[derive(Debug)]
pub(super) struct Found {
    /// One for each entry.
    pub(super) verdicts: Vec<Verdict>,
    pub(super) work: BTreeMap<BatchShape, Work>,
}

/// What the header of a file says.
#[derive(Debug)]
struct Examined {
    header: Header,
    /// Size after cropping.
    size: Size,
    len_bytes: u64,
}

/// The code and the message of a file that cannot be used.
type Fault = (Code, String);

impl Group {
    pub(super) fn new(manifest: &Manifest, entry: Entry) -> Group {
        let reference = manifest.resolve(&entry.reference);
        let mut group = Group { entries: Vec::new(), reference, distorted: Vec::new() };
        group.push(manifest, entry);
        group
    }

    pub(super) fn push(&mut self, manifest: &Manifest, entry: Entry) {
        self.distorted.push(manifest.resolve(&entry.distorted));
        self.entries.push(entry);
    }

    /// Reads the headers of the files, and the contents of those that may be copies.
    ///
    /// # Errors
    /// When the machine is at fault that a file cannot be read.
    pub(super) fn look(&self, question: &Question<'_>) -> anyhow::Result<Found> {
        let reference = examine(&self.reference, question)?;
        let examined: anyhow::Result<Vec<Result<Examined, Fault>>> =
            self.distorted.par_iter().map(|path| examine(path, question)).collect();
        let examined = examined?;
        let mut work: BTreeMap<BatchShape, Work> = BTreeMap::new();
        let mut verdicts: Vec<Verdict> = Vec::with_capacity(examined.len());
        let mut paths: HashSet<&Path> = HashSet::new();
        let mut masks = MaskVerdicts::default();
        for ((entry, path), distorted) in self.entries.iter().zip(&self.distorted).zip(&examined) {
            let mut verdict = judge(reference.as_ref(), distorted.as_ref(), question);
            if let (Ok(reference), Ok(distorted)) = (&reference, distorted) {
                if let (true, Some(folder)) = (verdict.is_scorable, question.masks) {
                    let images = [self.reference.as_path(), path];
                    masks.judge(folder, &entry.item, reference.size, images, &mut verdict)?;
                }
                self.find_identity(reference, distorted, path, &mut verdict);
                if verdict.is_scorable {
                    let of_shape = work.entry(shape(reference, distorted)).or_default();
                    let is_new = *path != self.reference && paths.insert(path);
                    of_shape.images += u64::from(of_shape.pairs == 0) + u64::from(is_new);
                    of_shape.pairs += 1;
                }
            }
            verdicts.push(verdict);
        }
        self.find_repetitions(&examined, &mut verdicts);
        Ok(Found { verdicts, work })
    }

    /// Counts each image once, in the first group that uses it.
    pub(super) fn count_members(&self, found: &mut Found, members: &mut HashSet<PathBuf>) {
        let scorable = found.verdicts.iter().zip(&self.distorted);
        let scorable = scorable.filter(|(verdict, _)| verdict.is_scorable).map(|(_, path)| path);
        let mut paths: Vec<&PathBuf> = scorable.collect();
        if !paths.is_empty() {
            paths.push(&self.reference);
        }
        let new = paths.into_iter().filter(|path| members.insert(path.to_path_buf())).count();
        for (index, work) in found.work.values_mut().enumerate() {
            work.images = if index == 0 { new as u64 } else { 0 };
        }
    }

    fn find_identity(
        &self,
        reference: &Examined,
        distorted: &Examined,
        path: &Path,
        verdict: &mut Verdict,
    ) {
        let is_own = *path == self.reference;
        let same = reference.len_bytes == distorted.len_bytes && are_equal(&self.reference, path);
        verdict.is_identical = is_own || same;
        if verdict.is_identical {
            let what = if is_own { "is the reference itself" } else { "has the reference's bytes" };
            verdict.findings.push((Code::Identical, format!("`{}` {what}", path.display())));
        }
    }

    /// Finds rows that name the same two files, and different files with the same bytes.
    fn find_repetitions(&self, examined: &[Result<Examined, Fault>], verdicts: &mut [Verdict]) {
        let mut rows_by_path: HashMap<&Path, usize> = HashMap::new();
        let mut rows_by_len: HashMap<u64, Vec<usize>> = HashMap::new();
        for (row, path) in self.distorted.iter().enumerate() {
            if let Some(&earlier) = rows_by_path.get(path.as_path()) {
                let id = &self.entries[earlier].id;
                let message = format!("`{}` is already compared in `{id}`", path.display());
                verdicts[row].findings.push((Code::Duplicate, message));
                continue;
            }
            rows_by_path.insert(path, row);
            // Copies of the reference have a finding of their own.
            let Ok(examined) = &examined[row] else { continue };
            if verdicts[row].is_identical {
                continue;
            }
            let same_len = rows_by_len.entry(examined.len_bytes).or_default();
            let twin = same_len.iter().find(|&&other| are_equal(&self.distorted[other], path));
            if let Some(&twin) = twin {
                let other = self.distorted[twin].display();
                let message = format!("`{}` has the bytes of `{other}`", path.display());
                verdicts[row].findings.push((Code::SameDistorted, message));
            } else {
                same_len.push(row);
            }
        }
    }
}

/// The outcome for each mask, which may serve many rows.
#[derive(Debug, Default)]
struct MaskVerdicts<'a>(HashMap<(&'a str, Size), Result<(), Failure>>);

impl<'a> MaskVerdicts<'a> {
    fn judge(
        &mut self,
        masks: &Masks,
        item: &'a str,
        size: Size,
        images: [&Path; 2],
        verdict: &mut Verdict,
    ) -> anyhow::Result<()> {
        let known = match self.0.entry((item, size)) {
            Slot::Occupied(known) => known.into_mut(),
            Slot::Vacant(new) => new.insert(match masks.check(item, size) {
                Ok(()) => Ok(()),
                Err(unusable) => Err(unusable.failure()?),
            }),
        };
        let checked = known.clone().and_then(|()| masks.expect_none_of(images, item));
        if let Err(Failure { message, .. }) = checked {
            verdict.is_scorable = false;
            verdict.findings.push((Code::Mask, message));
        }
        Ok(())
    }
}

/// What a file states, or its fault.
///
/// # Errors
/// When the machine is at fault.
fn examine(path: &Path, question: &Question<'_>) -> anyhow::Result<Result<Examined, Fault>> {
    let rules = question.rules;
    let header = match image::header(path) {
        Ok(header) => header,
        Err(error) => return fault_of(error),
    };
    let fault = |error: image::ImageError| {
        (error.code(), format!("`{}`: {}", path.display(), error.reason()))
    };
    let len_bytes = fs_err::metadata(path).map_or(0, |of| of.len());
    let size = match rules.scored(header.size) {
        Ok(size) => size,
        Err(error) => return Ok(Err(fault(error))),
    };
    if question.decodes
        && let Err(error) = image::decode(path, rules)
    {
        return fault_of(error);
    }
    Ok(Ok(Examined { header, size, len_bytes }))
}

/// The fault of a file that cannot be read.
///
/// # Errors
/// When the machine is at fault.
fn fault_of(error: image::ImageError) -> anyhow::Result<Result<Examined, Fault>> {
    match error.is_of_machine() {
        true => Err(error.into()),
        false => Ok(Err((error.code(), error.to_string()))),
    }
}

/// Judges a pair by its headers.
fn judge(
    reference: Result<&Examined, &Fault>,
    distorted: Result<&Examined, &Fault>,
    question: &Question<'_>,
) -> Verdict {
    let mut verdict = Verdict::default();
    let (reference, distorted) = match (reference, distorted) {
        (Ok(reference), Ok(distorted)) => (reference, distorted),
        (reference, distorted) => {
            verdict.findings.extend(reference.err().cloned());
            verdict.findings.extend(distorted.err().cloned());
            return verdict;
        }
    };
    if reference.size == distorted.size {
        let nets = question.specs.iter().filter_map(|&spec| too_small(spec, reference.size));
        verdict.findings.extend(nets.map(|too_small| (Code::TooSmall, too_small.to_string())));
        let fidelity = question.fidelity.iter();
        let small = fidelity.filter_map(|metric| metric.accepts(reference.size).err());
        verdict.findings.extend(small.map(|small| (Code::TooSmall, small.to_string())));
    } else {
        let message = pair::sizes_differ(question.rules, reference.size, distorted.size);
        verdict.findings.push((Code::Size, message));
    }
    verdict.is_scorable = verdict.findings.is_empty();
    let differences = Differences::between(reference.header.traits, distorted.header.traits);
    let borne = Difference::ALL.into_iter().filter(|&one| differences.contains(one));
    verdict
        .findings
        .extend(borne.map(|one| (one.code(), one.describe(reference.header, distorted.header))));
    verdict
}

fn too_small(spec: &NetSpec, size: Size) -> Option<TooSmall> {
    let min_side = spec.min_side;
    let Size { width, height } = size;
    let fits = width.min(height) >= min_side;
    (!fits).then_some(TooSmall { net: spec.name, min_side, width, height })
}

fn shape(reference: &Examined, distorted: &Examined) -> BatchShape {
    pair::shape(reference.size, reference.header.depth(), distorted.header.depth())
}

/// Whether two files hold the same bytes; stops at the first difference. A file that cannot be read
/// equals no other.
fn are_equal(a: &Path, b: &Path) -> bool {
    let compare = || -> anyhow::Result<bool> {
        let (mut a, mut b) = (regular::open(a)?, regular::open(b)?);
        let (mut left, mut right) = (Vec::new(), Vec::new());
        loop {
            left.clear();
            right.clear();
            a.by_ref().take(COMPARED_BYTES as u64).read_to_end(&mut left)?;
            b.by_ref().take(COMPARED_BYTES as u64).read_to_end(&mut right)?;
            if left != right || left.is_empty() {
                return Ok(left == right);
            }
        }
    };
    compare().unwrap_or(false)
}
