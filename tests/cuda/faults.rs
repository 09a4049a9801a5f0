//! Calls that fail: memory that runs short, contexts that break, anything once.

use std::collections::BTreeMap;
use std::path::Path;

use lpips::net::Net;

use crate::job::{Evaluated, Job, write_black};
use crate::machine::{Machine, is_simulated};
use crate::support::trunk;

const CUDA: [&str; 4] = ["--device", "cuda", "--batch", "1"];
const OUT_OF_MEMORY: i32 = 2;
const ILLEGAL_ADDRESS: i32 = 700;
const UNSUPPORTED_PTX: i32 = 222;
const UNKNOWN: i32 = 999;

/// Right values or a clear error: nothing in between, and nothing that the stand-ins object to.
/// Whether the job was done.
#[track_caller]
fn right_or_clear(evaluated: &Evaluated, table: &str, what: &str) -> bool {
    let printed = evaluated.ran.stderr();
    assert!(evaluated.ran.report.is_empty(), "{what}: {}\n{printed}", evaluated.ran.report);
    assert!(!printed.contains("panicked"), "{what}: {printed}");
    match evaluated.ran.output.status.code() {
        Some(0) => {
            assert_eq!(evaluated.pairs(), table, "{what}");
            true
        }
        Some(5) => {
            assert!(
                printed.starts_with("error:") || printed.contains("\nerror:"),
                "{what}: {printed}"
            );
            false
        }
        other => panic!("{what}: exit {other:?}\n{printed}"),
    }
}

#[test]
fn out_of_memory_at_each_allocation_in_turn() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(4, 1);
    let clean = job.eval(&Machine::new(), &CUDA);
    let table = clean.table();
    for function in ["cuMemAlloc_v2", "cuMemHostAlloc"] {
        let count = clean.ran.calls(function);
        assert!(count > 3, "{function} is not called");
        let mut done = 0;
        for nth in 1..=count {
            let machine = Machine::new().fail(function, nth, OUT_OF_MEMORY).schedule("lazy");
            let evaluated = job.eval(&machine, &CUDA);
            let what = format!("{function} {nth} of {count}");
            if right_or_clear(&evaluated, &table, &what) {
                done += 1;
            } else {
                let printed = evaluated.ran.stderr();
                assert!(
                    printed.contains("OUT_OF_MEMORY") || printed.contains("memory"),
                    "{what}: {printed}"
                );
            }
        }
        eprintln!("{function}: {done} of {count} jobs done in spite of a failure");
    }
}

#[test]
fn less_memory_changes_no_value() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(4, 2);
    let mut done = 0;
    let table = job.eval(&Machine::new(), &CUDA).table();
    for mebibytes in [20, 60, 80, 100, 120, 140, 160, 200, 300] {
        let machine = Machine::new().set("FAKE_CUDA_MEMORY", mebibytes << 20);
        let evaluated = job.eval(&machine, &["--device", "cuda"]);
        if evaluated.ran.output.status.code() == Some(3) {
            // A pair that no amount of patience can score is a row.
            evaluated.ran.expect(3);
            continue;
        }
        done += usize::from(right_or_clear(&evaluated, &table, &format!("{mebibytes} MiB")));
    }
    assert!((1..9).contains(&done), "{done} of 9 sizes suffice");
}

#[test]
fn a_pair_that_needs_more_than_is_free_is_a_row_and_the_gpu_scores_the_others() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(3, 1);
    let folder = job.folder();
    let small = |name: &str| folder.join(name);
    let pair = |id: &str, reference: &str, distorted: &str| {
        (id.to_owned(), small(reference), small(distorted))
    };
    // Two black images, which need less than the whole memory, and more than is left of it.
    for name in ["large.ppm", "too.ppm"] {
        write_black(&folder.join(name), (3000, 3000));
    }
    let before = pair("before", "0.ppm", "0_0.ppm");
    let after = [pair("after", "1.ppm", "1_0.ppm"), pair("last", "2.ppm", "2_0.ppm")];
    let all = [vec![before, pair("large", "large.ppm", "too.ppm")], after.to_vec()].concat();
    let fitting: Vec<_> = all.iter().filter(|(id, ..)| id != "large").cloned().collect();
    let expected = Job::of(&fitting).eval(&Machine::new(), &CUDA).values();
    let all = Job::of(&all);
    // What the pair takes, and not the weights beside it.
    let machine = Machine::new().set("FAKE_CUDA_MEMORY", 624 << 20);
    let evaluated = all.eval(&machine, &CUDA);
    let printed = evaluated.ran.expect(3).stderr();
    assert!(printed.contains("E_TOO_LARGE 1"), "{printed}");
    let reason = &evaluated.column("error")["large"];
    let has_figures = reason.contains("of GPU memory, ") && reason.contains(" are free on");
    assert!(has_figures, "{reason}");
    let found = evaluated.values();
    for (id, row) in &expected {
        assert_eq!(found[id], *row, "{id}");
    }
}

/// VGG16 does not fit, and AlexNet before it does: its pair is walked. What nothing was written to
/// is NaN, since the stand-ins do not compute here.
#[test]
fn a_net_that_does_not_fit_leaves_the_others_as_they_are() {
    if !is_simulated() || trunk(Net::Vgg).is_none() {
        return;
    }
    let images = tempfile::tempdir().unwrap();
    let black = |name: &str| {
        let path = images.path().join(name);
        write_black(&path, (512, 512));
        path
    };
    let job = Job::of(&[("pair".to_owned(), black("ref.ppm"), black("dist.ppm"))]);
    let weights = Path::new(env!("CARGO_MANIFEST_DIR")).join("weights");
    let machine = Machine::new().set("FAKE_CUDA_MEMORY", 220 << 20).set("FAKE_CUDA_COMPUTE", 0);
    let options = ["--net", "alex,vgg", "--weights-dir", weights.to_str().unwrap()];
    let evaluated = job.eval(&machine, &[&CUDA[..], &options].concat());
    let printed = evaluated.ran.expect(3).stderr();
    assert!(printed.contains("E_NAN 1") && evaluated.ran.calls("cuLaunchKernel") > 0, "{printed}");
}

/// cuDNN has its own name for a context that is broken.
fn is_reported(stderr: &str) -> bool {
    stderr.contains("ILLEGAL_ADDRESS") || stderr.contains("EXECUTION_FAILED")
}

#[test]
fn a_broken_context_ends_the_run_and_the_same_command_goes_on() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(6, 1);
    let clean = job.eval(&Machine::new(), &CUDA);
    let table = clean.table();
    let launches = clean.ran.calls("cuLaunchKernel");
    for (nth, schedule) in [(1, "eager"), (launches / 2, "lazy"), (launches, "eager")] {
        let machine = Machine::new().schedule(schedule);
        let machine = machine.fail("cuLaunchKernel", nth, ILLEGAL_ADDRESS);
        let broken = job.eval(&machine, &CUDA);
        let printed = broken.ran.expect(5).stderr();
        assert!(is_reported(&printed), "{printed}");
        assert!(printed.contains("hint:"), "{printed}");
        let rest = job.eval_into(&broken.run, &Machine::new(), &CUDA);
        assert_eq!(rest.table(), table, "launch {nth} of {launches}, {schedule}");
        if nth == launches {
            let again = rest.ran.calls("cuLaunchKernel");
            assert!(again < launches, "rows that were scored are scored again");
        }
    }
}

#[test]
fn the_other_gpus_go_on_where_one_breaks() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(8, 1);
    let table = job.eval(&Machine::new(), &CUDA).table();
    let options = ["--device", "cuda:all", "--batch", "1"];
    let mut struck = 0;
    for (count, gpu) in [(2, 0), (2, 1), (4, 2)] {
        for nth in [1, 9] {
            let machine = Machine::new().gpus(count).schedule("lazy");
            let machine = machine.fail(&format!("cuLaunchKernel@{gpu}"), nth, ILLEGAL_ADDRESS);
            let evaluated = job.eval(&machine, &options);
            assert_eq!(evaluated.table(), table, "gpu {gpu} of {count}");
            if evaluated.ran.trace.contains("fault ") {
                struck += 1;
                let printed = evaluated.ran.stderr();
                assert!(is_reported(&printed), "the loss is not reported: {printed}");
                let lost = &evaluated.run_file()["provenance"]["attempts"][0]["lost"];
                assert_eq!(lost.as_array().unwrap().len(), 1, "{lost}");
                assert_eq!(lost[0]["device"], format!("CUDA {gpu}"));
                assert!(is_reported(lost[0]["error"].as_str().unwrap()), "{lost}");
                assert!(lost[0]["after_pairs"].as_u64().unwrap() < 8, "{lost}");
            } else {
                let attempt = &evaluated.run_file()["provenance"]["attempts"][0];
                assert_eq!(attempt.get("lost"), None);
            }
        }
    }
    assert!(struck > 0, "no fault was reached");
    // When all break, so does the run.
    let machine = Machine::new().gpus(2).set(
        "FAKE_CUDA_FAIL",
        format!("cuLaunchKernel@0:1:{ILLEGAL_ADDRESS},cuLaunchKernel@1:1:{ILLEGAL_ADDRESS}"),
    );
    let printed = job.eval(&machine, &options).ran.expect(5).stderr();
    assert!(is_reported(&printed), "{printed}");
}

#[test]
fn auto_says_why_a_gpu_that_was_found_cannot_be_opened_and_takes_the_cpu() {
    let job = Job::noise(1, 1);
    let cpu = job.eval(&Machine::new(), &["--device", "cpu"]).table();
    let faults = [
        ("cuMemAlloc_v2", OUT_OF_MEMORY, "OUT_OF_MEMORY"),
        ("cuDevicePrimaryCtxRetain", ILLEGAL_ADDRESS, "ILLEGAL_ADDRESS"),
        ("cuStreamCreate", ILLEGAL_ADDRESS, "ILLEGAL_ADDRESS"),
        ("cuModuleLoadDataEx", UNSUPPORTED_PTX, "UNSUPPORTED_PTX"),
        ("cudnnCreate", 1001, "NOT_INITIALIZED"),
    ];
    for (function, code, word) in faults {
        let machine = Machine::new().fail(function, 1, code);
        let evaluated = job.eval(&machine, &["--device", "auto"]);
        assert_eq!(evaluated.table(), cpu, "{function}");
        let printed = evaluated.ran.stderr();
        assert!(printed.contains("note: computing on the CPU: "), "{function}: {printed}");
        assert!(printed.contains(word), "{function}: {printed}");
        // Who asks for the GPU does not get the CPU.
        let printed = job.eval(&machine, &CUDA).ran.expect(5).stderr();
        assert!(printed.contains(word) && printed.contains("hint: "), "{function}: {printed}");
    }
}

#[test]
fn what_the_installation_lacks_is_a_fault_with_its_remedy_and_no_reason_for_another_algorithm() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    let (asked, ran) =
        ("cudnnGetConvolutionForwardWorkspaceSize", "cudnnConvolutionBiasActivationForward");
    let faults = [
        (asked, 3005, "INCOMPATIBLE_CUDA_DRIVER", "install a newer driver"),
        (asked, 3006, "INCOMPATIBLE_CUDART", "install a newer driver"),
        (ran, 3007, "ARCH_MISMATCH", "install a version of cuDNN that supports this GPU"),
        (ran, 3008, "RUNTIME_PREREQUISITE_MISSING", "nvidia-cuda-nvrtc"),
        (asked, 3009, "SUBLIBRARY_UNAVAILABLE", "--force-reinstall"),
        ("cudnnCreate", 1002, "SUBLIBRARY_VERSION_MISMATCH", "--force-reinstall"),
        ("cuModuleLoadDataEx", 221, "JIT_COMPILER_NOT_FOUND", "libnvidia-ptxjitcompiler"),
        ("cuModuleLoadDataEx", 223, "JIT_COMPILATION_DISABLED", "unset CUDA_DISABLE_PTX_JIT"),
    ];
    for (function, code, word, remedy) in faults {
        let machine = Machine::new().fail(function, 1, code);
        let printed = job.eval(&machine, &CUDA).ran.expect(5).stderr();
        assert!(printed.contains(word), "{code}: {printed}");
        let (_, hint) = printed.split_once("hint: ").unwrap();
        assert!(hint.contains(remedy), "{code}: {printed}");
    }
    // A refusal of the one engine does not lead back to it.
    let machine = Machine::new().fail("cublasGemmStridedBatchedEx", 1, 15);
    let printed = job.eval(&machine, &[&CUDA[..], &["--conv", "cublas"]].concat());
    let printed = printed.ran.expect(5).stderr();
    let (_, hint) = printed.split_once("hint: ").unwrap();
    assert!(hint.contains("--conv cudnn") && !hint.contains("--conv cublas"), "{printed}");
}

#[test]
fn a_status_that_no_binding_knows_is_a_fault_with_its_number() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    for (engine, function) in [
        ("cudnn", "cuMemAlloc_v2"),
        ("cudnn", "cuLaunchKernel"),
        ("cudnn", "cudnnCreate"),
        ("cudnn", "cudnnGetConvolutionForwardWorkspaceSize"),
        ("cudnn", "cudnnConvolutionBiasActivationForward"),
        ("cublas", "cublasCreate_v2"),
        ("cublas", "cublasGemmStridedBatchedEx"),
    ] {
        let machine = Machine::new().fail(function, 1, 9999);
        let evaluated = job.eval(&machine, &[&CUDA[..], &["--conv", engine]].concat());
        let printed = evaluated.ran.expect(5).stderr();
        let name = match function {
            "cuLaunchKernel" => "launch of",
            _ => function.trim_end_matches("_v2"),
        };
        let is_named = printed.contains(name) && printed.contains("9999");
        assert!(is_named && printed.contains("hint: "), "{function}: {printed}");
    }
}

#[test]
fn any_call_may_fail_once() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(2, 1);
    for engine in ["cudnn", "cublas"] {
        let options = [&CUDA[..], &["--conv", engine]].concat();
        let clean = job.eval(&Machine::new(), &options);
        let table = clean.table();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        // What both engines have in common is tried once.
        let prefix = if engine == "cudnn" { "cu" } else { "cublas" };
        for line in clean.ran.trace.lines().filter(|line| line.starts_with(prefix)) {
            *counts.entry(line.split(' ').next().unwrap()).or_default() += 1;
        }
        for (function, count) in counts {
            // What waits fails because the context broke.
            let code = match function {
                _ if function.starts_with("cudnn") => 5000,
                _ if function.starts_with("cublas") => 13,
                _ if function.contains("Synchronize") => ILLEGAL_ADDRESS,
                _ => UNKNOWN,
            };
            let first_and_last = if count == 1 { vec![1] } else { vec![1, count] };
            for nth in first_and_last {
                let machine = Machine::new().fail(function, nth, code);
                let evaluated = job.eval(&machine, &options);
                // What a failed release leaves behind is no fault of the program.
                let what = format!("{function} {nth} of {count}");
                let releases = ["Free", "Destroy", "Release", "Unload"];
                let is_release = releases.iter().any(|word| function.contains(word))
                    || (function.starts_with("cuCtxPushCurrent") && nth == count);
                if is_release {
                    let code = evaluated.ran.output.status.code();
                    assert_eq!(code, Some(0), "{what}: {}", evaluated.ran.stderr());
                    assert_eq!(evaluated.pairs(), table, "{what}");
                } else {
                    right_or_clear(&evaluated, &table, &what);
                }
            }
        }
    }
}

#[test]
fn less_host_memory_changes_no_value_and_a_pair_beyond_it_is_a_row() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(4, 2);
    let machine = Machine::new();
    let table = job.eval(&machine, &["--device", "cuda"]).table();
    for memory in ["300M", "1G"] {
        let evaluated = job.eval(&machine, &["--device", "cuda", "--memory", memory]);
        assert_eq!(evaluated.table(), table, "--memory {memory}");
    }
    // Two images of 432 MB each, which are refused before they are decoded.
    let large =
        Job::of(&[("large".to_owned(), job.folder().join("l.ppm"), job.folder().join("m.ppm"))]);
    for name in ["l.ppm", "m.ppm"] {
        let mut file = fs_err::File::create(job.folder().join(name)).unwrap();
        let header = b"P6 12000 12000 255\n";
        std::io::Write::write_all(&mut file, header).unwrap();
        file.set_len(header.len() as u64 + 12_000 * 12_000 * 3).unwrap();
    }
    let evaluated = large.eval(&machine, &["--device", "cuda", "--memory", "1G"]);
    let printed = evaluated.ran.expect(3).stderr();
    assert!(printed.contains("E_TOO_LARGE 1"), "{printed}");
    assert!(printed.contains("a pair takes 0.86 GB of memory"), "{printed}");
}
