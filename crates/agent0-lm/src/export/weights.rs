//! Weights as safetensors files: planned first, so that every size is known before a byte is written, then written a block of rows
//! at a time. Knows nothing of adapters.

use std::collections::HashMap;
use std::io::{self, Write};
use std::ops::Range;

use half::bf16;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Map, json};

use super::draft::Draft;
use super::{ExportError, WeightFormat};
use crate::checkpoint::{Checkpoint, Tensor, all_tensors, matrix};
use crate::config::ModelConfig;
use crate::hf;

/// Most bytes of weights in a file.
pub(super) const FILE_BYTES: u64 = 5_000_000_000;
/// Weights that are in memory at a time, unless a single row has more.
const BLOCK_WEIGHTS: usize = 1 << 22;

/// Which weights go into which file.
pub(super) struct Plan {
    format: WeightFormat,
    files: Vec<Vec<Entry>>,
}

struct Entry {
    tensor: Tensor,
    name: String,
    shape: Vec<usize>,
    bytes: u64,
}

impl Plan {
    /// All weights of a model, in order, in files of at most `file_bytes` unless a single weight is larger. The head of a tied model is
    /// its embedding, which is written once.
    pub(super) fn new(config: &ModelConfig, format: WeightFormat, file_bytes: u64) -> Self {
        let mut files: Vec<Vec<Entry>> = Vec::new();
        let mut room = 0;
        for tensor in all_tensors(config).filter(|tensor| !(config.tied_embedding && *tensor == Tensor::Head)) {
            let shape = tensor.shape(config);
            let bytes = (shape.iter().product::<usize>() * format.bytes()) as u64;
            let entry = Entry { tensor, name: hf::name(tensor, config.tied_embedding), shape, bytes };
            match files.last_mut() {
                Some(file) if bytes <= room => {
                    room -= bytes;
                    file.push(entry);
                }
                _ => {
                    room = file_bytes.saturating_sub(bytes);
                    files.push(vec![entry]);
                }
            }
        }
        Self { format, files }
    }

    /// Bytes of all weights.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().flatten().map(|entry| entry.bytes).sum()
    }

    /// Writes the weights of `model`, and an index when there is more than one file.
    pub(super) fn write(&self, model: &dyn Checkpoint, draft: &mut Draft, progress: &dyn Fn(u64, u64)) -> Result<(), ExportError> {
        let total = self.bytes();
        let mut done = 0;
        let mut index = Map::new();
        for (number, entries) in self.files.iter().enumerate() {
            let name = match self.files.len() {
                1 => "model.safetensors".to_owned(),
                count => format!("model-{:05}-of-{count:05}.safetensors", number + 1),
            };
            let place = draft.place(&name);
            draft.write(&name, |file| {
                let failed = |e| ExportError::write(&place, e);
                self.write_header(entries, file).map_err(failed)?;
                for entry in entries {
                    for (rows, columns) in blocks(&entry.shape) {
                        let mut weights = vec![0.0; rows.len() * columns];
                        model.read_rows(entry.tensor, rows, &mut weights)?;
                        file.write_all(&self.stored(&weights)).map_err(failed)?;
                        done += (weights.len() * self.format.bytes()) as u64;
                        progress(done, total);
                    }
                }
                Ok(())
            })?;
            index.extend(entries.iter().map(|entry| (entry.name.clone(), json!(name))));
        }
        if self.files.len() > 1 {
            let index = json!({ "metadata": { "total_size": total }, "weight_map": index });
            draft.write_json("model.safetensors.index.json", &index)?;
        }
        Ok(())
    }

    /// What precedes the weights in a safetensors file.
    fn write_header(&self, entries: &[Entry], file: &mut dyn Write) -> io::Result<()> {
        let mut end = 0;
        let tensors = entries.iter().map(|entry| {
            let start = end;
            end += entry.bytes as usize;
            (entry.name.clone(), TensorInfo { dtype: self.format.dtype(), shape: entry.shape.clone(), data_offsets: (start, end) })
        });
        let written_by = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let metadata = Metadata::new(Some(written_by), tensors.collect()).map_err(io::Error::other)?;
        let mut header = serde_json::to_vec(&metadata)?;
        // The weights begin at a multiple of 8 bytes.
        header.resize(header.len().next_multiple_of(8), b' ');
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)
    }

    fn stored(&self, weights: &[f32]) -> Vec<u8> {
        match self.format {
            WeightFormat::F32 => weights.iter().flat_map(|w| w.to_le_bytes()).collect(),
            WeightFormat::Bf16 => weights.iter().flat_map(|w| bf16::from_f32(*w).to_le_bytes()).collect(),
        }
    }
}

/// A weight's rows in blocks, with their width.
fn blocks(shape: &[usize]) -> impl Iterator<Item = (Range<usize>, usize)> {
    let (rows, columns) = matrix(shape);
    let block = (BLOCK_WEIGHTS / columns).max(1);
    (0..rows).step_by(block).map(move |first| (first..rows.min(first + block), columns))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::files::open;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
    }

    /// Writes a fixture's weights into files of at most `file_bytes`, beside the configuration of `config_of`, and opens them again.
    fn written(source: &str, config_of: &str, format: WeightFormat, file_bytes: u64, files: usize) -> Vec<Vec<f32>> {
        let model = open(&fixture(source)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let plan = Plan::new(model.config(), format, file_bytes);
        let mut draft = Draft::begin(&out, plan.bytes()).unwrap();
        let told = std::cell::Cell::new((0, 0));
        plan.write(model.as_ref(), &mut draft, &|done, total| told.set((done, total))).unwrap();
        assert_eq!(told.get(), (plan.bytes(), plan.bytes()));
        draft.write_bytes("config.json", &fs::read(fixture(config_of).join("config.json")).unwrap()).unwrap();
        draft.finish().unwrap();
        let shards = fs::read_dir(&out).unwrap().filter(|e| e.as_ref().unwrap().path().extension().unwrap() == "safetensors");
        assert_eq!(shards.count(), files);
        let read = open(&out).unwrap();
        all_tensors(read.config()).map(|tensor| read.tensor(tensor).unwrap()).collect()
    }

    #[test]
    fn weights_come_back_as_they_were_read_from_both_file_kinds() {
        for kind in ["llama", "qwen2", "qwen3"] {
            let folder = format!("tiny-{kind}");
            for source in [folder.clone(), format!("{folder}.gguf")] {
                let model = open(&fixture(&source)).unwrap();
                let exact: Vec<Vec<f32>> = all_tensors(model.config()).map(|tensor| model.tensor(tensor).unwrap()).collect();
                assert_eq!(written(&source, &folder, WeightFormat::F32, FILE_BYTES, 1), exact, "{source}");
                let rounded: Vec<Vec<f32>> = exact.iter().map(|t| t.iter().map(|w| bf16::from_f32(*w).to_f32()).collect()).collect();
                assert_eq!(written(&source, &folder, WeightFormat::Bf16, FILE_BYTES, 1), rounded, "{source}");
            }
        }
    }

    #[test]
    fn large_models_go_into_several_files_with_an_index() {
        let whole = written("tiny-llama", "tiny-llama", WeightFormat::F32, FILE_BYTES, 1);
        // Embedding and head have 40,960 bytes each, the layers 120 kB each.
        assert_eq!(written("tiny-llama", "tiny-llama", WeightFormat::F32, 100_000, 4), whole);
        assert_eq!(written("tiny-llama", "tiny-llama", WeightFormat::F32, 1, 21), whole, "a weight larger than a file has its own");
    }

    #[test]
    fn blocks_cover_every_row_once() {
        let rows: Vec<usize> = blocks(&[10_000, 1000]).flat_map(|(rows, _)| rows).collect();
        assert_eq!(rows, (0..10_000).collect::<Vec<_>>());
        assert_eq!(blocks(&[3, 2 * BLOCK_WEIGHTS]).count(), 3);
        assert_eq!(blocks(&[896]).collect::<Vec<_>>(), [(0..1, 896)]);
    }
}
