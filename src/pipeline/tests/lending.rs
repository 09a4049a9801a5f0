//! Images are in the evaluator's memory: each once, shared by all that needs it, and within bounds.

use std::sync::{Arc, Mutex};

use super::*;
use crate::batch::{Lender, Staging};
use crate::image::Depth;

/// How often memory was lent, and how many bytes are and were in use at most.
#[derive(Clone, Debug, Default)]
struct Usage(Arc<Mutex<Used>>);

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Used {
    times: usize,
    bytes: usize,
    peak: usize,
}

/// Memory that reports when it is given back.
#[derive(Debug)]
struct Counted(Vec<f32>, Usage);

impl Usage {
    fn lender(&self) -> Lender {
        let usage = self.clone();
        Lender::new(move |bytes| {
            let memory = vec![0f32; bytes.div_ceil(4)];
            let mut used = usage.0.lock().unwrap();
            used.times += 1;
            used.bytes += 4 * memory.len();
            used.peak = used.peak.max(used.bytes);
            Box::new(Counted(memory, usage.clone()))
        })
    }

    fn now(&self) -> Used {
        *self.0.lock().unwrap()
    }
}

impl Staging for Counted {
    fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.0.bytes_mut()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.0.lock().unwrap().bytes -= 4 * self.0.len();
    }
}

#[test]
fn an_image_is_lent_memory_once_however_many_batches_share_it() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = grid(folder.path());
    for (threads, pairs_max, batches_max) in [(1, 1, 1), (2, 2, 3), (4, 64, 6)] {
        let mut fake = FakeEvaluator::new(pairs_max, batches_max);
        let usage = Usage::default();
        fake.lender = usage.lender();
        let outcome = run_fake(folder.path(), &manifest, threads, &mut fake);
        assert_eq!(outcome.result.unwrap().scored, 36);
        let Used { times, bytes, .. } = usage.now();
        assert_eq!((times, bytes), (12 + 36, 0));
    }
}

#[test]
fn memory_of_images_is_bounded_by_that_of_decoded_ones_and_of_batches() {
    const IMAGE: usize = 3 * 16 * 16;
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = "ref,dist,id\n".to_owned();
    for pair in 0..60 {
        write_image(folder.path(), &format!("r{pair}.pgm"), 16, 16, 100);
        write_image(folder.path(), &format!("d{pair}.pgm"), 16, 16, pair);
        manifest += &format!("r{pair}.pgm,d{pair}.pgm,{pair}\n");
    }
    for (threads, images) in [(1, 0), (4, 0), (4, 3), (7, 9)] {
        let (pairs_max, batches_max) = (2, 2);
        let mut fake = FakeEvaluator::new(pairs_max, batches_max);
        let usage = Usage::default();
        fake.lender = usage.lender();
        let decoded_bytes_max = (images * IMAGE) as u64;
        let setup = Setup { threads, decoded_bytes_max, ..Setup::default() };
        let outcome = setup.run(folder.path(), &manifest, &mut fake, &Stop::default());
        assert_eq!(outcome.result.unwrap().scored, 60);
        // Each bound is exceeded by one image at most; a pair needs two.
        let most = images.max(2) + 1 + batches_max * 2 * pairs_max;
        let Used { peak, bytes, .. } = usage.now();
        assert!(peak <= most * IMAGE && bytes == 0, "{threads} threads: {peak} of {most} images");
    }
}

#[test]
fn bytes_are_shared_among_bytes_and_converted_beside_floats() {
    let folder = tempfile::tempdir().unwrap();
    write_image(folder.path(), "a.pgm", 8, 4, 51);
    write_image(folder.path(), "b.pgm", 8, 4, 102);
    let deep: Vec<u8> = b"P5 8 4 65535\n".iter().copied().chain([0x80; 64]).collect();
    fs_err::write(folder.path().join("deep.pgm"), deep).unwrap();
    let manifest = "ref,dist,id\na.pgm,b.pgm,0\na.pgm,deep.pgm,1\ndeep.pgm,b.pgm,2\n";
    let mut fake = FakeEvaluator::new(8, 4);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let seeing = Arc::clone(&seen);
    fake.on_submit = OnSubmit::new(move |batch| {
        for pair in batch.pairs() {
            let values = [pair.reference, pair.distorted].map(|image| match batch.shape().depth {
                Depth::U8 => f32::from(batch.image(image)[0]),
                Depth::F32 => bytemuck::cast_slice(batch.image(image))[95],
            });
            seeing.lock().unwrap().push((batch.shape().depth, values));
        }
    });
    let usage = Usage::default();
    fake.lender = usage.lender();
    assert_eq!(run_fake(folder.path(), manifest, 2, &mut fake).result.unwrap().scored, 3);
    let deep = 32896.0 / 65535.0;
    let expected =
        [(Depth::U8, [51.0, 102.0]), (Depth::F32, [0.2, deep]), (Depth::F32, [deep, 0.4])];
    assert_eq!(*seen.lock().unwrap(), expected);
    // Three images of one reference, two of the other, and `a` and `b` as floats.
    assert_eq!(usage.now().times, 3 + 2 + 2);
}

#[test]
fn an_image_that_breaks_off_fails_its_pairs_and_gives_its_memory_back() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.pgm", "b.pgm", "c.pgm"] {
        write_image(folder.path(), name, 8, 8, 9);
    }
    fs_err::write(folder.path().join("torn.pgm"), "P5 8 8 255\nonly a few").unwrap();
    let manifest = "ref,dist,id\na.pgm,b.pgm,0\na.pgm,torn.pgm,1\na.pgm,c.pgm,2\n\
                    torn.pgm,b.pgm,3\nb.pgm,c.pgm,4\n";
    for threads in [1, 3] {
        let mut fake = FakeEvaluator::new(2, 2);
        let usage = Usage::default();
        fake.lender = usage.lender();
        let outcome = run_fake(folder.path(), manifest, threads, &mut fake);
        assert_eq!(outcome.result.unwrap().failure_codes(), [(Code::Decode.to_string(), 2)].into());
        let scored = outcome.records.values().filter(|record| record.failure.is_none());
        assert_eq!(scored.map(|record| record.row).collect::<Vec<_>>(), [0, 2, 4]);
        assert_eq!(usage.now().bytes, 0);
    }
}
