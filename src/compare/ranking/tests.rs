use super::*;
use crate::compare::subsets::Draws;

/// Method, group, item, score.
type Pair = (&'static str, &'static str, u64, f64);

const NAN: f64 = f64::NAN;

fn rank(pairs: &[Pair], better: Better) -> Vec<Ranking> {
    let mut entries = Entries::default();
    for &(method, group, item, _) in pairs {
        entries.push(method, [group].into_iter(), item);
    }
    let values: Vec<f64> = pairs.iter().map(|pair| pair.3).collect();
    let sorted = entries.sorted();
    let rank = |group| sorted.rank(group, &values, better, &Settings::default());
    (0..sorted.groups.len()).map(rank).collect()
}

/// `items` pairs of each method, whose scores are this plus a part that all methods share.
fn methods(of: &[(&'static str, f64)], items: u64) -> Vec<Pair> {
    let pair = |&(method, shift): &(&'static str, f64)| {
        (0..items).map(move |item| (method, "", item, 0.3 + shift + (item % 7) as f64 / 50.0))
    };
    of.iter().flat_map(pair).collect()
}

fn names(ranking: &Ranking) -> Vec<(usize, (usize, usize))> {
    ranking.ranked.iter().map(|one| (one.method, one.rank)).collect()
}

#[test]
fn methods_that_are_not_separated_share_a_rank_interval() {
    let mut pairs = methods(&[("worst", 0.1), ("a", 0.0), ("b", 0.0)], 40);
    // Better in one half of the items by as much as worse in the other.
    for pair in pairs.iter_mut().filter(|pair| pair.0 == "b") {
        pair.3 += if pair.2 % 2 == 0 { 0.01 } else { -0.0101 };
    }
    let [ranking] = rank(&pairs, Better::Lower).try_into().unwrap();
    assert_eq!(names(&ranking), [(2, (1, 2)), (1, (1, 2)), (0, (3, 3))]);
    assert_eq!((ranking.items, ranking.ranked[0].to_first.is_none()), (40, true));
    assert_eq!(ranking.ranked[1].verdict, Some(Verdict::Undecided));
    assert_eq!(ranking.ranked[2].verdict, Some(Verdict::Worse));
    let [ranking] = rank(&pairs, Better::Higher).try_into().unwrap();
    assert_eq!(names(&ranking), [(0, (1, 1)), (1, (2, 3)), (2, (2, 3))]);
}

#[test]
fn a_method_that_lacks_items_is_never_above_a_complete_one() {
    let mut pairs = methods(&[("complete", 0.1), ("failed", 0.0), ("short", -0.1)], 12);
    pairs.retain(|pair| pair.0 != "short" || pair.2 >= 2);
    pairs.iter_mut().filter(|pair| pair.0 == "failed" && pair.2 == 3).for_each(|one| one.3 = NAN);
    let [ranking] = rank(&pairs, Better::Lower).try_into().unwrap();
    assert_eq!(names(&ranking), [(0, (1, 1))]);
    let lacking: Vec<_> =
        ranking.incomplete.iter().map(|one| (one.method, one.failed, one.missing)).collect();
    assert_eq!(lacking, [(1, 1, 0), (2, 0, 2)]);
    assert_eq!(ranking.incomplete[0].expected, 12);
}

#[test]
fn items_that_failed_for_all_are_left_out_and_counted() {
    let mut pairs = methods(&[("a", 0.0), ("b", 0.1)], 12);
    pairs.iter_mut().filter(|pair| pair.2 == 5).for_each(|pair| pair.3 = NAN);
    let [ranking] = rank(&pairs, Better::Lower).try_into().unwrap();
    assert_eq!((ranking.items, ranking.failed_for_all, ranking.ranked.len()), (11, 1, 2));
}

#[test]
fn items_that_are_infinite_on_one_side_are_left_out_and_counted() {
    let mut pairs = methods(&[("a", 30.0), ("b", 31.0)], 12);
    let infinite = |pair: &&mut Pair| pair.0 == "a" && pair.2 == 5 || pair.2 == 6;
    pairs.iter_mut().filter(infinite).for_each(|pair| pair.3 = f64::INFINITY);
    let [ranking] = rank(&pairs, Better::Higher).try_into().unwrap();
    assert_eq!((ranking.infinite_for_some, ranking.infinite_for_all, ranking.items), (1, 1, 11));
    assert_eq!(names(&ranking), [(1, (1, 1)), (0, (2, 2))]);
    let means = ranking.ranked.iter().map(|one| one.summary.unwrap().mean.is_finite());
    assert!(means.into_iter().all(|is_finite| is_finite));
    assert_eq!(ranking.ranked[1].to_first.as_ref().unwrap().same(), 1);
}

#[test]
fn methods_are_ranked_within_their_group() {
    let mut pairs = methods(&[("a", 0.0), ("b", 0.1)], 12);
    pairs.iter_mut().for_each(|pair| pair.1 = "x2");
    let other = methods(&[("a", 0.5), ("b", 0.4)], 12);
    pairs.extend(other.into_iter().map(|pair| (pair.0, "x4", pair.2, pair.3)));
    let [x2, x4] = rank(&pairs, Better::Lower).try_into().unwrap();
    assert_eq!(names(&x2), [(0, (1, 1)), (1, (2, 2))]);
    assert_eq!(names(&x4), [(1, (1, 1)), (0, (2, 2))]);
}

#[test]
fn pairs_of_an_item_are_averaged_and_their_order_changes_no_bit() {
    let mut pairs = methods(&[("a", 0.0), ("b", 0.1)], 12);
    let again =
        pairs.iter().map(|&(method, group, item, score)| (method, group, item, score + 0.3));
    pairs.extend(again.collect::<Vec<_>>());
    let expected = rank(&pairs, Better::Lower);
    assert_eq!(expected[0].items, 12);
    // Twelve items prove what twelve items prove.
    let once = methods(&[("a", 0.0), ("b", 0.1)], 12);
    let p = |ranking: &Ranking| ranking.ranked[1].to_first.as_ref().unwrap().p;
    assert_eq!(p(&rank(&once, Better::Lower)[0]), p(&expected[0]));
    pairs.reverse();
    let names = |rankings: &[Ranking]| -> Vec<_> {
        rankings[0].ranked.iter().map(|one| (one.rank, one.summary, one.adjusted)).collect()
    };
    assert_eq!(names(&rank(&pairs, Better::Lower)), names(&expected));
}

#[test]
fn few_items_and_too_much_work_are_reported() {
    let [few] = rank(&methods(&[("a", 0.0), ("b", 0.1)], 5), Better::Lower).try_into().unwrap();
    assert!(!few.can_separate && few.ranked.iter().all(|one| one.rank == (1, 2)));
    let [six] = rank(&methods(&[("a", 0.0), ("b", 0.1)], 6), Better::Lower).try_into().unwrap();
    assert!(six.can_separate);
    let draws = Draws { resamples: 1 << 32, ..Draws::default() };
    let settings = Settings { draws, ..Settings::default() };
    assert!(work(1000, 28, &settings) > WORK_MAX);
    assert!(work(1000, 28, &Settings::default()) < WORK_MAX);
}

#[test]
fn no_method_is_ranked_when_all_lack_something() {
    let mut pairs = methods(&[("a", 0.0), ("b", 0.1)], 4);
    pairs.retain(|pair| (pair.0 == "a") == (pair.2 % 2 == 0));
    let [ranking] = rank(&pairs, Better::Lower).try_into().unwrap();
    assert!(ranking.ranked.is_empty());
    assert_eq!(ranking.incomplete.len(), 2);
}
