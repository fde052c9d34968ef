//! Rows out of the bytes of a file: JSON Lines, JSON, CSV or Parquet, told apart by content, and fields out of a row.
//! Knows nothing of benchmarks.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::{Map, Value};

/// One row: fields by name. Letter case in names does not matter when they are looked up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row(Map<String, Value>);

/// A row with its number, counted from 1 (in JSON Lines and CSV the line on which it starts); or what is wrong with it.
pub(crate) type Numbered = (usize, Result<Row, String>);

/// All rows of a file, in order; blank lines are none.
///
/// # Errors
/// In a sentence, when the bytes are no such file, or one without rows.
pub(crate) fn rows(bytes: Vec<u8>) -> Result<Vec<Numbered>, String> {
    let rows = if bytes.starts_with(b"PAR1") {
        parquet_rows(bytes)?
    } else {
        let text = String::from_utf8(bytes)
            .map_err(|e| format!("neither Parquet nor text (no UTF-8 at byte {})", e.utf8_error().valid_up_to()))?;
        text_rows(text.trim_start_matches('\u{feff}'))?
    };
    if rows.is_empty() { Err("it has no rows".to_string()) } else { Ok(rows) }
}

fn text_rows(text: &str) -> Result<Vec<Numbered>, String> {
    match text.trim_start().chars().next() {
        None => Err("it is empty".to_string()),
        // A JSON object that is the whole text is one document; a first line that is one is the first row of many.
        Some('{') => match serde_json::from_str::<Value>(text) {
            Ok(document) => json_rows(document),
            Err(_) => Ok(lines(text)),
        },
        Some('[') => json_rows(serde_json::from_str(text).map_err(|e| format!("damaged JSON: {e}"))?),
        Some(_) => csv_rows(text),
    }
}

/// JSON Lines: an object a line.
fn lines(text: &str) -> Vec<Numbered> {
    let row = |line: &str| serde_json::from_str(line).map_err(|e| format!("no JSON: {e}; repair or remove the line")).and_then(object);
    let numbered = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    numbered.map(|(i, line)| (i + 1, row(line))).collect()
}

/// A list of objects, an object that holds such a list as `examples`, or one row.
fn json_rows(document: Value) -> Result<Vec<Numbered>, String> {
    let list = match document {
        Value::Array(list) => list,
        Value::Object(mut fields) => match fields.remove("examples") {
            Some(Value::Array(list)) => list,
            Some(_) => return Err("`examples` is no list".to_string()),
            None => vec![Value::Object(fields)],
        },
        _ => return Err("it is JSON, but no list of objects".to_string()),
    };
    Ok(list.into_iter().enumerate().map(|(i, value)| (i + 1, object(value))).collect())
}

fn object(value: Value) -> Result<Row, String> {
    match value {
        Value::Object(fields) => Ok(Row(fields)),
        other => Err(format!("no JSON object but {}; write the fields of a question as {{\"id\": ..., ...}}", kind(&other))),
    }
}

/// A header line, then records. All fields are text.
fn csv_rows(text: &str) -> Result<Vec<Numbered>, String> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().map_err(|e| format!("no header line: {e}"))?.clone();
    let row = |record: csv::StringRecord| {
        let line = record.position().map_or(0, |at| at.line() as usize);
        let fields = names.iter().zip(&record).map(|(name, text)| (name.to_string(), Value::from(text)));
        (line, Ok(Row(fields.collect())))
    };
    let wrong = |e: csv::Error| {
        let line = e.position().map_or(0, |at| at.line() as usize);
        (line, Err(format!("{e}; give each record as many fields as the header")))
    };
    Ok(reader.records().map(|record| record.map_or_else(wrong, row)).collect())
}

/// The library panics at some damaged bytes, which must not end the program.
fn parquet_rows(bytes: Vec<u8>) -> Result<Vec<Numbered>, String> {
    let read = || -> Result<Vec<Numbered>, ParquetError> {
        let reader = SerializedFileReader::new(Bytes::from(bytes))?;
        let rows = reader.get_row_iter(None)?;
        rows.enumerate().map(|(i, row)| Ok((i + 1, object(row?.to_json_value())))).collect()
    };
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(rows) => rows.map_err(|e| format!("damaged Parquet: {e}")),
        Err(_) => Err("damaged Parquet".to_string()),
    }
}

impl Row {
    /// The first of these fields that is there and not null.
    fn get(&self, names: &[&str]) -> Option<&Value> {
        let field = |wanted: &&str| self.0.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value);
        names.iter().filter_map(field).find(|value| !value.is_null())
    }

    /// Whether one of these fields is there and not null.
    pub(crate) fn has(&self, names: &[&str]) -> bool {
        self.get(names).is_some()
    }

    /// Whether the field holds text.
    pub(crate) fn has_text(&self, name: &str) -> bool {
        self.get(&[name]).is_some_and(Value::is_string)
    }

    /// The text of the first of these fields that is there, if it is text or a number: 27.0 is `27`.
    pub(crate) fn maybe_text(&self, names: &[&str]) -> Option<String> {
        self.get(names).and_then(text)
    }

    /// The text of the first of these fields that is there.
    ///
    /// # Errors
    /// In a sentence, when none is there, or it is no text, or blank.
    pub(crate) fn text(&self, names: &[&str]) -> Result<String, String> {
        let value = self.get(names).ok_or_else(|| self.missing(names))?;
        match text(value) {
            Some(text) if text.trim().is_empty() => Err(format!("the field {} is empty; fill it in or remove the row", ticked(names))),
            Some(text) => Ok(text),
            None => Err(format!("the field {} holds {}; make it text", ticked(names), kind(value))),
        }
    }

    /// The texts in the first of these fields that is there: a list, or one text.
    ///
    /// # Errors
    /// In a sentence, when none is there, or it is something else.
    pub(crate) fn texts(&self, names: &[&str]) -> Result<Vec<String>, String> {
        let value = self.get(names).ok_or_else(|| self.missing(names))?;
        let all = match value {
            Value::Array(list) => list.iter().map(text).collect(),
            one => text(one).map(|text| vec![text]),
        };
        all.ok_or_else(|| format!("the field {} holds {}; make it a list of texts", ticked(names), kind(value)))
    }

    /// A whole number, not negative.
    pub(crate) fn index(&self, name: &str) -> Option<usize> {
        self.get(&[name])?.as_u64()?.try_into().ok()
    }

    fn missing(&self, names: &[&str]) -> String {
        let there: Vec<&str> = self.0.keys().map(String::as_str).collect();
        format!("the field {} is missing (there are: {}); add it or remove the row", ticked(names), there.join(", "))
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => {
            let whole = number.as_f64().filter(|_| number.is_f64()).filter(|v| v.fract() == 0.0 && v.abs() < 1e15);
            Some(whole.map_or_else(|| number.to_string(), |v| format!("{v:.0}")))
        }
        _ => None,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Field names for people: `problem` or `question`.
fn ticked(names: &[&str]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
pub(crate) fn row(value: Value) -> Row {
    object(value).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(text: &str) -> Vec<Numbered> {
        rows(text.as_bytes().to_vec()).unwrap()
    }

    fn refusal(bytes: &[u8]) -> String {
        rows(bytes.to_vec()).unwrap_err()
    }

    #[test]
    fn kinds_of_files_are_told_by_content() {
        let wanted = vec![(1, Ok(row(json!({"a": "x"})))), (2, Ok(row(json!({"a": "y"}))))];
        for text in
            ["{\"a\": \"x\"}\n{\"a\": \"y\"}\n", "[{\"a\": \"x\"}, {\"a\": \"y\"}]", "{\"examples\": [{\"a\": \"x\"},\n {\"a\": \"y\"}]}"]
        {
            assert_eq!(read(text), wanted, "{text}");
        }
        assert_eq!(read("\u{feff}{\"a\": \"x\"}\r\n{\"a\": \"y\"}"), wanted);
        let csv = read("a,b\nx,\"1,\n2\"\ny,3\n");
        assert_eq!(csv, [(2, Ok(row(json!({"a": "x", "b": "1,\n2"})))), (4, Ok(row(json!({"a": "y", "b": "3"}))))]);
        assert_eq!(read("{\"a\": 1}").len(), 1, "a single line");
    }

    #[test]
    fn a_bad_line_is_one_bad_row() {
        let found = read("{\"a\": 1}\n\n{\"a\": \n[1]\n{\"a\": 2}\n");
        let numbers: Vec<(usize, bool)> = found.iter().map(|(number, row)| (*number, row.is_ok())).collect();
        assert_eq!(numbers, [(1, true), (3, false), (4, false), (5, true)]);
        assert!(found[1].1.as_ref().unwrap_err().contains("repair or remove the line"));
        assert!(found[2].1.as_ref().unwrap_err().contains("no JSON object but a list"));
        let csv = read("a,b\n1,2\n3\n4,5\n");
        assert_eq!(csv.iter().map(|(number, row)| (*number, row.is_ok())).collect::<Vec<_>>(), [(2, true), (3, false), (4, true)]);
    }

    #[test]
    fn files_without_rows_are_refused() {
        for (bytes, says) in [
            (&b""[..], "it is empty"),
            (b" \n\n", "it is empty"),
            (b"[]", "no rows"),
            (b"[1", "damaged JSON"),
            (b"{\"examples\": 1}", "`examples` is no list"),
            (b"a,b\n", "no rows"),
            (b"PAR1 and then nothing", "damaged Parquet"),
            (b"\x1f\x8b\x08\x00", "neither Parquet nor text (no UTF-8 at byte 1)"),
        ] {
            assert!(refusal(bytes).contains(says), "{}", refusal(bytes));
        }
    }

    #[test]
    fn fields_are_read_as_text() {
        let row = row(json!({"ID": 7, "answer": 27.0, "half": 0.5, "blank": " ", "none": null, "list": ["a", 1], "flag": true}));
        assert_eq!(row.text(&["id"]).unwrap(), "7");
        assert_eq!(row.text(&["none", "answer"]).unwrap(), "27");
        assert_eq!(row.text(&["half"]).unwrap(), "0.5");
        assert_eq!(row.texts(&["list"]).unwrap(), ["a", "1"]);
        assert_eq!(row.texts(&["half"]).unwrap(), ["0.5"]);
        assert_eq!(row.text(&["blank"]).unwrap_err(), "the field `blank` is empty; fill it in or remove the row");
        assert_eq!(row.text(&["flag"]).unwrap_err(), "the field `flag` holds a truth value; make it text");
        let missing = row.text(&["none", "problem"]).unwrap_err();
        assert!(missing.starts_with("the field `none` or `problem` is missing (there are: ID, answer, "), "{missing}");
    }
}
