//! What becomes of a scorer whose device fails.

use super::*;
use crate::eval::Device;
use crate::eval::fake::FakeEvaluator;

/// A scorer whose evaluator fails at a submission, with a buffer for two batches of one pair.
fn failing_at(submission: usize) -> Lpips {
    let options = Options { device: Device::Cpu, ..Options::default() };
    let mut lpips = Lpips::open(&options).unwrap();
    let mut fake = FakeEvaluator::new(1, 2);
    fake.fail_at = Some(submission);
    lpips.evaluator = Ok(Box::new(fake));
    lpips
}

fn grey(lpips: &Lpips, value: u8) -> Image {
    lpips.bytes(2, 1, vec![value; 6]).unwrap()
}

#[test]
fn scores_of_an_interrupted_call_never_reach_another() {
    let mut lpips = failing_at(2);
    let images: Vec<Image> = (0..4).map(|value| grey(&lpips, 10 * value)).collect();
    let pairs = images[1..].iter().map(|image| (image.clone(), images[0].clone()));
    let first = lpips.score_all(pairs).unwrap_err();
    assert!(first.to_string().contains("the device is gone"), "{first}");
    assert_eq!(lpips.score(&images[3], &images[0]), Err(first));

    // A panic of the caller's iterator leaves a batch in the evaluator as well.
    let mut lpips = failing_at(0);
    let (black, bright, dark) = (grey(&lpips, 0), grey(&lpips, 90), grey(&lpips, 9));
    let pairs = (0..3).map(|index| match index {
        2 => panic!("planted"),
        _ => (bright.clone(), black.clone()),
    });
    let scored = std::panic::AssertUnwindSafe(|| lpips.score_all(pairs));
    assert!(std::panic::catch_unwind(scored).is_err());
    let refused = lpips.score(&dark, &black).unwrap_err();
    assert!(matches!(refused, Error::Device { .. }), "{refused:?}");
    assert!(refused.hint().is_some());
}

/// The same device without the fault.
#[test]
fn a_good_device_scores_all() {
    let mut lpips = failing_at(0);
    let images: Vec<Image> = (0..4).map(|value| grey(&lpips, 10 * value)).collect();
    let pairs = images[1..].iter().map(|image| (image.clone(), images[0].clone()));
    let scores = lpips.score_all(pairs).unwrap();
    let totals: Vec<f64> = scores.into_iter().map(|score| score.unwrap().total).collect();
    assert_eq!(totals, [10.0, 20.0, 30.0]);
}
