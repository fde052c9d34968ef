-- The store of one run (run.db). Iterations and steps count from 1, tasks and samples from 0.
-- A "place" is (iteration, phase, step); phases: curriculum, frontier (its steps are rounds), executor.

CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

-- The unit of work that comes next, and the weights it starts from: names of checkpoint folders, NULL while untrained.
CREATE TABLE cursor (
    id         INTEGER PRIMARY KEY CHECK (id = 1),
    iteration  INTEGER NOT NULL,
    phase      TEXT NOT NULL,
    step       INTEGER NOT NULL,
    curriculum TEXT,
    executor   TEXT,
    reference  TEXT -- the agent in training as it was when its phase began
) STRICT;

-- Written as each one finishes. role: proposer (writes a task) or executor (answers one).
CREATE TABLE trajectories (
    iteration      INTEGER NOT NULL,
    phase          TEXT NOT NULL,
    step           INTEGER NOT NULL,
    role           TEXT NOT NULL,
    task           INTEGER NOT NULL,
    sample         INTEGER NOT NULL,
    ending         TEXT NOT NULL,
    answer         TEXT,
    reward         REAL,             -- known once its step is done
    tokens_sampled INTEGER NOT NULL, -- those kept in ids, and those cut away
    tokens_dropped INTEGER NOT NULL,
    tool_calls     TEXT NOT NULL,    -- JSON list of {code, output, ok}
    text           TEXT NOT NULL,    -- what follows the prompt
    prompt_len     INTEGER NOT NULL,
    ids            BLOB NOT NULL,    -- u32 little-endian, the prompt included
    sampled        BLOB NOT NULL,    -- one byte per id
    logprobs       BLOB NOT NULL,    -- f32 little-endian, one per id
    PRIMARY KEY (iteration, phase, step, role, task, sample)
) STRICT;

-- Written as each vote is counted.
CREATE TABLE votes (
    iteration INTEGER NOT NULL,
    phase     TEXT NOT NULL,
    step      INTEGER NOT NULL,
    task      INTEGER NOT NULL,
    label     TEXT,
    votes     INTEGER NOT NULL,
    k         INTEGER NOT NULL,
    p_hat     REAL NOT NULL,
    vote      TEXT NOT NULL, -- the whole vote as JSON
    PRIMARY KEY (iteration, phase, step, task)
) STRICT;

-- Proposals as read from the curriculum agent's text; written when their step is done.
CREATE TABLE tasks (
    iteration  INTEGER NOT NULL,
    phase      TEXT NOT NULL,
    step       INTEGER NOT NULL,
    task       INTEGER NOT NULL,
    question   TEXT,          -- NULL when the format gate refused the text
    own_answer TEXT,          -- the proposer's, never trusted
    fate       TEXT NOT NULL, -- scored, kept, or why it was dropped
    reward     TEXT,          -- parts of the reward as JSON (curriculum phase)
    PRIMARY KEY (iteration, phase, step, task)
) STRICT;

CREATE TABLE steps (
    iteration      INTEGER NOT NULL,
    phase          TEXT NOT NULL,
    step           INTEGER NOT NULL,
    skipped        TEXT,             -- the reason, when the step changed no weights although it should
    tokens_trained INTEGER NOT NULL,
    seconds        REAL NOT NULL,
    finished_at    REAL NOT NULL,    -- Unix time
    PRIMARY KEY (iteration, phase, step)
) STRICT;

CREATE TABLE metrics (
    iteration INTEGER NOT NULL,
    phase     TEXT NOT NULL,
    step      INTEGER NOT NULL,
    name      TEXT NOT NULL,
    value     REAL NOT NULL,
    PRIMARY KEY (iteration, phase, step, name)
) STRICT;

-- One row per process that worked on the run.
CREATE TABLE sessions (
    id         INTEGER PRIMARY KEY,
    started_at REAL NOT NULL,
    seconds    REAL NOT NULL
) STRICT;
