//! Reading files: every published form from small files of our own (`forms/make.py` writes the Parquet ones), and bad input.

use std::fs;
use std::path::{Path, PathBuf};

use agent0_eval::{EvalError, Loaded, Question, find_benchmark, read_file};

fn form(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/forms").join(name)
}

/// Reads `text` as a file of the benchmark, or of none.
fn read(text: &str, benchmark: &str) -> Result<Loaded, EvalError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("questions");
    fs::write(&path, text).unwrap();
    read_file(&path, Some(benchmark).filter(|name| !name.is_empty()).map(|name| find_benchmark(name).unwrap()))
}

fn ids_and_answers(loaded: &Loaded) -> Vec<(&str, &str)> {
    loaded.questions.iter().map(|q| (q.id.as_str(), q.answer.as_str())).collect()
}

#[test]
fn parquet_as_the_hub_has_it() {
    let read = |name: &str| read_file(&form(&format!("{name}.parquet")), Some(find_benchmark(name).unwrap())).unwrap();
    let gsm8k = read("gsm8k");
    assert_eq!(ids_and_answers(&gsm8k), [("gsm8k-0", "5"), ("gsm8k-1", "1,200")]);
    assert_eq!(gsm8k.questions[0].question, "Ann has 2 apples and buys 3. How many has she?");
    assert_eq!(gsm8k.origin.source, form("gsm8k.parquet").display().to_string());
    assert_eq!((gsm8k.origin.revision.as_deref(), gsm8k.origin.sha256.len(), gsm8k.origin.rows), (None, 64, Some(2)));
    assert_eq!(ids_and_answers(&read("amc23")), [("amc23-0", "27"), ("amc23-1", "2.5")]);
    let olympiad = read("olympiadbench");
    assert_eq!(ids_and_answers(&olympiad), [("olympiadbench-1606", "$2^{10}$"), ("olympiadbench-1607", "$(1,2)$, $3$")]);
    assert_eq!(olympiad.questions[1].question, "Let $x^2=x$.\n\nFind both.");
    assert_eq!((olympiad.rejected.len(), olympiad.rejected[0].row), (1, 3), "a problem without an answer");
    assert_eq!(olympiad.origin.rows, Some(3));
    let mmlu_pro = read("mmlu_pro");
    assert_eq!(ids_and_answers(&mmlu_pro), [("mmlu_pro-70", "A"), ("mmlu_pro-71", "B")]);
    let second = Question {
        id: "mmlu_pro-71".into(),
        question: "Which is largest?".into(),
        answer: "B".into(),
        choices: vec!["one".into(), "two".into()],
        subject: Some("math".into()),
    };
    assert_eq!(mmlu_pro.questions[1], second);
}

#[test]
fn json_and_csv_as_they_are_published() {
    let math500 = r#"{"problem": "Find $x$.", "solution": "$\\boxed{2}$", "answer": "2", "subject": "Algebra", "level": 1, "unique_id": "test/algebra/1.json"}"#;
    assert_eq!(ids_and_answers(&read(math500, "math500").unwrap()), [("math500-test/algebra/1.json", "2")]);
    assert_eq!(ids_and_answers(&read("Question,Answer\n\"Find $x$, now.\",2\n", "math500").unwrap()), [("math500-0", "2")]);
    let minerva =
        "{\"problem\": \"q\", \"solution\": \"$\\\\boxed{4.5e33}$\", \"type\": \"Optics\"}\n{\"question\": \"r\", \"answer\": 7}\n";
    assert_eq!(ids_and_answers(&read(minerva, "minerva").unwrap()), [("minerva-0", "4.5e33"), ("minerva-1", "7")]);
    let aime = r#"[{"ID": "2024-II-4", "Problem": "q", "Solution": "s", "Answer": 33}]"#;
    assert_eq!(ids_and_answers(&read(aime, "aime24").unwrap()), [("aime24-2024-II-4", "33")]);
    let aime = r#"{"problem": "q", "answer": "70", "id": "0"}"#;
    assert_eq!(ids_and_answers(&read(aime, "aime25").unwrap()), [("aime25-0", "70")]);
    let supergpqa = r#"{"uuid": "ab12", "question": "q", "options": ["x", "y"], "answer": "y", "answer_letter": "B", "discipline": "Law"}"#;
    assert_eq!(ids_and_answers(&read(supergpqa, "supergpqa").unwrap()), [("supergpqa-ab12", "B")]);
    let task = r#"{"canary": "c", "examples": [{"input": "q", "target": "yes"}, {"input": "r", "target": "no"}]}"#;
    assert_eq!(ids_and_answers(&read(task, "bbeh").unwrap()), [("bbeh-0", "yes"), ("bbeh-1", "no")]);
}

#[test]
fn our_own_form_is_read_for_every_benchmark_and_for_none() {
    let text = r#"{"id": "a-1", "question": "1+1?", "answer": "2", "level": "x"}"#;
    let choice = r#"{"id": "b-1", "question": "1+1?", "answer": "B", "choices": ["1", "2"], "subject": "sums"}"#;
    for benchmark in ["", "gsm8k", "olympiadbench", "math500", "bbeh"] {
        assert_eq!(ids_and_answers(&read(text, benchmark).unwrap()), [("a-1", "2")]);
    }
    for benchmark in ["", "supergpqa", "mmlu_pro"] {
        assert_eq!(ids_and_answers(&read(choice, benchmark).unwrap()), [("b-1", "B")]);
    }
    let wrong = read(choice, "gsm8k").unwrap_err().to_string();
    assert!(wrong.contains("it has choices, but this benchmark is answered in text"), "{wrong}");
    let wrong = read(text, "mmlu_pro").unwrap_err().to_string();
    assert!(wrong.contains("the field `choices` is missing"), "{wrong}");
    // Copies of published files may have ids in text, too.
    let copy = r#"{"id": "x", "question": "q", "answer": "2+3 = 5\n#### 5"}"#;
    assert_eq!(ids_and_answers(&read(copy, "gsm8k").unwrap()), [("gsm8k-x", "5")]);
    let copy = r#"{"id": "x", "question": "q", "options": ["a", "b"], "answer": "B"}"#;
    assert_eq!(ids_and_answers(&read(copy, "mmlu_pro").unwrap()), [("mmlu_pro-x", "B")]);
}

#[test]
fn bad_rows_are_left_out_and_named() {
    let text = r#"{"id": "a", "question": "q", "answer": "1"}
{"id": "b", "question": "q"
{"id": "a", "question": "r", "answer": "2"}

{"id": "c", "question": " ", "answer": "2"}
{"id": "d", "question": "q", "answer": ""}
{"id": "e", "question": "q", "answer": "C", "choices": ["x", "y"]}
{"question": "q", "answer": "1"}
{"id": "f", "question": "q", "answer": "1"}
"#;
    let loaded = read(text, "").unwrap();
    assert_eq!(ids_and_answers(&loaded), [("a", "1"), ("f", "1")]);
    let says: Vec<(usize, Option<&str>, &str)> = loaded.rejected.iter().map(|r| (r.row, r.id.as_deref(), r.why.as_str())).collect();
    let wanted = [
        (2, None, "repair or remove the line"),
        (3, Some("a"), "the id `a` was used in row 1; give each row its own"),
        (5, Some("c"), "the field `question` is empty"),
        (6, Some("d"), "the field `answer` is empty"),
        (7, Some("e"), "the answer `C` is no letter of its choices; make it one of A to B"),
        (8, None, "the field `id` is missing or empty"),
    ];
    assert_eq!(says.len(), wanted.len(), "{says:?}");
    for (said, wanted) in says.iter().zip(wanted) {
        assert!((said.0, said.1) == (wanted.0, wanted.1) && said.2.contains(wanted.2), "{said:?}");
    }
}

#[test]
fn files_that_give_nothing_are_errors_with_a_remedy() {
    let says = |error: EvalError, parts: &[&str]| {
        let message = error.to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    };
    says(read_file(Path::new("/no/such/file"), None).unwrap_err(), &["cannot read /no/such/file", "give the path of an existing file"]);
    says(read("", "").unwrap_err(), &["questions: it is empty", "JSON Lines, JSON, CSV and Parquet"]);
    says(
        read("{\"a\": 1}\n{\"a\": 2}\n", "gsm8k").unwrap_err(),
        &["none of the 2 rows", "row 1", "the field `answer` is missing (there are: a)"],
    );
    let cut = fs::read(form("gsm8k.parquet")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cut.parquet");
    for length in [4, 5, cut.len() / 2, cut.len() - 1] {
        fs::write(&path, &cut[..length]).unwrap();
        says(read_file(&path, find_benchmark("gsm8k").ok()).unwrap_err(), &["cut.parquet: damaged Parquet"]);
    }
    let mut flipped = cut;
    for at in (0..flipped.len()).step_by(7) {
        flipped[at] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        // Some bytes do not matter, or change a text only; none may end the program.
        if let Err(error) = read_file(&path, find_benchmark("gsm8k").ok()) {
            says(error, &["cut.parquet"]);
        }
        flipped[at] ^= 0x10;
    }
}
