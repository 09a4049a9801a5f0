//! Faults of a program, planted between it and the driver: each must be caught, or the other tests
//! of this folder prove nothing. What is planted is what a wrong program would have asked for.

use crate::job::Job;
use crate::machine::{Machine, Ran, is_simulated};

const CUDA: [&str; 4] = ["--device", "cuda", "--batch", "1"];
const SCHEDULES: [&str; 4] = ["eager", "lazy", "first=1", "first=2"];

/// A job that is right, and without a report under every schedule.
struct Clean {
    job: Job,
    table: String,
    ran: Ran,
}

impl Clean {
    fn new() -> Clean {
        // One size, more batches than slots: nothing but events makes anybody wait.
        let job = Job::noise(1, 5);
        let evaluated = job.eval(&Machine::new(), &CUDA);
        let table = evaluated.table();
        for schedule in &SCHEDULES[1..] {
            assert_eq!(job.eval(&Machine::new().schedule(schedule), &CUDA).table(), table);
        }
        Clean { job, table, ran: evaluated.ran }
    }

    /// How a fault shows, under the schedules in turn; `None` where it does under none.
    fn caught(&self, plant: &str) -> Option<String> {
        SCHEDULES.iter().find_map(|schedule| {
            let machine = Machine::new().plant(plant).schedule(schedule);
            let evaluated = self.job.eval(&machine, &CUDA);
            let report = evaluated.ran.report.lines().next();
            let by_report = report.map(|line| format!("{schedule}: {line}"));
            by_report.or_else(|| match evaluated.ran.output.status.code() {
                Some(0) if evaluated.pairs() == self.table => None,
                Some(0) => Some(format!("{schedule}: other values")),
                other => Some(format!("{schedule}: exit {other:?}")),
            })
        })
    }
}

#[test]
fn every_fault_is_caught() {
    if !is_simulated() {
        return;
    }
    let clean = Clean::new();
    // The last is that of results; those before it are of rehearsals, into memory of the program.
    let download = format!("download_bytes={}:1", clean.ran.calls("cuMemcpyDtoHAsync_v2"));
    let faults = [
        // Rows for columns, source for target, red for blue, gain for bias, ...
        "swap_arguments=tap_pool3_nchw_f32_c64:8:9",
        "swap_arguments=tap_pool3_nchw_f32_c192:10:11",
        "swap_arguments=tap_pool3_nchw_f32_c64:2:3",
        "swap_arguments=normalise_u8_nchw_f32:7:9",
        "swap_arguments=normalise_u8_nchw_f32:5:6",
        "swap_arguments=tap_pool3_nchw_f32_c64:3:6",
        "swap_arguments=tap_pool3_nchw_f32_c192:4:5",
        "swap_arguments=tap_nchw_f32_c384:2:4",
        "swap_arguments=tap_nchw_f32_c256:5:6",
        "swap_arguments=finish:2:3",
        // Lengths of copies. (These downloads have room for a full micro-batch at their end: one
        // byte less changes nothing that anybody reads.)
        "upload_bytes=1:1",
        "upload_bytes=1:-1",
        "upload_bytes=12:1",
        &download,
        // Memory of a launch that was freed before it.
        "free_before_launch=1",
        "free_before_launch=20",
    ];
    for fault in faults {
        let how = clean.caught(fault);
        eprintln!("{fault}: {how:?}");
        assert!(how.is_some(), "{fault} is not caught");
    }
    // Every wait of a stream for another, and of the host for results.
    for (function, plant) in
        [("cuStreamWaitEvent", "drop_wait"), ("cuEventSynchronize", "skip_event_synchronize")]
    {
        let count = clean.ran.calls(function);
        assert!(count > 1, "nothing calls {function}");
        for nth in 1..=count {
            let how = clean.caught(&format!("{plant}={nth}"));
            eprintln!("{plant} {nth} of {count}: {how:?}");
            assert!(how.is_some(), "{function} {nth} of {count} can be left out");
        }
    }
}

/// A micro-batch that is full, and ends where the last pair's results end: every byte counts.
#[test]
fn a_download_that_lacks_its_last_byte_is_caught() {
    if !is_simulated() {
        return;
    }
    let job = Job::full_micro_batch();
    let cuda = ["--device", "cuda"];
    let right = job.eval(&Machine::new(), &cuda);
    let table = right.table();
    // A flag for each of AlexNet's convolutions, when they are rehearsed.
    assert_eq!(right.ran.calls("download"), 5 + 1, "one micro-batch");
    let short = job.eval(&Machine::new().plant("download_bytes=6:-1"), &cuda);
    assert_ne!(short.pairs(), table);
}

/// What a program would ask for whose convolutions run on as many images as a batch happens to
/// hold, and that the two tests of values.rs which forbid it would fail.
#[test]
fn a_micro_batch_that_follows_the_batch_is_caught() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 7);
    // Products take their time.
    for (engine, batches) in [("cudnn", &["1", "2", "7"][..]), ("cublas", &["2", "7"])] {
        let tables = |plant: &str| {
            let eval = |batch: &&str| {
                let options = ["--device", "cuda", "--conv", engine, "--batch", batch];
                let evaluated = job.eval(&Machine::new().plant(plant), &options);
                (evaluated.table(), evaluated.ran.convolved())
            };
            batches.iter().map(eval).collect::<Vec<_>>()
        };
        let right = tables("nothing");
        assert!(!right[0].1.is_empty(), "{engine}");
        assert!(right.iter().all(|one| *one == right[0]), "{engine}");
        for pair in tables("micro_batch_follows_batch").windows(2) {
            assert_ne!(pair[0].0, pair[1].0, "{engine}: the same values");
            assert_ne!(pair[0].1, pair[1].1, "{engine}: the same numbers of images");
        }
    }
}

#[test]
fn a_convolution_that_treats_images_by_their_place_is_computed_in_another_way() {
    if !is_simulated() {
        return;
    }
    let job = Job::noise(1, 5);
    let options = |batch| ["--device", "cuda", "--precision", "tf32", "--batch", batch];
    let machine = || Machine::new().plant("favours_place=3");
    let five = job.eval(&machine(), &options("5"));
    let convolved = five.ran.expect(0).convolved();
    assert!(convolved.iter().any(|call| call.contains("convolution 2x")), "{convolved:?}");
    assert_eq!(job.eval(&machine(), &options("1")).table(), five.table());
}
