//! `lpips doctor`, on the CPU and where there is no GPU.

use std::process::{Command, Output};

use crate::support::stderr;

/// Runs the program where no GPU can be seen, whatever the machine has.
fn without_gpu(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lpips"));
    command.args(args).env("CUDA_VISIBLE_DEVICES", "-1").env_remove("LPIPS_CUDA_LIBS");
    command.output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn it_lists_what_there_is_and_what_helps() {
    let output = without_gpu(&["doctor"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    for name in ["CPU ", "cuda ", "cudnn ", "cublas "] {
        assert!(text.lines().any(|line| line.starts_with(name)), "{text}");
    }
    let missing = text.matches("MISSING").count();
    assert!(missing >= 1 && text.matches("hint: ").count() == missing, "{text}");
    let found = json(&without_gpu(&["doctor", "--json"]));
    assert_eq!(found["devices"].as_array().unwrap().len(), 0);
    assert_eq!(found["libraries"].as_array().unwrap().len(), 3);
    assert!(found.get("selftest").is_none());
}

#[test]
fn the_self_test_of_the_cpu_passes() {
    let args =
        ["doctor", "--selftest", "--quick", "--device", "cpu", "--net", "alex,squeeze", "--json"];
    let output = without_gpu(&args);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let found = json(&output);
    let rows = found["selftest"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!((row["status"].as_str(), row["invariant"].as_bool()), (Some("ok"), Some(true)));
        let (deviation, bound) = (&row["deviation"], &row["bound"]);
        let total = deviation["total"].as_f64().unwrap();
        assert!(total > 0.0 && total <= bound["total"].as_f64().unwrap(), "{row}");
    }
    assert_eq!(rows[0]["trunk"], "published");
}

#[test]
fn a_gpu_that_is_not_there_is_an_error_with_a_remedy_and_never_the_cpu() {
    for args in [
        &["doctor", "--device", "cuda"][..],
        &["doctor", "--selftest", "--device", "cuda:all"],
        &["eval", "--pair", "a.png", "b.png", "--device", "cuda"],
        &["eval", "--pair", "a.png", "b.png", "--precision", "fp16"],
        &["eval", "--pair", "a.png", "b.png", "--conv", "cublas"],
    ] {
        let output = without_gpu(args);
        let printed = stderr(&output);
        assert_eq!(output.status.code(), Some(5), "{args:?}: {printed}");
        assert!(printed.contains("error: ") && printed.contains("hint: "), "{args:?}: {printed}");
    }
}

#[test]
fn options_of_cuda_contradict_the_cpu() {
    for option in [["--precision", "tf32"], ["--conv", "cudnn"]] {
        let args = [&["eval", "--pair", "a.png", "b.png", "--device", "cpu"], &option[..]].concat();
        let output = without_gpu(&args);
        let printed = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {printed}");
        assert!(printed.contains(option[0]), "{printed}");
    }
}
