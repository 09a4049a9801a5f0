//! One report for everything, over small files that are each wrong in their own way.

use std::path::Path;

use super::*;
use crate::batch::Grouping;
use crate::image::SizePolicy;
use crate::manifest::Location;
use crate::masks::Masks;
use crate::net::{Net, NetSpec};
use crate::pairing::{self, Folder, Folders};

/// A grey PGM file.
fn write_pgm(folder: &Path, name: &str, side: usize, value: u8, maximum: usize) {
    let mut bytes = format!("P5 {side} {side} {maximum}\n").into_bytes();
    let samples = side * side * if maximum > 255 { 2 } else { 1 };
    bytes.extend(std::iter::repeat_n(value, samples));
    fs_err::write(folder.join(name), bytes).unwrap();
}

fn write_rgba(folder: &Path, name: &str, side: u32) {
    let file = fs_err::File::create(folder.join(name)).unwrap();
    let mut encoder = png::Encoder::new(file, side, side);
    encoder.set_color(png::ColorType::Rgba);
    let pixels = [1, 2, 3, 4].repeat((side * side) as usize);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
}

fn examine(folder: &Path, manifest: &str, nets: &[Net], rules: &Rules) -> Report {
    examine_with(folder, manifest, nets, rules, None)
}

fn examine_with(
    folder: &Path,
    manifest: &str,
    nets: &[Net],
    rules: &Rules,
    masks: Option<&Masks>,
) -> Report {
    let path = folder.join("m.csv");
    fs_err::write(&path, manifest).unwrap();
    let (manifest, faults) = Manifest::examine(Location::of(&path)).unwrap();
    let mut report = Report::of_manifest(&faults, None);
    let specs: Vec<_> = nets.iter().map(|net| net.spec()).collect();
    report.examine(&question(&manifest, &specs, rules, masks), &|_| ()).unwrap();
    report
}

/// From headers alone, on two threads.
fn question<'a>(
    manifest: &'a Manifest,
    specs: &'a [&'static NetSpec],
    rules: &'a Rules,
    masks: Option<&'a Masks>,
) -> Question<'a> {
    let grouping = Grouping::Reference;
    let (fidelity, decodes, threads) = (&[], false, 2);
    Question { manifest, rules, specs, fidelity, masks, grouping, decodes, threads }
}

fn counts(report: &Report) -> Vec<(Code, usize)> {
    report.findings.iter().map(|finding| (finding.code, finding.count)).collect()
}

/// The one example of a code: its place and its message.
fn example_of(report: &Report, code: Code) -> (&str, &str) {
    let finding = report.findings.iter().find(|finding| finding.code == code).unwrap();
    (&finding.examples[0].place, &finding.examples[0].message)
}

#[test]
fn everything_wrong_is_in_one_report() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write_pgm(at, "ref.pgm", 40, 9, 255);
    write_pgm(at, "good.pgm", 40, 8, 255);
    write_pgm(at, "large.pgm", 42, 8, 255);
    write_pgm(at, "tiny.pgm", 20, 8, 255);
    write_pgm(at, "tiny_too.pgm", 20, 7, 255);
    write_pgm(at, "deep.pgm", 40, 8, 65535);
    write_rgba(at, "alpha.png", 40);
    fs_err::copy(at.join("ref.pgm"), at.join("copy.pgm")).unwrap();
    fs_err::copy(at.join("good.pgm"), at.join("good_too.pgm")).unwrap();
    fs_err::write(at.join("empty.png"), "").unwrap();
    fs_err::write(at.join("text.png"), "no image").unwrap();
    fs_err::write(at.join("huge.pgm"), "P5 90000 90000 255\n").unwrap();
    fs_err::write(at.join("cut.png"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0").unwrap();
    let manifest = "ref,dist,id\n\
        ref.pgm,good.pgm,good\n\
        ref.pgm,god.pgm,missing\n\
        ref.pgm,large.pgm,size\n\
        ref.pgm,deep.pgm,depth\n\
        ref.pgm,alpha.png,alpha\n\
        ref.pgm,copy.pgm,copy\n\
        ref.pgm,good_too.pgm,twin\n\
        ref.pgm,good.pgm,again\n\
        ref.pgm,empty.png,empty\n\
        ref.pgm,text.png,text\n\
        ref.pgm,huge.pgm,huge\n\
        ref.pgm,cut.png,cut\n\
        ref.pgm,,cell\n\
        ref.pgm,alpha.png,good\n\
        tiny.pgm,tiny_too.pgm,small\n\
        gone.pgm,also_gone.pgm,both\n";
    let report = examine(at, manifest, &[Net::Alex, Net::Vgg], &Rules::default());
    let expected = [
        (Code::Decode, 1),
        (Code::Empty, 1),
        // The empty cell and the repeated id.
        (Code::Manifest, 2),
        // Of the last row both files.
        (Code::Missing, 3),
        (Code::NotImage, 1),
        (Code::Size, 1),
        (Code::TooLarge, 1),
        (Code::TooSmall, 1),
        (Code::Alpha, 2),
        (Code::Depth, 1),
        (Code::Duplicate, 2),
        (Code::Identical, 1),
        (Code::SameDistorted, 1),
    ];
    assert_eq!(counts(&report), expected);
    assert_eq!((report.pairs, report.scorable), (16, 7));
    let (place, message) = example_of(&report, Code::Missing);
    assert_eq!(place, "missing");
    assert!(message.contains("god.pgm`: no such file; nearest name in its folder: `good.pgm`"));
    let expected = "20x20 is too small: alex needs at least 31 pixels a side";
    assert_eq!(example_of(&report, Code::TooSmall), ("small", expected));
    let (place, message) = example_of(&report, Code::Size);
    assert_eq!(place, "size");
    assert!(message.contains("40x40, dist is 42x42") && message.contains("modcrop:4"), "{message}");
    assert_eq!(example_of(&report, Code::Depth), ("depth", "ref: 8 bits; dist: 16 bits"));
    assert!(
        example_of(&report, Code::Identical).1.ends_with("copy.pgm` has the reference's bytes")
    );
    assert_eq!(example_of(&report, Code::SameDistorted).0, "twin");
    assert_eq!(example_of(&report, Code::Duplicate).0, "again");
}

#[test]
fn work_counts_unique_images_by_shape() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["a", "b", "c", "d"] {
        write_pgm(at, &format!("{name}.pgm"), 40, name.as_bytes()[0], 255);
    }
    write_pgm(at, "deep.pgm", 40, 1, 65535);
    let manifest = "ref,dist,id\na.pgm,b.pgm,1\na.pgm,c.pgm,2\na.pgm,b.pgm,3\na.pgm,a.pgm,4\n\
                    d.pgm,deep.pgm,5\n";
    let report = examine(at, manifest, &[Net::Alex], &Rules::default());
    let size = crate::image::Size { width: 40, height: 40 };
    let shape = |depth| BatchShape { size, depth };
    let expected = [
        (shape(crate::image::Depth::U8), Work { pairs: 4, images: 3 }),
        (shape(crate::image::Depth::F32), Work { pairs: 1, images: 2 }),
    ];
    assert_eq!(report.work, expected.into());
    assert_eq!((report.pairs, report.scorable), (5, 5));
    assert_eq!(report.samples.len(), 2);
}

#[test]
fn a_method_that_is_its_reference_throughout_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["r1", "r2", "x1"] {
        write_pgm(at, &format!("{name}.pgm"), 40, name.as_bytes()[1], 255);
    }
    fs_err::copy(at.join("r2.pgm"), at.join("x2.pgm")).unwrap();
    let manifest = "ref,dist,method\nr1.pgm,r1.pgm,same\nr1.pgm,x1.pgm,one\nr2.pgm,r2.pgm,same\n\
                    r2.pgm,x2.pgm,one\n";
    // x1 has the bytes of r1, so that `one` is a copy, too.
    let report = examine(at, manifest, &[Net::Alex], &Rules::default());
    assert_eq!(counts(&report), [(Code::AllIdentical, 2), (Code::Identical, 4)]);
    assert!(example_of(&report, Code::AllIdentical).1.contains("of method `one`"));
    write_pgm(at, "x1.pgm", 40, 7, 255);
    let report = examine(at, manifest, &[Net::Alex], &Rules::default());
    assert_eq!(counts(&report), [(Code::AllIdentical, 1), (Code::Identical, 3)]);
}

#[test]
fn rules_that_cut_decide_the_size_that_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    write_pgm(folder.path(), "a.pgm", 42, 1, 255);
    write_pgm(folder.path(), "b.pgm", 40, 1, 255);
    let manifest = "ref,dist\na.pgm,b.pgm\n";
    let size_policy = SizePolicy::ModCrop(4);
    let rules = Rules { size_policy, ..Rules::default() };
    assert_eq!(examine(folder.path(), manifest, &[Net::Alex], &rules).scorable, 1);
    let rules = Rules { size_policy, crop_border: 8, ..Rules::default() };
    let report = examine(folder.path(), manifest, &[Net::Alex], &rules);
    assert_eq!(counts(&report), [(Code::TooSmall, 1)]);
    let rules = Rules { size_policy, crop_border: 20, ..Rules::default() };
    let report = examine(folder.path(), manifest, &[Net::Alex], &rules);
    assert!(example_of(&report, Code::TooSmall).1.contains("nothing is left of 42x42"));
}

#[test]
fn masks_are_looked_at_as_the_images_are() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs_err::create_dir(at.join("masks")).unwrap();
    for name in ["r", "a", "b"] {
        write_pgm(at, &format!("{name}.pgm"), 40, name.as_bytes()[0], 255);
    }
    let masks = Masks { folder: at.join("masks"), rules: Rules::default() };
    write_pgm(&masks.folder, "fits.pgm", 40, 1, 255);
    write_pgm(&masks.folder, "wide.pgm", 42, 1, 255);
    write_pgm(&masks.folder, "two.pgm", 40, 1, 255);
    write_pgm(&masks.folder, "two.pnm", 40, 1, 255);
    fs_err::write(masks.folder.join("text.png"), "no image").unwrap();
    let rows = ["fits,a", "fits,b", "wide,a", "text,a", "two,a", "none,a", "none,gone"];
    let row = |row: &str| {
        let (item, name) = row.split_once(',').unwrap();
        format!("r.pgm,{name}.pgm,{item},{item}-{name}\n")
    };
    let manifest = format!("ref,dist,item,id\n{}", rows.map(row).concat());
    let look = |rules: &Rules| {
        let masks = Masks { rules: *rules, ..masks.clone() };
        examine_with(at, &manifest, &[Net::Alex], rules, Some(&masks))
    };
    let report = look(&Rules::default());
    let masked = |report: &Report| {
        report.findings.iter().find(|finding| finding.code == Code::Mask).map(|found| found.count)
    };
    // The row without an image has another finding.
    assert_eq!((masked(&report), report.scorable), (Some(4), 2));
    let finding = report.findings.iter().find(|finding| finding.code == Code::Mask).unwrap();
    let example = |place: &str| {
        let found = finding.examples.iter().find(|example| example.place == place);
        found.map(|example| example.message.as_str()).unwrap_or_default()
    };
    assert!(example("wide-a").ends_with("wide.pgm` is 42x42, the images are 40x40"));
    assert!(example("none-a").starts_with("no mask for item `none`: expected"));
    assert!(example("two-a").starts_with("two masks for item `two`"));
    assert!(example("text-a").contains("text.png"), "{}", example("text-a"));
    // What is cut off the images is cut off the masks.
    let rules = Rules { size_policy: SizePolicy::ModCrop(40), ..Rules::default() };
    assert_eq!(masked(&look(&rules)), Some(3));
}

/// Of n images n are decoded and walked, on whichever side of their pairs they are.
#[test]
fn work_of_an_item_counts_each_image_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["a", "b", "c", "d"] {
        write_pgm(at, &format!("{name}.pgm"), 40, name.as_bytes()[0], 255);
    }
    let pairs = ["a,b", "a,c", "a,d", "b,c", "b,d", "c,d"];
    let row = |pair: &str| pair.replace(',', ".pgm,") + ".pgm\n";
    let path = at.join("m.csv");
    fs_err::write(&path, format!("ref,dist\n{}", pairs.map(row).concat())).unwrap();
    let (manifest, _) = Manifest::examine(Location::of(&path)).unwrap();
    let mut report = Report::default();
    let (rules, specs) = (Rules::default(), [Net::Alex.spec()]);
    let question =
        Question { grouping: Grouping::Item, ..question(&manifest, &specs, &rules, None) };
    report.examine(&question, &|_| ()).unwrap();
    assert_eq!(report.work.values().copied().collect::<Vec<_>>(), [Work { pairs: 6, images: 4 }]);
}

#[test]
fn files_without_partner_are_findings_and_pairs_are_examined() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["hr", "x4"] {
        fs_err::create_dir(folder.path().join(name)).unwrap();
    }
    write_pgm(folder.path(), "hr/a.pgm", 40, 1, 255);
    write_pgm(folder.path(), "hr/b.pgm", 40, 1, 255);
    write_pgm(folder.path(), "x4/a.pgm", 40, 2, 255);
    let folders = Folders {
        reference: folder.path().join("hr"),
        distorted: vec![Folder { path: folder.path().join("x4"), method: None }],
        reference_suffixes: Vec::new(),
        distorted_suffixes: Vec::new(),
        intersect: false,
    };
    let pairing = pairing::pair_by_name(&folders).unwrap();
    let report = Report::of_manifest(&Faults::default(), Some(&pairing));
    assert_eq!(counts(&report), [(Code::Unmatched, 1)]);
    assert_eq!(pairing.rows.len(), 1);
}

#[test]
fn orientation_and_profile_are_compared() {
    let twins = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/twins");
    let folder = tempfile::tempdir().unwrap();
    for name in ["exif.jpg", "icc.jpg", "444_q92_37x23_rgb.jpg"] {
        fs_err::copy(twins.join(name), folder.path().join(name)).unwrap();
    }
    let manifest = "ref,dist,id\n444_q92_37x23_rgb.jpg,exif.jpg,e\n\
                    444_q92_37x23_rgb.jpg,icc.jpg,p\n";
    let report = examine(folder.path(), manifest, &[Net::Vgg], &Rules::default());
    assert_eq!(counts(&report), [(Code::Orientation, 1), (Code::Profile, 1)]);
    assert_eq!(
        example_of(&report, Code::Orientation),
        ("e", "ref: orientation 1; dist: orientation 6")
    );
    assert!(example_of(&report, Code::Profile).1.starts_with("ref: no profile; dist: profile "));
    assert_eq!(report.scorable, 2);
}
