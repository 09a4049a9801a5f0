//! Jobs for simulated machines: small manifests, and how their tables are compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::machine::{Machine, Ran};

/// A folder with images, a manifest `m.csv`, and room for runs.
pub(crate) struct Job {
    folder: tempfile::TempDir,
}

/// Noise in a PPM file; `seed` decides all of it. The distorted ones keep half of the reference.
pub(crate) fn write_noise(path: &Path, (width, height): (usize, usize), seed: u64, half_of: u64) {
    let random = |seed: u64| {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        std::iter::from_fn(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            Some((state >> 32) as u8)
        })
    };
    let mixed = random(seed).zip(random(half_of)).map(|(own, other)| own / 2 + other / 2);
    let pixels: Vec<u8> = mixed.take(3 * width * height).collect();
    let mut file = format!("P6 {width} {height} 255\n").into_bytes();
    file.extend(pixels);
    fs_err::write(path, file).unwrap();
}

/// A black PPM file, which takes no room on the disk.
pub(crate) fn write_black(path: &Path, (width, height): (usize, usize)) {
    let header = format!("P6 {width} {height} 255\n");
    fs_err::write(path, &header).unwrap();
    let file = fs_err::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len((header.len() + 3 * width * height) as u64).unwrap();
}

impl Job {
    /// Pairs of noise: `methods` distorted images for each of `items` references, in two sizes that
    /// alternate and are not square, so that no batch is full and rows and columns cannot be
    /// mistaken for each other.
    pub(crate) fn noise(items: usize, methods: usize) -> Job {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = "ref,dist,item,method\n".to_owned();
        for item in 0..items {
            let size = [(33, 47), (52, 31)][item % 2];
            let seed = 1000 * item as u64;
            let reference = format!("{item}.ppm");
            write_noise(&folder.path().join(&reference), size, seed, seed);
            for method in 0..methods {
                let distorted = format!("{item}_{method}.ppm");
                let own = seed + method as u64 + 1;
                write_noise(&folder.path().join(&distorted), size, own, seed);
                manifest.push_str(&format!("{reference},{distorted},{item},m{method}\n"));
            }
        }
        fs_err::write(folder.path().join("m.csv"), manifest).unwrap();
        Job { folder }
    }

    /// As many pairs as images fit into a micro-batch of 256x256, and so many images: one reference
    /// with itself and with files that hold the same picture.
    pub(crate) fn full_micro_batch() -> Job {
        let folder = tempfile::tempdir().unwrap();
        let mut manifest = "ref,dist,id\n0.ppm,0.ppm,0\n".to_owned();
        write_noise(&folder.path().join("0.ppm"), (256, 256), 1, 1);
        for method in 1..32 {
            write_noise(&folder.path().join(format!("{method}.ppm")), (256, 256), 2, 1);
            manifest.push_str(&format!("0.ppm,{method}.ppm,{method}\n"));
        }
        fs_err::write(folder.path().join("m.csv"), manifest).unwrap();
        Job { folder }
    }

    /// A manifest of existing images, with absolute paths.
    pub(crate) fn of(pairs: &[(String, PathBuf, PathBuf)]) -> Job {
        let folder = tempfile::tempdir().unwrap();
        let rows = pairs.iter().map(|(id, reference, distorted)| {
            format!("{id},{},{}\n", reference.display(), distorted.display())
        });
        let manifest = format!("id,ref,dist\n{}", rows.collect::<String>());
        fs_err::write(folder.path().join("m.csv"), manifest).unwrap();
        Job { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `lpips eval m.csv` with these options, into a fresh run directory.
    pub(crate) fn eval(&self, machine: &Machine, options: &[&str]) -> Evaluated {
        self.eval_of(&["m.csv"], machine, options)
    }

    /// The same with other inputs than the manifest.
    pub(crate) fn eval_of(
        &self,
        inputs: &[&str],
        machine: &Machine,
        options: &[&str],
    ) -> Evaluated {
        let run = tempfile::tempdir_in(self.folder()).unwrap().keep();
        self.run(inputs, &run, machine, options)
    }

    /// The same into a run directory that may hold a part of it.
    pub(crate) fn eval_into(&self, run: &Path, machine: &Machine, options: &[&str]) -> Evaluated {
        self.run(&["m.csv"], run, machine, options)
    }

    fn run(&self, inputs: &[&str], run: &Path, machine: &Machine, options: &[&str]) -> Evaluated {
        let args = [&["eval"], inputs, &["-o", run.to_str().unwrap()], options].concat();
        let ran = machine.lpips(self.folder(), &args);
        Evaluated { ran, run: run.to_owned() }
    }
}

/// A run of `lpips eval`, and where its tables are.
pub(crate) struct Evaluated {
    pub(crate) ran: Ran,
    pub(crate) run: PathBuf,
}

/// Metric columns of one row.
pub(crate) type Values = BTreeMap<String, f64>;

impl Evaluated {
    /// pairs.csv as it is.
    pub(crate) fn pairs(&self) -> String {
        fs_err::read_to_string(self.run.join("pairs.csv")).unwrap_or_default()
    }

    /// run.json.
    pub(crate) fn run_file(&self) -> serde_json::Value {
        let text = fs_err::read_to_string(self.run.join("run.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The metric columns of every row, by id, where they have values.
    pub(crate) fn values(&self) -> BTreeMap<String, Values> {
        let pairs = self.pairs();
        let mut reader = csv::Reader::from_reader(pairs.as_bytes());
        let header = reader.headers().unwrap().clone();
        let is_metric = |name: &str| name.starts_with("lpips_") || name.starts_with("baseline_");
        let row = |row: csv::StringRecord| {
            let cells = header.iter().zip(row.iter());
            let cells = cells.filter(|(name, cell)| is_metric(name) && !cell.is_empty());
            let values = cells.map(|(name, cell)| (name.to_owned(), cell.parse().unwrap()));
            (row[0].to_owned(), values.collect())
        };
        reader.records().map(|record| row(record.unwrap())).collect()
    }

    /// One column of every row, by id.
    pub(crate) fn column(&self, name: &str) -> BTreeMap<String, String> {
        let pairs = self.pairs();
        let mut reader = csv::Reader::from_reader(pairs.as_bytes());
        let at = reader.headers().unwrap().iter().position(|column| column == name).unwrap();
        let cell = |row: csv::StringRecord| (row[0].to_owned(), row[at].to_owned());
        reader.records().map(|row| cell(row.unwrap())).collect()
    }

    /// Asserts that the job was done without fault, and returns its table.
    #[track_caller]
    pub(crate) fn table(&self) -> String {
        self.ran.expect(0);
        self.pairs()
    }
}
