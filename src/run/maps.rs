//! Spatial maps in the run directory: `maps/<id>.<column>.npy` during the run; pictures of
//! them on one scale, and an index, when it ends.
//!
//! A map is written before its row is journalled, so every finished row has its map. With a limit
//! only the largest distances keep theirs; which ones these are follows from the distances alone,
//! not from the order in which they came.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rayon::prelude::*;

use super::disk::Disk;
use super::plan::Kept;
use super::records::Records;
use super::{RunDir, names};
use crate::batch::Row;
use crate::column::{Better, Column};
use crate::decimal::nine_digits;
use crate::error::{DISK_HINT, Refusal};
use crate::image::Size;
use crate::manifest::Manifest;

/// Name of the list of maps.
pub const INDEX: &str = "index.csv";

const NPY: &str = "npy";
const PNG: &str = "png";

/// How bad a total is, the row, its id. The greater, the worse; of two equal totals that of the
/// earlier row is the worse.
type Rank = (u64, Reverse<Row>, String);

/// The maps of a run.
#[derive(Debug)]
pub struct Maps {
    disk: Disk,
    folder: PathBuf,
    /// All columns of the run, with or without maps.
    columns: Vec<Column>,
    /// At most this many maps are kept of each column.
    keep: Option<usize>,
    /// The maps that are kept, by column; unused without a limit.
    worst: Vec<BTreeSet<Rank>>,
}

impl Maps {
    /// The maps of a run with these columns.
    #[must_use]
    pub fn new(run_dir: &RunDir, columns: &[Column], Kept { worst: keep }: Kept) -> Maps {
        let worst = vec![BTreeSet::new(); columns.len()];
        let folder = run_dir.file(names::MAPS);
        Maps { disk: run_dir.disk.clone(), folder, columns: columns.to_vec(), keep, worst }
    }

    /// Restores the ranking from the finished rows of a resumed run for which `counts` is true.
    /// Returns those of them whose maps are missing, as when the process was killed after it had
    /// removed a map for a row that it could not finish.
    ///
    /// # Errors
    /// When the manifest or a journal cannot be read.
    pub fn restore(
        &mut self,
        manifest: &Manifest,
        records: &Records,
        counts: &dyn Fn(Row) -> bool,
    ) -> anyhow::Result<Vec<Row>> {
        let mut without = BTreeSet::new();
        let mut reader = records.reader(1);
        for column in self.mapped() {
            let ranked = self.ranked(column, manifest, records, counts)?;
            for (_, Reverse(row), id) in &ranked {
                let size = reader.read(*row)?.and_then(|record| record.size);
                let len = size.map(|(width, height)| npy::len_bytes(Size { width, height }));
                let found = fs_err::metadata(self.path(column, id, NPY));
                if found.ok().map(|found| found.len()) != len {
                    without.insert(*row);
                }
            }
            if self.keep.is_some() {
                self.worst[column] = ranked;
            }
        }
        Ok(without.into_iter().collect())
    }

    /// Whether the map of this row in column `column` is to be written. Removes a map that must
    /// make room for it.
    ///
    /// # Errors
    /// When that map cannot be removed.
    pub fn admit(&mut self, column: usize, row: Row, id: &str, total: f64) -> anyhow::Result<bool> {
        let Some(keep) = self.keep else { return Ok(true) };
        let rank = (badness(self.columns[column].better, total), Reverse(row), id.to_owned());
        self.worst[column].insert(rank);
        if self.worst[column].len() <= keep {
            return Ok(true);
        }
        let Some((_, Reverse(out), id)) = self.worst[column].pop_first() else { return Ok(false) };
        let path = self.path(column, &id, NPY);
        // Absent if it is this row's, or was admitted just before and is not written yet.
        if path.exists() {
            self.disk.remove(&path)?;
        }
        Ok(out != row)
    }

    /// Writes a map, (row, column), unless it had to make room: a `.npy` file of little-endian
    /// float32 and shape (height, width).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, column: usize, id: &str, size: Size, map: &[f32]) -> anyhow::Result<()> {
        if self.keep.is_some() && !self.worst[column].iter().any(|(_, _, kept)| kept == id) {
            return Ok(());
        }
        let path = self.path(column, id, NPY);
        self.write_file(&path, &npy::bytes(size, map))
    }

    /// Draws every map, all of a column on one scale from 0 to its largest value, and lists them.
    ///
    /// # Errors
    /// When a map is missing, or pictures or the list cannot be written.
    pub fn finish(&self, manifest: &Manifest, records: &Records) -> anyhow::Result<()> {
        let mut index = csv::Writer::from_writer(Vec::new());
        index.write_record(["id", "metric", "mean", "largest", "scale", NPY, PNG])?;
        for column in self.mapped() {
            let name = &self.columns[column].name;
            let ranked = self.ranked(column, manifest, records, &|_| true)?;
            let mut rows: Vec<(Row, String)> =
                ranked.into_iter().map(|(_, Reverse(row), id)| (row, id)).collect();
            rows.sort_unstable();
            let read = |(_, id): &(Row, String)| npy::read(&self.path(column, id, NPY));
            let statistics = rows.par_iter().map(|row| Ok(Statistics::of(&read(row)?.1)));
            let statistics: Vec<Statistics> = statistics.collect::<anyhow::Result<_>>()?;
            let scale = statistics.iter().fold(0.0f32, |scale, one| scale.max(one.largest));
            rows.par_iter().try_for_each(|row| {
                let (size, map) = read(row)?;
                self.write_file(&self.path(column, &row.1, PNG), &picture(size, &map, scale)?)
            })?;
            for ((_, id), Statistics { mean, largest }) in rows.iter().zip(statistics) {
                let numbers = [mean, f64::from(largest), f64::from(scale)].map(nine_digits);
                let files = [NPY, PNG].map(|kind| self.name(column, id, kind));
                let cells = [id.clone(), name.clone()].into_iter().chain(numbers).chain(files);
                index.write_record(cells)?;
            }
        }
        self.write_file(&self.folder.join(INDEX), &index.into_inner()?)
    }

    /// The columns that have maps.
    fn mapped(&self) -> Vec<usize> {
        let columns = self.columns.iter().enumerate();
        let mapped = columns.filter(|(_, column)| column.mapped_model().is_some());
        mapped.map(|(index, _)| index).collect()
    }

    /// The rows of a column that have maps, of those for which `counts` is true.
    fn ranked(
        &self,
        column: usize,
        manifest: &Manifest,
        records: &Records,
        counts: &dyn Fn(Row) -> bool,
    ) -> anyhow::Result<BTreeSet<Rank>> {
        let mut rows = manifest.rows()?;
        let mut reader = records.reader(1);
        let mut ranked = BTreeSet::new();
        for row in (0..manifest.len() as Row).filter(|&row| counts(row)) {
            let total = reader.read(row)?.and_then(|record| record.total(column));
            if let Some(total) = total {
                let badness = badness(self.columns[column].better, total);
                ranked.insert((badness, Reverse(row), rows.read(row)?.id));
            }
            if self.keep.is_some_and(|keep| ranked.len() > keep) {
                ranked.pop_first();
            }
        }
        Ok(ranked)
    }

    /// Durable before its row is journalled, so that a row never has half a map.
    fn write_file(&self, path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
        let write = || {
            fs_err::create_dir_all(path.parent().unwrap_or(Path::new("")))?;
            self.disk.publish(path, |file| Ok(file.write_all(bytes)?))
        };
        write().with_context(|| {
            Refusal::environment(format!("cannot write `{}`", path.display())).hint(DISK_HINT)
        })
    }

    fn path(&self, column: usize, id: &str, kind: &str) -> PathBuf {
        self.folder.join(self.name(column, id, kind))
    }

    /// Relative to the folder of maps.
    fn name(&self, column: usize, id: &str, kind: &str) -> String {
        format!("{}.{}.{kind}", file_name(id), self.columns[column].name)
    }
}

/// An integer that is the greater the worse `value` is, in the order of `f64::total_cmp`.
fn badness(better: Better, value: f64) -> u64 {
    let bits = value.to_bits();
    let ordered = if value.is_sign_negative() { !bits } else { bits | 1 << 63 };
    match better {
        Better::Lower => ordered,
        Better::Higher => !ordered,
    }
}

/// An id as a relative path: `/` makes folders; everything that is no letter, digit, `-`, `_` or an
/// inner `.` becomes `%` and two hexadecimal digits for each byte, so that two ids never meet.
fn file_name(id: &str) -> String {
    let part = |part: &str| -> String {
        let byte = |(index, byte): (usize, u8)| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
            b'.' if index > 0 => ".".to_owned(),
            _ => format!("%{byte:02x}"),
        };
        part.bytes().enumerate().map(byte).collect()
    };
    let parts: Vec<String> = id.split('/').map(part).collect();
    parts.iter().map(|part| if part.is_empty() { "%" } else { part }).collect::<Vec<_>>().join("/")
}

struct Statistics {
    mean: f64,
    largest: f32,
}

impl Statistics {
    fn of(map: &[f32]) -> Statistics {
        let sum: f64 = map.iter().copied().map(f64::from).sum();
        let largest = map.iter().copied().fold(0.0, f32::max);
        Statistics { mean: sum / map.len() as f64, largest }
    }
}

/// A PNG file: from 0, which is black, to `scale` and above in the colours of the palette Inferno,
/// which is perceptually uniform. A text chunk states the scale.
fn picture(size: Size, map: &[f32], scale: f32) -> anyhow::Result<Vec<u8>> {
    let (width, height) = (u32::try_from(size.width)?, u32::try_from(size.height)?);
    let color = |index| colorous::INFERNO.eval_rational(index, 256).into_array();
    let palette: Vec<u8> = (0..256).flat_map(color).collect();
    let factor = if scale > 0.0 { 255.0 / scale } else { 0.0 };
    let indices: Vec<u8> = map.iter().map(|value| (value * factor).round() as u8).collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_palette(palette);
    let text = format!("LPIPS from 0 (black) to {} (pale yellow)", nine_digits(scale.into()));
    encoder.add_text_chunk("Description".to_owned(), text)?;
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&indices)?;
    writer.finish()?;
    Ok(file)
}

/// The files of maps. (General ones are read by [`crate::image`].)
mod npy {
    use super::*;

    /// Magic, version and length of the header, the header, padding: always so many bytes.
    const START_BYTES: usize = 128;

    pub(super) fn bytes(size: Size, map: &[f32]) -> Vec<u8> {
        let Size { width, height } = size;
        let text =
            format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}), }}");
        let text_bytes = START_BYTES - 10;
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text_bytes as u16).to_le_bytes());
        bytes.extend(format!("{text:<width$}\n", width = text_bytes - 1).bytes());
        bytes.extend(map.iter().flat_map(|value| value.to_le_bytes()));
        bytes
    }

    /// How many bytes there are.
    pub(super) fn len_bytes(size: Size) -> u64 {
        (START_BYTES + 4 * size.width * size.height) as u64
    }

    /// Reads what [`bytes`] made.
    pub(super) fn read(path: &Path) -> anyhow::Result<(Size, Vec<f32>)> {
        let bytes = fs_err::read(path)?;
        let parsed = || {
            let text = std::str::from_utf8(bytes.get(10..START_BYTES)?).ok()?;
            let shape = text.split_once("'shape': (")?.1.split_once(')')?.0;
            let (height, width) = shape.split_once(", ")?;
            let size = Size { width: width.parse().ok()?, height: height.parse().ok()? };
            let values = bytes[START_BYTES..].as_chunks::<4>().0;
            let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
            (values.len() == size.width.checked_mul(size.height)?).then_some((size, values))
        };
        parsed().with_context(|| format!("`{}` is no map of this run", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::plan::tests::column;

    fn maps(folder: &Path, better: Better, worst: Option<usize>) -> Maps {
        let columns = [Column { better, ..column("lpips_alex") }];
        Maps::new(&RunDir::open(folder).unwrap(), &columns, Kept { worst })
    }

    #[test]
    fn a_map_comes_back_and_numpy_could_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let size = Size { width: 3, height: 2 };
        let values = [0.0, 1.5, -2.0, 1e-30, 4.0, 5.0];
        maps(folder.path(), Better::Lower, None).write(0, "x4/a", size, &values).unwrap();
        let path = folder.path().join("maps/x4/a.lpips_alex.npy");
        assert_eq!(npy::read(&path).unwrap(), (size, values.to_vec()));
        let bytes = fs_err::read(path).unwrap();
        assert!(bytes.starts_with(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4'"));
        assert_eq!((bytes[127], bytes.len()), (b'\n', 128 + 24));
    }

    #[test]
    fn the_worst_are_kept_in_whatever_order_they_come() {
        let size = Size { width: 1, height: 1 };
        let totals = [0.5, -0.0, 0.9, 0.7, 0.9, -1.0];
        let orders = [[0, 1, 2, 3, 4, 5], [5, 4, 3, 2, 1, 0], [2, 4, 0, 3, 5, 1]];
        let worst = [
            (Better::Lower, [false, false, true, false, true, false]),
            (Better::Higher, [false, true, false, false, false, true]),
        ];
        for (order, (better, expected)) in orders.iter().flat_map(|o| worst.map(|w| (*o, w))) {
            let folder = tempfile::tempdir().unwrap();
            let mut maps = maps(folder.path(), better, Some(2));
            for row in order {
                let id = row.to_string();
                if maps.admit(0, row, &id, totals[row as usize]).unwrap() {
                    maps.write(0, &id, size, &[0.0]).unwrap();
                }
            }
            let kept = |row: Row| maps.path(0, &row.to_string(), NPY).exists();
            assert_eq!([0, 1, 2, 3, 4, 5].map(kept), expected);
        }
    }

    #[test]
    fn ids_become_names_that_stay_within_the_folder_and_never_meet() {
        assert_eq!(file_name("swinir/0801"), "swinir/0801");
        assert_eq!(file_name("../a b/.c"), "%2e./a%20b/%2ec");
        assert_eq!(file_name("/abs//x\\y"), "%/abs/%/x%5cy");
        assert_eq!(file_name("é"), "%c3%a9");
    }

    #[test]
    fn a_picture_is_an_indexed_png_that_states_its_scale() {
        let file = picture(Size { width: 2, height: 1 }, &[0.0, 0.5], 0.5).unwrap();
        let text = b"LPIPS from 0 (black) to 0.500000000";
        assert!(file.windows(text.len()).any(|part| part == text));
        let mut reader = png::Decoder::new(std::io::Cursor::new(&file)).read_info().unwrap();
        let mut indices = [9; 2];
        reader.next_frame(&mut indices).unwrap();
        assert_eq!(indices, [0, 255]);
    }
}
