//! One attempt of a process at a shard. Its journal is also its claim on the shard.
//!
//! The journals of a shard are numbered. The process that creates the next one has the shard, and
//! only one process can create it. No claim is ever removed, so two processes cannot both remove a
//! claim that they believe to be stale. Before a process creates the next journal it checks whether
//! the last one is still being written; see [`super::owner`].

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail, ensure};

use super::RunDir;
use super::inputs::Taken;
use super::journal::{self, End, EndReason, Entry, Header, JournalName, Record, Writer};
use super::owner::{Owner, SIGN_EVERY_S, Standing};
use super::plan::pair_hash;
use crate::error::{Exit, Refusal};
use crate::eval::Loss;
use crate::hash::Xxh3;
use crate::shard::Shard;

/// Races for the next journal that a process may lose before it stops trying.
const RACES_MAX: usize = 100;

/// The last attempt at a shard.
#[derive(Clone, PartialEq, Debug)]
pub struct LastAttempt {
    /// Its journal.
    pub name: JournalName,
    /// Who wrote it; `None` if that cannot be read.
    pub header: Option<Header>,
    /// Its last line, if it ended.
    pub end: Option<End>,
    /// Seconds since its last sign of life, by the file server's clock.
    pub silence_s: u64,
}

impl LastAttempt {
    /// Reads the journal `name` in `folder`.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(folder: &Path, name: JournalName) -> anyhow::Result<LastAttempt> {
        let path = folder.join(name.to_string());
        let modified = fs_err::metadata(&path)?.modified()?;
        let (mut header, mut end) = (None, None);
        journal::scan(&path, |_, entry| {
            match entry {
                Entry::Begin(first) => header = Some(*first),
                Entry::End(last) => end = Some(last),
                Entry::Pair(_) | Entry::Reused(_) => {}
            }
            Ok(())
        })?;
        // A sign of life cannot come from the future: a wrong clock must not hold the shard.
        let silence = server_now(folder)?.duration_since(modified);
        let silence = silence.unwrap_or_else(|ahead| ahead.duration());
        Ok(LastAttempt { name, header, end, silence_s: silence.as_secs() })
    }

    /// Whether the process `other` may take the shard.
    #[must_use]
    pub fn standing(&self, other: &Owner) -> Standing {
        match (&self.end, &self.header) {
            (Some(_), _) => Standing::Free("it ended"),
            (None, Some(header)) => header.owner.standing(other, self.silence_s, Owner::runs),
            // Two processes may work on one shard: each has a journal of its own.
            (None, None) => Standing::Free("its first line is damaged"),
        }
    }

    /// Host, job, process and age, for messages.
    #[must_use]
    pub fn description(&self) -> String {
        let Some(header) = &self.header else { return "an unknown process".to_owned() };
        let (owner, started, silence_s) =
            (header.owner.description(), &header.started, self.silence_s);
        format!("{owner}, since {started}, last sign of life {silence_s} s ago")
    }
}

/// The time on the server that holds `folder`, by which the ages of its files are measured.
fn server_now(folder: &Path) -> anyhow::Result<SystemTime> {
    Ok(tempfile::tempfile_in(folder)?.metadata()?.modified()?)
}

/// The claim of this process on a shard.
#[derive(Debug)]
pub struct Attempt {
    writer: Writer,
    plan_sha256: String,
    /// The journal of a process that takes this one for dead.
    successor: PathBuf,
    shard: Shard,
    is_ended: bool,
    _signs: Signs,
}

impl Attempt {
    /// Takes the shard of `header` if it is free.
    ///
    /// # Errors
    /// A [`Refusal`] that names host, job and age of the process that has it.
    pub fn begin(run_dir: &RunDir, header: Header) -> anyhow::Result<Attempt> {
        let shard = header.shard;
        let folder = run_dir.journals();
        let (this, plan_sha256) = (header.owner.clone(), header.plan_sha256.clone());
        let first = journal::line(&Entry::Begin(Box::new(header)))?;
        // A directory listing of a network file system may be stale.
        let mut known = None;
        for _ in 0..RACES_MAX {
            let names = run_dir.journal_names()?;
            let last = names.into_iter().chain(known).filter(|name| name.shard == shard).max();
            if let Some(name) = last {
                let last = LastAttempt::read(&folder, name)?;
                if last.standing(&this) == Standing::Held {
                    return Err(held(shard, &last).into());
                }
            }
            let attempt = last.map_or(1, |last| last.attempt + 1);
            let name = JournalName { shard, attempt };
            let path = folder.join(name.to_string());
            let is_ours = run_dir.create_once(&path, |file| Ok(file.write_all(first.as_bytes())?));
            known = Some(name);
            if is_ours? {
                let writer = Writer::open(run_dir.disk.clone(), &path)?;
                let every = Duration::from_secs(SIGN_EVERY_S);
                let signs = Signs::start(writer.file().file().try_clone()?, every)
                    .context("cannot start the thread that keeps the shard")?;
                let next = JournalName { shard, attempt: attempt + 1 }.to_string();
                let successor = folder.join(next);
                let attempt = Attempt {
                    writer,
                    plan_sha256,
                    successor,
                    shard,
                    is_ended: false,
                    _signs: signs,
                };
                return Ok(attempt);
            }
        }
        bail!("{RACES_MAX} processes took shard {shard} before this one could")
    }

    /// What binds a record to this run and to the pair with this identity.
    #[must_use]
    pub fn pair_hash(&self, identity: u64) -> Xxh3 {
        pair_hash(&self.plan_sha256, identity)
    }

    /// Appends records; see [`Writer::append`]. `taken` says what of them is of other runs.
    ///
    /// # Errors
    /// When they cannot be written, the journal was removed or replaced, or another process took
    /// this one for dead. The rows are safe
    /// then, but two processes need not do the same work.
    pub fn append(&mut self, taken: &[Taken], records: &[Record]) -> anyhow::Result<()> {
        self.writer.append(taken, records)?;
        ensure!(
            !self.successor.exists(),
            Refusal::new(
                Exit::Inputs,
                format!(
                    "another process has taken over shard {}: `{}`",
                    self.shard,
                    self.successor.display()
                )
            )
            .hint("let that process finish; the rows of both count")
        );
        Ok(())
    }

    /// Ends the attempt and frees the shard. The first end counts.
    ///
    /// # Errors
    /// When the journal cannot be written, or was removed or replaced.
    pub fn end(&mut self, how: EndReason, elapsed_s: f64, lost: Vec<Loss>) -> anyhow::Result<()> {
        if std::mem::replace(&mut self.is_ended, true) {
            return Ok(());
        }
        let ended = jiff::Timestamp::now().to_string();
        self.writer.end(End { how, ended, elapsed_s, lost })
    }
}

fn held(shard: Shard, last: &LastAttempt) -> Refusal {
    let what = match shard {
        Shard::WHOLE => "the run".to_owned(),
        shard => format!("shard {shard} of the run"),
    };
    Refusal::inputs(format!("{what} is being scored by {}", last.description())).hint(
        "wait for that process or end it; if it died on another machine, its shard is free two \
         minutes after its last sign of life; a requeued job takes it over at once",
    )
}

/// Updates the modification time of the journal in regular intervals, however long a batch takes:
/// the process's signs of life.
#[derive(Debug)]
struct Signs {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Signs {
    fn start(journal: std::fs::File, every: Duration) -> std::io::Result<Signs> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("signs-of-life".to_owned());
        let thread = thread.spawn(move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                // The time is the file server's. If the server cannot be reached now, the next sign
                // reaches it.
                let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
                let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
                let _ = rustix::fs::futimens(&journal, &times);
            }
        })?;
        Ok(Signs { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Signs {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and there is nothing to do if it did.
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::journal::{header, record};

    const SHARD: Shard = Shard { index: 3, count: 8 };

    fn begin(run_dir: &RunDir, change: impl FnOnce(&mut Header)) -> anyhow::Result<Attempt> {
        let mut header = header(SHARD, "p");
        change(&mut header);
        Attempt::begin(run_dir, header)
    }

    fn dead(header: &mut Header) {
        header.owner.process_start += 1;
    }

    #[test]
    fn journals_are_named_after_shard_and_attempt() {
        let name = JournalName { shard: SHARD, attempt: 12 };
        assert_eq!(name.to_string(), "3-of-8.attempt-12");
        assert_eq!(JournalName::parse("3-of-8.attempt-12"), Some(name));
        for other in ["3-of-8.attempt-12.x.part", "3-of-8", "03-of-8.attempt-1", ".attempt-1"] {
            assert_eq!(JournalName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn the_second_process_stops_and_names_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(folder.path()).unwrap();
        let mut first = begin(&run_dir, |header| header.started = "today".to_owned()).unwrap();
        let refused = begin(&run_dir, |_| {}).unwrap_err().to_string();
        let owner = header(SHARD, "p").owner;
        let expected = format!("shard 3/8 of the run is being scored by host {}", owner.host);
        assert!(refused.starts_with(&expected), "{refused}");
        assert!(refused.contains("since today, last sign of life"), "{refused}");
        first.end(EndReason::Stopped, 0.0, Vec::new()).unwrap();
        begin(&run_dir, |_| {}).unwrap();
        assert_eq!(run_dir.journal_names().unwrap().len(), 2);
    }

    #[test]
    fn a_shard_is_free_when_its_process_on_another_machine_was_silent_for_long() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(folder.path()).unwrap();
        let elsewhere = |header: &mut Header| header.owner.machine = "elsewhere".to_owned();
        let _first = begin(&run_dir, elsewhere).unwrap();
        assert!(begin(&run_dir, |_| {}).is_err());
        let path = run_dir.journals().join("3-of-8.attempt-1");
        let file = fs_err::OpenOptions::new().append(true).open(path).unwrap();
        let day = Duration::from_secs(86_400);
        for modified in [SystemTime::UNIX_EPOCH, SystemTime::now() + day] {
            file.set_modified(modified).unwrap();
            begin(&run_dir, dead).unwrap();
        }
    }

    #[test]
    fn signs_of_life_change_the_time_of_the_journal() {
        let file = tempfile::tempfile().unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let signs = Signs::start(file.try_clone().unwrap(), Duration::from_millis(1)).unwrap();
        while file.metadata().unwrap().modified().unwrap() == SystemTime::UNIX_EPOCH {
            std::thread::yield_now();
        }
        drop(signs);
    }

    #[test]
    fn another_shard_is_free() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(folder.path()).unwrap();
        let _first = begin(&run_dir, |_| {}).unwrap();
        begin(&run_dir, |header| header.shard.index = 4).unwrap();
    }

    #[test]
    fn a_process_that_was_taken_for_dead_notices_and_keeps_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(folder.path()).unwrap();
        let mut first = begin(&run_dir, dead).unwrap();
        first.append(&[], &[record(0, 0.5)]).unwrap();
        let mut second = begin(&run_dir, |_| {}).unwrap();
        second.append(&[], &[record(1, 0.5)]).unwrap();
        let refused = first.append(&[], &[record(2, 0.5)]).unwrap_err();
        assert!(refused.to_string().contains("has taken over shard 3/8"), "{refused}");
        let mut rows = Vec::new();
        for name in run_dir.journal_names().unwrap() {
            journal::scan(&run_dir.journals().join(name.to_string()), |_, entry| {
                if let Entry::Pair(record) = entry {
                    rows.push(record.row);
                }
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(rows, [0, 2, 1]);
    }

    #[test]
    fn one_of_many_processes_gets_the_shard() {
        let folder = tempfile::tempdir().unwrap();
        let run_dir = RunDir::open(folder.path()).unwrap();
        for round in 1..=20 {
            // Each of them finds the last attempt dead, or no attempt.
            let claims: Vec<_> = std::thread::scope(|scope| {
                let processes: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| begin(&run_dir, |_| {}))).collect();
                processes.into_iter().map(|process| process.join().unwrap()).collect()
            });
            assert_eq!(claims.iter().filter(|claim| claim.is_ok()).count(), 1);
            assert_eq!(run_dir.journal_names().unwrap().len(), 2 * round - 1);
            drop(claims);
            let alive = run_dir.journal_names().unwrap().pop().unwrap();
            let path = run_dir.journals().join(alive.to_string());
            let mut writer = Writer::open(run_dir.disk.clone(), &path).unwrap();
            let (how, ended) = (EndReason::Stopped, String::new());
            let end = End { how, ended, elapsed_s: 0.0, lost: Vec::new() };
            writer.end(end).unwrap();
            begin(&run_dir, dead).unwrap();
        }
    }
}
