//! Random edits of good files, against the readers of files that others may have written: no panic, no
//! memory beyond a bound, and no row lost or number changed in silence: slow readers, written from the
//! formats alone, judge what is read.
//!
//! A few hundred or thousand cases run with every check, always the same ones. `scripts/fuzz` runs
//! others for as long as you like. The bytes of a case that fails are written to a file, whose name is
//! printed; once its cause is fixed it belongs into tests/data/corpus.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking")]

#[path = "fuzz/journal.rs"]
mod journal;
#[path = "fuzz/manifest.rs"]
mod manifest;
#[path = "fuzz/naive.rs"]
mod naive;
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};

use lpips::image::{self, Image, Pixels, Rules};
use lpips::net::Net;
use lpips::net::weights::{Trunk, recognise};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};

use support::{data, write_squeeze};

/// Cases of each test within a check.
const CASES: u32 = 300;
/// Cases after which a long run prints how many there were.
const PRINTED_EVERY: u64 = 1000;
/// Most memory that the process may ever have used, in KiB.
const MEMORY_MAX_KIB: u64 = 768 << 10;
/// Images are small here, so that a case takes no time.
const PIXELS_MAX: u64 = 1 << 20;

/// One change of a file. Positions are relative to its length.
#[derive(Clone, Debug)]
enum Edit {
    Set(Index, u8),
    /// Four bytes that often stand for a length or an offset.
    Number(Index, u32, bool),
    Insert(Index, Vec<u8>),
    Remove(Index, Index),
    /// A piece that appears twice.
    Repeat(Index, Index),
    Cut(Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let number = prop_oneof![
        Just(0u32),
        Just(1),
        Just(0x7fff_ffff),
        Just(u32::MAX),
        Just(0xffff),
        Just(1 << 16),
        any::<u32>()
    ];
    let index = any::<Index>;
    prop_oneof![
        4 => (index(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        2 => (index(), number, any::<bool>()).prop_map(|(at, n, big)| Edit::Number(at, n, big)),
        1 => (index(), prop::collection::vec(any::<u8>(), 1..8))
            .prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        1 => (index(), index()).prop_map(|(a, b)| Edit::Remove(a, b)),
        1 => (index(), index()).prop_map(|(a, b)| Edit::Repeat(a, b)),
        1 => index().prop_map(Edit::Cut),
    ]
}

/// Applies `edit` to the first `reach` bytes.
fn apply(edit: &Edit, bytes: &mut Vec<u8>, reach: usize) {
    let len = bytes.len().min(reach);
    if len == 0 {
        return;
    }
    let range = |a: &Index, b: &Index| {
        let (a, b) = (a.index(len), b.index(len));
        a.min(b)..a.max(b)
    };
    match edit {
        Edit::Set(at, byte) => bytes[at.index(len)] = *byte,
        Edit::Number(at, number, big) => {
            let number = if *big { number.to_be_bytes() } else { number.to_le_bytes() };
            let at = at.index(len);
            for (byte, new) in bytes[at..].iter_mut().zip(number) {
                *byte = new;
            }
        }
        Edit::Insert(at, new) => {
            let at = at.index(len);
            bytes.splice(at..at, new.iter().copied());
        }
        Edit::Remove(a, b) => {
            bytes.drain(range(a, b));
        }
        Edit::Repeat(a, b) => {
            let range = range(a, b);
            let piece = bytes[range.clone()].to_vec();
            bytes.splice(range.end..range.end, piece);
        }
        Edit::Cut(at) => bytes.truncate(at.index(len)),
    }
}

/// Most memory that this process has used until now; 0 where the system does not state it.
fn memory_kib() -> u64 {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

/// Reads `bytes`; a case that fails leaves them in a file.
fn attempt(name: &str, bytes: &[u8], read: &dyn Fn(&[u8])) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        read(bytes);
        let used = memory_kib();
        assert!(used < MEMORY_MAX_KIB, "{used} KiB of memory were used");
    }));
    if let Err(panic) = outcome {
        let hash = &lpips::hash::sha256_hex(bytes)[..12];
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{hash}-{name}"));
        fs_err::write(&path, bytes).unwrap();
        eprintln!("the bytes of the case that failed are in {}", path.display());
        resume_unwind(panic);
    }
}

/// A good file, and how many of its first bytes are edited.
struct Seed {
    name: String,
    bytes: Vec<u8>,
    reach: usize,
}

/// The files of folders below tests/data, in the order of their names.
fn seeds(folders: &[&str]) -> Vec<Seed> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let entries = fs_err::read_dir(data(folder)).unwrap();
        paths.extend(entries.map(|entry| entry.unwrap().path()));
    }
    paths.sort();
    let seed = |path: PathBuf| Seed {
        name: path.file_name().unwrap().to_string_lossy().into_owned(),
        bytes: fs_err::read(&path).unwrap(),
        reach: usize::MAX,
    };
    paths.into_iter().map(seed).collect()
}

/// The settings of a search: `cases` that are always the same, or what the environment says.
fn config(cases: u32) -> Config {
    let config = Config { failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => Config { cases, rng_seed: RngSeed::Fixed(1), ..config },
    }
}

/// Counts cases, and prints the count of long runs.
#[derive(Debug, Default)]
struct Counter(std::cell::Cell<u64>);

impl Counter {
    fn add(&self) {
        self.0.set(self.0.get() + 1);
        if self.0.get().is_multiple_of(PRINTED_EVERY)
            && std::env::var_os("PROPTEST_CASES").is_some()
        {
            eprintln!("{} cases", self.0.get());
        }
    }
}

/// Edited seeds: the name of a file and its bytes.
fn edited(seeds: &[Seed]) -> impl Strategy<Value = (&str, Vec<u8>)> {
    let cases = (any::<Index>(), prop::collection::vec(edit(), 1..6));
    cases.prop_map(|(seed, edits)| {
        let Seed { name, bytes, reach } = &seeds[seed.index(seeds.len())];
        let mut bytes = bytes.clone();
        edits.iter().for_each(|edit| apply(edit, &mut bytes, *reach));
        (name.as_str(), bytes)
    })
}

/// Reads every seed unchanged, then edits of them.
fn fuzz(seeds: &[Seed], read: impl Fn(&str, &[u8])) {
    for Seed { name, bytes, .. } in seeds {
        attempt(name, bytes, &|bytes| read(name, bytes));
    }
    let counter = Counter::default();
    // Each case that fails leaves a file.
    let config = Config { max_shrink_iters: 0, ..config(CASES) };
    let outcome = TestRunner::new(config).run(&edited(seeds), |(name, bytes)| {
        counter.add();
        attempt(name, &bytes, &|bytes| read(name, bytes));
        Ok::<(), TestCaseError>(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// Width, height and RGB of 8 bits.
type Picture = (usize, usize, Vec<u8>);

/// The program's reader; `None` if it refuses the file, or if samples have more than 8 bits.
fn picture(bytes: &[u8]) -> Option<Picture> {
    let rules = Rules { pixels_max: PIXELS_MAX, ..Rules::default() };
    let Image { size, pixels, .. } = image::decode_bytes(bytes, &rules).ok()?;
    match pixels {
        Pixels::U8(samples) => Some((size.width, size.height, samples)),
        Pixels::F32(_) => None,
    }
}

/// Why a picture is not what the bytes say. A reader may refuse more than the naive one.
fn fault_of(bytes: &[u8], picture: Option<Picture>) -> Option<&'static str> {
    let picture = picture?;
    match naive::read(bytes) {
        naive::Verdict::Unknown => None,
        naive::Verdict::Refused => Some("a naive reader refuses what was read"),
        naive::Verdict::Pixels(width, height, rgb) => {
            ((width, height, rgb) != picture).then_some("a naive reader reads other pixels")
        }
    }
}

#[test]
fn images() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let rules = Rules { pixels_max: PIXELS_MAX, ..Rules::default() };
    fuzz(&seeds(&["twins", "corpus/image"]), |_, bytes| {
        fs_err::write(&path, bytes).unwrap();
        let header = image::header(&path);
        if let Some(fault) = fault_of(bytes, picture(bytes)) {
            panic!("{fault}");
        }
        let Ok(image) = image::decode(&path, &rules) else { return };
        let header = header.unwrap();
        assert_eq!((header.size, header.traits), (image.size, image.traits));
        assert!((image.size.width * image.size.height) as u64 <= PIXELS_MAX);
        match &image.pixels {
            Pixels::U8(samples) => assert_eq!(samples.len(), image.size.samples()),
            Pixels::F32(samples) => {
                assert_eq!(samples.len(), image.size.samples());
                assert!(samples.iter().all(|sample| (0.0..=1.0).contains(sample)));
            }
        }
    });
}

/// What is cut off is black.
fn padded(bytes: &[u8]) -> Option<Picture> {
    picture(&[bytes, &[0; 1 << 14]].concat())
}

/// The rows of every BMP begin at the bottom.
fn upright(bytes: &[u8]) -> Option<Picture> {
    let (width, height, mut rgb) = picture(bytes)?;
    if bytes.starts_with(b"BM") && bytes[25] == 0xff {
        rgb = rgb.chunks(3 * width).rev().flatten().copied().collect();
    }
    Some((width, height, rgb))
}

/// The colours of GIF's palette are where they would be without a transparent one.
fn opaque(bytes: &[u8]) -> Option<Picture> {
    let mut bytes = bytes.to_vec();
    let control = bytes.windows(3).position(|window| window == [0x21, 0xf9, 4]);
    if let Some(at) = control.filter(|at| bytes.len() > at + 3) {
        bytes[at + 3] &= !1;
    }
    picture(&bytes)
}

/// A largest sample of PNM is always 255.
fn unscaled(bytes: &[u8]) -> Option<Picture> {
    let (width, height, rgb) = picture(bytes)?;
    let is_grey = bytes.starts_with(b"P5");
    let pixels = bytes.len().checked_sub(width * height).filter(|_| is_grey);
    match pixels.map(|at| &bytes[at..]) {
        Some(grey) => Some((width, height, grey.iter().flat_map(|&grey| [grey; 3]).collect())),
        None => Some((width, height, rgb)),
    }
}

#[test]
fn planted_faults_of_the_image_reader_are_found() {
    let known = ["bmp", "gif", "pgm", "ppm", "pbm", "tiff"];
    let mut all = seeds(&["twins", "corpus/image"]);
    all.retain(|seed| known.contains(&seed.name.rsplit('.').next().unwrap()));
    type Reader = fn(&[u8]) -> Option<Picture>;
    let readers: [(&str, Reader); 4] =
        [("padded", padded), ("upright", upright), ("opaque", opaque), ("unscaled", unscaled)];
    for (name, reader) in readers {
        let config =
            Config { cases: 2000, rng_seed: RngSeed::Fixed(1), max_shrink_iters: 0, ..config(0) };
        let found = TestRunner::new(config).run(&edited(&all), |(_, bytes)| {
            let fault = fault_of(&bytes, reader(&bytes));
            fault.map_or(Ok(()), |fault| Err(TestCaseError::fail(fault)))
        });
        assert!(found.is_err(), "the {name} reader was not found out");
    }
}

/// Checkpoints of PyTorch, the older kind without checksums among them, so that edits reach the
/// pickles.
#[test]
fn checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint");
    fuzz(&seeds(&["checkpoints"]), |_, bytes| {
        fs_err::write(&path, bytes).unwrap();
        let Ok(found) = recognise(&path) else { return };
        assert!(found.trunk.is_some() || found.lin.is_some());
        for (conv, spec) in
            found.trunk.iter().flat_map(|t| t.convs.iter().zip(found.net.spec().convs()))
        {
            assert_eq!(conv.weight.len(), spec.weight_shape().iter().product::<usize>());
            assert!(conv.weight.iter().chain(&conv.bias).all(|value| value.is_finite()));
        }
        for (layer, channels) in
            found.lin.iter().flat_map(|lin| lin.layers.iter().zip(found.net.spec().tap_channels()))
        {
            assert_eq!(layer.len(), channels);
        }
    });
    assert!(!Path::new("harmed").exists(), "a file ran a command");
}

#[test]
fn weights() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = fs_err::read(write_squeeze(folder.path())).unwrap();
    let mut all = seeds(&["corpus/weights"]);
    // Its length and its header: what follows are numbers.
    let reach = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert!(Trunk::from_safetensors(Net::Squeeze, &bytes, String::new()).is_ok());
    all.push(Seed { name: "squeeze.safetensors".to_owned(), bytes, reach });
    fuzz(&all, |_, bytes| {
        let Ok(trunk) = Trunk::from_safetensors(Net::Squeeze, bytes, String::new()) else { return };
        let convs = Net::Squeeze.spec().convs();
        assert_eq!(trunk.convs.len(), convs.len());
        for (conv, spec) in trunk.convs.iter().zip(convs) {
            assert_eq!(conv.weight.len(), spec.weight_shape().iter().product::<usize>());
            assert_eq!(conv.bias.len(), spec.c_out);
        }
    });
}
