//! One table of several models' scores: rows are models with or without their tool, columns benchmarks and averages. The best of a
//! column is bold. Each score is held against the first model's with the same use of the tool, on the questions that both were asked;
//! the first model's own second row against its first.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use crate::benchmark::benchmarks;
use crate::paired::{Difference, Test, compare};
use crate::published::{PUBLISHED, Published};
use crate::results::Results;
use crate::score::{Asked, Averages, Score, Tool, mean, standard_error};

/// Which columns a table has besides one for each benchmark.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown<'a> {
    /// The average over these, each counting the same: benchmarks, or `BENCHMARK:SUBJECT`.
    pub average_of: &'a [String],
    /// Each subject of a benchmark that has several.
    pub by_subject: bool,
    /// The published benchmarks, with the published rows below.
    pub published: bool,
}

/// A benchmark, or the questions of one subject in it.
#[derive(Debug, Clone, PartialEq)]
struct Part {
    bench: String,
    subject: Option<String>,
}

impl Part {
    fn whole(bench: &str) -> Self {
        Self { bench: bench.to_owned(), subject: None }
    }

    /// A benchmark that has a score in `results`, or `BENCHMARK:SUBJECT`.
    fn named(name: &str, results: &[Results]) -> Self {
        let is_whole = results.iter().flat_map(|of| &of.results).any(|score| score.bench == name);
        match name.split_once(':') {
            Some((bench, subject)) if !is_whole => Self { bench: bench.to_owned(), subject: Some(subject.to_owned()) },
            _ => Self::whole(name),
        }
    }

    fn title(&self) -> String {
        let bench = benchmarks().iter().find(|b| b.name == self.bench).map_or(self.bench.as_str(), |b| b.title);
        self.subject.as_ref().map_or(bench.to_owned(), |subject| format!("{bench}: {subject}"))
    }

    /// Its questions in a score of its benchmark.
    fn asked<'a>(&self, score: &'a Score) -> Vec<Asked<'a>> {
        score.asked().filter(|asked| self.subject.is_none() || asked.subject == self.subject.as_deref()).collect()
    }
}

/// What a column holds.
#[derive(Debug, Clone, PartialEq)]
enum Column {
    /// The score of one part, or the average over several.
    Of(Vec<Part>),
    /// The mean of the seven benchmarks of mathematics.
    Math,
    /// The mean over fields.
    Overall,
}

impl Column {
    fn title(&self) -> String {
        match self {
            Self::Of(parts) if parts.len() == 1 => parts[0].title(),
            Self::Of(parts) => format!("average of {}", parts.iter().map(Part::title).collect::<Vec<_>>().join(", ")),
            Self::Math => "MATH AVG".to_owned(),
            Self::Overall => "Overall AVG".to_owned(),
        }
    }
}

/// A comparison of scores.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// Titles of the columns.
    pub columns: Vec<String>,
    /// The rows, measured ones first.
    pub rows: Vec<TableRow>,
}

/// The scores of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableRow {
    /// The model, with or without its tool.
    pub name: String,
    /// False for a row that others published.
    pub measured: bool,
    /// A cell for each column; `None` where there is no score.
    pub cells: Vec<Option<Cell>>,
    /// What must be said beside the averages, if anything.
    pub caveat: Option<String>,
}

/// One score.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cell {
    /// Accuracy, 0 to 1.
    pub score: f64,
    /// Its standard error, where there is one.
    pub stderr: Option<f64>,
    /// Questions it was measured on; 0 for published scores and the averages of the published table.
    pub questions: usize,
    /// Whether no measured row has a higher score in this column.
    pub best: bool,
    /// How it compares with the score it is held against.
    pub delta: Option<Delta>,
}

/// How a score compares with the one it is held against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Delta {
    /// The difference of the means on common questions.
    pub delta: f64,
    /// Common questions.
    pub questions: usize,
    /// Two-sided p-value.
    pub p: f64,
    /// The test: `mcnemar` or `bootstrap`.
    pub test: &'static str,
}

impl From<Difference> for Delta {
    fn from(of: Difference) -> Self {
        let test = match of.test {
            Test::McNemar => "mcnemar",
            Test::Bootstrap => "bootstrap",
        };
        Self { delta: of.delta, questions: of.questions, p: of.p, test }
    }
}

impl Table {
    /// Compares results, the first being what the others are held against.
    pub fn new(results: &[Results], shown: Shown) -> Self {
        let columns = columns(results, shown);
        let mut rows = Vec::new();
        for (index, of) in results.iter().enumerate() {
            let mut tools = [Tool::Off, Tool::On].into_iter().filter(|tool| of.results.iter().any(|score| score.tool == *tool));
            if index == 0 {
                let first = tools.next();
                rows.extend(first.map(|tool| measured_row(of, tool, None, &columns)));
                rows.extend(tools.map(|tool| measured_row(of, tool, first.map(|first| (of, first)), &columns)));
            } else {
                rows.extend(tools.map(|tool| measured_row(of, tool, Some((&results[0], tool)), &columns)));
            }
        }
        mark_best(&mut rows, columns.len());
        if shown.published {
            rows.extend(PUBLISHED.iter().map(|row| TableRow {
                name: format!("{} (published, not measured)", row.name),
                measured: false,
                cells: columns.iter().map(|column| published_score(row, column).map(plain_cell)).collect(),
                caveat: None,
            }));
        }
        Self { columns: columns.iter().map(Column::title).collect(), rows }
    }

    /// Whether any of these results has a score for a benchmark, or for `BENCHMARK:SUBJECT`.
    pub fn can_average(results: &[Results], name: &str) -> bool {
        let part = Part::named(name, results);
        results.iter().any(|of| [Tool::Off, Tool::On].into_iter().any(|tool| Measured::new(of, tool, &part).is_some()))
    }

    /// The table in Markdown, with a line on how to read it.
    pub fn markdown(&self) -> String {
        let mut text = format!("| model | {} |\n|---|{}\n", self.columns.join(" | "), "---|".repeat(self.columns.len()));
        for row in &self.rows {
            let cells: Vec<String> = row.cells.iter().map(|cell| cell.as_ref().map_or("–".to_owned(), markdown_cell)).collect();
            let _ = writeln!(text, "| {} | {} |", row.name.replace('|', "\\|"), cells.join(" | "));
        }
        text += "\nAccuracy in per cent ± standard error; bold: the best measured. In brackets: against the first model with the same use \
                of the tool, its own second row against its first, on the questions that both were asked, * p < 0.05, ** p < 0.01 (McNemar's exact test; the paired bootstrap for averages and where questions have several answers).\n";
        for (name, caveat) in self.rows.iter().filter_map(|row| Some((&row.name, row.caveat.as_ref()?))) {
            let _ = writeln!(text, "\nThe averages of {name}: {caveat}.");
        }
        text
    }

    /// The table as comma-separated values, one line for each cell.
    pub fn csv(&self) -> String {
        let mut text = "model,measured,column,score,stderr,questions,best,delta,common_questions,p,test\n".to_owned();
        let number = |value: Option<f64>| value.map_or(String::new(), |value| value.to_string());
        for row in &self.rows {
            for (column, cell) in self.columns.iter().zip(&row.cells) {
                let Some(Cell { score, stderr, questions, best, delta }) = cell else { continue };
                let _ = writeln!(
                    text,
                    "{},{},{},{score},{},{questions},{best},{},{},{},{}",
                    quoted(&row.name),
                    row.measured,
                    quoted(column),
                    number(*stderr),
                    number(delta.map(|d| d.delta)),
                    delta.map_or(String::new(), |d| d.questions.to_string()),
                    number(delta.map(|d| d.p)),
                    delta.map_or("", |d| d.test),
                );
            }
        }
        text
    }
}

/// The columns that have a score: benchmarks in the published order, files of the user's by name, then the averages.
fn columns(results: &[Results], Shown { average_of, by_subject, published }: Shown) -> Vec<Column> {
    let scored: BTreeSet<&str> = results.iter().flat_map(|of| &of.results).map(|score| score.bench.as_str()).collect();
    let known = |name: &str| benchmarks().iter().any(|b| b.name == name);
    let is_shown = |name: &str| scored.contains(name) || published && PUBLISHED.iter().any(|row| row.score(name).is_some());
    let averages = |of: &Results| [Tool::Off, Tool::On].map(|tool| of.averages(tool));
    let has = |average: fn(&Averages) -> Option<f64>| published || results.iter().flat_map(averages).any(|of| average(&of).is_some());
    let own = scored.iter().copied().filter(|name| !known(name));
    let mut columns = Vec::new();
    for bench in benchmarks().iter().map(|b| b.name).filter(|name| is_shown(name)).chain(own) {
        columns.push(Column::Of(vec![Part::whole(bench)]));
        let subjects = if by_subject { subjects(results, bench) } else { BTreeSet::new() };
        // The only subject is the whole.
        columns.extend(subjects.iter().filter(|_| subjects.len() > 1).map(|subject| {
            let subject = Some((*subject).to_owned());
            Column::Of(vec![Part { subject, ..Part::whole(bench) }])
        }));
    }
    columns.extend((!average_of.is_empty()).then(|| Column::Of(average_of.iter().map(|name| Part::named(name, results)).collect())));
    columns.extend(has(|of| of.math).then_some(Column::Math));
    columns.extend(has(|of| of.overall).then_some(Column::Overall));
    columns
}

/// The subjects of a benchmark's questions.
fn subjects<'a>(results: &'a [Results], bench: &str) -> BTreeSet<&'a str> {
    let scores = results.iter().flat_map(|of| &of.results).filter(|score| score.bench == bench);
    scores.flat_map(Score::asked).filter_map(|asked| asked.subject).collect()
}

/// What others have published for a column.
fn published_score(row: &Published, column: &Column) -> Option<f64> {
    match column {
        Column::Of(parts) if parts.len() == 1 && parts[0].subject.is_none() => row.score(&parts[0].bench),
        Column::Of(_) => None,
        Column::Math => row.averages().math,
        Column::Overall => row.averages().overall,
    }
}

/// The scores of a model, each held against those of `base`.
fn measured_row(of: &Results, tool: Tool, base: Option<(&Results, Tool)>, columns: &[Column]) -> TableRow {
    let cell = |column: &Column| match column {
        Column::Of(parts) => measured_cell(of, tool, base, parts),
        Column::Math => of.averages(tool).math.map(plain_cell),
        Column::Overall => of.averages(tool).overall.map(plain_cell),
    };
    let with = match tool {
        Tool::On => "tool",
        Tool::Off => "no tool",
    };
    TableRow {
        name: format!("{} ({with})", of.subject.name),
        measured: true,
        cells: columns.iter().map(cell).collect(),
        caveat: of.caveat(tool),
    }
}

/// The average over parts, held against that of `base`; `None` unless all of them are scored.
fn measured_cell(of: &Results, tool: Tool, base: Option<(&Results, Tool)>, parts: &[Part]) -> Option<Cell> {
    let own = parts.iter().map(|part| Measured::new(of, tool, part)).collect::<Option<Vec<_>>>()?;
    let base = base.and_then(|(base, tool)| parts.iter().map(|part| Measured::new(base, tool, part)).collect::<Option<Vec<_>>>());
    let delta = base.and_then(|base| compare(&base.iter().zip(&own).map(|(base, own)| pairs(base, own)).collect::<Vec<_>>()));
    let shares: Vec<Vec<f64>> = own.iter().map(|part| part.asked.iter().map(|asked| asked.share).collect()).collect();
    let variance: Option<f64> = shares.iter().map(|shares| standard_error(shares).map(|stderr| stderr * stderr)).sum();
    Some(Cell {
        stderr: variance.map(|variance| variance.sqrt() / own.len() as f64),
        questions: shares.iter().map(Vec::len).sum(),
        delta: delta.map(Delta::from),
        ..plain_cell(mean(shares.iter().map(|shares| mean(shares.iter().copied()))))
    })
}

/// The questions of a part, and which file they are from.
struct Measured<'a> {
    file: &'a str,
    asked: Vec<Asked<'a>>,
}

impl<'a> Measured<'a> {
    /// `None` when no question of the part was asked.
    fn new(of: &'a Results, tool: Tool, part: &Part) -> Option<Self> {
        let score = of.score(&part.bench, tool)?;
        let asked = part.asked(score);
        (!asked.is_empty()).then_some(Self { file: &score.data.sha256, asked })
    }
}

fn plain_cell(score: f64) -> Cell {
    Cell { score, stderr: None, questions: 0, best: false, delta: None }
}

/// The scores of both on the questions that both were asked. An id alone may be that of another question in another file: where the
/// digest of a question is not known, the files must be the same.
fn pairs(base: &Measured, other: &Measured) -> Vec<(f64, f64)> {
    let same_file = base.file == other.file;
    let is_same = |of_base: Option<&str>, of_other: Option<&str>| match (of_base, of_other) {
        (Some(of_base), Some(of_other)) => of_base == of_other,
        _ => same_file,
    };
    let by_id: BTreeMap<&str, &Asked> = base.asked.iter().map(|asked| (asked.id, asked)).collect();
    let common = other.asked.iter().filter_map(|asked| {
        let of_base = by_id.get(asked.id)?;
        is_same(of_base.digest, asked.digest).then_some((of_base.share, asked.share))
    });
    common.collect()
}

fn mark_best(rows: &mut [TableRow], columns: usize) {
    for column in 0..columns {
        let scores = rows.iter().filter_map(|row| row.cells[column].as_ref()).map(|cell| cell.score);
        let best = scores.fold(f64::NEG_INFINITY, f64::max);
        for cell in rows.iter_mut().filter_map(|row| row.cells[column].as_mut()) {
            cell.best = cell.score == best && best > 0.0;
        }
    }
}

fn markdown_cell(cell: &Cell) -> String {
    let mut text = format!("{:.1}", 100.0 * cell.score);
    if cell.best {
        text = format!("**{text}**");
    }
    if let Some(stderr) = cell.stderr {
        let _ = write!(text, " ± {:.1}", 100.0 * stderr);
    }
    if let Some(Delta { delta, p, .. }) = cell.delta {
        let stars = match p {
            _ if p < 0.01 => "**",
            _ if p < 0.05 => "*",
            _ => "",
        };
        let _ = write!(text, " ({:+.1}{})", 100.0 * delta, stars.replace('*', "\\*"));
    }
    text
}

/// A field that may hold commas.
fn quoted(field: &str) -> String {
    format!("\"{}\"", field.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::question::Origin;
    use crate::results::Subject;
    use crate::score::tests::score;

    fn results(name: &str, scores: Vec<Score>) -> Results {
        let subject = Subject {
            name: name.into(),
            model: name.into(),
            model_digest: name.into(),
            adapter: None,
            adapter_digest: None,
            numerics: "q8".into(),
            python: None,
        };
        Results { subject, results: scores }
    }

    fn answers(right: usize, of: usize) -> Vec<(String, f64)> {
        (0..of).map(|i| (i.to_string(), f64::from(u8::from(i < right)))).collect()
    }

    fn bench(name: &str, right: usize, of: usize) -> Score {
        let answers = answers(right, of);
        score(name, &answers.iter().map(|(id, share)| (id.as_str(), *share)).collect::<Vec<_>>())
    }

    #[test]
    fn models_are_held_against_the_first_with_the_same_tool() {
        let without = |score: Score| Score { tool: Tool::Off, ..score };
        let base = results("base", vec![bench("gsm8k", 10, 40), without(bench("gsm8k", 4, 40)), bench("mine", 1, 2)]);
        let better = results("a, b", vec![bench("gsm8k", 10, 20), without(bench("gsm8k", 30, 40))]);
        let table = Table::new(&[base, better], Shown::default());
        assert_eq!(table.columns, ["GSM8K", "mine"]);
        let names: Vec<&str> = table.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["base (no tool)", "base (tool)", "a, b (no tool)", "a, b (tool)"]);
        let cell = |row: usize| table.rows[row].cells[0].clone().unwrap();
        let delta = |row: usize| cell(row).delta.map(|delta| (delta.delta, delta.questions, delta.test));
        assert_eq!((cell(0).score, delta(0), cell(0).best), (0.1, None, false));
        assert_eq!(delta(1), Some((0.15, 40, "mcnemar")), "the tool's own gain");
        assert_eq!((delta(2), cell(2).best), (Some((0.65, 40, "mcnemar")), true));
        assert!(cell(2).delta.unwrap().p < 0.01);
        assert_eq!((delta(3), cell(3).delta.unwrap().p), (Some((0.0, 20, "mcnemar")), 1.0), "both solve ten of the common twenty");
        assert_eq!(table.rows[2].cells[1], None);
        let text = table.markdown();
        assert!(text.contains("| a, b (no tool) | **75.0** ± 6.9 (+65.0\\*\\*) | – |"), "{text}");
        assert!(table.csv().contains("\"a, b (tool)\",true,\"GSM8K\",0.5,"), "{}", table.csv());
    }

    #[test]
    fn published_rows_are_marked_and_never_the_best() {
        let base = results("base", vec![bench("bbeh", 1, 100)]);
        let table = Table::new(&[base], Shown { published: true, ..Shown::default() });
        assert_eq!(table.columns, ["SuperGPQA", "MMLU-Pro", "BBEH", "MATH AVG", "Overall AVG"]);
        let (measured, published): (Vec<_>, Vec<_>) = table.rows.iter().partition(|row| row.measured);
        assert_eq!((measured.len(), published.len()), (1, 6));
        assert!(measured[0].cells[2].as_ref().unwrap().best);
        assert!(published.iter().all(|row| row.name.ends_with("(published, not measured)")));
        assert!(published.iter().flat_map(|row| row.cells.iter().flatten()).all(|cell| !cell.best && cell.delta.is_none()));
    }

    #[test]
    fn an_average_is_over_the_named_benchmarks_and_needs_all_of_them() {
        let base = results("base", vec![bench("gsm8k", 10, 40), bench("mine", 50, 100)]);
        let better = results("better", vec![bench("gsm8k", 30, 40), bench("mine", 50, 100)]);
        let partial = results("partial", vec![bench("gsm8k", 40, 40)]);
        let average_of = ["gsm8k".into(), "mine".into()];
        let table = Table::new(&[base, better, partial], Shown { average_of: &average_of, ..Shown::default() });
        assert_eq!(table.columns, ["GSM8K", "mine", "average of GSM8K, mine"]);
        let cell = |row: usize| table.rows[row].cells[2].clone();
        let (first, second) = (cell(0).unwrap(), cell(1).unwrap());
        assert_eq!((first.score, first.questions, first.delta), (0.375, 140, None));
        let stderr = (0.25 * 0.75 / 39.0 + 0.5 * 0.5 / 99.0f64).sqrt() / 2.0;
        assert!((first.stderr.unwrap() - stderr).abs() < 1e-12, "{first:?}");
        let delta = second.delta.unwrap();
        assert_eq!((second.score, second.best, delta.delta, delta.questions, delta.test), (0.625, true, 0.25, 140, "bootstrap"));
        assert!(delta.p < 0.01);
        assert_eq!(cell(2), None);
    }

    #[test]
    fn a_subject_is_a_column_of_its_own_and_may_be_averaged() {
        let of_subjects = |right: usize| {
            let subjects = (0..40).map(|i| [Some("sums".into()), Some("primes".into()), None, None][i / 10].clone()).collect();
            Score { subjects, ..bench("mine", right, 40) }
        };
        let all = [results("base", vec![of_subjects(5), bench("gsm8k", 1, 2)]), results("better", vec![of_subjects(12)])];
        let average_of = ["mine:primes".into(), "gsm8k".into()];
        let table = Table::new(&all, Shown { average_of: &average_of, by_subject: true, ..Shown::default() });
        assert_eq!(table.columns, ["GSM8K", "mine", "mine: primes", "mine: sums", "average of mine: primes, GSM8K"]);
        let cells = |row: usize| table.rows[row].cells.iter().map(|cell| cell.as_ref().map(|c| (c.score, c.questions))).collect::<Vec<_>>();
        assert_eq!(cells(0), [Some((0.5, 2)), Some((0.125, 40)), Some((0.0, 10)), Some((0.5, 10)), Some((0.25, 12))]);
        assert_eq!(cells(1), [None, Some((0.3, 40)), Some((0.2, 10)), Some((1.0, 10)), None]);
        let sums = table.rows[1].cells[3].as_ref().unwrap();
        assert_eq!(sums.delta.map(|delta| (delta.delta, delta.questions, delta.test)), Some((0.5, 10, "mcnemar")));
        assert_eq!(["mine", "mine:sums", "mine:sum", "gsm9k"].map(|name| Table::can_average(&all, name)), [true, true, false, false]);
    }

    #[test]
    fn other_questions_of_the_same_ids_are_not_held_against_each_other() {
        let delta = |base: Score, other: Score| {
            let table = Table::new(&[results("base", vec![base]), results("other", vec![other])], Shown::default());
            table.rows[1].cells[0].as_ref().unwrap().delta.map(|delta| delta.questions)
        };
        let digests = |of: Score, from: usize| Score { digests: (from..from + 40).map(|i| format!("{i:08x}")).collect(), ..of };
        let of_file = |of: Score, sha256: &str| Score { data: Origin { sha256: sha256.into(), ..of.data.clone() }, ..of };
        let (base, other) = (bench("gsm8k", 10, 40), of_file(bench("gsm8k", 30, 40), "1"));
        assert_eq!(delta(digests(base.clone(), 0), digests(other.clone(), 100)), None, "all of them differ");
        assert_eq!(delta(digests(base.clone(), 0), digests(other.clone(), 0)), Some(40), "the same ones in another file");
        let mut last = digests(other.clone(), 0);
        last.digests[39] = "another".into();
        assert_eq!(delta(digests(base.clone(), 0), last), Some(39), "one differs");
        // Results of older versions have no digests.
        assert_eq!(delta(base.clone(), other.clone()), None, "who knows");
        assert_eq!(delta(base.clone(), digests(other, 0)), None, "who knows");
        assert_eq!(delta(base.clone(), digests(bench("gsm8k", 30, 40), 0)), Some(40), "the same file");
    }

    #[test]
    fn averages_of_other_questions_than_published_say_so() {
        let scores = |of: usize| benchmarks().iter().map(|benchmark| bench(benchmark.name, 1, of)).collect();
        let table = Table::new(&[results("base", scores(20)), results("other", vec![bench("gsm8k", 1, 20)])], Shown::default());
        let text = table.markdown();
        let caveat = "\nThe averages of base (tool): not as many questions as are published: AMC23 (20 of 40), ";
        assert!(text.contains(caveat) && text.contains("BBEH (20 of 4520)"), "{text}");
        assert_eq!(table.rows[1].caveat, None);
    }

    #[test]
    fn nothing_right_is_not_the_best() {
        let table = Table::new(&[results("base", vec![bench("aime24", 0, 30)])], Shown::default());
        assert!(!table.rows[0].cells[0].as_ref().unwrap().best);
    }
}
