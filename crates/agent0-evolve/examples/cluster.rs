//! Clusters the texts on standard input, one JSON string a line, as a curriculum step does, and prints one JSON object:
//! the label of each text and the seconds it took, BLEU distances included and reading left out.
//!
//! ```sh
//! cargo run --release -p agent0-evolve --example cluster < texts.jsonl
//! ```

use std::io::{read_to_string, stdin};
use std::time::Instant;

use agent0_evolve::cluster::{THRESHOLD, cluster_texts};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let texts: Vec<String> = read_to_string(stdin())?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let began = Instant::now();
    let labels = cluster_texts(&texts, THRESHOLD);
    println!("{}", serde_json::json!({ "seconds": began.elapsed().as_secs_f64(), "labels": labels }));
    Ok(())
}
