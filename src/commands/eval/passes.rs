//! The passes of a run. In a pass the same columns are computed of every row, by an evaluator of
//! the models that these columns take; the values of the others are known.

use std::borrow::Cow;

use crate::batch::Row;
use crate::column::{Column, Origin};
use crate::config::Config;
use crate::eval::{Description, Evaluator, Loss, NoModels};
use crate::manifest::Manifest;
use crate::pipeline::{self, Flow, Sink};
use crate::run::known::Known;
use crate::run::records::Records;
use crate::run::resume::{Partial, Remaining, in_scoring_order};
use crate::run::reuse::Reuse;
use crate::signals::Stop;

/// Opens an evaluator of the models with these numbers.
pub(super) type Open<'a> = dyn FnMut(&[usize]) -> anyhow::Result<Box<dyn Evaluator>> + Send + 'a;

/// One evaluator at a time, of some of the models of a run.
pub(super) struct Evaluators<'a> {
    open: Box<Open<'a>>,
    current: Box<dyn Evaluator>,
    /// The models of `current`.
    models: Vec<usize>,
    /// Of evaluators that were closed.
    trunk_passes: u64,
    losses: Vec<Loss>,
}

impl<'a> Evaluators<'a> {
    /// Opens the first one, of all models.
    ///
    /// # Errors
    /// When the device cannot be used.
    pub(super) fn new(models: usize, mut open: Box<Open<'a>>) -> anyhow::Result<Evaluators<'a>> {
        let models: Vec<usize> = (0..models).collect();
        let current = open(&models)?;
        Ok(Evaluators { open, current, models, trunk_passes: 0, losses: Vec::new() })
    }

    /// What the current one runs on.
    pub(super) fn describe(&self) -> Description {
        self.current.describe()
    }

    /// An evaluator of these models. The one before is closed first, whose memory this one needs.
    fn of(&mut self, models: Vec<usize>) -> anyhow::Result<&mut dyn Evaluator> {
        if models != self.models {
            self.trunk_passes += self.current.passes();
            self.losses.extend(self.current.losses());
            self.current = Box::new(NoModels);
            self.current = (self.open)(&models)?;
            self.models = models;
        }
        Ok(&mut *self.current)
    }

    /// Images that went through a trunk until now, those of every net counted.
    pub(super) fn trunk_passes(&self) -> u64 {
        self.trunk_passes + self.current.passes()
    }

    /// Devices that were dropped so far.
    pub(super) fn losses(&self) -> Vec<Loss> {
        [self.losses.clone(), self.current.losses()].concat()
    }
}

/// Rows of which the same columns are computed.
struct Pass<'a> {
    is_computed: Cow<'a, [bool]>,
    rows: &'a [Row],
    known: Known<'a>,
}

impl Pass<'_> {
    fn whole(rows: &[Row], columns: usize) -> Pass<'_> {
        Pass { is_computed: vec![true; columns].into(), rows, known: Known::Nothing }
    }

    /// The columns that are computed, by models of an evaluator that has only theirs; and the
    /// numbers of these models.
    fn columns(&self, all: &[Column]) -> (Vec<Option<Column>>, Vec<usize>) {
        let computed = all.iter().zip(&*self.is_computed);
        let mut columns: Vec<Option<Column>> =
            computed.map(|(column, is_computed)| is_computed.then(|| column.clone())).collect();
        let mut numbers: Vec<&mut usize> = columns
            .iter_mut()
            .flatten()
            .filter_map(|column| match &mut column.from {
                Origin::Model { index, .. } => Some(index),
                Origin::Pixels(_) | Origin::Joined { .. } => None,
            })
            .collect();
        let mut models: Vec<usize> = numbers.iter().map(|number| **number).collect();
        models.sort_unstable();
        models.dedup();
        for number in &mut numbers {
            **number = models.partition_point(|model| model < number);
        }
        (columns, models)
    }
}

/// What scoring needs beside the rows that remain.
pub(super) struct Scoring<'a> {
    pub(super) config: &'a Config,
    pub(super) manifest: &'a Manifest,
    pub(super) reuse: &'a Reuse,
    /// The finished rows of this run.
    pub(super) records: &'a Records,
    pub(super) stop: &'a Stop,
}

impl Scoring<'_> {
    /// Scores every row that remains, until a signal.
    ///
    /// # Errors
    /// As [`pipeline::run`]; and when a device cannot be used any more.
    pub(super) fn run(
        &self,
        remaining: &Remaining,
        evaluators: &mut Evaluators<'_>,
        sink: &mut Sink<'_>,
    ) -> anyhow::Result<()> {
        let columns = &self.config.job.columns;
        let partial = remaining.partial.iter().map(|Partial { is_computed, rows }| Pass {
            is_computed: is_computed.into(),
            rows,
            known: Known::Reused(self.reuse),
        });
        let is_mapped = columns.iter().map(|column| column.mapped_model().is_some());
        let of_maps = Pass {
            is_computed: is_mapped.collect(),
            rows: &remaining.unmapped,
            known: Known::Own(self.records),
        };
        let whole = Pass::whole(&remaining.rows, columns.len());
        for pass in std::iter::once(whole).chain(partial).chain([of_maps]) {
            self.score(&pass, evaluators, sink)?;
        }
        let changed = in_scoring_order(&std::mem::take(&mut sink.changed), self.manifest);
        self.score(&Pass::whole(&changed, columns.len()), evaluators, sink)
    }

    fn score(
        &self,
        pass: &Pass<'_>,
        evaluators: &mut Evaluators<'_>,
        sink: &mut Sink<'_>,
    ) -> anyhow::Result<()> {
        if pass.rows.is_empty() || self.stop.signal().is_some() {
            return Ok(());
        }
        let Scoring { config, manifest, stop, .. } = *self;
        let (columns, models) = pass.columns(&config.job.columns);
        let flow = Flow {
            manifest,
            rows: pass.rows,
            rules: &config.job.rules,
            threads: config.job.compute.threads,
            decoded_bytes_max: config.job.compute.memory.decoded_bytes(),
            on_error: config.on_error,
            columns: &columns,
            known: pass.known,
            grouping: config.job.source.grouping(),
            masks: config.masks.as_ref(),
            stop,
        };
        pipeline::run(&flow, evaluators.of(models)?, sink)
    }
}
