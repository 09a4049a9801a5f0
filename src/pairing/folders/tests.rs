//! Folders on disk, and what becomes of them.

use super::*;
use crate::error::render;
use crate::pairing::Ignored;
use crate::pairing::walk::tests::tree;

fn folders(root: &Path, distorted: &[&str], suffix: &str) -> Folders {
    let folder = |name: &&str| Folder { path: root.join(name), method: None };
    let suffixes = Some(suffix).filter(|suffix| !suffix.is_empty());
    Folders {
        reference: root.join("hr"),
        distorted: distorted.iter().map(folder).collect(),
        reference_suffixes: Vec::new(),
        distorted_suffixes: suffixes.into_iter().map(str::to_owned).collect(),
        intersect: false,
    }
}

fn names(pairing: &Pairing) -> Vec<(&str, &str)> {
    pairing.rows.iter().map(|row| (row.item.as_str(), row.method.as_str())).collect()
}

#[test]
fn folders_are_paired_by_relative_path_whatever_the_extension() {
    let root = tree(&[
        "hr/b/2.png",
        "hr/1.PNG",
        "edsr/1.jpg",
        "edsr/b/2.png",
        "swin/b/2.webp",
        "swin/1.png",
        "hr/.DS_Store",
        "hr/notes.txt",
        "swin/.cache/x.png",
    ]);
    let pairing = pair_by_name(&folders(root.path(), &["edsr", "swin"], "")).unwrap();
    assert_eq!(names(&pairing), [("1", "edsr"), ("1", "swin"), ("b/2", "edsr"), ("b/2", "swin")]);
    assert!(pairing.refusal().is_none());
    assert_eq!(pairing.ignored, Ignored { hidden: 2, others: 1, loops: 0 });
    assert!(pairing.rows[0].distorted.ends_with("edsr/1.jpg"));
    assert!(
        pairing.note().starts_with("paired 2 references by name: 4 pairs; ignored 2 hidden files")
    );
}

#[test]
fn a_suffix_is_stripped_and_one_folder_has_no_method() {
    let root = tree(&["hr/1.png", "x4/1_x4.png"]);
    let pairing = pair_by_name(&folders(root.path(), &["x4"], "_x4")).unwrap();
    assert_eq!(names(&pairing), [("1", "")]);
    assert!(pairing.refusal().is_none());
}

#[test]
fn files_without_partner_are_listed_with_the_nearest_name() {
    let root = tree(&["hr/1.png", "hr/2.png", "x4/1.png", "x4/2_x4.png", "x4/zebra.png"]);
    let pairing = pair_by_name(&folders(root.path(), &["x4"], "")).unwrap();
    let text = render(&pairing.refusal().unwrap().into());
    for expected in [
        "3 files cannot be paired; nothing was paired by order",
        "hr/2.png` has no partner in `",
        "; nearest name: `2_x4.png`",
        "x4/zebra.png` has no partner",
        "hint: `--dist-suffix _x4` would pair 1 of them",
    ] {
        assert!(text.contains(expected), "no `{expected}` in {text}");
    }
}

#[test]
fn a_suffix_is_offered_only_if_it_pairs_most() {
    let hint = |paths: &[&str]| {
        let root = tree(paths);
        let pairing = pair_by_name(&folders(root.path(), &["x4"], "")).unwrap();
        render(&pairing.refusal().unwrap().into())
    };
    let text = hint(&["hr/1.png", "hr/2.png", "hr/3.png", "x4/1_x4.png", "x4/2_x4.png"]);
    assert!(text.contains("hint: `--dist-suffix _x4` would pair 2 of them"), "{text}");
    let text = hint(&["hr/1.png", "hr/2.png", "hr/3.png", "x4/1_x4.png", "x4/2_x2.png"]);
    assert!(text.contains("hint: rename or remove them"), "{text}");
}

#[test]
fn names_that_differ_in_extension_only_and_wrong_suffixes_are_problems() {
    let root = tree(&["hr/1.png", "x4/1_x4.png", "x4/1_x4.jpg", "x4/1.png"]);
    let pairing = pair_by_name(&folders(root.path(), &["x4"], "_x4")).unwrap();
    let codes: Vec<Code> = pairing.problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [Code::Unmatched, Code::Ambiguous]);
}

#[test]
fn folders_without_images_or_without_being_there_are_refused() {
    let root = tree(&["hr/readme.txt", "x4/1.png"]);
    let message = render(&pair_by_name(&folders(root.path(), &["x4"], "")).unwrap_err());
    assert!(message.contains("hr` holds no image"), "{message}");
    let root = tree(&["hr/1.png"]);
    let message = render(&pair_by_name(&folders(root.path(), &["gone"], "")).unwrap_err());
    assert!(message.contains("cannot read the folder") && message.contains("gone"), "{message}");
}

#[test]
fn methods_are_folder_names_unless_those_are_the_same() {
    let of = |values: &[&str]| {
        let folder = |value: &&str| {
            let (method, path) = value.split_once('=').unzip();
            Folder { path: path.unwrap_or(value).into(), method: method.map(str::to_owned) }
        };
        method_names(&values.iter().map(folder).collect::<Vec<Folder>>())
    };
    assert_eq!(of(&["a/edsr", "b/swin"]).unwrap(), ["edsr", "swin"]);
    assert_eq!(of(&["edsr/x4", "swin/x4"]).unwrap(), ["edsr/x4", "swin/x4"]);
    assert_eq!(of(&["x4"]).unwrap(), [""]);
    assert_eq!(of(&["EDSR=x4"]).unwrap(), ["EDSR"]);
    assert_eq!(of(&["EDSR=edsr/x4", "swin/x4"]).unwrap(), ["EDSR", "x4"]);
    for repeated in [&["x4", "x4"], &["a=x2", "a=x4"]] {
        assert!(of(repeated).unwrap_err().to_string().ends_with("is given twice"));
    }
}

#[test]
fn links_to_nothing_fail_as_files_do_and_loops_are_skipped() {
    use std::os::unix::fs::symlink;
    let root = tree(&["hr/1.png", "hr/2.png", "x4/1.png"]);
    let at = |name: &str| root.path().join(name);
    for (target, link) in [
        ("/nowhere/2.png", "x4/2.png"),
        ("/nowhere/README.md", "hr/README.md"),
        ("/nowhere/3.png", "hr/.3.png"),
        ("..", "x4/latest"),
        ("itself.md", "x4/itself.md"),
    ] {
        symlink(target, at(link)).unwrap();
    }
    let pairing = pair_by_name(&folders(root.path(), &["x4"], "")).unwrap();
    assert_eq!(names(&pairing), [("1", ""), ("2", "")]);
    assert!(pairing.refusal().is_none(), "{:?}", pairing.problems);
    assert_eq!(pairing.ignored, Ignored { hidden: 1, others: 2, loops: 1 });
    assert!(pairing.note().ends_with("; skipped 1 link to a folder above"));
}

#[test]
fn a_suffix_that_begins_with_a_hyphen_is_offered_as_one_argument() {
    let root = tree(&["hr/1.png", "x4/1-x4.png"]);
    let pairing = pair_by_name(&folders(root.path(), &["x4"], "")).unwrap();
    let text = render(&pairing.refusal().unwrap().into());
    assert!(text.contains("hint: `--dist-suffix=-x4` would pair 1 of them"), "{text}");
}

#[test]
fn several_suffixes_are_stripped_on_both_sides() {
    let root = tree(&["hr/1_HR.png", "hr/2_gt.png", "x4/1_SR.png", "x4/2_pred.png"]);
    let mut folders = folders(root.path(), &["x4"], "_SR");
    folders.distorted_suffixes.push("_pred".to_owned());
    folders.reference_suffixes = vec!["_HR".to_owned(), "_gt".to_owned()];
    let pairing = pair_by_name(&folders).unwrap();
    assert_eq!(names(&pairing), [("1", ""), ("2", "")]);
    assert!(pairing.refusal().is_none(), "{:?}", pairing.problems);
}

#[test]
fn suffixes_of_both_sides_are_guessed() {
    for (paths, suffix, expected) in [
        (
            &["hr/a_1_HR.png", "hr/a_2_HR.png", "x4/a_1_SR.png", "x4/a_2_SR.png"][..],
            "",
            "`--ref-suffix _HR --dist-suffix _SR` would pair 2 of them",
        ),
        (
            &["hr/a_1_HR.png", "x4/a_1_SR.png"],
            "_SR",
            "`--ref-suffix _HR --dist-suffix _SR` would pair 1 of them",
        ),
    ] {
        let root = tree(paths);
        let pairing = pair_by_name(&folders(root.path(), &["x4"], suffix)).unwrap();
        assert_eq!(pairing.hint.as_deref(), Some(expected));
    }
}

#[test]
fn one_folder_may_hold_both_sides() {
    for (paths, of_reference) in
        [(&["hr/1_gt.png", "hr/1_pred.png"], "_gt"), (&["hr/1.png", "hr/1_pred.png"], "")]
    {
        let root = tree(paths);
        let mut folders = folders(root.path(), &["hr"], "_pred");
        folders.reference_suffixes.extend((!of_reference.is_empty()).then(|| of_reference.into()));
        let pairing = pair_by_name(&folders).unwrap();
        assert_eq!(names(&pairing), [("1", "")]);
        assert!(pairing.refusal().is_none(), "{:?}", pairing.problems);
    }
}

#[test]
fn results_below_the_references_are_no_references() {
    let root = tree(&["hr/1.png", "hr/pred/1.png"]);
    let pairing = pair_by_name(&folders(root.path(), &["hr/pred"], "")).unwrap();
    assert_eq!(names(&pairing), [("1", "")]);
    assert!(pairing.refusal().is_none(), "{:?}", pairing.problems);
}

#[test]
fn files_without_a_partner_are_left_out_on_request() {
    let root = tree(&["hr/1.png", "hr/2.png", "x4/1.png", "x4/3.png"]);
    let mut folders = folders(root.path(), &["x4"], "");
    let refused = render(&pair_by_name(&folders).unwrap().refusal().unwrap().into());
    assert!(
        refused.ends_with("hint: `--intersect` scores the 1 pair that is complete"),
        "{refused}"
    );
    folders.intersect = true;
    let pairing = pair_by_name(&folders).unwrap();
    assert_eq!((names(&pairing), pairing.left_out.count), (vec![("1", "")], 2));
    assert!(pairing.refusal().is_none());
    assert!(pairing.note().contains("left out 2 files without a partner, such as `"));
}

#[test]
fn folders_without_a_common_image_are_refused_with_a_name_of_each() {
    let root = tree(&["hr/1.png", "hr/2.png", "x4/1_x4.png", "x4/2_x4.png", "sr/3.png"]);
    let refused = |distorted: &[&str], suffix: &str| {
        let folders = Folders { intersect: true, ..folders(root.path(), distorted, suffix) };
        render(&pair_by_name(&folders).unwrap_err())
    };
    let at = |path: &str| root.path().join(path).display().to_string();
    let text = refused(&["x4"], "");
    let expected = [
        format!("no image of `{}` has a partner in `{}`; ", at("hr"), at("x4")),
        format!("the first names are `{}` and `{}`", at("hr/1.png"), at("x4/1_x4.png")),
        "hint: `--dist-suffix _x4` would pair 2 of them".to_owned(),
    ];
    assert!(expected.iter().all(|part| text.contains(part)), "{text}");
    // No name has this ending, and no other would help.
    let text = refused(&["x4", "sr"], "_SR");
    assert!(text.contains(&format!("`{}` or `{}`", at("x4"), at("sr"))), "{text}");
    assert!(text.contains(&at("sr/3.png")), "{text}");
    assert!(text.contains("hint: name the endings in which names differ with `--ref-"), "{text}");
}

/// macOS writes `é` as two characters, most other systems as one.
#[test]
fn names_that_differ_in_unicode_normalisation_are_paired() {
    let root = tree(&["hr/caf\u{e9}.png", "x4/cafe\u{301}.png"]);
    let pairing = pair_by_name(&folders(root.path(), &["x4"], "")).unwrap();
    assert_eq!(names(&pairing), [("caf\u{e9}", "")]);
    assert!(pairing.rows[0].distorted.ends_with("cafe\u{301}.png"));
    let root = tree(&["hr/\u{e9}.png", "x4/e\u{301}.png", "x4/\u{e9}.png"]);
    let pairing = pair_by_name(&folders(root.path(), &["x4"], "")).unwrap();
    assert_eq!(pairing.problems[0].code, Code::Ambiguous);
}
