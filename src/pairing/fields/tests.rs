//! Trees of files as people have them, and the pairs that patterns make of them.

use super::*;
use crate::error::render;
use crate::pairing::Row;
use crate::pairing::walk::tests::tree;

fn patterns(root: &Path, reference: &[&str], distorted: &[&str]) -> Patterns {
    let pattern = |text: &&str| {
        let (method, text) = match text.split_once('=') {
            Some((method, text)) => (Some(method.to_owned()), text),
            None => (None, *text),
        };
        let text = root.join(text).display().to_string();
        Pattern::parse(&text, method).unwrap().unwrap()
    };
    Patterns {
        reference: reference.iter().map(pattern).collect(),
        distorted: distorted.iter().map(pattern).collect(),
        intersect: false,
    }
}

fn pair(paths: &[&str], reference: &[&str], distorted: &[&str]) -> (tempfile::TempDir, Pairing) {
    let root = tree(paths);
    let pairing = pair_by_pattern(&patterns(root.path(), reference, distorted)).unwrap();
    (root, pairing)
}

/// `ref < dist | id | item | method | fields`, with paths below the root.
fn rows(root: &tempfile::TempDir, pairing: &Pairing) -> Vec<String> {
    let below =
        |path: &str| Path::new(path).strip_prefix(root.path()).unwrap().display().to_string();
    let row = |row: &Row| {
        let Row { reference, distorted, id, item, method, fields } = row;
        let (reference, distorted) = (below(reference), below(distorted));
        format!("{reference} < {distorted} | {id} | {item} | {method} | {}", fields.join(","))
    };
    pairing.rows.iter().map(row).collect()
}

/// The layouts that docs/inputs.md lists.
#[test]
fn layouts_of_the_field_are_paired() {
    // Files, patterns of references, patterns of distorted images, and the rows.
    let cases: &[[&[&str]; 4]] = &[
        // DIV2K: the scale is in the name.
        [
            &["hr/0801.png", "hr/0802.png", "sr/0801x4.png", "sr/0802x4.png"],
            &["hr/{item}.png"],
            &["sr/{item}x{scale}.png"],
            &[
                "hr/0801.png < sr/0801x4.png | 0801/4 | 0801 |  | 4",
                "hr/0802.png < sr/0802x4.png | 0802/4 | 0802 |  | 4",
            ],
        ],
        // Set5, Set14, ...: data sets and scales are folders, methods are folders above.
        [
            &[
                "hr/Set5/baby.png",
                "hr/Set14/zebra.png",
                "out/edsr/Set5/x2/babyx2.png",
                "out/edsr/Set5/x4/babyx4.png",
                "out/edsr/Set14/x2/zebrax2.png",
                "out/edsr/Set14/x4/zebrax4.png",
            ],
            &["hr/{dataset}/{item}.png"],
            &["out/{method}/{dataset}/x{scale}/{item}x{scale}.png"],
            &[
                "hr/Set14/zebra.png < out/edsr/Set14/x2/zebrax2.png | edsr/Set14/2/zebra | \
                 Set14/zebra | edsr | Set14,2",
                "hr/Set14/zebra.png < out/edsr/Set14/x4/zebrax4.png | edsr/Set14/4/zebra | \
                 Set14/zebra | edsr | Set14,4",
                "hr/Set5/baby.png < out/edsr/Set5/x2/babyx2.png | edsr/Set5/2/baby | Set5/baby | \
                 edsr | Set5,2",
                "hr/Set5/baby.png < out/edsr/Set5/x4/babyx4.png | edsr/Set5/4/baby | Set5/baby | \
                 edsr | Set5,4",
            ],
        ],
        // References per scale, as the benchmark sets of SR papers have them.
        [
            &["Set5/image_SRF_2/img_001_SRF_2_HR.png", "Set5/image_SRF_2/img_001_SRF_2_SR.png"],
            &["{dataset}/image_SRF_{scale}/{item}_SRF_{scale}_HR.png"],
            &["{dataset}/image_SRF_{scale}/{item}_SRF_{scale}_SR.png"],
            &["Set5/image_SRF_2/img_001_SRF_2_HR.png < Set5/image_SRF_2/img_001_SRF_2_SR.png | \
                 Set5/2/img_001 | Set5/2/img_001 |  | Set5,2"],
        ],
        // Endings in one folder: _HR, _SR, _LR; _gt, _pred.
        [
            &["all/a_HR.png", "all/a_SR.png", "all/a_LR.png"],
            &["all/{item}_HR.png"],
            &["all/{item}_SR.png"],
            &["all/a_HR.png < all/a_SR.png | a | a |  | "],
        ],
        [
            &["one/1_gt.png", "one/1_pred.png", "one/2_gt.png", "one/2_pred.png"],
            &["one/{item}_gt.png"],
            &["one/{item}_pred.png"],
            &[
                "one/1_gt.png < one/1_pred.png | 1 | 1 |  | ",
                "one/2_gt.png < one/2_pred.png | 2 | 2 |  | ",
            ],
        ],
        // BasicSR: the method ends the name.
        [
            &["gt/Set5/baby.png", "vis/Set5/baby_SwinIR_x4.png", "vis/Set5/baby_EDSR.png"],
            &["gt/{dataset}/{item}.png"],
            &["vis/{dataset}/{item}_{method}.png"],
            &[
                "gt/Set5/baby.png < vis/Set5/baby_EDSR.png | EDSR/Set5/baby | Set5/baby | EDSR | \
                 Set5",
                "gt/Set5/baby.png < vis/Set5/baby_SwinIR_x4.png | SwinIR_x4/Set5/baby | \
                 Set5/baby | SwinIR_x4 | Set5",
            ],
        ],
        // 3D Gaussian splatting: references beside the renders of each method.
        [
            &[
                "test/ours_7000/gt/00000.png",
                "test/ours_7000/renders/00000.png",
                "test/ours_30000/gt/00000.png",
                "test/ours_30000/renders/00000.png",
            ],
            &["test/{method}/gt/{item}.png"],
            &["test/{method}/renders/{item}.png"],
            &[
                "test/ours_30000/gt/00000.png < test/ours_30000/renders/00000.png | \
                 ours_30000/00000 | ours_30000/00000 | ours_30000 | ",
                "test/ours_7000/gt/00000.png < test/ours_7000/renders/00000.png | \
                 ours_7000/00000 | ours_7000/00000 | ours_7000 | ",
            ],
        ],
        // Frames of videos.
        [
            &["gt/city/0001.png", "gt/walk/0001.png", "out/city/0001.jpg", "out/walk/0001.jpg"],
            &["gt/{video}/{frame}.png"],
            &["out/{video}/{frame}.jpg"],
            &[
                "gt/city/0001.png < out/city/0001.jpg | city/0001 | city/0001 |  | city,0001",
                "gt/walk/0001.png < out/walk/0001.jpg | walk/0001 | walk/0001 |  | walk,0001",
            ],
        ],
        // Several patterns on each side, and named methods.
        [
            &["a/1.png", "b/2.jpg", "m/1.png", "m/2.png", "n/1.png", "n/2.png"],
            &["a/{item}.png", "b/{item}.jpg"],
            &["M=m/{item}.png", "N=n/{item}.png"],
            &[
                "a/1.png < m/1.png | M/1 | 1 | M | ",
                "a/1.png < n/1.png | N/1 | 1 | N | ",
                "b/2.jpg < m/2.png | M/2 | 2 | M | ",
                "b/2.jpg < n/2.png | N/2 | 2 | N | ",
            ],
        ],
    ];
    for [paths, reference, distorted, expected] in cases {
        let (root, pairing) = pair(paths, reference, distorted);
        assert_eq!(rows(&root, &pairing), *expected);
        assert!(pairing.refusal().is_none(), "{:?}", pairing.problems);
    }
}

#[test]
fn of_two_readings_the_one_with_a_partner_counts() {
    let (root, pairing) =
        pair(&["hr/a.png", "sr/ax2x4.png"], &["hr/{item}.png"], &["sr/{item}x{scale}.png"]);
    assert_eq!(rows(&root, &pairing), ["hr/a.png < sr/ax2x4.png | a/2x4 | a |  | 2x4"]);
}

#[test]
fn two_readings_with_partners_and_two_references_are_refused() {
    let paths = &["gt/a.png", "gt/a_1.png", "vis/a_1_edsr.png", "vis/a_edsr.png"];
    let (_root, pairing) = pair(paths, &["gt/{item}.png"], &["vis/{item}_{method}.png"]);
    let text = render(&pairing.refusal().unwrap().into());
    for expected in [
        "vis/a_1_edsr.png` can be read in two ways that have a partner: item=a, method=1_edsr; \
         item=a_1, method=edsr",
        "hint: spell out in the patterns",
    ] {
        assert!(text.contains(expected), "no `{expected}` in {text}");
    }
    let paths = &["gt/Set5/a.png", "gt/Set14/a.png", "out/a.png"];
    let (_root, pairing) = pair(paths, &["gt/{dataset}/{item}.png"], &["out/{item}.png"]);
    assert!(pairing.problems[0].message.contains("out/a.png` has two references: `"));
}

#[test]
fn what_has_no_partner_is_refused_with_the_path_that_was_expected() {
    let paths = &["hr/1.png", "hr/2.png", "sr/1_x4.png", "sr/2_X4.png", "sr/3_x4.png"];
    let (root, pairing) = pair(paths, &["hr/{item}.png"], &["sr/{item}_x4.png"]);
    let text = render(&pairing.refusal().unwrap().into());
    let at = |path: &str| root.path().join(path).display().to_string();
    for expected in [
        format!("`{}` has no partner: expected `{}`", at("sr/3_x4.png"), at("hr/3.png")),
        format!(
            "`{}` has no partner: expected `{}`; nearest name: `{}`",
            at("hr/2.png"),
            at("sr/2_x4.png"),
            at("sr/2_X4.png")
        ),
        "hint: `--intersect` scores the 1 pair that is complete".to_owned(),
    ] {
        assert!(text.contains(&expected), "no `{expected}` in {text}");
    }
    // What matches no pattern is no error, but named.
    assert_eq!(pairing.unmatched.count, 1);
    let expected = "sr/2_X4.png`: `2_X4.png` is not `{item}_x4.png` in `";
    assert!(pairing.unmatched.kept[0].contains(expected), "{:?}", pairing.unmatched);
    let mut patterns = patterns(root.path(), &["hr/{item}.png"], &["sr/{item}_x4.png"]);
    patterns.intersect = true;
    let pairing = pair_by_pattern(&patterns).unwrap();
    assert_eq!((pairing.rows.len(), pairing.left_out.count), (1, 2));
    assert!(pairing.refusal().is_none());
}

#[test]
fn patterns_without_a_common_image_are_refused_with_a_file_of_each() {
    let root = tree(&["hr/1.png", "sr/1_x4.png"]);
    let patterns = patterns(root.path(), &["hr/{item}.png"], &["sr/{item}.png"]);
    let text = render(&pair_by_pattern(&Patterns { intersect: true, ..patterns }).unwrap_err());
    let at = |path: &str| root.path().join(path).display().to_string();
    let [reference, distorted] = ["hr/1.png", "sr/1_x4.png"].map(at);
    let files = format!("`{reference}` with item=1 and `{distorted}` with item=1_x4");
    assert!(text.contains(&files) && text.contains("\nhint: write what only one"), "{text}");
}

#[test]
fn a_method_must_have_all_references_of_a_folder_of_which_it_has_some() {
    let paths = &[
        "hr/Set5/1.png",
        "hr/Set5/2.png",
        "hr/Set14/3.png",
        "out/a/Set5/1.png",
        "out/a/Set5/2.png",
        "out/a/Set14/3.png",
        "out/b/Set5/1.png",
    ];
    let (reference, distorted) =
        (&["hr/{dataset}/{item}.png"], &["out/{method}/{dataset}/{item}.png"]);
    let (root, pairing) = pair(paths, reference, distorted);
    assert_eq!(pairing.problems.len(), 1);
    let message = &pairing.problems[0].message;
    assert!(message.ends_with("hr/Set5/2.png` has no partner of method=b, which has others"));
    assert_eq!(pairing.warnings, ["method=b has no image of dataset=Set14"]);
    let patterns = Patterns { intersect: true, ..patterns(root.path(), reference, distorted) };
    let pairing = pair_by_pattern(&patterns).unwrap();
    assert_eq!((pairing.rows.len(), pairing.problems.len()), (4, 0));
    assert_eq!(pairing.warnings[1], "method=b lacks 1 reference that others have");
}

#[test]
fn a_file_is_no_partner_of_itself() {
    let paths = &["vis/baby_gt.png", "vis/baby_edsr.png"];
    let (root, pairing) = pair(paths, &["vis/{item}_gt.png"], &["vis/{item}_{method}.png"]);
    let expected = ["vis/baby_gt.png < vis/baby_edsr.png | edsr/baby | baby | edsr | "];
    assert_eq!(rows(&root, &pairing), expected);
    assert!(pairing.refusal().is_none(), "{:?}", pairing.problems);
}

#[test]
fn names_are_compared_in_one_unicode_form() {
    let (_root, pairing) =
        pair(&["hr/\u{e9}.png", "sr/e\u{301}.png"], &["hr/{item}.png"], &["sr/{item}.png"]);
    assert_eq!((pairing.rows.len(), pairing.problems.len()), (1, 0));
    assert!(pairing.rows[0].distorted.ends_with("e\u{301}.png"));
}

#[test]
fn an_extension_that_is_spelled_out_needs_none_of_an_image() {
    let (_root, pairing) =
        pair(&["hr/1.raw", "sr/1.raw", "sr/1.txt"], &["hr/{item}.raw"], &["sr/{item}.raw"]);
    assert_eq!((pairing.rows.len(), pairing.ignored.others), (1, 1));
}

#[test]
fn patterns_that_cannot_pair_anything_are_refused() {
    let root = tree(&["hr/1.png", "sr/x2/1.png", "sr/x2/2.png"]);
    let refused = |reference: &[&str], distorted: &[&str]| {
        render(&pair_by_pattern(&patterns(root.path(), reference, distorted)).unwrap_err())
    };
    for (reference, distorted, expected) in [
        ("hr/{item}.png", "sr/{name}.png", "shares no field with `--ref`"),
        ("hr/{item}.png", "a=sr/{method}/{item}.png", "names its method twice"),
        ("hr/{item}.png", "sr/x4/{item}.png", "cannot read the folder"),
        ("hr/{item}.png", "sr/{scale}/{item}_SR.png", "; the nearest of 3 files:\n  `"),
        ("hr/{item}.png", "sr/{scale}/{item}_SR.png", "`1.png` is not `{item}_SR.png`"),
    ] {
        let text = refused(&[reference], &[distorted]);
        assert!(text.contains(expected) && text.contains("\nhint: "), "no `{expected}` in {text}");
    }
}
