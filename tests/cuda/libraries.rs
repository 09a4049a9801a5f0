//! Libraries that do not go together: too new for the driver, or a cuDNN of several versions.

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::job::Job;
use crate::machine::{CUDNN_LATER_PART, CUDNN_PARTS, Machine, is_simulated};

const CUDA: [&str; 2] = ["--device", "cuda"];

/// What is printed where `--conv` asks for an engine that cannot be used, with its remedy.
#[track_caller]
fn refused(job: &Job, machine: &Machine, engine: &str) -> String {
    let printed = job.eval(machine, &[&CUDA[..], &["--conv", engine]].concat());
    let printed = printed.ran.expect(5).stderr();
    assert!(printed.contains("\nhint: ") && printed.contains("--cuda-libs"), "{printed}");
    printed
}

#[test]
fn libraries_that_are_newer_than_the_driver_are_left_alone() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    let old = || Machine::new().set("FAKE_CUDA_DRIVER", 12000);
    let of_13 = |machine: Machine| {
        let machine = machine.rename("libcublas.so.12", "libcublas.so.13");
        machine.rename("libcublasLt.so.12", "libcublasLt.so.13").set("FAKE_CUBLAS_VERSION", 130_000)
    };
    // The driver is asked at first: nothing of CUDA 13 is called.
    for engine in ["cublas", "cudnn"] {
        let machine = of_13(old()).set("FAKE_CUDNN_CUDA", 13000);
        let printed = refused(&job, &machine, engine);
        let expected = "is for CUDA 13, but the driver supports at most CUDA 12";
        assert!(printed.contains(expected) && printed.contains("-cu12"), "{engine}: {printed}");
    }
    // Where only one of the two is too new, the other one convolves.
    let cudnn = job.eval(&of_13(old()), &CUDA);
    assert!(cudnn.ran.expect(0).trace.contains("convolution "));
    let cublas = job.eval(&old().set("FAKE_CUDNN_CUDA", 13000), &CUDA);
    assert!(cublas.ran.expect(0).trace.contains("product "));
    // Both lie in one folder: the one for the driver is opened, and the other is not.
    let both = old();
    for library in ["libcublas.so.13", "libcublasLt.so.13"] {
        fs_err::write(both.libraries().join(library), "not for this driver").unwrap();
    }
    job.eval(&both, &[&CUDA[..], &["--conv", "cublas"]].concat()).ran.expect(0);
    // A driver of CUDA 13 uses it.
    job.eval(&of_13(Machine::new()), &[&CUDA[..], &["--conv", "cublas"]].concat()).ran.expect(0);
}

#[test]
fn a_cudnn_of_several_versions_is_never_called() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    let main = || fs_err::read(Machine::new().libraries().join("libcudnn.so.9")).unwrap();
    // What `libcudnn.so.9` of a newer version asks of parts that do not have it.
    let newer = [&main()[..], b"\0cudnnGetLibConfig\0"].concat();
    let mut machines = vec![
        (Machine::new().replace("libcudnn.so.9", &newer), "is newer than `libcudnn_graph.so.9`"),
        (
            Machine::new().replace("libcudnn_heuristic.so.9", b"x"),
            "`libcudnn_heuristic.so.9` cannot",
        ),
        (
            Machine::new().set("FAKE_CUDNN_MIXED", "ops"),
            "`libcudnn_ops.so.9` is of another version",
        ),
        (
            Machine::new().set("FAKE_CUDNN_MIXED", "adv"),
            "`libcudnn_adv.so.9` is of another version",
        ),
    ];
    // Names that hold versions: those of the parts differ, or cuDNN reports another one.
    for (of_cnn, found) in [("9.0.0", "is 9.0.0, `libcudnn.so.9` 9.1.0"), ("9.1.0", "report 9.2.0")]
    {
        let mut machine = Machine::new().set("FAKE_CUDNN_VERSION", 90_200);
        let parts = CUDNN_PARTS.map(|part| format!("libcudnn_{part}.so.9"));
        for library in parts.iter().map(String::as_str).chain([CUDNN_LATER_PART, "libcudnn.so.9"]) {
            let version = if library == "libcudnn_cnn.so.9" { of_cnn } else { "9.1.0" };
            let named = library.replace(".so.9", &format!(".so.{version}"));
            let bytes = fs_err::read(machine.libraries().join(library)).unwrap();
            machine = machine.without(library);
            fs_err::write(machine.libraries().join(&named), bytes).unwrap();
            symlink(&named, machine.libraries().join(library)).unwrap();
        }
        machines.push((machine, found));
    }
    for (machine, found) in machines {
        let printed = refused(&job, &machine, "cudnn");
        let folder = machine.libraries().file_name().unwrap().to_str().unwrap();
        assert!(printed.contains(found) && printed.contains(folder), "{found}: {printed}");
        let evaluated = job.eval(&machine, &CUDA);
        assert!(evaluated.ran.expect(0).trace.contains("product "), "cuBLAS convolves instead");
    }
}

#[test]
fn a_library_that_the_loader_knows_by_its_plain_name_comes_with_its_own_parts() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    for (library, plain, engine) in
        [("libcudnn.so.9", "libcudnn.so", "cudnn"), ("libcublas.so.12", "libcublas.so", "cublas")]
    {
        let (first, second) = (Machine::new(), Machine::new());
        // The plain name, which is asked for first, leads to the second by the loader's path.
        let bytes = fs_err::read(first.libraries().join(library)).unwrap();
        let second = second.replace(library, &bytes);
        symlink(library, second.libraries().join(plain)).unwrap();
        let taken = second.libraries().join(library);
        let chosen = first.libraries().to_str().unwrap().to_owned();
        let path = format!("{chosen}:{}", second.libraries().display());
        let machine = first.set("LD_LIBRARY_PATH", path);
        let options = [&CUDA[..], &["--conv", engine]].concat();
        job.eval(&machine, &options).ran.expect(0);
        // A folder that is named but not taken is reported, with a way to take it.
        let printed = job.eval(&machine, &[&options[..], &["--cuda-libs", &chosen]].concat());
        let printed = printed.ran.expect(5).stderr();
        assert!(printed.contains(taken.to_str().unwrap()), "{printed}");
        let link = format!("ln -s {library} {chosen}/{plain}");
        assert!(printed.contains(&link) && printed.contains("LD_LIBRARY_PATH="), "{printed}");
        // The remedy works.
        symlink(library, machine.libraries().join(plain)).unwrap();
        let options = [&options[..], &["--cuda-libs", &chosen]].concat();
        job.eval(&machine, &options).ran.expect(0);
    }
}

#[test]
fn a_later_part_of_cudnn_comes_from_its_own_folder_or_from_nowhere() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    let bytes = fs_err::read(Machine::new().libraries().join(CUDNN_LATER_PART)).unwrap();
    let others = tempfile::tempdir().unwrap();
    let other = others.path().join(CUDNN_LATER_PART);
    fs_err::write(&other, bytes).unwrap();
    // The loader finds the part of another version first, and cuDNN opens it by name.
    let with_other = |machine: Machine| {
        let path = format!("{}:{}", others.path().display(), machine.libraries().display());
        machine.set("LD_LIBRARY_PATH", path)
    };
    let own = job.eval(&with_other(Machine::new()), &CUDA);
    assert!(own.ran.expect(0).trace.contains("convolution "));
    // Packages leave it out. That is fine, unless another version's takes its place.
    let without = || Machine::new().without(CUDNN_LATER_PART);
    let none = job.eval(&without(), &CUDA);
    assert!(none.ran.expect(0).trace.contains("convolution "));
    let printed = refused(&job, &with_other(without()), "cudnn");
    assert!(printed.contains(other.to_str().unwrap()), "{printed}");
    let evaluated = job.eval(&with_other(without()), &CUDA);
    assert!(evaluated.ran.expect(0).trace.contains("product "), "cuBLAS convolves instead");
}

#[test]
fn a_cudnn_of_another_generation_is_refused_before_it_is_called() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    // It comes with a development package, and is found by its plain name.
    let machine = Machine::new().rename("libcudnn.so.9", "libcudnn.so.10.0.0");
    symlink("libcudnn.so.10.0.0", machine.libraries().join("libcudnn.so")).unwrap();
    let bytes = fs_err::read(machine.libraries().join("libcudnn.so")).unwrap();
    let machine = machine.replace("libcudnn.so.10.0.0", &bytes);
    let ran = job.eval(&machine, &[&CUDA[..], &["--conv", "cudnn"]].concat()).ran;
    let printed = ran.expect(5).stderr();
    assert!(printed.contains("is cuDNN 10.0.0, not cuDNN 9"), "{printed}");
    assert!(printed.contains("hint: install cuDNN 9"), "{printed}");
    assert_eq!(ran.calls("cudnnGetVersion"), 0);
}

#[test]
fn libraries_are_found_in_the_environment_of_the_program_and_in_that_of_the_user() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let site = |root: &Path| root.join("lib/python3.12/site-packages");
    // Nothing says so but where the program lies: the environment is not activated.
    let venv = folder.path().join("venv");
    let machine = Machine::new().with_packages(&site(&venv)).installed_at(&venv.join("bin/lpips"));
    // `pip install --user`.
    let home = folder.path().join("home");
    let of_user = Machine::new().with_packages(&site(&home.join(".local")));
    let of_user = of_user.set("HOME", home.display());
    for machine in [machine, of_user] {
        for (engine, calls) in [("cudnn", "convolution "), ("cublas", "product ")] {
            let found = job.eval(&machine, &[&CUDA[..], &["--conv", engine]].concat());
            assert!(found.ran.expect(0).trace.contains(calls), "{engine}");
        }
    }
}

#[test]
fn volta_gets_the_last_libraries_that_support_it() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    let volta = || Machine::new().set("FAKE_CUDA_CAPABILITY", 70);
    // Those of CUDA 13 come first, and the driver supports them. The GPU does not.
    let both = volta();
    for library in ["libcublas.so.13", "libcublasLt.so.13"] {
        fs_err::write(both.libraries().join(library), "not for this GPU").unwrap();
    }
    job.eval(&both, &[&CUDA[..], &["--conv", "cublas"]].concat()).ran.expect(0);
    let of_13 = volta().set("FAKE_CUDNN_CUDA", 13000);
    let printed = refused(&job, &of_13, "cudnn");
    assert!(printed.contains("a Stand-in GPU, needs CUDA 12"), "{printed}");
    let newer = volta().set("FAKE_CUDNN_VERSION", 91_100);
    let printed = job.eval(&newer, &[&CUDA[..], &["--conv", "cudnn"]].concat());
    let printed = printed.ran.expect(5).stderr();
    assert!(printed.contains("which does not support GPUs of Volta"), "{printed}");
    assert!(printed.contains("nvidia-cudnn-cu12==9.10"), "{printed}");
    // Without a wish, cuBLAS convolves; Turing takes what Volta cannot.
    assert!(job.eval(&newer, &CUDA).ran.expect(0).trace.contains("product "));
    let turing = newer.set("FAKE_CUDA_CAPABILITY", 75);
    assert!(job.eval(&turing, &CUDA).ran.expect(0).trace.contains("convolution "));
}

#[test]
fn only_the_library_that_convolves_is_opened_and_the_class_names_what_it_uses() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 1);
    let class = |machine: &Machine, options: &[&str]| {
        let evaluated = job.eval(machine, &[&CUDA[..], options].concat());
        let ran = evaluated.ran.expect(0);
        let opened = ["cudnnGetVersion", "cublasGetProperty"].map(|call| ran.calls(call) > 0);
        let class =
            evaluated.run_file()["fingerprint"]["numerics_class"].as_str().unwrap().to_owned();
        (opened, class)
    };
    let machine = Machine::new();
    let (opened, cudnn) = class(&machine, &[]);
    assert_eq!(opened, [true, false]);
    assert!(cudnn.starts_with("cuda-sm90-Stand-in_GPU-x108-cudnn-9.1.0-cublasLt-"), "{cudnn}");
    let (opened, cublas) = class(&machine, &["--conv", "cublas"]);
    assert_eq!(opened, [false, true]);
    assert!(cublas.contains("-x108-cublas-12.0.2-cublasLt-"), "{cublas}");
    // Another build of the library that both use is another class, and so is another size of GPU.
    let (_, smaller) = class(&Machine::new().set("FAKE_CUDA_PROCESSORS", 66), &[]);
    assert_eq!(smaller, cudnn.replace("-x108-", "-x66-"));
    let other = Machine::new().other_cublas_lt();
    assert_ne!(class(&other, &[]).1, cudnn);
    assert_ne!(class(&other, &["--conv", "cublas"]).1, cublas);
    // The run-time compiler, if there is one.
    let bytes = fs_err::read(machine.libraries().join("libcublasLt.so.12")).unwrap();
    let compiler = machine.libraries().join("libnvrtc.so.12");
    fs_err::write(compiler, bytes).unwrap();
    assert!(class(&machine, &[]).1.contains("-nvrtc-"));
}
