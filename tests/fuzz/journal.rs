//! Journals: no row is lost, no number is changed, and no line is skipped in silence. The journals of
//! a run are written well, then damaged: bytes change, lines move, and lines with right checksums say
//! something else. A slow reader, written from the format alone, judges what the program makes of
//! them; readers with planted faults show that this finds them.

use std::collections::BTreeMap;

use lpips::column::{Better, Column, Fingerprint, Origin};
use lpips::manifest::{Location, Manifest};
use lpips::metric::Reduction;
use lpips::run::RunDir;
use lpips::run::cells::TextCells;
use lpips::run::plan::{Frozen, Plan};
use lpips::run::records::Records;
use lpips::run::tables::Tables;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestRunner};
use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::{Counter, Edit, apply, config, edit, seeds};

const ROWS: usize = 6;
const SHARDS: u32 = 2;
/// Cases within a check.
const CASES: u32 = 1000;

/// The content of each journal, by shard and attempt.
type Journals = BTreeMap<(u32, u32), Vec<u8>>;

/// What became of a row: status, code of its failure, total and parts.
type Outcome = (String, String, Vec<Option<f64>>);

/// What a reader makes of the journals: the outcomes of all rows, and how many lines it skipped as
/// damaged and as those of another run or pair. `None` if it refuses the run.
type Read = Option<(Vec<Outcome>, usize, usize)>;

/// A run directory whose journals are replaced for each case.
struct Run {
    folder: tempfile::TempDir,
    manifest: Manifest,
    frozen: Frozen,
}

impl Run {
    fn new() -> Run {
        let folder = tempfile::tempdir().unwrap();
        let rows: String = (0..ROWS).map(|row| format!("id{row},r{row},d{row}\n")).collect();
        fs_err::write(folder.path().join("m.csv"), format!("id,ref,dist\n{rows}")).unwrap();
        let manifest = Manifest::open(Location::of(&folder.path().join("m.csv"))).unwrap();
        let plan = Plan {
            schema: Plan::schema(),
            shards: SHARDS,
            pairs: ROWS,
            manifest: "m.csv".to_owned(),
            manifest_sha256: manifest.sha256().to_owned(),
            numerics_class: "one".to_owned(),
            columns: vec![Column {
                name: "lpips_alex".to_owned(),
                parts: 2,
                better: Better::Lower,
                from: Origin::Model { index: 0, reduction: Reduction::Mean },
                fingerprint: Fingerprint::new("lpips"),
            }],
            maps: None,
            per_layer: true,
            group_by: Vec::new(),
            array: None,
        };
        let run_dir = RunDir::open(&folder.path().join("run")).unwrap();
        let frozen = plan.freeze(&run_dir, false).unwrap();
        Run { folder, manifest, frozen }
    }

    /// The program's reader: what pairs.csv says, and what was skipped.
    fn read(&self, journals: &Journals) -> Read {
        let run_dir = RunDir::existing(&self.folder.path().join("run")).unwrap();
        fs_err::remove_dir_all(run_dir.journals()).unwrap();
        fs_err::create_dir(run_dir.journals()).unwrap();
        for ((shard, attempt), bytes) in journals {
            let name = format!("{shard}-of-{SHARDS}.attempt-{attempt}");
            fs_err::write(run_dir.journals().join(name), bytes).unwrap();
        }
        let Run { manifest, frozen, .. } = self;
        let records = Records::open(&run_dir, frozen, manifest, None).ok()?;
        let tables = Tables {
            manifest,
            records: &records,
            columns: &frozen.plan.columns,
            per_layer: true,
            group_by: &[],
            text: TextCells::Unchanged,
        };
        let mut table = Vec::new();
        tables.write_pairs(&mut table).unwrap();
        let outcome = |row: csv::StringRecord| {
            let numbers = (7..10).map(|at| row[at].parse().ok());
            (row[10].to_owned(), row[11].to_owned(), numbers.collect())
        };
        let mut rows = csv::Reader::from_reader(&table[..]);
        let outcomes = rows.records().map(|row| outcome(row.unwrap())).collect();
        Some((outcomes, records.torn, records.foreign))
    }

    fn pair_hash(&self, row: usize) -> String {
        pair_hash(&self.frozen.sha256, row)
    }
}

/// The hash that binds a row to a plan and to the cells of its pair.
fn pair_hash(plan_sha256: &str, row: usize) -> String {
    let cells = format!("id{row}\0r{row}\0d{row}\0r{row}\0\0");
    let identity = xxh3_64(cells.as_bytes());
    format!("{:016x}", xxh3_64(&[plan_sha256.as_bytes(), &identity.to_le_bytes()].concat()))
}

/// A line with its checksum.
fn line(entry: &Value) -> Vec<u8> {
    let json = entry.to_string();
    format!("{:08x} {json}\n", slow::crc32(json.as_bytes())).into_bytes()
}

/// What an attempt writes of a row.
#[derive(Clone, Debug)]
enum Written {
    /// Which content its files had, and whether the score is another than that of this content.
    Scored(u64, bool),
    Failed,
    /// It has a score, but failed in something else.
    Partly,
}

fn written() -> impl Strategy<Value = Written> {
    prop_oneof![
        6 => (0..2u64, prop::bool::weighted(0.05)).prop_map(|(of, odd)| Written::Scored(of, odd)),
        2 => Just(Written::Failed),
        1 => Just(Written::Partly),
    ]
}

fn pair(run: &Run, row: usize, written: &Written) -> Value {
    let failure = json!({"code": "E_DECODE", "message": "no"});
    let value = |content: u64, is_odd: bool| {
        let part = (1 + row) as f64 / 7.0 + content as f64 * 1e-3 + f64::from(u8::from(is_odd));
        json!({"total": part + 1e-9, "parts": [part, 1e-9]})
    };
    let stamp = |content: u64| json!({"len": content, "mtime_ns": 7, "xxh3": "ab"});
    let mut record = json!({"row": row, "pair": run.pair_hash(row), "size": [4, 3]});
    let (values, stamps, failure) = match *written {
        Written::Scored(content, is_odd) => {
            (vec![value(content, is_odd)], vec![stamp(content); 2], None)
        }
        Written::Failed => (vec![], vec![], Some(failure)),
        Written::Partly => (vec![value(0, false)], vec![stamp(0); 2], Some(failure)),
    };
    record["values"] = values.into();
    record["stamps"] = stamps.into();
    if let Some(failure) = failure {
        record["failure"] = failure;
    }
    json!({ "pair": record })
}

fn begin(run: &Run, shard: u32, class: &str) -> Value {
    let owner =
        json!({"host": "h", "machine": "m", "pid": 1, "process_start": 1, "job": Value::Null});
    json!({"begin": {
        "format": 2, "plan_sha256": run.frozen.sha256, "shard": {"index": shard, "count": SHARDS},
        "owner": owner, "device": "d", "numerics_class": class, "program_version": "",
        "program_commit": "", "command": [], "script": Value::Null, "started": "",
    }})
}

/// One attempt: its shard, whether its numbers are of the plan's class, its rows, whether it ended.
type Attempt = (u32, bool, Vec<(usize, Written)>, bool);

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let rows = prop::collection::vec((0..ROWS, written()), 0..6);
    let attempt = (0..SHARDS, prop::bool::weighted(0.8), rows, any::<bool>());
    prop::collection::vec(attempt, 1..5)
}

fn journals(run: &Run, attempts: &[Attempt]) -> Journals {
    let mut journals = Journals::new();
    for (shard, is_of_plan, rows, has_ended) in attempts {
        let number = 1 + journals.keys().filter(|(of, _)| of == shard).count() as u32;
        let mut lines = vec![begin(run, *shard, if *is_of_plan { "one" } else { "other" })];
        lines.extend(rows.iter().map(|(row, written)| pair(run, *row, written)));
        if *has_ended {
            lines.push(json!({"end": {"how": "stopped", "ended": "", "elapsed_s": 1.5}}));
        }
        journals.insert((*shard, number), lines.iter().flat_map(line).collect());
    }
    journals
}

/// Another meaning of a line, whose checksum is right.
#[derive(Clone, Debug)]
enum Meaning {
    Row(u32),
    /// The hash of another pair, or of a pair of another plan; none.
    HashOf(usize),
    OtherPlan,
    NoHash,
    Total(f64),
    /// Text where the total is.
    Text(&'static str),
    PartsLess,
    PartsMore,
    /// As version 0.1 wrote values.
    Layers,
    NoValues,
    NullValue,
    Failure(bool),
    Format(u32),
    Shard(u32),
    Class,
}

fn meaning() -> impl Strategy<Value = Meaning> {
    let total = prop_oneof![any::<f64>(), Just(0.0), Just(-0.0), Just(1e-320), Just(0.1 + 0.2)];
    prop_oneof![
        2 => (0..ROWS as u32 + 2).prop_map(Meaning::Row),
        2 => (0..ROWS).prop_map(Meaning::HashOf),
        1 => Just(Meaning::OtherPlan),
        1 => Just(Meaning::NoHash),
        2 => total.prop_map(Meaning::Total),
        1 => prop::sample::select(&["inf", "-inf", "NaN", "1.5"][..]).prop_map(Meaning::Text),
        1 => Just(Meaning::PartsLess),
        1 => Just(Meaning::PartsMore),
        1 => Just(Meaning::Layers),
        1 => Just(Meaning::NoValues),
        1 => Just(Meaning::NullValue),
        1 => any::<bool>().prop_map(Meaning::Failure),
        1 => (0..4u32).prop_map(Meaning::Format),
        1 => (0..SHARDS).prop_map(Meaning::Shard),
        1 => Just(Meaning::Class),
    ]
}

impl Meaning {
    /// Changes an entry, if it is of the kind that this is about.
    fn apply(&self, run: &Run, entry: &mut Value) {
        if let Some(begin) = entry.get_mut("begin") {
            match self {
                Meaning::Format(format) => begin["format"] = (*format).into(),
                Meaning::Shard(index) => begin["shard"]["index"] = (*index).into(),
                Meaning::OtherPlan => begin["plan_sha256"] = "0".into(),
                Meaning::Class => begin["numerics_class"] = "other".into(),
                _ => {}
            }
        }
        let Some(record) = entry.get_mut("pair") else { return };
        let row = record["row"].as_u64().unwrap_or(0) as usize;
        match self {
            Meaning::Row(row) => record["row"] = (*row).into(),
            Meaning::HashOf(row) => record["pair"] = run.pair_hash(*row).into(),
            Meaning::OtherPlan => record["pair"] = pair_hash("other", row).into(),
            Meaning::NoHash => drop(record.as_object_mut().unwrap().remove("pair")),
            Meaning::NoValues => record["values"] = json!([]),
            Meaning::NullValue => record["values"] = json!([null]),
            Meaning::Failure(true) => {
                record["failure"] = json!({"code": "E_READ", "message": "no"});
            }
            Meaning::Failure(false) => drop(record.as_object_mut().unwrap().remove("failure")),
            _ => {}
        }
        let Some(value) = record["values"].get_mut(0).filter(|value| value.is_object()) else {
            return;
        };
        match self {
            Meaning::Total(total) => value["total"] = (*total).into(),
            Meaning::Text(text) => value["total"] = (*text).into(),
            Meaning::PartsLess => drop(value["parts"].as_array_mut().unwrap().pop()),
            Meaning::PartsMore => value["parts"].as_array_mut().unwrap().push(0.5.into()),
            Meaning::Layers => *value = value["parts"].clone(),
            _ => {}
        }
    }
}

/// One change of a run's journals.
#[derive(Clone, Debug)]
enum Change {
    Bytes(Index, Edit),
    Meaning(Index, Index, Meaning),
    /// A line of one journal moves into another, or is in both.
    Move(Index, Index, Index, Index, bool),
    Line(Index, Index),
    Journal(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), edit()).prop_map(|(of, edit)| Change::Bytes(of, edit)),
        6 => (at(), at(), meaning()).prop_map(|(of, line, to)| Change::Meaning(of, line, to)),
        3 => (at(), at(), at(), at(), any::<bool>())
            .prop_map(|(of, line, to, place, copy)| Change::Move(of, line, to, place, copy)),
        1 => (at(), at()).prop_map(|(of, line)| Change::Line(of, line)),
        1 => at().prop_map(Change::Journal),
    ]
}

/// The lines of a journal, with their ends.
fn lines(bytes: &[u8]) -> Vec<Vec<u8>> {
    bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect()
}

impl Change {
    fn apply(&self, run: &Run, journals: &mut Journals) {
        let names: Vec<(u32, u32)> = journals.keys().copied().collect();
        let name = |of: &Index| names[of.index(names.len())];
        let of_line =
            |lines: &[Vec<u8>], line: &Index| (!lines.is_empty()).then(|| line.index(lines.len()));
        match self {
            Change::Bytes(of, edit) => {
                apply(edit, journals.get_mut(&name(of)).unwrap(), usize::MAX);
            }
            Change::Meaning(of, at, meaning) => {
                let mut all = lines(&journals[&name(of)]);
                let Some(at) = of_line(&all, at) else { return };
                let Some(mut entry) = slow::entry(&all[at]) else { return };
                meaning.apply(run, &mut entry);
                all[at] = line(&entry);
                journals.insert(name(of), all.concat());
            }
            Change::Move(of, at, to, place, is_copy) => {
                let mut from = lines(&journals[&name(of)]);
                let Some(at) = of_line(&from, at) else { return };
                let moved = from[at].clone();
                if !is_copy {
                    from.remove(at);
                    journals.insert(name(of), from.concat());
                }
                let mut into = lines(&journals[&name(to)]);
                into.insert(place.index(into.len() + 1), moved);
                journals.insert(name(to), into.concat());
            }
            Change::Line(of, at) => {
                let mut all = lines(&journals[&name(of)]);
                let Some(at) = of_line(&all, at) else { return };
                all.remove(at);
                journals.insert(name(of), all.concat());
            }
            Change::Journal(of) if names.len() > 1 => drop(journals.remove(&name(of))),
            Change::Journal(_) => {}
        }
    }
}

/// A reader of the journals of a run.
type Reader = fn(&Run, &Journals) -> Read;

/// Runs written and changed journals through `reader`; the first disagreement.
fn search(config: Config, reader: Reader) -> Result<(), String> {
    let run = Run::new();
    let counter = Counter::default();
    let cases = (attempts(), prop::collection::vec(change(), 0..5));
    let outcome = TestRunner::new(config).run(&cases, |(attempts, changes)| {
        counter.add();
        let mut journals = journals(&run, &attempts);
        changes.iter().for_each(|change| change.apply(&run, &mut journals));
        let (expected, found) = (slow::read(&run, &journals), reader(&run, &journals));
        match found == expected {
            true => Ok(()),
            false => Err(TestCaseError::fail(fault(&journals, &expected, &found))),
        }
    });
    outcome.map_err(|error| error.to_string())
}

fn fault(journals: &Journals, expected: &Read, found: &Read) -> String {
    let text = |((shard, attempt), bytes): (&(u32, u32), &Vec<u8>)| {
        format!("== {shard}.{attempt}\n{}", String::from_utf8_lossy(bytes))
    };
    let journals: String = journals.iter().map(text).collect();
    format!("expected {expected:?}\nfound    {found:?}\n{journals}")
}

#[test]
fn journals_lose_no_row() {
    search(config(CASES), Run::read).unwrap_or_else(|fault| panic!("{fault}"));
}

/// Files of tests/data/corpus/journal: what is expected of each row, then the journals. `! ` stands
/// before a line with a wrong checksum, `~ ` before one that does not end.
#[test]
fn journals_of_the_corpus() {
    let run = Run::new();
    let all = seeds(&["corpus/journal"]);
    assert!(all.len() >= 5);
    for super::Seed { name, bytes, .. } in all {
        let mut text = String::from_utf8(bytes).unwrap().replace("$PLAN", &run.frozen.sha256);
        for row in 0..ROWS {
            text = text.replace(&format!("$PAIR{row}"), &run.pair_hash(row));
        }
        let (expected, rest) = text.split_once('\n').unwrap();
        let mut journals = Journals::new();
        let mut journal = (0, 0);
        for line in rest.lines() {
            let bytes =
                |json: &str| format!("{:08x} {json}\n", slow::crc32(json.as_bytes())).into_bytes();
            let bytes = match line.split_at_checked(2) {
                Some(("==", name)) => {
                    let (shard, attempt) = name.trim().split_once('.').unwrap();
                    journal = (shard.parse().unwrap(), attempt.parse().unwrap());
                    Vec::new()
                }
                Some(("! ", json)) => [b"00000000", &bytes(json)[8..]].concat(),
                Some(("~ ", json)) => bytes(json)[..json.len() + 9].to_vec(),
                _ => bytes(line),
            };
            journals.entry(journal).or_default().extend(bytes);
        }
        let found = run.read(&journals);
        assert_eq!(found, slow::read(&run, &journals), "{name}");
        let outcome = |(status, code, numbers): &Outcome| match (status.as_str(), numbers[0]) {
            ("ok", Some(total)) => total.to_string(),
            _ => code.clone(),
        };
        let found = found.map_or_else(
            || "refused".to_owned(),
            |(rows, ..)| rows.iter().map(outcome).collect::<Vec<_>>().join(" "),
        );
        assert_eq!(found, expected, "{name}");
    }
}

/// Each line, with another function of line and checksum.
fn with_lines(journals: &Journals, change: impl Fn(&[u8]) -> Vec<u8>) -> Journals {
    let changed = |bytes: &Vec<u8>| lines(bytes).iter().flat_map(|line| change(line)).collect();
    journals.iter().map(|(&name, bytes)| (name, changed(bytes))).collect()
}

/// Whatever the checksum is, the line counts.
fn trusting(run: &Run, journals: &Journals) -> Read {
    let checked = |text: &[u8]| match text.get(9..).map(serde_json::from_slice::<Value>) {
        Some(Ok(entry)) => line(&entry),
        _ => text.to_vec(),
    };
    run.read(&with_lines(journals, checked))
}

/// Whatever the hash is, the row is that of the pair that it names.
fn unbound(run: &Run, journals: &Journals) -> Read {
    let bound = |text: &[u8]| {
        let entry = slow::entry(text);
        let row = entry.as_ref().and_then(|entry| entry["pair"]["row"].as_u64());
        match (entry, row) {
            (Some(mut entry), Some(row)) => {
                entry["pair"]["pair"] = run.pair_hash(row as usize).into();
                line(&entry)
            }
            _ => text.to_vec(),
        }
    };
    run.read(&with_lines(journals, bound))
}

/// The first attempt at a shard wins, not the latest.
fn backward(run: &Run, journals: &Journals) -> Read {
    let last = |shard: u32| journals.keys().filter(|(of, _)| *of == shard).count() as u32;
    let turned = journals
        .iter()
        .map(|(&(shard, attempt), bytes)| ((shard, 1000 + last(shard) - attempt), bytes.clone()));
    run.read(&turned.collect())
}

/// What follows a damaged line of a journal is not read.
fn timid(run: &Run, journals: &Journals) -> Read {
    let good = |bytes: &Vec<u8>| {
        let all = lines(bytes);
        let end = all.iter().position(|line| slow::entry(line).is_none());
        all[..end.map_or(all.len(), |end| end + 1)].concat()
    };
    run.read(&journals.iter().map(|(&name, bytes)| (name, good(bytes))).collect())
}

/// What was skipped is not counted.
fn silent(run: &Run, journals: &Journals) -> Read {
    run.read(journals).map(|(rows, ..)| (rows, 0, 0))
}

#[test]
fn planted_faults_of_the_journal_reader_are_found() {
    let fixed = || Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(1),
        failure_persistence: None,
        max_shrink_iters: 0,
        ..Config::default()
    };
    let readers: [(&str, Reader); 5] = [
        ("trusting", trusting),
        ("unbound", unbound),
        ("backward", backward),
        ("timid", timid),
        ("silent", silent),
    ];
    for (name, reader) in readers {
        assert!(search(fixed(), reader).is_err(), "the {name} reader was not found out");
    }
}

/// The journals, from their format: one line after the other, and all of it in memory.
mod slow {
    use super::{Journals, Outcome, ROWS, Read, Run, SHARDS, Value, lines};

    /// What a line says of a pair.
    #[derive(Clone, PartialEq)]
    struct Record {
        class: String,
        /// Total and parts.
        value: Option<Vec<f64>>,
        stamps: Value,
        code: Option<String>,
    }

    pub(super) fn read(run: &Run, journals: &Journals) -> Read {
        let mut records: Vec<Option<Record>> = vec![None; ROWS];
        let (mut damaged, mut foreign) = (0, 0);
        for ((shard, _), bytes) in journals {
            let entries: Vec<Option<Value>> = lines(bytes).iter().map(|line| entry(line)).collect();
            let mut class = "one".to_owned();
            for begin in entries.iter().flatten().filter_map(|entry| entry.get("begin")) {
                let is_known = [1, 2].contains(&begin["format"].as_u64()?);
                let is_ours = begin["plan_sha256"] == run.frozen.sha256.as_str()
                    && begin["shard"]["index"] == *shard
                    && begin["shard"]["count"] == SHARDS;
                (is_known && is_ours).then_some(())?;
                class = begin["numerics_class"].as_str()?.to_owned();
            }
            for entry in entries {
                let Some(entry) = entry else {
                    damaged += 1;
                    continue;
                };
                let Some(pair) = entry.get("pair") else { continue };
                let Some((row, value)) = parsed(pair) else {
                    damaged += 1;
                    continue;
                };
                let code = pair.get("failure").map(|failure| text(&failure["code"]));
                let fits = match &value {
                    Values::None => code.is_some(),
                    Values::Null => code.is_some(),
                    Values::One(numbers) => numbers.len() == 3,
                };
                if row >= ROWS || !fits || pair["pair"] != run.pair_hash(row).as_str() {
                    foreign += 1;
                    continue;
                }
                let value = if let Values::One(numbers) = value { Some(numbers) } else { None };
                let stamps = pair["stamps"].clone();
                let now = Record { class: class.clone(), value, stamps, code };
                if let Some(before) = &records[row] {
                    let are_scored = before.code.is_none() && now.code.is_none();
                    let is_same = before.stamps == now.stamps && before.class == now.class;
                    if are_scored && is_same && before.value != now.value {
                        return None;
                    }
                }
                records[row] = Some(now);
            }
        }
        Some((records.into_iter().map(outcome).collect(), damaged, foreign))
    }

    fn outcome(record: Option<Record>) -> Outcome {
        let none = vec![None; 3];
        // Nine digits, as tables have them.
        let cell = |number: f64| format!("{number:.8e}").parse().ok();
        match record {
            None => ("failed".into(), "E_NOT_RUN".into(), none),
            Some(Record { value, code, .. }) => {
                let numbers = value.map_or(none, |value| value.into_iter().map(cell).collect());
                let status = if code.is_some() { "failed" } else { "ok" };
                (status.into(), code.unwrap_or_default(), numbers)
            }
        }
    }

    enum Values {
        None,
        Null,
        One(Vec<f64>),
    }

    /// Row and value of a pair, if it has the form of one.
    fn parsed(pair: &Value) -> Option<(usize, Values)> {
        let row = usize::try_from(pair["row"].as_u64()?).ok()?;
        let values = pair["values"].as_array()?;
        let Some(value) = values.first() else { return Some((row, Values::None)) };
        let numbers = |values: &Vec<Value>| values.iter().map(Value::as_f64).collect();
        Some((
            row,
            match value {
                Value::Null => Values::Null,
                Value::Array(parts) => {
                    let parts: Vec<f64> = Option::from_iter(parts.iter().map(Value::as_f64))?;
                    let mut total = 0.0;
                    parts.iter().for_each(|part| total += part);
                    Values::One([vec![total], parts].concat())
                }
                value => {
                    let total = match &value["total"] {
                        Value::String(text) if text == "inf" => f64::INFINITY,
                        Value::String(text) if text == "-inf" => f64::NEG_INFINITY,
                        total => total.as_f64()?,
                    };
                    let parts: Option<Vec<f64>> = numbers(value["parts"].as_array()?);
                    Values::One([vec![total], parts?].concat())
                }
            },
        ))
    }

    fn text(value: &Value) -> String {
        value.as_str().unwrap_or_default().to_owned()
    }

    /// The JSON of a line with a right checksum and an end.
    pub(super) fn entry(line: &[u8]) -> Option<Value> {
        let (checksum, json) = line.strip_suffix(b"\n")?.split_at_checked(8)?;
        let json = json.strip_prefix(b" ")?;
        let mut expected = 0u32;
        for &digit in checksum {
            expected = 16 * expected + char::from(digit).to_digit(16)?;
        }
        (crc32(json) == expected).then(|| serde_json::from_slice(json).ok())?
    }

    /// CRC-32 as in ISO 3309, a bit at a time.
    pub(super) fn crc32(bytes: &[u8]) -> u32 {
        let mut crc = u32::MAX;
        for &byte in bytes {
            crc ^= u32::from(byte);
            for _ in 0..8 {
                crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
            }
        }
        !crc
    }
}
