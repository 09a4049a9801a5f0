//! Spatial maps in the run directory: `maps/<id>.<column>.npy` during the run; pictures of
//! them on one scale, and an index, when it ends.
//!
//! A map is written before its row is journalled with the map's hash, so every finished row has its
//! map. With a limit only the largest distances keep theirs; which ones these are follows from the
//! distances alone, not from the order in which they came. When the run ends, maps that are not
//! listed are removed.

mod files;
mod npy;

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use rayon::prelude::*;
use walkdir::WalkDir;

use self::files::Names;
use super::cells::TextCells;
use super::disk::Disk;
use super::journal::Record;
use super::outputs::Kept;
use super::records::Records;
use super::{RunDir, names};
use crate::batch::Row;
use crate::column::{Better, Column};
use crate::decimal::nine_digits;
use crate::error::{DISK_HINT, Refusal};
use crate::hash::Xxh3;
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
    names: Names,
    /// All columns of the run, with or without maps.
    columns: Vec<Column>,
    /// At most this many maps are kept of each column.
    keep: Option<usize>,
    /// The maps that are kept, by column; unused without a limit.
    worst: Vec<BTreeSet<Rank>>,
}

impl Maps {
    /// The maps of a run with these columns.
    ///
    /// # Errors
    /// When the manifest cannot be read.
    pub fn new(
        run_dir: &RunDir,
        manifest: &Manifest,
        columns: &[Column],
        Kept { worst: keep }: Kept,
    ) -> anyhow::Result<Maps> {
        let worst = vec![BTreeSet::new(); columns.len()];
        let (disk, folder) = (run_dir.disk.clone(), run_dir.file(names::MAPS));
        let names = Names::of(manifest)?;
        Ok(Maps { disk, folder, names, columns: columns.to_vec(), keep, worst })
    }

    /// Restores the ranking from the finished rows of a resumed run for which `counts` is true.
    /// Returns those of them whose maps are missing or damaged, as when the process was killed
    /// after it had removed a map for a row that it could not finish.
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
            let mut expected = Vec::new();
            for (_, Reverse(row), id) in &ranked {
                expected.push((self.path(column, *row, id, NPY), reader.read(*row)?));
            }
            let is_damaged = |(path, record): &(PathBuf, Option<Record>)| {
                let record = record.as_ref()?;
                read(path, record, column).is_err().then_some(record.row)
            };
            without.par_extend(expected.par_iter().filter_map(is_damaged));
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
        let path = self.path(column, out, &id, NPY);
        // Absent if it is this row's, or was admitted just before and is not written yet.
        if path.exists() {
            self.disk.remove(&path)?;
        }
        Ok(out != row)
    }

    /// Writes a map, (row, column), unless it had to make room: a `.npy` file of little-endian
    /// float32 and shape (height, width). Returns the hash of the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(
        &self,
        column: usize,
        row: Row,
        id: &str,
        size: Size,
        map: &[f32],
    ) -> anyhow::Result<Option<Xxh3>> {
        let is_kept = |worst: &BTreeSet<Rank>| worst.iter().any(|&(_, Reverse(of), _)| of == row);
        if self.keep.is_some() && !is_kept(&self.worst[column]) {
            return Ok(None);
        }
        let bytes = npy::bytes(size, map);
        self.write_file(&self.path(column, row, id, NPY), &bytes)?;
        Ok(Some(Xxh3::of(&bytes)))
    }

    /// Draws every map, all of a column on one scale from 0 to its largest value, removes all
    /// others, and lists them.
    ///
    /// # Errors
    /// When a map is missing or damaged, or pictures or the list cannot be written.
    pub fn finish(
        &self,
        manifest: &Manifest,
        records: &Records,
        text: TextCells,
    ) -> anyhow::Result<()> {
        let mut index = csv::Writer::from_writer(Vec::new());
        index.write_record(["id", "metric", "mean", "largest", "scale", NPY, PNG])?;
        let mut listed = HashSet::new();
        let mut reader = records.reader(1);
        for column in self.mapped() {
            let name = &self.columns[column].name;
            let mut rows: Vec<(Record, String)> = Vec::new();
            for (_, Reverse(row), id) in self.ranked(column, manifest, records, &|_| true)? {
                rows.extend(reader.read(row)?.map(|record| (record, id)));
            }
            rows.sort_unstable_by_key(|(record, _)| record.row);
            let map = |(record, id): &(Record, String)| {
                read(&self.path(column, record.row, id, NPY), record, column)
            };
            let statistics = rows.par_iter().map(|row| Ok(Statistics::of(&map(row)?.1)));
            let statistics: Vec<Statistics> = statistics.collect::<anyhow::Result<_>>()?;
            let scale = statistics.iter().fold(0.0f32, |scale, one| scale.max(one.largest));
            rows.par_iter().try_for_each(|row| {
                let (size, values) = map(row)?;
                let path = self.path(column, row.0.row, &row.1, PNG);
                self.write_file(&path, &picture(size, &values, scale)?)
            })?;
            for ((record, id), Statistics { mean, largest }) in rows.iter().zip(statistics) {
                let numbers = [mean, f64::from(largest), f64::from(scale)].map(nine_digits);
                let files = [NPY, PNG].map(|kind| self.name(column, record.row, id, kind));
                listed.extend(files.iter().map(|name| self.folder.join(name)));
                let cells =
                    [text.write(id.clone()), name.clone()].into_iter().chain(numbers).chain(files);
                index.write_record(cells)?;
            }
        }
        self.remove_others(&listed)?;
        self.write_file(&self.folder.join(INDEX), &index.into_inner()?)
    }

    /// Removes maps and pictures that are not listed: of pairs that fail now, and of those that are
    /// no longer among the worst, or only in their shard.
    fn remove_others(&self, listed: &HashSet<PathBuf>) -> anyhow::Result<()> {
        let endings: Vec<String> = self
            .mapped()
            .into_iter()
            .flat_map(|column| [NPY, PNG].map(|kind| self.ending(column, kind)))
            .collect();
        for entry in WalkDir::new(&self.folder).into_iter().filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy();
            let is_map = endings.iter().any(|ending| name.ends_with(ending));
            if entry.file_type().is_file() && is_map && !listed.contains(entry.path()) {
                self.disk.remove(entry.path())?;
            }
        }
        Ok(())
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

    fn path(&self, column: usize, row: Row, id: &str, kind: &str) -> PathBuf {
        self.folder.join(self.name(column, row, id, kind))
    }

    /// Relative to the folder of maps.
    fn name(&self, column: usize, row: Row, id: &str, kind: &str) -> String {
        self.names.stem(row, id) + &self.ending(column, kind)
    }

    fn ending(&self, column: usize, kind: &str) -> String {
        format!(".{}.{kind}", self.columns[column].name)
    }
}

/// The maps of a metric that a folder of maps lists: id and file, relative to the folder. None if
/// there is no list.
#[must_use]
pub fn listed(folder: &Path, metric: &str) -> Vec<(String, PathBuf)> {
    let Ok(mut index) = csv::Reader::from_path(folder.join(INDEX)) else { return Vec::new() };
    let row = |row: csv::StringRecord| {
        // id, metric, mean, largest, scale, npy, png
        (row.get(1)? == metric).then_some((row.get(0)?.to_owned(), PathBuf::from(row.get(5)?)))
    };
    index.records().filter_map(|record| record.ok().and_then(row)).collect()
}

/// Reads the file of a map; `None` if it is missing or damaged.
#[must_use]
pub fn load(path: &Path) -> Option<(Size, Vec<f32>)> {
    npy::parse(&fs_err::read(path).ok()?)
}

/// Reads the map of a record in a column, which must have the size and the hash of the record.
/// Records of version 0.1 have no hash.
fn read(path: &Path, record: &Record, column: usize) -> anyhow::Result<(Size, Vec<f32>)> {
    let damaged = || {
        let shown = path.display();
        Refusal::environment(format!("the map `{shown}` is missing or damaged")).hint(
            "run the command that started the run again: it computes the pair and its map again",
        )
    };
    let expected = record.size.map(|(width, height)| npy::len_bytes(Size { width, height }));
    let len = fs_err::metadata(path).with_context(damaged)?.len();
    ensure!(Some(len) == expected, damaged());
    let bytes = fs_err::read(path).with_context(damaged)?;
    let hash = record.maps.get(column).copied().flatten();
    ensure!(record.pair.is_none() || hash == Some(Xxh3::of(&bytes)), damaged());
    npy::parse(&bytes).with_context(damaged)
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
///
/// # Errors
/// When a side has more than 2^31 pixels.
pub fn picture(size: Size, map: &[f32], scale: f32) -> anyhow::Result<Vec<u8>> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::Location;
    use crate::run::journal::record;
    use crate::run::plan::tests::column;

    fn maps(folder: &Path, better: Better, worst: Option<usize>) -> Maps {
        let columns = [Column { better, ..column("lpips_alex") }];
        let rows: String = (0..6).map(|row| format!("{row},r,d\n")).collect();
        fs_err::write(folder.join("m.csv"), format!("id,ref,dist\n{rows}")).unwrap();
        let manifest = Manifest::open(Location::of(&folder.join("m.csv"))).unwrap();
        let run_dir = RunDir::open(&folder.join("run")).unwrap();
        Maps::new(&run_dir, &manifest, &columns, Kept { worst }).unwrap()
    }

    #[test]
    fn a_map_comes_back_and_numpy_could_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let size = Size { width: 3, height: 2 };
        let values = [0.0, 1.5, -2.0, 1e-30, 4.0, 5.0];
        let maps = maps(folder.path(), Better::Lower, None);
        let hash = maps.write(0, 0, "x4/a", size, &values).unwrap();
        let path = folder.path().join("run/maps/x4/a.lpips_alex.npy");
        let mut record = record(0, 0.5);
        record.size = Some((3, 2));
        (record.maps, record.pair) = (vec![hash], Some(Xxh3::of(b"")));
        assert_eq!(read(&path, &record, 0).unwrap(), (size, values.to_vec()));
        let bytes = fs_err::read(&path).unwrap();
        assert!(bytes.starts_with(b"\x93NUMPY\x01\x00\x76\x00{'descr': '<f4'"));
        assert_eq!((bytes[127], bytes.len()), (b'\n', 128 + 24));
        // Of the right length, but not what was written.
        let mut damaged = bytes;
        damaged[140] ^= 1;
        fs_err::write(&path, damaged).unwrap();
        assert!(read(&path, &record, 0).is_err());
        record.pair = None;
        assert!(read(&path, &record, 0).is_ok(), "version 0.1 wrote no hash");
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
                    maps.write(0, row, &id, size, &[0.0]).unwrap();
                }
            }
            let kept = |row: Row| maps.path(0, row, &row.to_string(), NPY).exists();
            assert_eq!([0, 1, 2, 3, 4, 5].map(kept), expected);
        }
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
