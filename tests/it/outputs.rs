//! What the program computes beside plain LPIPS, from the command line to the files.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::{csv, data, lpips, stderr};

/// Three golden pairs as a manifest; returns its path.
fn manifest(folder: &Path) -> String {
    let images = data("golden/images");
    let row = |id: &str| {
        let image = |side| images.join(format!("{id}_{side}.png")).display().to_string();
        format!("{},{},{id}\n", image("ref"), image("dist"))
    };
    let rows: String = ["jpeg10", "blur2", "identical"].map(row).concat();
    let path = folder.join("m.csv");
    fs_err::write(&path, format!("ref,dist,item\n{rows}")).unwrap();
    path.display().to_string()
}

/// Cells of pairs.csv by id and column.
fn cells(run: &Path) -> BTreeMap<(String, String), String> {
    let mut rows = csv(&run.join("pairs.csv")).into_iter();
    let header = rows.next().unwrap();
    let named = |row: Vec<String>| {
        let id = row[0].clone();
        let names = header.clone();
        names.into_iter().zip(row).map(move |(name, cell)| ((id.clone(), name), cell))
    };
    rows.flat_map(named).collect()
}

fn number(cells: &BTreeMap<(String, String), String>, id: &str, column: &str) -> f64 {
    cells[&(id.to_owned(), column.to_owned())].parse().unwrap()
}

#[test]
fn lpips_plus_is_semantic_layer_two_of_alex() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = manifest(folder.path());
    let run = |options: &[&str], name: &str| {
        let mut line = vec!["eval", &manifest, "-o", name, "--per-layer"];
        line.extend(options);
        let output = lpips(folder.path(), &line);
        assert!(output.status.success(), "{}", stderr(&output));
        fs_err::read_to_string(folder.path().join(name).join("pairs.csv")).unwrap()
    };
    let preset = run(&["--preset", "lpips+"], "preset");
    assert_eq!(preset, run(&["--semantic-layer", "2"], "layer"));
    let cells = cells(&folder.path().join("preset"));
    assert_eq!(number(&cells, "identical", "lpips_semantic2_alex"), 0.0);
    let layers = (0..5).map(|layer| format!("lpips_semantic2_alex_layer{layer}"));
    let sum: f64 = layers.map(|column| number(&cells, "jpeg10", &column)).sum();
    let total = number(&cells, "jpeg10", "lpips_semantic2_alex");
    assert!((sum - total).abs() < 1e-8 && total > 0.01, "{sum} {total}");
    let run_file = fs_err::read_to_string(folder.path().join("preset/run.json")).unwrap();
    assert!(run_file.contains(r#""reduction": "semantic2""#), "{run_file}");
}

#[test]
fn spatial_maps_are_arrays_pictures_and_an_index() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = manifest(folder.path());
    let output = lpips(folder.path(), &["eval", &manifest, "-o", "all", "--spatial"]);
    assert!(output.status.success(), "{}", stderr(&output));
    let maps = folder.path().join("all/maps");
    let index = csv(&maps.join("index.csv"));
    assert_eq!(index[0], ["id", "metric", "mean", "largest", "scale", "npy", "png"]);
    assert_eq!(index.len(), 4);
    let scale = |row: usize| index[row][4].clone();
    assert!(scale(1) == scale(2) && scale(2) == scale(3), "one scale for all: {index:?}");
    for row in &index[1..] {
        assert!(maps.join(&row[5]).is_file() && maps.join(&row[6]).is_file(), "{row:?}");
    }
    // One map of float32 for each pixel of a picture of the same size.
    let picture = png::Decoder::new(std::io::BufReader::new(
        fs_err::File::open(maps.join("jpeg10.lpips_alex.png")).unwrap(),
    ));
    let (width, height) = {
        let reader = picture.read_info().unwrap();
        reader.info().size()
    };
    let array = fs_err::read(maps.join("jpeg10.lpips_alex.npy")).unwrap();
    assert_eq!(array.len(), 128 + 4 * (width * height) as usize);

    let line = ["eval", &manifest, "-o", "worst", "--spatial-worst", "1", "--net", "alex"];
    let output = lpips(folder.path(), &line);
    assert!(output.status.success(), "{}", stderr(&output));
    let cells = cells(&folder.path().join("worst"));
    let larger = |a: &&str, b: &&str| {
        number(&cells, a, "lpips_alex").total_cmp(&number(&cells, b, "lpips_alex"))
    };
    let worst = ["jpeg10", "blur2"].into_iter().max_by(larger).unwrap();
    let maps = folder.path().join("worst/maps");
    let mut names: Vec<String> = fs_err::read_dir(&maps)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let expected = ["npy", "png"].map(|kind| format!("{worst}.lpips_alex.{kind}"));
    assert_eq!(names, [expected.as_slice(), &["index.csv".to_owned()]].concat());
}

#[test]
fn a_mask_weights_the_map_and_its_faults_are_rows() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = manifest(folder.path());
    let masks = folder.path().join("masks");
    fs_err::create_dir(&masks).unwrap();
    let pgm = |name: &str, width: usize, height: usize, sample: fn(usize) -> u8| {
        let mut bytes = format!("P5 {width} {height} 255\n").into_bytes();
        bytes.extend((0..width * height).map(|index| sample(index % width)));
        fs_err::write(masks.join(name), bytes).unwrap();
    };
    let size = lpips::image::decode(
        &data("golden/images/jpeg10_ref.png"),
        &lpips::image::Rules::default(),
    );
    let size = size.unwrap().size;
    pgm("jpeg10.pgm", size.width, size.height, |x| if x < 20 { 255 } else { 0 });
    pgm("blur2.pgm", 5, 4, |_| 1);
    let line = ["eval", &manifest, "-o", "run", "--mask", "masks", "--spatial"];
    let output = lpips(folder.path(), &line);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    let cells = cells(&folder.path().join("run"));
    let cell = |id: &str, column: &str| cells[&(id.to_owned(), column.to_owned())].as_str();
    assert_eq!(cell("jpeg10", "status"), "ok");
    assert_eq!(cell("blur2", "error_code"), "E_MASK");
    assert!(cell("blur2", "error").contains("blur2.pgm` is 5x4, the images are"));
    assert!(cell("identical", "error").contains("no mask for item `identical`"));
    // What could be scored is there.
    assert!(cell("blur2", "lpips_masked_alex").is_empty());
    assert!(number(&cells, "blur2", "lpips_alex") > 0.0);

    // The column is the weighted mean of the map that the program writes.
    let array = fs_err::read(folder.path().join("run/maps/jpeg10.lpips_alex.npy")).unwrap();
    let values = array[128..].as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
    let inside = values.enumerate().filter(|(index, _)| index % size.width < 20);
    let inside: Vec<f64> = inside.map(|(_, value)| f64::from(value)).collect();
    let expected = inside.iter().sum::<f64>() / inside.len() as f64;
    let found = number(&cells, "jpeg10", "lpips_masked_alex");
    assert!((found - expected).abs() < 1e-6 * expected, "{found} instead of {expected}");
}

#[test]
fn contradictions_name_both_options() {
    let folder = tempfile::tempdir().unwrap();
    for (options, both) in [
        ("--spatial --semantic-layer 2", ["--spatial", "--semantic-layer"]),
        ("--baseline --semantic-layer 2", ["--baseline", "--semantic-layer"]),
        ("--preset lpips+ --spatial", ["--spatial", "semantic"]),
        ("--preset lpips+ --semantic-layer 1", ["--preset lpips+", "--semantic-layer 1"]),
        ("--preset torchmetrics --lpips-version 0.0", ["torchmetrics", "--lpips-version 0.0"]),
        ("--semantic-layer 5", ["layer 5 of alex", "0 to 4"]),
    ] {
        let line = format!("eval m.csv -o run {options}");
        let output = lpips(folder.path(), &line.split(' ').collect::<Vec<_>>());
        let printed = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{options}: {printed}");
        assert!(both.iter().all(|part| printed.contains(part)), "{options}: {printed}");
    }
}

/// Scores of the published code, by hand: a metric agrees with the share of people who prefer the
/// image that it finds nearer.
#[test]
fn triplets_give_the_2afc_score() {
    let folder = tempfile::tempdir().unwrap();
    let image = |name: &str| data("golden/images").join(name).display().to_string();
    let (reference, same) = (image("jpeg10_ref.png"), image("jpeg10_ref.png"));
    let far = image("jpeg10_dist.png");
    let rows = [
        // The same image is nearer: 1 - judge, then judge; a tie counts half.
        format!("{reference},{same},{far},a,0.25,x"),
        format!("{reference},{far},{same},b,1,x"),
        format!("{reference},{far},{far},c,1,y"),
    ];
    let text = format!("ref,p0,p1,id,judge,set\n{}\n", rows.join("\n"));
    fs_err::write(folder.path().join("t.csv"), text).unwrap();
    let line = ["eval", "t.csv", "-o", "run", "--group-by", "set"];
    let output = lpips(folder.path(), &line);
    assert!(output.status.success(), "{}", stderr(&output));
    let rows = csv(&folder.path().join("run/twoafc.csv"));
    let columns =
        ["set", "metric", "expected", "scored", "complete", "score", "ci95_low", "ci95_high"];
    assert_eq!(rows[0], columns);
    assert_eq!(rows[1][..6], ["*", "lpips_alex", "3", "3", "yes", "0.750000000"]);
    assert_eq!(rows[2][..6], ["x", "lpips_alex", "2", "2", "yes", "0.875000000"]);
    assert_eq!(rows[3][..6], ["y", "lpips_alex", "1", "1", "yes", "0.500000000"]);
    let printed = stderr(&output);
    assert!(printed.contains("2AFC lpips_alex: 0.7500 of 3 triplets"), "{printed}");
    assert!(printed.contains("\nrun/twoafc.csv\n"), "{printed}");
    let pairs = csv(&folder.path().join("run/pairs.csv"));
    assert_eq!(pairs[1][..3], ["p0/a", "a", "p0"]);
}

/// A float array gives the bits of the picture that it was made from.
#[test]
fn float_inputs_score_as_the_picture_does_and_a_wrong_range_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let rules = lpips::image::Rules::default();
    let npy = |name: &str, side: &str, value: fn(u8) -> f32| {
        let image =
            lpips::image::decode(&data(&format!("golden/images/{name}_{side}.png")), &rules);
        let image = image.unwrap();
        let lpips::image::Pixels::U8(samples) = image.pixels else { panic!("no bytes") };
        let (width, height) = (image.size.width, image.size.height);
        let text = format!(
            "{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}, 3), }}\n"
        );
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.bytes());
        bytes.extend(samples.iter().flat_map(|&sample| value(sample).to_le_bytes()));
        fs_err::write(folder.path().join(format!("{side}.npy")), bytes).unwrap();
    };
    let score = |options: &[&str]| {
        let mut line = vec!["eval", "--pair", "ref.npy", "dist.npy"];
        line.extend(options);
        let output = lpips(folder.path(), &line);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let column = |csv: &str| {
        let mut lines = csv.lines().map(|line| line.split(',').map(str::to_owned));
        let (header, row) = (lines.next().unwrap(), lines.next().unwrap());
        header.zip(row).find(|(name, _)| name == "lpips_alex").unwrap().1
    };
    let expected = {
        let path = |side| data(&format!("golden/images/jpeg10_{side}.png")).display().to_string();
        let output = lpips(folder.path(), &["eval", "--pair", &path("ref"), &path("dist")]);
        column(&String::from_utf8(output.stdout).unwrap())
    };
    for side in ["ref", "dist"] {
        npy("jpeg10", side, |sample| f32::from(sample) / 255.0);
    }
    let (code, unit) = score(&[]);
    assert_eq!((code, column(&unit)), (Some(0), expected.clone()));
    for side in ["ref", "dist"] {
        npy("jpeg10", side, |sample| 2.0 * (f32::from(sample) / 255.0) - 1.0);
    }
    let (code, signed) = score(&["--range=-1..1"]);
    assert_eq!((code, column(&signed)), (Some(0), expected));
    let (code, refused) = score(&[]);
    assert_eq!(code, Some(3));
    assert!(refused.contains("E_RANGE") && refused.contains("ref.npy"), "{refused}");
    assert!(refused.contains("is it --range=-1..1?"), "{refused}");
}
