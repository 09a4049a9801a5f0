//! What a leaderboard holds, before it is written in any format.

use crate::column::Better;
use crate::compare::assess::{Assessment, Settings};
use crate::compare::numbers::Decimals;
use crate::compare::ranking::{Ranked, Ranking};
use crate::compare::verdict::Verdict;
use crate::decimal::counted;

/// Methods ranked by metrics within groups.
#[derive(Clone, Debug)]
pub struct Board {
    /// The runs that the methods are of.
    pub runs: Vec<RunFacts>,
    /// Names of methods.
    pub methods: Vec<String>,
    /// Columns that the groups are made by.
    pub group_by: Vec<String>,
    /// The groups; one, without values, if there are no group columns.
    pub groups: Vec<Group>,
    /// The metrics; methods are listed by the first.
    pub metrics: Vec<Metric>,
    /// How the numbers were made: name and signature.
    pub signatures: Vec<(String, String)>,
    /// What was not checked or differs.
    pub warnings: Vec<String>,
    /// Of the tests.
    pub settings: Settings,
    /// Digits after the decimal point that were asked for.
    pub digits: usize,
}

/// A run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RunFacts {
    /// What it is called.
    pub label: String,
    /// When it was finished, UTC, if that is known.
    pub finished: Option<String>,
    /// Its pairs.
    pub pairs: usize,
    /// Pairs without a score of the first metric.
    pub failed: usize,
    /// Pairs that were not tried: the run is not finished.
    pub missing: usize,
}

/// The methods of one group.
#[derive(Clone, PartialEq, Debug)]
pub struct Group {
    /// Values of the group columns.
    pub values: Vec<String>,
    /// A ranking for each metric.
    pub rankings: Vec<Ranking>,
}

/// A metric.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metric {
    /// The column.
    pub name: String,
    /// Which direction is better.
    pub better: Better,
}

impl Metric {
    /// `lpips_alex ↓`.
    #[must_use]
    pub fn title(&self) -> String {
        let arrow = match self.better {
            Better::Lower => '↓',
            Better::Higher => '↑',
        };
        format!("{} {arrow}", self.name)
    }
}

impl Board {
    /// A sentence for each run that is not finished.
    #[must_use]
    pub fn unfinished(&self) -> Vec<String> {
        let unfinished = self.runs.iter().filter(|run| run.missing > 0);
        let sentence = |RunFacts { label, pairs, missing, .. }: &RunFacts| {
            let pairs = counted(*pairs, "pair");
            format!("INCOMPLETE: the run {label} is not finished, it lacks {missing} of {pairs}")
        };
        unfinished.map(sentence).collect()
    }

    /// `scale=x4, dataset=Set5`; empty if there are no groups.
    #[must_use]
    pub fn group_name(&self, group: usize) -> String {
        let values = &self.groups[group].values;
        let named = self.group_by.iter().zip(values).map(|(name, value)| format!("{name}={value}"));
        named.collect::<Vec<_>>().join(", ")
    }

    /// Whether there are several groups.
    #[must_use]
    pub fn has_groups(&self) -> bool {
        self.groups.len() > 1
    }

    /// Digits after the decimal point of the means of a metric in a group.
    #[must_use]
    pub fn decimals(&self, group: usize, metric: usize) -> usize {
        self.groups[group].rankings[metric].decimals(self.digits)
    }

    /// Digits of the paired differences to the first method.
    #[must_use]
    pub fn difference_decimals(&self, test: &Assessment, verdict: Verdict) -> Decimals {
        Decimals::for_row(test, verdict, &self.settings, self.digits)
    }

    /// One sentence for each group: which methods share the first rank by the first metric, and by
    /// how much the next is worse.
    #[must_use]
    pub fn verdicts(&self) -> Vec<String> {
        (0..self.groups.len()).map(|group| self.verdict(group)).collect()
    }

    fn verdict(&self, group: usize) -> String {
        let Ranking { ranked, incomplete, items, .. } = &self.groups[group].rankings[0];
        let name = |one: &Ranked| self.methods[one.method].as_str();
        let metric = &self.metrics[0].name;
        let has_items = *items > 0;
        let items = counted(*items, "item");
        let leaders: Vec<&str> = ranked.iter().filter(|one| one.rank.0 == 1).map(name).collect();
        let mut text = match (leaders.as_slice(), ranked.len()) {
            ([], _) => format!("No method has every item, so none is ranked by {metric}"),
            _ if !has_items => format!("No item has a score of {metric}, so none is ranked"),
            ([only], 1) => format!("{only} is the only complete method ({metric}, {items})"),
            ([best], count) => format!("{best} has rank 1 of {count} by {metric} on {items}"),
            (shared, count) if shared.len() == count => {
                format!("{} are not separated by {metric} on {items}", listed(shared))
            }
            (shared, count) => {
                let who = listed(shared);
                format!("{who} share rank 1 of {count} by {metric} on {items}")
            }
        };
        let next = ranked.iter().find(|one| one.rank.0 > 1 && one.verdict == Some(Verdict::Worse));
        if let Some((next, test)) = next.and_then(|next| Some((next, next.to_first.as_ref()?))) {
            let decimals = self.difference_decimals(test, Verdict::Worse);
            let difference = test.difference.unwrap_or_default().abs();
            text.push_str(&format!(
                "; {} is worse than {} by {}",
                name(next),
                name(&ranked[0]),
                decimals.plain(Some(difference))
            ));
            if let Some(interval) = &test.interval {
                let mut ends = [interval.low.abs(), interval.high.abs()];
                ends.sort_by(f64::total_cmp);
                let [low, high] = ends.map(|end| decimals.plain(Some(end)));
                text.push_str(&format!(" [{low}, {high}]"));
            }
        }
        if !incomplete.is_empty() {
            let names: Vec<&str> =
                incomplete.iter().map(|one| self.methods[one.method].as_str()).collect();
            let (is, lack) = if names.len() == 1 { ("is", "lacks") } else { ("are", "lack") };
            text.push_str(&format!("; {} {is} not ranked and {lack} items", listed(&names)));
        }
        match self.group_name(group).as_str() {
            "" => format!("{text}."),
            group => format!("{group}: {text}."),
        }
    }

    /// Notes on every ranking, with the group and the metric that they are of.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for group in 0..self.groups.len() {
            for (metric, ranking) in self.metrics.iter().zip(&self.groups[group].rankings) {
                let of = match self.group_name(group).as_str() {
                    "" => metric.name.clone(),
                    group => format!("{}, {group}", metric.name),
                };
                notes.extend(ranking.notes().into_iter().map(|note| format!("{of}: {note}")));
                let reason = |one: &crate::compare::ranking::Incomplete| {
                    format!("{of}: {} is not ranked, {}", self.methods[one.method], one.reason())
                };
                notes.extend(ranking.incomplete.iter().map(reason));
            }
        }
        notes
    }

    /// How the tests were made, as one line.
    #[must_use]
    pub fn test_signature(&self) -> String {
        let Settings { confidence, draws, .. } = &self.settings;
        format!(
            "test:signflip|unit:item|confidence:{}|adjust:holm|resamples:{}|seed:{}|lpips:{}",
            confidence.to_string().trim_end_matches('%'),
            draws.resamples,
            draws.seed,
            env!("CARGO_PKG_VERSION")
        )
    }

    /// When the last of the runs was finished.
    #[must_use]
    pub fn date(&self) -> Option<&str> {
        self.runs.iter().filter_map(|run| run.finished.as_deref()).max()
    }
}

/// `A`, `A and B`, `A, B and C`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
