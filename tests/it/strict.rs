//! Inputs that a lenient reader would take for something else: each is read as it is meant, or
//! refused before anything is scored. Nothing is lost or renamed in silence.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::{csv, lpips, stderr};

const WIDTH: usize = 48;
const HEIGHT: usize = 40;

/// A picture in the PPM format, or in PGM if it is grey: the same for the same number.
fn write_image(path: &Path, number: usize, is_grey: bool) {
    let (kind, channels) = if is_grey { ("P5", 1) } else { ("P6", 3) };
    let mut bytes = format!("{kind} {WIDTH} {HEIGHT} 255\n").into_bytes();
    let sample = |at: usize| {
        let (y, x, c) = (at / channels / WIDTH, at / channels % WIDTH, at % channels);
        ((y / 4 * 31 + x / 6 * 57 + c * 11) * (number + 3) % 251) as u8
    };
    bytes.extend((0..channels * WIDTH * HEIGHT).map(sample));
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, bytes).unwrap();
}

/// Ten references `r/N.ppm` and distorted images `d/N.ppm`.
fn set() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..10 {
        write_image(&folder.path().join(format!("r/{number}.ppm")), number, false);
        write_image(&folder.path().join(format!("d/{number}.ppm")), number + 20, false);
    }
    folder
}

/// A manifest of the ten pairs with a column `note`, whose cells `note` writes.
fn noted(note: &dyn Fn(usize) -> String) -> String {
    let row = |number| format!("r/{number}.ppm,d/{number}.ppm,{}\n", note(number));
    format!("ref,dist,note\n{}", (0..10).map(row).collect::<String>())
}

/// Runs `eval` with `options` into `run`; it must be refused without a trace.
fn refused(folder: &Path, options: &[&str], expected: &str) {
    let mut args = vec!["eval", "-o", "run"];
    args.extend(options);
    let output = lpips(folder, &args);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(6), "{options:?}: {printed}");
    assert!(printed.contains(expected) && printed.contains("hint: "), "{options:?}: {printed}");
    assert!(!folder.join("run").exists(), "{options:?} left a run directory");
}

fn write(folder: &Path, name: &str, text: &str) {
    fs_err::write(folder.join(name), text).unwrap();
}

#[test]
fn stray_quotes_swallow_no_row() {
    let folder = set();
    let at = folder.path();
    let stray = |place: usize, cell: &'static str| {
        noted(&move |number| if number == place { cell } else { "fine" }.to_owned())
    };
    let both = |last: &'static str| {
        noted(&move |number| match number {
            2 => "\"5 in".to_owned(),
            7 => last.to_owned(),
            _ => "fine".to_owned(),
        })
    };
    for (text, expected) in [
        (stray(4, "\"oops"), "line 6, column 17: the quote that opens here is never closed"),
        (both("\"5 in"), "line 4, column 17: the quoted cell that begins here spans lines"),
        (both("5 in\""), "line 4, column 17: the quoted cell that begins here spans lines"),
    ] {
        write(at, "m.csv", &text);
        refused(at, &["m.csv"], expected);
        let report = lpips(at, &["check", "m.csv"]);
        assert_eq!(report.status.code(), Some(6));
        let report = String::from_utf8(report.stdout).unwrap();
        assert!(report.contains("E_MANIFEST"), "{report}");
    }
    let rows: String = (0..9)
        .map(|i| {
            format!("r/{i}.ppm,d/{i}.ppm,d/{}.ppm,0,{}x\n", i + 1, if i == 2 { "\"" } else { "" })
        })
        .collect();
    write(at, "t.csv", &format!("ref,p0,p1,judge,note\n{rows}"));
    refused(at, &["t.csv"], "t.csv`: line 4, column 27: the quote that opens here is never closed");
}

#[test]
fn half_formed_triplets_are_refused_before_anything_is_scored() {
    let folder = set();
    let at = folder.path();
    let row = |item: usize, side: &str, judge: &str| {
        let distorted = if side == "p0" { item } else { item + 1 };
        format!("r/{item}.ppm,d/{distorted}.ppm,{item},{side},{judge}\n")
    };
    let rows = |rows: &[(usize, &str)]| -> String {
        rows.iter().map(|(item, side)| row(*item, side, "0")).collect()
    };
    for (text, expected) in [
        (rows(&[(0, "p0"), (0, "p1"), (1, "p1"), (1, "p0")]), "line 4: expected the row `p0`"),
        (rows(&[(0, "p0"), (0, "p1"), (1, "p1"), (2, "p0"), (2, "p1"), (3, "p0")]), "line 4"),
        (rows(&[(0, "p0"), (1, "p0"), (0, "p1"), (1, "p1")]), "line 3: expected the row `p1`"),
        (row(0, "p0", "left") + &row(0, "p1", "left"), "line 2: `judge` is `left`"),
        (row(0, "p0", "nan") + &row(0, "p1", "nan"), "line 2: `judge` is `nan`"),
        (row(0, "p0", "7") + &row(0, "p1", "7"), "line 2: `judge` is `7`"),
        (row(0, "p0", "0") + &row(0, "p1", "1"), "line 3: `judge` is `0` for `p0` and `1`"),
    ] {
        write(at, "m.csv", &format!("ref,dist,item,method,judge\n{text}"));
        refused(at, &["m.csv"], expected);
    }
    let good = rows(&[(0, "p0"), (0, "p1"), (1, "p0"), (1, "p1")]);
    write(at, "m.csv", &format!("ref,dist,item,method,judge\n{good}"));
    let output = lpips(at, &["eval", "m.csv", "-o", "run", "-q", "--group-by", "item"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let table = csv(&at.join("run/twoafc.csv"));
    assert_eq!((table.len(), table[1][2].as_str(), table[2][2].as_str()), (4, "2", "1"));
}

#[test]
fn a_manifest_where_the_run_keeps_its_copy_is_refused() {
    let folder = set();
    let at = folder.path();
    let text = noted(&|_| String::new());
    write(at, "manifest.csv", &text);
    let output = lpips(at, &["eval", "manifest.csv", "-o", "."]);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(6), "{printed}");
    assert!(printed.contains("`manifest.csv` is the file `./manifest.csv`, where"), "{printed}");
    assert!(!at.join("plan.json").exists());
    assert_eq!(fs_err::read_to_string(at.join("manifest.csv")).unwrap(), text);
}

#[test]
fn every_two_images_are_a_pair_whatever_they_are_called() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (set, names) in [
        ("clash", &["ant", "ant--bee", "bee--cow", "cow"].map(|name| format!("{name}.ppm"))[..]),
        ("twins", &["a.ppm", "a.pnm", "b.ppm"].map(str::to_owned)[..]),
    ] {
        for (number, name) in names.iter().enumerate() {
            write_image(&at.join(set).join(name), number, false);
        }
        let run = format!("run-{set}");
        let output = lpips(at, &["eval", "--all-pairs", set, "-o", &run, "-q"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let rows = csv(&at.join(run).join("pairs.csv"));
        assert_eq!(rows.len() - 1, names.len() * (names.len() - 1) / 2);
    }
}

/// The masked distance, or the code of the failure, of each pair.
fn masked(folder: &Path, options: &[&str]) -> Vec<String> {
    let run = tempfile::tempdir().unwrap();
    let run = run.path().join("run");
    let mut args = vec!["eval", "-q", "-o", run.to_str().unwrap()];
    args.extend(options);
    let output = lpips(folder, &args);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{options:?}: {}", stderr(&output));
    let rows = csv(&run.join("pairs.csv"));
    let column = |name: &str| rows[0].iter().position(|cell| cell == name).unwrap();
    let (score, code) = (column("lpips_masked_alex"), column("error_code"));
    rows[1..].iter().map(|row| format!("{}{}", row[score], row[code])).collect()
}

#[test]
fn masks_lie_below_their_folder_and_are_no_images() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (name, number) in [("data/ref/0.pgm", 1), ("data/dist/0.pgm", 2)] {
        write_image(&at.join(name), number, true);
    }
    write_image(&at.join("masks/data/ref/0.pgm"), 5, true);
    fs_err::create_dir(at.join("empty")).unwrap();
    fs_err::create_dir(at.join("lists")).unwrap();
    let shown = at.display();
    for (name, before) in [
        ("plain.csv", String::new()),
        ("absolute.csv", format!("{shown}/")),
        ("lists/up.csv", "../".into()),
    ] {
        let row = format!("{before}data/ref/0.pgm,{before}data/dist/0.pgm");
        write(at, name, &format!("ref,dist\n{row}\n"));
    }
    assert!(masked(at, &["plain.csv", "--mask", "masks"])[0].starts_with("0."));
    for (name, folder) in [
        ("plain.csv", "empty"),
        ("absolute.csv", "masks"),
        ("absolute.csv", "empty"),
        ("lists/up.csv", "masks"),
        ("plain.csv", "."),
    ] {
        assert_eq!(masked(at, &[name, "--mask", folder]), ["E_MASK"], "{name} {folder}");
        let report = lpips(at, &["check", name, "--mask", folder]);
        assert_eq!(report.status.code(), Some(6), "{name} {folder}");
    }
    let folders = ["--ref", "data/ref", "--dist", "data/dist", "--mask"];
    assert_eq!(masked(at, &[&folders[..], &["data/ref"]].concat()), ["E_MASK"]);
    assert!(masked(at, &[&folders[..], &["masks/data/ref"]].concat())[0].starts_with("0."));
}

#[test]
fn weights_of_masks_depend_on_no_rule_of_images() {
    let folder = set();
    let at = folder.path();
    write(at, "m.csv", "ref,dist,item\nr/0.ppm,d/0.ppm,0\n");
    let weights: Vec<u8> =
        (0..WIDTH * HEIGHT).map(|at| if at % WIDTH < 20 { 255 } else { 51 }).collect();
    let (extent, depth) = (format!("P5 {WIDTH} {HEIGHT}"), |max: u32| format!(" {max}\n"));
    let pgm = |max: u32, samples: Vec<u8>| {
        [(extent.clone() + &depth(max)).into_bytes(), samples].concat()
    };
    let wide = weights.iter().flat_map(|&weight| (u16::from(weight) * 257).to_be_bytes()).collect();
    let header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({HEIGHT}, {WIDTH}), }}");
    let mut npy = b"\x93NUMPY\x01\x00\x76\x00".to_vec();
    npy.extend(format!("{header:<117}\n").bytes());
    npy.extend(weights.iter().flat_map(|&weight| (f32::from(weight) / 255.0).to_le_bytes()));
    // PAM with an alpha channel, transparent where the mask weighs least.
    let mut pam =
        format!("P7\nWIDTH {WIDTH}\nHEIGHT {HEIGHT}\nDEPTH 2\nMAXVAL 255\nTUPLTYPE GRAYSCALE_ALPHA\nENDHDR\n")
            .into_bytes();
    pam.extend(weights.iter().flat_map(|&weight| [weight, weight]));
    let mut found = Vec::new();
    for (folder, name, bytes) in [
        ("m8", "0.pgm", pgm(255, weights.clone())),
        ("m16", "0.pgm", pgm(65535, wide)),
        ("mf", "0.npy", npy),
        ("ma", "0.pnm", pam),
    ] {
        fs_err::create_dir(at.join(folder)).unwrap();
        fs_err::write(at.join(folder).join(name), bytes).unwrap();
        for rule in ["--range=0..1", "--range=-1..1", "--alpha=white", "--alpha=black"] {
            found.push(masked(at, &["m.csv", "--mask", folder, rule]).remove(0));
        }
    }
    assert!(found[0].starts_with("0.") && found.iter().all(|one| *one == found[0]), "{found:?}");
    // Masks have the size of the images before those are cut.
    let cut = masked(at, &["m.csv", "--mask", "m8", "--crop-border", "4"]);
    assert!(cut[0].starts_with("0."), "{cut:?}");
}

/// Runs the program with a manifest on stdin.
fn piped(folder: &Path, args: &[&str], text: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lpips"));
    command.current_dir(folder).args(args).stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn pipes_are_manifests_and_devices_are_not() {
    let folder = set();
    let at = folder.path();
    let text = "ref\tdist\tscale\nr/0.ppm\td/0.ppm\t4\n";
    let triplet = "ref,p0,p1,judge\nr/0.ppm,d/0.ppm,d/1.ppm,0.5\n";
    for (run, name, text, rows) in [
        ("a", "/dev/stdin", text, 2),
        ("b", "-", text, 2),
        ("c", "/dev/fd/0", triplet, 3),
        ("d", "-", triplet, 3),
    ] {
        let output = piped(at, &["eval", name, "-o", run, "-q"], text);
        assert_eq!(output.status.code(), Some(0), "{name}: {}", stderr(&output));
        assert_eq!(csv(&at.join(run).join("pairs.csv")).len(), rows);
    }
    let fifo = at.join("pairs.fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let writer = std::thread::spawn(move || fs_err::write(fifo, text).unwrap());
    let output = lpips(at, &["eval", "pairs.fifo", "-o", "e", "-q"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    writer.join().unwrap();
    refused(at, &["/dev/zero"], "manifest `/dev/zero`: not a regular file");
    let output = piped(at, &["eval", "-", "-o", "run"], "ref,p0,p1,judge\na,b,c,2\n");
    assert_eq!(output.status.code(), Some(6));
    assert!(
        stderr(&output).contains("manifest `stdin`: line 2: `judge` is `2`"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn names_that_are_not_utf_8_work_or_are_refused_by_name() {
    let folder = set();
    let at = folder.path();
    write(at, "m.csv", "ref,dist\nr/0.ppm,d/0.ppm\n");
    let odd = |start: &str| OsStr::from_bytes(&[start.as_bytes(), b"\xff"].concat()).to_owned();
    fs_err::create_dir(at.join(odd("set"))).unwrap();
    for number in [0, 1] {
        write_image(&at.join(odd("set")).join(format!("{number}.ppm")), number, false);
    }
    fs_err::copy(at.join("m.csv"), at.join(odd("m.csv"))).unwrap();
    let run = |args: &[&OsStr]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lpips"));
        command.current_dir(at).arg("eval").args(args).output().unwrap()
    };
    let text = OsStr::new;
    let output = run(&[text("m.csv"), text("-q"), text("-o"), &odd("run")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(at.join(odd("run")).join("pairs.csv").exists());
    let output = run(&[&odd("m.csv"), text("-q"), text("-o"), text("run")]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    for (args, exit) in [
        (vec![text("--all-pairs"), &odd("set")], 6),
        (vec![text("--ref"), &odd("set"), text("--dist"), text("d")], 6),
        (vec![text("--ref"), text("d"), text("--dist"), &odd("set")], 6),
        (vec![text("--pair"), text("r/0.ppm"), &odd("d")], 6),
        (vec![text("m.csv"), text("--net"), &odd("alex")], 2),
        (vec![text("m.csv"), &odd("--x")], 2),
    ] {
        let mut args = args;
        args.extend([text("-o"), text("other")]);
        let output = run(&args);
        let printed = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit), "{args:?}: {printed}");
        assert!(printed.contains('\u{fffd}'), "{args:?} is not named: {printed}");
    }
}

#[test]
fn near_names_are_searched_in_small_folders_and_odd_spellings_are_named() {
    let folder = set();
    let at = folder.path();
    // However many rows name missing files, each has the same message as if it were alone.
    let rows: String = (0..300).map(|row| format!("r/0.ppm,d/5_{row}.ppm,{row}\n")).collect();
    fs_err::create_dir(at.join("big")).unwrap();
    (0..1001).for_each(|name| write(at, &format!("big/{name}.ppm"), ""));
    write(at, "m.csv", &format!("ref,dist,id\n{rows}r/0.ppm,big/7_x.ppm,big\n"));
    assert_eq!(lpips(at, &["eval", "m.csv", "-o", "run", "-q"]).status.code(), Some(3));
    let rows = csv(&at.join("run/pairs.csv"));
    let hints = rows.iter().filter(|row| row.last().unwrap().contains("nearest name"));
    assert_eq!((rows.len(), hints.count()), (302, 300));

    write(at, "m.csv", "ref,dist,id\nr/0.ppm, d/0.ppm,space\nr/1.ppm,d\\1.ppm,slash\n");
    assert_eq!(lpips(at, &["eval", "m.csv", "-o", "odd", "-q"]).status.code(), Some(3));
    let rows = csv(&at.join("odd/pairs.csv"));
    assert!(rows[1].last().unwrap().contains("begins or ends with a space"), "{:?}", rows[1]);
    assert!(rows[2].last().unwrap().contains("write `/` for each `\\`"), "{:?}", rows[2]);
}
