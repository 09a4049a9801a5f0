//! The values of the columns that are not computed, because they are finished.

use super::inputs::Taken;
use super::journal::Record;
use super::records::{RecordReader, Records};
use super::reuse::{Reuse, ReuseReader, fill, have_same_contents};
use crate::image::Verify;
use crate::manifest::Entry;

/// Where these values are.
#[derive(Clone, Copy, Debug)]
pub enum Known<'a> {
    /// Nowhere: every column is computed.
    Nothing,
    /// In the finished rows of this run.
    Own(&'a Records),
    /// In other runs.
    Reused(&'a Reuse),
}

/// [`Known`] with what reading takes.
#[derive(Debug)]
pub struct KnownReader<'a>(Reader<'a>);

#[derive(Debug)]
enum Reader<'a> {
    Nothing,
    Own(RecordReader<'a>),
    Reused(ReuseReader<'a>),
}

impl<'a> Known<'a> {
    /// A reader of these values.
    #[must_use]
    pub fn reader(self) -> KnownReader<'a> {
        KnownReader(match self {
            Known::Nothing => Reader::Nothing,
            Known::Own(records) => Reader::Own(records.reader(1)),
            // Contents are compared with those that were just read.
            Known::Reused(reuse) => Reader::Reused(reuse.reader(Verify::Content)),
        })
    }
}

impl KnownReader<'_> {
    /// Fills the columns of `record` that are not computed. Returns false, and fills nothing, if
    /// their values are of other contents than this record's, because a file has changed.
    ///
    /// # Errors
    /// When a journal cannot be read.
    pub fn complete(
        &mut self,
        entry: &Entry,
        is_computed: &[bool],
        record: &mut Record,
    ) -> anyhow::Result<bool> {
        match &mut self.0 {
            Reader::Nothing => Ok(true),
            Reader::Own(records) => {
                let known = records.read(record.row)?;
                let is_same = |known: &Record| have_same_contents(&known.stamps, &record.stamps);
                let known = known.filter(is_same);
                let is_there = known.is_some();
                if let Some(known) = known {
                    fill(record, known, is_computed);
                }
                Ok(is_there)
            }
            Reader::Reused(reuse) => reuse.complete(entry, is_computed, record),
        }
    }

    /// What was taken from other runs since the last call.
    pub fn taken(&mut self) -> Vec<Taken> {
        match &mut self.0 {
            Reader::Nothing | Reader::Own(_) => Vec::new(),
            Reader::Reused(reuse) => reuse.taken(),
        }
    }
}
