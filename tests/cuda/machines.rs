//! Machines to imagine: how many GPUs, which libraries, which driver, in which order things happen.

use crate::job::{Evaluated, Job};
use crate::machine::{CUDNN_PARTS, Machine, is_simulated};
use crate::support::write_squeeze;

const CUDA: [&str; 2] = ["--device", "cuda"];

/// GPUs that ran kernels.
fn working(trace: &str) -> Vec<i32> {
    let launches = trace.lines().filter_map(|line| line.strip_prefix("cuLaunchKernel "));
    let mut gpus: Vec<i32> = launches.map(|gpu| gpu.parse().unwrap()).collect();
    gpus.sort_unstable();
    gpus.dedup();
    gpus
}

#[test]
fn every_schedule_gives_the_same_table() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(4, 2);
    for engine in ["cudnn", "cublas"] {
        let options = [&CUDA[..], &["--batch", "1", "--conv", engine]].concat();
        let eager = job.eval(&Machine::new(), &options).table();
        for schedule in ["lazy", "first=1", "first=2"] {
            let machine = Machine::new().schedule(schedule);
            assert_eq!(job.eval(&machine, &options).table(), eager, "{schedule}, {engine}");
        }
    }
}

#[test]
fn one_two_and_four_gpus_give_the_same_table() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(8, 2);
    let options = ["--device", "cuda:all", "--batch", "1"];
    let one = job.eval(&Machine::new(), &options);
    let table = one.table();
    assert_eq!(working(&one.ran.trace), [0]);
    for (count, schedule) in [(2, "eager"), (2, "lazy"), (4, "lazy")] {
        let machine = Machine::new().gpus(count).schedule(schedule);
        let evaluated = job.eval(&machine, &options);
        assert_eq!(evaluated.table(), table, "{count} GPUs, {schedule}");
        let run = evaluated.run_file();
        let device = run["provenance"]["device"].as_str().unwrap();
        assert!(device.contains("Stand-in GPU"), "{device}");
    }
    let some = job.eval(&Machine::new().gpus(4), &["--device", "cuda:1,3", "--batch", "1"]);
    assert_eq!(some.table(), table);
    assert!(working(&some.ran.trace).iter().all(|gpu| [1, 3].contains(gpu)));
    assert!(!working(&some.ran.trace).is_empty());
}

#[test]
fn the_table_agrees_with_the_cpu() {
    let job = Job::noise(4, 2);
    let cuda = job.eval(&Machine::new(), &[&CUDA[..], &["--per-layer"]].concat());
    cuda.ran.expect(0);
    let cpu = job.eval(&Machine::new(), &["--device", "cpu", "--per-layer"]);
    cpu.ran.expect(0);
    assert!(cpu.ran.trace.is_empty(), "--device cpu calls CUDA");
    let (cuda, cpu) = (cuda.values(), cpu.values());
    assert_eq!(cuda.len(), 8);
    for (id, row) in &cuda {
        for (column, found) in row {
            let expected = cpu[id][column];
            assert!((found - expected).abs() <= 4e-5 * expected + 2e-8, "{id} {column}");
        }
    }
}

#[test]
fn without_cudnn_cublas_convolves() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(2, 1);
    let both = job.eval(&Machine::new(), &CUDA);
    both.ran.expect(0);
    assert!(both.ran.trace.contains("convolution ") && !both.ran.trace.contains("product "));
    let machine = Machine::new().without("libcudnn.so.9");
    let evaluated = job.eval(&machine, &CUDA);
    evaluated.ran.expect(0);
    assert!(evaluated.ran.trace.contains("product "));
    let class = evaluated.run_file()["fingerprint"]["numerics_class"].to_string();
    assert!(class.to_lowercase().contains("cublas"), "{class}");
    for (id, row) in evaluated.values() {
        let expected = both.values()[&id]["lpips_alex"];
        assert!((row["lpips_alex"] - expected).abs() <= 2e-5 * expected, "{id}");
    }
    let printed = job.eval(&machine, &[&CUDA[..], &["--conv", "cudnn"]].concat());
    let printed = printed.ran.expect(5).stderr();
    assert!(printed.contains("cudnn") && printed.contains("hint:"), "{printed}");
}

/// SqueezeNet's convolutions with windows of one position: 16 of 25.
#[test]
fn squeeze_takes_cublas_beside_cudnn_where_that_is_there() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 2);
    let trunk = write_squeeze(job.folder());
    let squeeze = ["--conv", "cudnn", "--net", "squeeze", "--trunk", &trunk];
    for precision in ["fp32", "fp16"] {
        let eval = |machine: &Machine, batch: &str| {
            let options = [&squeeze[..], &["--precision", precision, "--batch", batch]].concat();
            job.eval(machine, &[&CUDA[..], &options].concat())
        };
        let class = |evaluated: &Evaluated| {
            evaluated.run_file()["fingerprint"]["numerics_class"].as_str().unwrap().to_owned()
        };
        let both = eval(&Machine::new(), "2");
        let table = both.table();
        assert!(class(&both).contains("+cublas-12.0.2-cublasLt-"), "{}", class(&both));
        let convolutions = |of: &Evaluated, kind: &str| {
            of.ran.trace.lines().filter(|line| line.starts_with(kind)).count()
        };
        assert_eq!(eval(&Machine::new(), "1").table(), table, "a pair alone");
        let cudnn = eval(&Machine::new().without("libcublas.so.12"), "2");
        cudnn.ran.expect(0);
        assert!(!class(&cudnn).contains("cublas-"), "{}", class(&cudnn));
        assert_eq!(convolutions(&cudnn, "product "), 0);
        assert_eq!(
            convolutions(&both, "product ") + convolutions(&both, "convolution "),
            convolutions(&cudnn, "convolution ")
        );
        let found = both.values();
        for (id, row) in cudnn.values() {
            let (expected, found) = (row["lpips_squeeze"], found[&id]["lpips_squeeze"]);
            let bound = if precision == "fp32" { 2e-5 } else { 2e-2 };
            assert!((found - expected).abs() <= bound * expected, "{id}: {found}, {expected}");
        }
    }
    // AlexNet has none, so cuBLAS is not opened.
    let alex = job.eval(&Machine::new(), &[&CUDA[..], &["--conv", "cudnn"]].concat());
    assert_eq!(alex.ran.calls("cublasGetProperty"), 0);
    alex.table();
}

#[test]
fn an_incomplete_cudnn_folder_ends_nothing() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    for part in CUDNN_PARTS {
        let machine = Machine::new().without(&format!("libcudnn_{part}.so.9"));
        let evaluated = job.eval(&machine, &CUDA);
        evaluated.ran.expect(0);
        assert!(evaluated.ran.trace.contains("product "), "cuBLAS convolves instead");
        let printed = job.eval(&machine, &[&CUDA[..], &["--conv", "cudnn"]].concat());
        let printed = printed.ran.expect(5).stderr();
        assert!(printed.contains(&format!("libcudnn_{part}")), "{printed}");
    }
}

#[test]
fn what_cannot_work_is_reported_with_a_remedy_and_auto_takes_the_cpu() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    let neither = || Machine::new().without("libcudnn.so.9").without("libcublas.so.12");
    let machines = [
        ("no driver", neither().without("libcuda.so.1").without("libcublasLt.so.12")),
        ("no GPU", Machine::new().gpus(0)),
        ("no library that convolves", neither()),
        ("driver of CUDA 11.8", Machine::new().set("FAKE_CUDA_DRIVER", 11080)),
        ("Pascal", Machine::new().set("FAKE_CUDA_CAPABILITY", 61)),
        ("no cuMemcpy2DAsync_v2", Machine::new().without_symbol("cuMemcpy2DAsync_v2")),
    ];
    for (what, machine) in machines {
        let refused = job.eval(&machine, &CUDA).ran.expect(5).stderr();
        assert!(refused.contains("hint:"), "{what}: {refused}");
        let evaluated = job.eval(&machine, &["--device", "auto"]);
        let printed = evaluated.ran.expect(0).stderr();
        assert!(printed.contains("computing on the CPU"), "{what}: {printed}");
        assert_eq!(evaluated.values().len(), 1);
    }
}

#[test]
fn drivers_from_cuda_12_0_on_work() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    let newest = job.eval(&Machine::new(), &CUDA).table();
    // The stand-in has nothing that CUDA 12.0 lacks, and reads PTX up to the driver's version.
    for version in [12000, 12020, 12090] {
        let machine = Machine::new().set("FAKE_CUDA_DRIVER", version);
        assert_eq!(job.eval(&machine, &CUDA).table(), newest, "{version}");
    }
    for capability in [70, 75, 80, 86, 89, 100, 120] {
        let machine = Machine::new().set("FAKE_CUDA_CAPABILITY", capability);
        assert_eq!(job.eval(&machine, &CUDA).table(), newest, "{capability}");
    }
}

#[test]
fn half_precision_takes_whole_vectors_on_gpus_before_ampere() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    let options = [&CUDA[..], &["--precision", "fp16", "--conv", "cudnn"]].concat();
    for (capability, channels) in [(70, 8), (75, 8), (80, 4)] {
        let machine = Machine::new().set("FAKE_CUDA_CAPABILITY", capability);
        let evaluated = job.eval(&machine, &options);
        let calls = evaluated.ran.expect(0).convolved();
        let first = format!("x{channels}x47x33 to 64 channels");
        assert!(calls.iter().any(|call| call.contains(&first)), "{capability}: {calls:?}");
    }
}

#[test]
fn gpus_that_are_not_there_are_named() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    let printed =
        job.eval(&Machine::new().gpus(2), &["--device", "cuda:0,5"]).ran.expect(5).stderr();
    assert!(printed.contains('5') && printed.contains("hint:"), "{printed}");
}

#[test]
fn gpus_of_several_models_are_not_mixed_and_the_hint_tells_which_go_together() {
    let job = Job::noise(4, 1);
    let machine = Machine::new().gpus(4).set("FAKE_CUDA_NAME", "Large,Small,Large");
    let printed = job.eval(&machine, &["--device", "cuda:all"]).ran.expect(5).stderr();
    assert!(printed.contains("GPU 0 is a Large, GPU 1 a Small"), "{printed}");
    let hint = printed.split_once("`--device ").unwrap().1.split_once('`').unwrap().0;
    assert_eq!(hint, "cuda:0,2,3");
    let evaluated = job.eval(&machine, &["--device", hint, "--batch", "1"]);
    let table = evaluated.table();
    assert!(!working(&evaluated.ran.trace).contains(&1));
    // A run that began on one model does not continue with another, unless that is allowed.
    let begun = job.eval(&machine, &["--device", "cuda:1"]);
    assert_eq!(begun.table(), table);
    let mixed = job.eval_into(&begun.run, &machine, &["--device", "cuda:0"]);
    assert!(mixed.ran.stderr().contains("--allow-mixed-numerics"), "{}", mixed.ran.stderr());
    assert_eq!(mixed.ran.output.status.code(), Some(6));
}

#[test]
fn libraries_are_found_in_a_folder_that_is_named() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    let machine = Machine::new();
    let folder = machine.libraries().to_str().unwrap().to_owned();
    let bare = Machine::new().set("LD_LIBRARY_PATH", "");
    let printed = job.eval(&bare, &CUDA).ran.expect(5).stderr();
    assert!(printed.contains("libcuda"), "{printed}");
    let found = job.eval(&bare, &[&CUDA[..], &["--cuda-libs", &folder]].concat());
    found.ran.expect(0);
    let found = job.eval(&bare.set("LPIPS_CUDA_LIBS", &folder), &CUDA);
    found.ran.expect(0);
}
