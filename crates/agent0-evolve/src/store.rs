//! The store of one run: a SQLite file that is the one truth about what has been done. Each unit of progress is one
//! transaction, so a run killed at any instant finds either all of it or nothing. Decides nothing about what comes next.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use agent0_engine::TokenId;
use agent0_rl::{Ending, Trajectory, Vote};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, params};

use crate::place::{Phase, Place, Role, Slot};
use crate::reward::RewardParts;

/// Changes whenever the tables, or anything that a resumed run depends on, change.
pub const SCHEMA_VERSION: i64 = 2;

const SCHEMA: &str = include_str!("schema.sql");

/// Why the store could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite failed.
    #[error("{path}: {cause}; if the disk is full, make room and run the same command again")]
    Database {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        cause: rusqlite::Error,
    },
    /// The file system failed.
    #[error("{path}: {cause}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// Another process works on the run.
    #[error("{0} is in use by another process; wait for it or stop it, or give --name for another run")]
    Locked(PathBuf),
    /// The store was written by another version of this program.
    #[error(
        "{path} was written by another version of agent0 (its store is version {found}, this program writes {expected}); use that version, or give --name for a new run"
    )]
    Version {
        /// The database file.
        path: PathBuf,
        /// Version found.
        found: String,
        /// Version of this program.
        expected: i64,
    },
    /// There is no run there.
    #[error("{0} is not a run: it has no run.db")]
    NotARun(PathBuf),
    /// A row that cannot be read.
    #[error("{path} is damaged: {what}")]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// Which row, and what is wrong with it.
        what: String,
    },
}

/// The unit of work that comes next and the weights it starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    /// What comes next.
    pub place: Place,
    /// Checkpoint of the curriculum agent; `None` while untrained.
    pub curriculum: Option<String>,
    /// Checkpoint of the executor; `None` while untrained.
    pub executor: Option<String>,
    /// Checkpoint of the agent in training as its phase began; `None` when it was untrained then.
    pub reference: Option<String>,
}

/// What became of a proposed task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskRecord {
    /// Index in its step.
    pub task: usize,
    /// The question, when the format gate let it pass.
    pub question: Option<String>,
    /// The proposer's own answer.
    pub own_answer: Option<String>,
    /// What became of it: `scored`, `kept`, or why it was dropped.
    pub fate: String,
    /// The parts of its reward, in the curriculum phase.
    pub reward: Option<RewardParts>,
}

/// All that is known when a step is done.
#[derive(Debug, Clone, PartialEq)]
pub struct StepRecord {
    /// Which step.
    pub place: Place,
    /// Why no weights changed although they should have.
    pub skipped: Option<String>,
    /// Tokens that went through forward and backward, prompts included.
    pub tokens_trained: usize,
    /// Wall-clock seconds this process spent on it.
    pub seconds: f64,
    /// Named numbers.
    pub metrics: Vec<(String, f64)>,
    /// What became of the tasks proposed in it.
    pub tasks: Vec<TaskRecord>,
    /// Rewards of trajectories.
    pub rewards: Vec<(Slot, f64)>,
}

/// A task of the frontier with its label.
#[derive(Debug, Clone, PartialEq)]
pub struct FrontierTask {
    /// The round of the frontier, or the step of the curriculum phase, that it was written in.
    pub place: Place,
    /// Its number there.
    pub index: usize,
    /// The question.
    pub question: String,
    /// The majority's answer.
    pub label: String,
    /// Self-consistency of the vote.
    pub p_hat: f64,
}

/// A named number of a finished step.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// The step.
    pub place: Place,
    /// Name of the number.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// When the step was done, Unix time.
    pub time: f64,
}

/// The open store of one run.
pub struct Store {
    db: Mutex<Connection>,
    path: PathBuf,
    session: Session,
    /// Held until the store is dropped, and let go by the system if the process dies.
    _lock: Option<File>,
}

struct Session {
    id: i64,
    began: Instant,
}

type Result<T> = std::result::Result<T, StoreError>;

impl Store {
    /// Opens the run in `folder` for work, making its tables if they are not there yet.
    ///
    /// # Errors
    /// [`StoreError::Locked`] while another process has it open, [`StoreError::Version`] for another version's tables.
    pub fn open(folder: &Path) -> Result<Self> {
        let lock = lock(folder)?;
        let path = folder.join("run.db");
        let failed = |cause| StoreError::Database { path: path.clone(), cause };
        let mut db = Connection::open(&path).map_err(failed)?;
        prepare(&mut db, &path)?;
        db.execute("INSERT INTO sessions (started_at, seconds) VALUES (?1, 0)", params![unix_time()]).map_err(failed)?;
        let session = Session { id: db.last_insert_rowid(), began: Instant::now() };
        Ok(Self { db: Mutex::new(db), path, session, _lock: Some(lock) })
    }

    /// Opens the run in `folder` for looking only; another process may be working on it.
    pub fn open_to_read(folder: &Path) -> Result<Self> {
        let path = folder.join("run.db");
        if !path.is_file() {
            return Err(StoreError::NotARun(folder.to_path_buf()));
        }
        let failed = |cause| StoreError::Database { path: path.clone(), cause };
        let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(failed)?;
        db.busy_timeout(std::time::Duration::from_secs(5)).map_err(failed)?;
        check_version(&db, &path)?;
        Ok(Self { db: Mutex::new(db), path, session: Session { id: 0, began: Instant::now() }, _lock: None })
    }

    /// What comes next.
    pub fn cursor(&self) -> Result<Cursor> {
        let read = |row: &Row| {
            let phase: String = row.get(1)?;
            let place = (row.get::<_, i64>(0)? as usize, phase, row.get::<_, i64>(2)? as usize);
            Ok((place, row.get(3)?, row.get(4)?, row.get(5)?))
        };
        let ((iteration, phase, step), curriculum, executor, reference) =
            self.query(|db| db.query_row("SELECT iteration, phase, step, curriculum, executor, reference FROM cursor", [], read))?;
        let place = Place { iteration, phase: self.phase(&phase)?, step };
        Ok(Cursor { place, curriculum, executor, reference })
    }

    /// Stores one finished trajectory. `text` is what follows its prompt.
    pub fn put_trajectory(&self, place: Place, slot: Slot, trajectory: &Trajectory, text: &str) -> Result<()> {
        let ids: Vec<u8> = trajectory.ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        let sampled: Vec<u8> = trajectory.sampled.iter().map(|&sampled| u8::from(sampled)).collect();
        let logprobs: Vec<u8> = trajectory.logprobs.iter().flat_map(|p| p.to_le_bytes()).collect();
        self.transaction(|db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO trajectories (iteration, phase, step, role, task, sample, ending, answer, tokens_sampled,
                 tokens_dropped, tool_calls, text, prompt_len, ids, sampled, logprobs)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            )?
            .execute(params![
                place.iteration as i64,
                place.phase.name(),
                place.step as i64,
                slot.role.name(),
                slot.task as i64,
                slot.sample as i64,
                ending_name(trajectory.ending),
                trajectory.answer,
                (trajectory.sampled_tokens() + trajectory.dropped) as i64,
                trajectory.dropped as i64,
                json(&trajectory.tool_calls),
                text,
                trajectory.prompt_len as i64,
                ids,
                sampled,
                logprobs,
            ])?;
            Ok(())
        })
    }

    /// The trajectories of a step that have been stored, by slot.
    pub fn trajectories(&self, place: Place, role: Role) -> Result<BTreeMap<Slot, Trajectory>> {
        self.read_trajectories(place, role, None)
    }

    /// The trajectories of one task in a step, by sample.
    pub fn trajectories_of(&self, place: Place, role: Role, task: usize) -> Result<Vec<Trajectory>> {
        Ok(self.read_trajectories(place, role, Some(task))?.into_values().collect())
    }

    fn read_trajectories(&self, place: Place, role: Role, task: Option<usize>) -> Result<BTreeMap<Slot, Trajectory>> {
        let rows = self.query(|db| {
            let mut statement = db.prepare_cached(
                "SELECT task, sample, ending, answer, tokens_dropped, tool_calls, prompt_len, ids, sampled, logprobs FROM trajectories
                 WHERE iteration = ?1 AND phase = ?2 AND step = ?3 AND role = ?4 AND (?5 IS NULL OR task = ?5)",
            )?;
            let key = params![place.iteration as i64, place.phase.name(), place.step as i64, role.name(), task.map(|task| task as i64)];
            let rows = statement.query_map(key, |row| {
                let slot = Slot { role, task: row.get::<_, i64>(0)? as usize, sample: row.get::<_, i64>(1)? as usize };
                Ok((slot, StoredTrajectory::read(row)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let restore = |(slot, stored): (Slot, StoredTrajectory)| match stored.restore() {
            Ok(trajectory) => Ok((slot, trajectory)),
            Err(what) => Err(self.damaged(format!("trajectory of {place}, {slot:?}: {what}"))),
        };
        rows.into_iter().map(restore).collect()
    }

    /// Stores the outcome of a vote.
    pub fn put_vote(&self, place: Place, task: usize, vote: &Vote) -> Result<()> {
        self.transaction(|db| {
            db.prepare_cached("INSERT OR REPLACE INTO votes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)")?.execute(params![
                place.iteration as i64,
                place.phase.name(),
                place.step as i64,
                task as i64,
                vote.answer,
                vote.votes as i64,
                vote.k as i64,
                vote.p_hat,
                json(vote),
            ])?;
            Ok(())
        })
    }

    /// The votes of a step that have been stored, by task.
    pub fn votes(&self, place: Place) -> Result<BTreeMap<usize, Vote>> {
        let rows: Vec<(i64, String)> = self.query(|db| {
            let mut statement = db.prepare_cached("SELECT task, vote FROM votes WHERE iteration = ?1 AND phase = ?2 AND step = ?3")?;
            let key = params![place.iteration as i64, place.phase.name(), place.step as i64];
            statement.query_map(key, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
        })?;
        rows.into_iter()
            .map(|(task, text)| {
                let vote = serde_json::from_str(&text).map_err(|cause| self.damaged(format!("vote of {place}, task {task}: {cause}")))?;
                Ok((task as usize, vote))
            })
            .collect()
    }

    /// Stores a finished step and moves the cursor, both or neither.
    pub fn finish_step(&self, record: &StepRecord, next: &Cursor) -> Result<()> {
        self.transaction(|db| {
            let place = record.place;
            let (iteration, phase, step) = (place.iteration as i64, place.phase.name(), place.step as i64);
            for task in &record.tasks {
                db.prepare_cached("INSERT OR REPLACE INTO tasks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?.execute(params![
                    iteration,
                    phase,
                    step,
                    task.task as i64,
                    task.question,
                    task.own_answer,
                    task.fate,
                    task.reward.as_ref().map(json),
                ])?;
            }
            for (slot, reward) in &record.rewards {
                db.prepare_cached(
                    "UPDATE trajectories SET reward = ?7 WHERE iteration = ?1 AND phase = ?2 AND step = ?3 AND role = ?4 AND task = ?5 AND sample = ?6",
                )?
                .execute(params![iteration, phase, step, slot.role.name(), slot.task as i64, slot.sample as i64, reward])?;
            }
            for (name, value) in record.metrics.iter().filter(|(_, value)| value.is_finite()) {
                db.prepare_cached("INSERT OR REPLACE INTO metrics VALUES (?1, ?2, ?3, ?4, ?5)")?
                    .execute(params![iteration, phase, step, name, value])?;
            }
            db.prepare_cached("INSERT OR REPLACE INTO steps VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?.execute(params![
                iteration,
                phase,
                step,
                record.skipped,
                record.tokens_trained as i64,
                record.seconds,
                unix_time(),
            ])?;
            write_cursor(db, next)
        })
    }

    /// Moves the cursor alone, as at the end of a phase.
    pub fn set_cursor(&self, next: &Cursor) -> Result<()> {
        self.transaction(|db| write_cursor(db, next))
    }

    /// The kept tasks of an iteration's frontier, in the order they were written.
    pub fn frontier(&self, iteration: usize) -> Result<Vec<FrontierTask>> {
        let tasks = [Phase::Curriculum, Phase::Frontier].map(|phase| {
            self.query(|db| {
                let mut statement = db.prepare_cached(
                    "SELECT step, task, question, label, p_hat FROM tasks JOIN votes USING (iteration, phase, step, task)
                     WHERE iteration = ?1 AND phase = ?2 AND fate = 'kept' ORDER BY step, task",
                )?;
                let task = |row: &Row| {
                    let place = Place { iteration, phase, step: row.get::<_, i64>(0)? as usize };
                    let index = row.get::<_, i64>(1)? as usize;
                    Ok(FrontierTask { place, index, question: row.get(2)?, label: row.get(3)?, p_hat: row.get(4)? })
                };
                statement.query_map(params![iteration as i64, phase.name()], task)?.collect::<rusqlite::Result<Vec<_>>>()
            })
        });
        Ok(tasks.into_iter().collect::<Result<Vec<_>>>()?.concat())
    }

    /// How many tasks of each fate an iteration's phase has, by fate.
    pub fn fates(&self, iteration: usize, phase: Phase) -> Result<Vec<(String, usize)>> {
        self.query(|db| {
            let mut statement =
                db.prepare_cached("SELECT fate, COUNT(*) FROM tasks WHERE iteration = ?1 AND phase = ?2 GROUP BY fate ORDER BY fate")?;
            let rows =
                statement.query_map(params![iteration as i64, phase.name()], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as usize)))?;
            rows.collect()
        })
    }

    /// The questions that were candidates for an iteration's frontier so far.
    pub fn frontier_questions(&self, iteration: usize) -> Result<Vec<String>> {
        self.query(|db| {
            let mut statement = db.prepare_cached(
                "SELECT question FROM tasks WHERE iteration = ?1 AND phase <> 'executor' AND fate <> 'scored' AND question IS NOT NULL",
            )?;
            statement.query_map([iteration as i64], |row| row.get(0))?.collect()
        })
    }

    /// The named numbers of all finished steps, in the order of the run.
    pub fn metrics(&self) -> Result<Vec<Metric>> {
        let rows: Vec<(i64, String, i64, String, f64, f64)> = self.query(|db| {
            let mut statement = db.prepare(
                "SELECT iteration, phase, step, name, value, finished_at FROM metrics JOIN steps USING (iteration, phase, step)
                 ORDER BY finished_at, iteration, phase, step, metrics.rowid",
            )?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?, row.get(5)?)))?;
            rows.collect()
        })?;
        rows.into_iter()
            .map(|(iteration, phase, step, name, value, time)| {
                let place = Place { iteration: iteration as usize, phase: self.phase(&phase)?, step: step as usize };
                Ok(Metric { place, name, value, time })
            })
            .collect()
    }

    /// Steps that changed no weights although they should have, with the reason.
    pub fn skipped_steps(&self) -> Result<Vec<(Place, String)>> {
        let rows: Vec<(i64, String, i64, String)> = self.query(|db| {
            let mut statement =
                db.prepare("SELECT iteration, phase, step, skipped FROM steps WHERE skipped IS NOT NULL ORDER BY finished_at")?;
            statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?.collect()
        })?;
        rows.into_iter()
            .map(|(iteration, phase, step, reason)| {
                Ok((Place { iteration: iteration as usize, phase: self.phase(&phase)?, step: step as usize }, reason))
            })
            .collect()
    }

    /// One number from the store: `sql` takes the iteration as `?1`. `None` when it is NULL, such as a mean over nothing.
    pub(crate) fn number(&self, sql: &str, iteration: usize) -> Result<Option<f64>> {
        self.query(|db| db.prepare_cached(sql)?.query_row([iteration as i64], |row| row.get(0)))
    }

    /// Tokens sampled and tokens trained on, in the whole run.
    pub fn token_counts(&self) -> Result<(u64, u64)> {
        let count = |sql: &str| self.query(|db| db.query_row(sql, [], |row| row.get::<_, i64>(0)));
        let sampled = count("SELECT COALESCE(SUM(tokens_sampled), 0) FROM trajectories")?;
        let trained = count("SELECT COALESCE(SUM(tokens_trained), 0) FROM steps")?;
        Ok((sampled as u64, trained as u64))
    }

    /// Seconds that processes have worked on this run, in all.
    pub fn seconds(&self) -> Result<f64> {
        let stored = self.query(|db| {
            db.query_row("SELECT COALESCE(SUM(seconds), 0) FROM sessions WHERE id <> ?1", [self.session.id], |row| row.get::<_, f64>(0))
        })?;
        let own = if self.session.id == 0 { 0.0 } else { self.session.began.elapsed().as_secs_f64() };
        Ok(stored + own)
    }

    /// Sum of a metric over all finished steps.
    pub fn total(&self, metric: &str) -> Result<f64> {
        self.query(|db| db.query_row("SELECT COALESCE(SUM(value), 0.0) FROM metrics WHERE name = ?1", [metric], |row| row.get(0)))
    }

    /// Remembers a fact about the run.
    pub fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        self.transaction(|db| {
            db.execute("INSERT OR REPLACE INTO meta VALUES (?1, ?2)", [key, value])?;
            Ok(())
        })
    }

    /// Whether a model has begun to work on the run; before that its settings bind nobody.
    pub fn is_begun(&self) -> Result<bool> {
        Ok(self.meta("model")?.is_some())
    }

    /// A remembered fact about the run.
    pub fn meta(&self, key: &str) -> Result<Option<String>> {
        self.query(|db| db.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional())
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere rolled its transaction back: the connection is as good as before.
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn query<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        read(&self.connection()).map_err(|cause| StoreError::Database { path: self.path.clone(), cause })
    }

    /// One unit of progress. The session's clock moves with it.
    fn transaction(&self, write: impl FnOnce(&Transaction) -> rusqlite::Result<()>) -> Result<()> {
        let mut db = self.connection();
        let run = || {
            let transaction = db.transaction()?;
            write(&transaction)?;
            transaction
                .prepare_cached("UPDATE sessions SET seconds = ?2 WHERE id = ?1")?
                .execute(params![self.session.id, self.session.began.elapsed().as_secs_f64()])?;
            transaction.commit()
        };
        run().map_err(|cause| StoreError::Database { path: self.path.clone(), cause })
    }

    fn phase(&self, name: &str) -> Result<Phase> {
        Phase::named(name).ok_or_else(|| self.damaged(format!("there is no phase `{name}`")))
    }

    fn damaged(&self, what: String) -> StoreError {
        StoreError::Damaged { path: self.path.clone(), what }
    }
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join("lock");
    let failed = |cause| StoreError::Io { path: path.clone(), cause };
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked(folder.to_path_buf())),
        Err(TryLockError::Error(cause)) => Err(failed(cause)),
    }
}

fn prepare(db: &mut Connection, path: &Path) -> Result<()> {
    let failed = |cause| StoreError::Database { path: path.to_path_buf(), cause };
    // FULL: a transaction that was committed survives a power cut, so old checkpoints may be deleted after it.
    db.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;").map_err(failed)?;
    let tables: i64 = db.query_row("SELECT COUNT(*) FROM sqlite_master", [], |row| row.get(0)).map_err(failed)?;
    if tables > 0 {
        return check_version(db, path);
    }
    let start = Cursor { place: Place::START, curriculum: None, executor: None, reference: None };
    let mut create = || {
        let transaction = db.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.execute("INSERT INTO meta VALUES ('schema_version', ?1)", [SCHEMA_VERSION.to_string()])?;
        write_cursor(&transaction, &start)?;
        transaction.commit()
    };
    create().map_err(failed)
}

fn check_version(db: &Connection, path: &Path) -> Result<()> {
    let found: Option<String> =
        db.query_row("SELECT value FROM meta WHERE key = 'schema_version'", [], |row| row.get(0)).optional().unwrap_or_default();
    match found {
        Some(version) if version == SCHEMA_VERSION.to_string() => Ok(()),
        other => Err(StoreError::Version {
            path: path.to_path_buf(),
            found: other.unwrap_or_else(|| "unknown".into()),
            expected: SCHEMA_VERSION,
        }),
    }
}

fn write_cursor(db: &Transaction, cursor: &Cursor) -> rusqlite::Result<()> {
    let Place { iteration, phase, step } = cursor.place;
    db.prepare_cached("INSERT OR REPLACE INTO cursor VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        iteration as i64,
        phase.name(),
        step as i64,
        cursor.curriculum,
        cursor.executor,
        cursor.reference,
    ])?;
    Ok(())
}

struct StoredTrajectory {
    ending: String,
    answer: Option<String>,
    dropped: usize,
    tool_calls: String,
    prompt_len: usize,
    ids: Vec<u8>,
    sampled: Vec<u8>,
    logprobs: Vec<u8>,
}

impl StoredTrajectory {
    fn read(row: &Row) -> rusqlite::Result<Self> {
        Ok(Self {
            ending: row.get(2)?,
            answer: row.get(3)?,
            dropped: row.get::<_, i64>(4)? as usize,
            tool_calls: row.get(5)?,
            prompt_len: row.get::<_, i64>(6)? as usize,
            ids: row.get(7)?,
            sampled: row.get(8)?,
            logprobs: row.get(9)?,
        })
    }

    fn restore(self) -> std::result::Result<Trajectory, String> {
        let words = |bytes: &[u8]| bytes.as_chunks::<4>().0.to_vec();
        let ids: Vec<TokenId> = words(&self.ids).into_iter().map(u32::from_le_bytes).collect();
        let logprobs: Vec<f32> = words(&self.logprobs).into_iter().map(f32::from_le_bytes).collect();
        if ids.len() != logprobs.len() || ids.len() != self.sampled.len() || self.prompt_len > ids.len() {
            return Err("its columns differ in length".into());
        }
        Ok(Trajectory {
            prompt_len: self.prompt_len,
            sampled: self.sampled.iter().map(|&byte| byte != 0).collect(),
            tool_calls: serde_json::from_str(&self.tool_calls).map_err(|cause| cause.to_string())?,
            dropped: self.dropped,
            ending: serde_json::from_value(self.ending.into()).map_err(|cause| cause.to_string())?,
            answer: self.answer,
            ids,
            logprobs,
        })
    }
}

fn ending_name(ending: Ending) -> &'static str {
    match ending {
        Ending::Boxed => "boxed",
        Ending::Stop => "stop",
        Ending::Budget => "budget",
        Ending::Context => "context",
    }
}

/// JSON of plain data, which always has one.
fn json<T: serde::Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

pub(crate) fn unix_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use agent0_rl::ToolCall;

    fn trajectory() -> Trajectory {
        Trajectory {
            ids: vec![1, 70_000, u32::MAX],
            prompt_len: 1,
            sampled: vec![false, true, false],
            logprobs: vec![0.0, -0.1 - f32::EPSILON, f32::NEG_INFINITY],
            tool_calls: vec![ToolCall { code: "print(1)".into(), output: "1\n".into(), ok: true }],
            dropped: 2,
            ending: Ending::Boxed,
            answer: Some("1".into()),
        }
    }

    #[test]
    fn a_trajectory_comes_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let slot = Slot { role: Role::Executor, task: 3, sample: 1 };
        {
            let store = Store::open(folder.path()).unwrap();
            store.put_trajectory(Place::START, slot, &trajectory(), "text").unwrap();
        }
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.trajectories(Place::START, Role::Executor).unwrap(), BTreeMap::from([(slot, trajectory())]));
        assert!(store.trajectories(Place::START, Role::Proposer).unwrap().is_empty());
        assert_eq!(store.token_counts().unwrap(), (3, 0));
    }

    #[test]
    fn every_ending_has_the_name_it_is_read_by() {
        for ending in [Ending::Boxed, Ending::Stop, Ending::Budget, Ending::Context] {
            assert_eq!(serde_json::to_value(ending).unwrap(), ending_name(ending));
        }
    }

    #[test]
    fn a_second_process_is_told_that_the_run_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let first = Store::open(folder.path()).unwrap();
        assert!(matches!(Store::open(folder.path()), Err(StoreError::Locked(_))));
        Store::open_to_read(folder.path()).unwrap();
        drop(first);
        Store::open(folder.path()).unwrap();
    }

    #[test]
    fn another_version_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        Store::open(folder.path()).unwrap().set_meta("schema_version", "0").unwrap();
        for opened in [Store::open(folder.path()), Store::open_to_read(folder.path())] {
            let error = opened.err().unwrap();
            assert!(matches!(&error, StoreError::Version { found, .. } if found == "0"), "{error}");
        }
        let folder = tempfile::tempdir().unwrap();
        Connection::open(folder.path().join("run.db")).unwrap().execute_batch("CREATE TABLE other (x)").unwrap();
        assert!(matches!(Store::open(folder.path()), Err(StoreError::Version { .. })));
    }

    #[test]
    fn a_file_that_is_no_database_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("run.db"), "not a database, certainly not one").unwrap();
        assert!(matches!(Store::open(folder.path()), Err(StoreError::Database { .. })));
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(Store::open_to_read(empty.path()), Err(StoreError::NotARun(_))));
    }
}
