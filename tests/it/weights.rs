//! Checkpoints that other programs wrote, and the commands that bring weights.
//!
//! tests/data/checkpoints holds files of PyTorch itself; scripts/make_checkpoints.py says how they
//! were made.

use std::path::{Path, PathBuf};

use half::{bf16, f16};
use lpips::net::Net;
use lpips::net::weights::{Lin, Recognised, Trunk, Version, recognise};

use crate::support::{data, lpips, stderr};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

fn checkpoint(name: &str) -> PathBuf {
    data("checkpoints").join(name)
}

fn read(name: &str) -> Recognised {
    recognise(&checkpoint(name)).unwrap_or_else(|error| panic!("{name}: {error:#}"))
}

/// The k-th tensor of the files is k / 1024 throughout.
fn assert_numbers(values: &[f32], len: usize, k: usize) {
    assert_eq!(values.len(), len);
    assert!(values.iter().all(|&value| value == k as f32 / 1024.0), "{} for k = {k}", values[0]);
}

/// The tensors of a trunk are number `first`, `first + 1`, ...: weight, bias, weight, bias.
fn assert_trunk(found: Option<Trunk>, net: Net, first: usize) {
    let trunk = found.unwrap();
    assert_eq!((trunk.net, trunk.convs.len()), (net, net.spec().convs().len()));
    for (index, conv) in trunk.convs.iter().enumerate() {
        let len = conv.spec.weight_shape().iter().product();
        assert_numbers(&conv.weight, len, first + 2 * index);
        assert_numbers(&conv.bias, conv.spec.c_out, first + 2 * index + 1);
    }
}

fn assert_lin(found: Option<Lin>, net: Net, first: usize) {
    let lin = found.unwrap();
    let channels = net.spec().tap_channels();
    assert_eq!(lin.layers.len(), channels.len());
    for (index, (layer, channels)) in lin.layers.iter().zip(channels).enumerate() {
        assert_numbers(layer, channels, first + index);
    }
}

#[test]
fn trunks_of_torchvision_are_read_from_both_kinds_of_file() {
    let vgg = read("torchvision_vgg16.pth");
    assert_eq!((vgg.net, vgg.left_out.len(), vgg.lin.is_none()), (Net::Vgg, 6, true));
    assert!(vgg.left_out.contains(&"classifier.0.weight".to_owned()), "{:?}", vgg.left_out);
    assert_trunk(vgg.trunk, Net::Vgg, 1);
    assert_trunk(read("torchvision_alexnet_old.pth").trunk, Net::Alex, 1);
    assert_trunk(read("torchvision_squeezenet_features.pth").trunk, Net::Squeeze, 1);
}

#[test]
fn whole_state_dicts_have_a_trunk_and_lin_weights() {
    // The two constants of the scaling layer come first.
    let squeeze = read("lpips_squeeze.pth");
    assert_trunk(squeeze.trunk, Net::Squeeze, 3);
    assert_lin(squeeze.lin, Net::Squeeze, 53);
    let alex = read("pyiqa_alex.pth");
    assert_trunk(alex.trunk, Net::Alex, 3);
    assert_lin(alex.lin, Net::Alex, 13);
    // torchmetrics does not store its constants.
    let squeeze = read("torchmetrics_squeeze.pth");
    assert_trunk(squeeze.trunk, Net::Squeeze, 1);
    assert_lin(squeeze.lin, Net::Squeeze, 51);
    let vgg = read("lin_vgg_old.pth");
    assert!(vgg.trunk.is_none());
    assert_lin(vgg.lin, Net::Vgg, 29);
}

#[test]
fn what_a_checkpoint_would_run_is_not_run() {
    for name in ["harmful_alexnet.pth", "harmful_alexnet_old.pth"] {
        assert_trunk(read(name).trunk, Net::Alex, 1);
        assert!(!Path::new("harmed").exists(), "{name} ran a command");
    }
}

#[test]
fn other_files_are_refused_by_what_they_are() {
    let printed = |path: &Path| format!("{:#}", recognise(path).unwrap_err());
    let vgg19 = printed(&checkpoint("torchvision_vgg19.pth"));
    assert!(vgg19.contains("most like vgg, but"), "{vgg19}");
    let image = printed(&data("golden/images/grey_ref.png"));
    assert!(image.contains("neither a PyTorch file nor safetensors"), "{image}");

    let folder = tempfile::tempdir().unwrap();
    let whole = fs_err::read(checkpoint("torchvision_alexnet_old.pth")).unwrap();
    let cut = folder.path().join("cut.pth");
    for len in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        fs_err::write(&cut, &whole[..len]).unwrap();
        assert!(printed(&cut).contains("cut.pth"), "{}", printed(&cut));
    }
    let others = [(String::from("a.weight"), (vec![1], vec![0; 4]))].into_iter().collect();
    let bytes = lpips::net::weights::safetensors_of(&others).unwrap();
    fs_err::write(folder.path().join("a.safetensors"), bytes).unwrap();
    let other = printed(&folder.path().join("a.safetensors"));
    assert!(other.contains("no tensor of a trunk") && other.contains("`a.weight`"), "{other}");
}

/// Half floats are taken as they are; doubles that float32 cannot hold are rounded by `import` alone,
/// which says so.
#[test]
fn floats_of_other_sizes_become_float32() {
    let folder = tempfile::tempdir().unwrap();
    let lin = Lin::load(Net::Alex, Version::V0_1).unwrap();
    let write = |name: &str, dtype: Dtype, bytes: &dyn Fn(f32) -> Vec<u8>| {
        let tensor = |(layer, values): (usize, &Vec<f32>)| {
            let bytes: Vec<u8> = values.iter().flat_map(|&value| bytes(value)).collect();
            (format!("lin{layer}.model.1.weight"), vec![1, values.len(), 1, 1], bytes)
        };
        let tensors: Vec<_> = lin.layers.iter().enumerate().map(tensor).collect();
        let views = tensors.iter().map(|(name, shape, bytes)| {
            (name, TensorView::new(dtype, shape.clone(), bytes).unwrap())
        });
        let path = folder.path().join(name);
        safetensors::serialize_to_file(views, None, &path).unwrap();
        path
    };
    let read = |path: &Path| {
        let found = recognise(path).unwrap();
        (found.rounded, found.lin.unwrap().layers)
    };
    let all = |value: &dyn Fn(f32) -> f32| -> Vec<Vec<f32>> {
        lin.layers.iter().map(|layer| layer.iter().map(|&one| value(one)).collect()).collect()
    };
    let path = write("f16", Dtype::F16, &|value| f16::from_f32(value).to_le_bytes().to_vec());
    assert_eq!(read(&path), (0, all(&|value| f16::from_f32(value).to_f32())));
    let path = write("bf16", Dtype::BF16, &|value| bf16::from_f32(value).to_le_bytes().to_vec());
    assert_eq!(read(&path), (0, all(&|value| bf16::from_f32(value).to_f32())));
    let path = write("f64", Dtype::F64, &|value| f64::from(value).to_le_bytes().to_vec());
    assert_eq!(read(&path), (0, lin.layers.clone()));
    let third = |value: f32| (f64::from(value) / 3.0).to_le_bytes().to_vec();
    let path = write("thirds", Dtype::F64, &third);
    let (rounded, layers) = read(&path);
    assert!(rounded > 100 && layers == all(&|value| (f64::from(value) / 3.0) as f32));
    let path = write("i32", Dtype::I32, &|value| (value as i32).to_le_bytes().to_vec());
    let printed = format!("{:#}", recognise(&path).unwrap_err());
    assert!(printed.contains("has type I32, expected floats"), "{printed}");

    let line = ["eval", "--pair", "a.png", "b.png", "--lin", "thirds"];
    let refused = lpips(folder.path(), &line);
    assert_eq!(refused.status.code(), Some(5));
    let printed = stderr(&refused);
    assert!(
        printed.contains("are not float32") && printed.contains("lpips weights import"),
        "{printed}"
    );
    let imported = lpips(folder.path(), &["weights", "import", "thirds", "-o", "rounded"]);
    assert!(imported.status.success());
    let printed = stderr(&imported);
    assert!(printed.contains(&format!("rounded to float32: {rounded} of its values")), "{printed}");
    assert_eq!(read(&folder.path().join("rounded")), (0, layers));
}

/// A tensor of a file may claim any extent with a stride of 0.
#[test]
fn tensors_beyond_any_net_are_not_read() {
    let shown = |name: &str| format!("{:#}", recognise(&checkpoint(name)).unwrap_err());
    let printed = shown("huge_lin.pth");
    assert!(printed.contains("is larger than any of LPIPS"), "{printed}");
}

#[test]
fn exported_weights_give_the_scores_of_the_embedded_ones() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = lpips(folder.path(), args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["weights", "export", "alex", "-o", "alex.safetensors"]);
    // What is imported from it is the published trunk.
    let imported =
        lpips(folder.path(), &["weights", "import", "alex.safetensors", "--weights-dir", "w"]);
    assert!(imported.status.success(), "{}", stderr(&imported));
    let bytes = fs_err::read(folder.path().join("w/alex.safetensors")).unwrap();
    let sha256 = lpips::hash::sha256_hex(&bytes);
    assert_eq!(sha256, lpips::net::weights::ALEX_SHA256);

    let [reference, distorted] =
        ["ref", "dist"].map(|side| data(&format!("golden/images/jpeg10_{side}.png")));
    let pair = [reference, distorted].map(|path| path.display().to_string());
    let score = |options: &[&str]| {
        let mut line = vec!["eval", "--pair", &pair[0], &pair[1]];
        line.extend(options);
        run(&line)
    };
    let published = score(&[]);
    let exported = score(&["--trunk", "alex.safetensors", "--lin", "alex.safetensors"]);
    assert_eq!(published, exported);
    let random = score(&["--trunk", "random:1", "--lin", "random:2"]);
    assert_eq!(random, score(&["--trunk", "random:1", "--lin", "random:2"]));
    assert_ne!(random, score(&["--trunk", "random:3", "--lin", "random:2"]));
    let last = |csv: &str| csv.lines().last().unwrap().to_owned();
    assert!(last(&random).ends_with(",ok,,"), "{random}");
}

#[test]
fn import_keeps_tuned_weights_apart_from_published_ones() {
    let folder = tempfile::tempdir().unwrap();
    let file = checkpoint("torchvision_vgg16.pth").display().to_string();
    let refused = lpips(folder.path(), &["weights", "import", &file, "--weights-dir", "w"]);
    assert_eq!(refused.status.code(), Some(6));
    let printed = stderr(&refused);
    assert!(printed.contains("not torchvision's published trunk of vgg"), "{printed}");
    assert!(printed.contains("--trunk"), "{printed}");
    let imported = lpips(folder.path(), &["weights", "import", &file, "-o", "tuned.safetensors"]);
    assert!(imported.status.success(), "{}", stderr(&imported));
    let printed = stderr(&imported);
    assert!(printed.contains("vgg, trunk of 13 convolutions (`features.0.bias`...)"), "{printed}");
    assert!(printed.contains("6 other tensors left out"), "{printed}");
    let again = recognise(&folder.path().join("tuned.safetensors")).unwrap();
    assert_trunk(again.trunk, Net::Vgg, 1);
}

#[test]
fn weights_of_another_net_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = checkpoint("torchvision_vgg16.pth").display().to_string();
    let line = ["eval", "--pair", "a.png", "b.png", "--trunk", &file];
    let output = lpips(folder.path(), &line);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{printed}");
    assert!(
        printed.contains("these are weights of vgg") && printed.contains("--net vgg"),
        "{printed}"
    );
    let line =
        ["eval", "--pair", "a.png", "b.png", "--net=vgg", "--trunk=random:1", "--lin", &file];
    let printed = stderr(&lpips(folder.path(), &line));
    assert!(printed.contains("holds no such weights"), "{printed}");
    let line = ["eval", "--pair", "a.png", "b.png", "--net", "vgg,alex", "--trunk", &file];
    assert_eq!(lpips(folder.path(), &line).status.code(), Some(2));
}

#[test]
fn without_a_network_fetch_tells_the_manual_way() {
    let folder = tempfile::tempdir().unwrap();
    // Nothing listens on port 1 of loopback.
    let url = "http://127.0.0.1:1/squeezenet1_1-b8a52dc0.pth";
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lpips"));
    command.current_dir(folder.path()).args(["weights", "fetch", "squeeze", "--url", url]);
    command.args(["--weights-dir", "w"]);
    for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        command.env_remove(proxy);
    }
    let output = command.output().unwrap();
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{printed}");
    assert!(printed.contains("lpips weights import squeezenet1_1-b8a52dc0.pth"), "{printed}");
    let lin = Lin::load(Net::Squeeze, Version::V0_1);
    assert!(lin.is_ok(), "lin weights need no network");
}

/// Files of the working folder must not decide a number unless they are named.
#[test]
fn the_working_folder_is_not_searched() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["vgg.safetensors", "squeezenet1_1-b8a52dc0.pth", "squeeze.safetensors"] {
        for place in ["weights", "."] {
            let place = folder.path().join(place);
            fs_err::create_dir_all(&place).unwrap();
            fs_err::write(place.join(name), "not requested").unwrap();
        }
    }
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_lpips"));
        command.current_dir(folder.path()).args(args).env("HOME", home.path());
        command.env_remove("LPIPS_WEIGHTS_DIR").env_remove("XDG_DATA_HOME");
        command.output().unwrap()
    };
    let listed = String::from_utf8(run(&["weights", "list"]).stdout).unwrap();
    assert!(listed.contains("vgg      absent") && listed.contains("squeeze  absent"), "{listed}");
    // A folder that is named is searched, and what is in it is compared by its whole hash.
    let named = run(&["weights", "verify", "squeeze", "--weights-dir", "weights"]);
    let printed = String::from_utf8(named.stdout.clone()).unwrap();
    assert_eq!(named.status.code(), Some(5), "{printed}");
    let expected =
        "expected SHA-256 b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b";
    assert!(printed.contains("squeeze  BAD") && printed.contains(expected), "{printed}");
}

/// Earlier versions made it of torchvision's file, and it is unknown of which.
#[test]
fn an_imported_squeeze_file_without_a_hash_is_not_used_but_named() {
    let folder = tempfile::tempdir().unwrap();
    let written = crate::support::write_squeeze(folder.path());
    let weights_dir = folder.path().display().to_string();
    let line = ["eval", "--pair", "a", "b", "--net", "squeeze", "--weights-dir", &weights_dir];
    let output = lpips(folder.path(), &line);
    let printed = stderr(&output);
    assert_eq!(output.status.code(), Some(5), "{printed}");
    assert!(printed.contains("lpips weights fetch squeeze"), "{printed}");
    assert!(printed.contains(&format!("`--trunk {written}`")), "{printed}");
}

#[test]
fn verify_fails_where_a_named_net_is_absent() {
    let folder = tempfile::tempdir().unwrap();
    let verify = |nets: &[&str]| {
        lpips(folder.path(), &[&["weights", "verify", "--weights-dir", "w"], nets].concat())
            .status
            .code()
    };
    assert_eq!(verify(&[]), Some(0));
    assert_eq!(verify(&["alex"]), Some(0));
    assert_eq!(verify(&["vgg"]), Some(5));
    assert_eq!(verify(&["alex", "squeeze"]), Some(5));
    assert_eq!(verify(&["resnet"]), Some(2));
}

/// Files of a shared folder are for everybody, not only for the one who wrote them.
#[test]
fn written_weights_keep_the_umask() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let script = r#"umask 022; "$0" weights export alex -o alex.safetensors &&
        umask 027 && "$0" weights import alex.safetensors --weights-dir w"#;
    let mut shell = std::process::Command::new("sh");
    shell.current_dir(folder.path()).args(["-c", script, env!("CARGO_BIN_EXE_lpips")]);
    assert!(shell.output().unwrap().status.success());
    let mode = |name: &str| {
        fs_err::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!([mode("alex.safetensors"), mode("w/alex.safetensors")], [0o644, 0o640]);
}

#[test]
fn the_origin_of_weights_is_printed_and_kept_in_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let image = data("golden/images/blur2_ref.png").display().to_string();
    let line = ["eval", "--pair", &image, &image, "-o", "run", "-v", "--trunk", "random:7"];
    let output = lpips(folder.path(), &line);
    let printed = stderr(&output);
    let expected = ["trunk of alex: random:7", "lin weights of alex: embedded in the program"];
    for origin in expected {
        assert!(printed.contains(origin), "{printed}");
    }
    let run = fs_err::read(folder.path().join("run/run.json")).unwrap();
    let run: serde_json::Value = serde_json::from_slice(&run).unwrap();
    let attempt = &run["provenance"]["attempts"][0];
    assert_eq!(attempt["weights"], serde_json::json!(expected), "{attempt}");
}
