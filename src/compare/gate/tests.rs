use super::*;
use crate::compare::assess::{Sample, Settings};

fn gate(text: &str) -> Gate {
    Gate::parse(text).unwrap_or_else(|error| panic!("{error}"))
}

/// Applies a gate to differences of a comparison.
fn decide(text: &str, differences: &[f64], better: Better) -> Decision {
    applied(text, differences, better, About::Worsening)
}

fn applied(text: &str, values: &[f64], better: Better, about: About) -> Decision {
    let gate = gate(text);
    gate.check(about, better).unwrap_or_else(|error| panic!("{error}"));
    let mut sample = Sample::default();
    for &value in values {
        match about {
            About::Worsening => sample.push(0.3, 0.3 + value, value),
            About::Scores => sample.push(0.0, value, value),
        }
    }
    let settings = Settings { levels: gate.level.into_iter().collect(), ..Settings::default() };
    let row = sample.assess(&settings);
    gate.decide(&Evidence { values, row: &row, about, better, is_complete: true })
}

#[test]
fn scopes_are_a_column_and_groups() {
    let scope = |text: &str| gate(text).scope.map(|scope| (scope.column, scope.groups));
    assert_eq!(scope("mean > 0"), None);
    assert_eq!(scope("lpips_alex: mean > 0"), Some(("lpips_alex".to_owned(), Vec::new())));
    let groups = |pairs: &[(&str, &str)]| {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        Some(("psnr_y".to_owned(), pairs.iter().map(owned).collect::<Vec<_>>()))
    };
    assert_eq!(
        scope("psnr_y[scale=x4, set = Set 5]: max > 1"),
        groups(&[("scale", "x4"), ("set", "Set 5")])
    );
    assert_eq!(scope(r#"psnr_y[a="x,]:""y"]:max>1"#), groups(&[("a", r#"x,]:"y"#)]));
}

#[test]
fn spaces_do_not_matter() {
    for text in ["mean>0.01@95%", " mean  >  0.01  @  95% ", "lpips_alex:mean>1e-2 @ 95 %"] {
        assert_eq!(gate(text).level, Some(Confidence::USUAL), "{text}");
        assert_eq!(gate(text).limit, Limit::Number(Decimal::parse("0.01").unwrap()), "{text}");
    }
    assert_eq!(gate("share(0.01)>5%").statistic, gate("share( 0.010 ) > 5%").statistic.settled());
}

impl Statistic {
    /// `0.01` and `0.010` are one number in two forms.
    fn settled(self) -> Statistic {
        match self {
            Statistic::Share(bound) => {
                Statistic::Share(Decimal::parse(&bound.to_string()).unwrap())
            }
            other => other,
        }
    }
}

#[test]
fn a_fault_is_shown_where_it_is() {
    let cases = [
        ("men > 0", "expected `mean`, ", "^^^"),
        ("mean = 0.1", "expected `>` or `<`, found `=`", "     ^"),
        ("mean >= 0.1", "expected `>`, found `>=`", "     ^^"),
        ("mean > abc", "expected a number, such as `0.005` or `2%`, found `abc`", "       ^^^"),
        ("mean >", "found the end", "      ^"),
        ("", "found the end", "^"),
        ("mean > 0.1 @ 95", "expected `%`, found the end", "               ^"),
        ("mean > 0.1 @ 100%", "above 0 and below 100", "             ^^^"),
        ("max > 0.1 @ 95%", "`@` goes with `mean` only", "          ^"),
        ("mean > 0.1 0.2", "expected `%`, `@ 95%` or the end, found `0`", "           ^"),
        ("mean > 0.1 unless", "found `unless`", "           ^^^^^^"),
        ("share > 0.1", "expected `(`, found `>`", "      ^"),
        ("share(x) > 0.1", "expected a number, found `x`", "      ^"),
        (": mean > 0", "expected the name of a column", "^"),
        ("[a=b]: mean > 0", "expected the name of a column", "^"),
        ("x[a]: mean > 0", "expected `=`, found `]`", "   ^"),
        ("x[a=]: mean > 0", "expected a value, found `]`", "    ^"),
        ("x[a=b: mean > 0", "expected `]`, found `:`", "     ^"),
        ("x[a=\"b]: mean > 0", "expected `mean`", "^"),
        ("ünï: mean ~ 0", "found `~`", "          ^"),
    ];
    for (text, message, carets) in cases {
        let error = Gate::parse(text).unwrap_err().to_string();
        let mut lines = error.lines();
        assert!(lines.next().unwrap().contains(message), "{text}: {error}");
        assert_eq!(lines.next().unwrap(), format!("  {text}"));
        assert_eq!(lines.next().unwrap(), format!("  {carets}"), "{text}");
    }
}

#[test]
fn the_wrong_operator_is_a_fault() {
    let wrong = |text: &str, about, better| {
        let error = gate(text).check(about, better).unwrap_err().to_string();
        assert!(error.ends_with("\n       ^") || text.starts_with("share"), "{error}");
    };
    wrong("mean < 0.1", About::Worsening, Better::Lower);
    wrong("mean < 0.1", About::Worsening, Better::Higher);
    wrong("mean < 0.1", About::Scores, Better::Lower);
    wrong("mean > 30.", About::Scores, Better::Higher);
    wrong("share(30) < 5%", About::Scores, Better::Higher);
    assert!(gate("mean < 30").check(About::Scores, Better::Higher).is_ok());
    assert!(gate("share(30) > 5%").check(About::Scores, Better::Higher).is_ok());
    let relative = gate("mean > 5%").check(About::Scores, Better::Lower).unwrap_err();
    assert!(relative.to_string().ends_with("\n         ^^"), "{relative}");
}

#[test]
fn statistics_are_of_the_worsening() {
    let differences = [0.01, -0.02, 0.03, 0.0, 0.05];
    let value = |text: &str, better| decide(text, &differences, better).value.unwrap();
    let cases = [
        ("mean > 0", 0.014, -0.014),
        ("median > 0", 0.01, -0.01),
        ("p90 > 0", 0.042, 0.012),
        ("max > 0", 0.05, 0.02),
        ("share(0.01) > 0", 0.4, 0.2),
        ("share(0) > 0", 0.6, 0.2),
    ];
    for (text, lower, higher) in cases {
        assert_eq!(value(text, Better::Lower), lower, "{text}");
        assert_eq!(value(text, Better::Higher), higher, "{text}");
    }
}

#[test]
fn scores_have_their_bad_end() {
    let scores = [30.0, 31.0, 32.0, 33.0, 34.0];
    let value = |text: &str, better| applied(text, &scores, better, About::Scores).value.unwrap();
    assert_eq!(value("max > 0", Better::Lower), 34.0);
    assert_eq!(value("p95 > 0", Better::Lower), 33.8);
    assert_eq!(value("share(33) > 0", Better::Lower), 0.2);
    assert_eq!(value("mean < 0", Better::Higher), 32.0);
    assert_eq!(value("max < 0", Better::Higher), 30.0);
    assert_eq!(value("p95 < 0", Better::Higher), 30.2);
    assert_eq!(value("share(32) > 0", Better::Higher), 0.4);
    let outcome = |text: &str| applied(text, &scores, Better::Higher, About::Scores).outcome;
    assert_eq!(outcome("mean < 32"), Outcome::Held);
    assert_eq!(outcome("mean < 32.1"), Outcome::Failed);
    assert_eq!(outcome("max < 30.5"), Outcome::Failed);
}

#[test]
fn a_score_gate_can_ask_for_certainty() {
    let scores = [30.0, 31.0, 32.0, 33.0, 34.0, 35.0];
    let decision = applied("mean < 33 @ 90%", &scores, Better::Higher, About::Scores);
    assert_eq!(decision.outcome, Outcome::Held, "the upper end is above 33: {decision:?}");
    let decision = applied("mean < 36 @ 90%", &scores, Better::Higher, About::Scores);
    assert_eq!(decision.outcome, Outcome::Failed, "{decision:?}");
}

#[test]
fn values_and_limits_are_compared_as_decimals() {
    // 0.3 - 0.295 is 0.00500000000000000444 in binary.
    let differences = [settle(0.3 - 0.295, 0.3); 6];
    let outcome = |text: &str| decide(text, &differences, Better::Lower).outcome;
    for held in ["mean > 0.005", "max > 5e-3", "p95 > .005", "share(0.005) > 0", "median > 0.0050"]
    {
        assert_eq!(outcome(held), Outcome::Held, "{held}");
    }
    for failed in
        ["mean > 0.00499", "max > 0.0049999", "share(0.0049) > 99%", "mean > 0.0049 @ 95%"]
    {
        assert_eq!(outcome(failed), Outcome::Failed, "{failed}");
    }
    assert_eq!(outcome("mean > 0.005 @ 95%"), Outcome::Held);
}

#[test]
fn a_percentage_is_of_the_mean_of_the_baseline() {
    let decision = decide("mean > 1%", &[0.003; 6], Better::Lower);
    assert_eq!((decision.outcome, decision.limit), (Outcome::Held, Some(0.003)));
    assert_eq!(decide("mean > 0.99%", &[0.003; 6], Better::Lower).outcome, Outcome::Failed);
    let share = decide("share(0.002) > 50%", &[0.003, 0.0], Better::Lower);
    assert_eq!((share.outcome, share.limit, share.value), (Outcome::Held, Some(0.5), Some(0.5)));
}

#[test]
fn a_planted_worsening_of_one_item_moves_the_largest_only() {
    let mut differences = vec![0.0; 500];
    differences[123] = 0.01;
    let outcome = |text: &str| decide(text, &differences, Better::Lower).outcome;
    assert_eq!(outcome("max > 0.005"), Outcome::Failed);
    assert_eq!(outcome("mean > 0.005"), Outcome::Held);
    assert_eq!(outcome("share(0.005) > 0.1%"), Outcome::Failed);
    assert_eq!(outcome("share(0.005) > 0.2%"), Outcome::Held);
}

#[test]
fn what_cannot_be_decided_is_undecided() {
    assert_eq!(decide("mean > 0 @ 95%", &[0.01; 5], Better::Lower).outcome, Outcome::Undecided);
    assert_eq!(decide("mean > 0 @ 90%", &[0.01; 5], Better::Lower).outcome, Outcome::Failed);
    let empty = decide("max > 0", &[], Better::Lower);
    assert_eq!((empty.outcome, empty.value), (Outcome::Undecided, None));
    let row = Assessment { n: 1, difference: Some(0.0), ..Assessment::default() };
    let evidence = Evidence {
        values: &[0.0],
        row: &row,
        about: About::Worsening,
        better: Better::Lower,
        is_complete: false,
    };
    assert_eq!(gate("mean > 0").decide(&evidence).outcome, Outcome::Undecided);
}
