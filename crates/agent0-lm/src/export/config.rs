//! config.json of an exported model: from the numbers of a GGUF file, or that of a Hugging Face folder with what must change.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::WeightFormat;
use crate::config::{Architecture, ModelConfig, RopeScaling};
use crate::error::ModelError;
use crate::frequencies::as_llama3;
use crate::gguf_vocabulary::GgufVocabulary;
use crate::hf_json::read_json;

/// The folder's own, in the new number format and without the name that it was downloaded by: the weights are others now.
pub(super) fn of_folder(folder: &Path, config: &ModelConfig, format: WeightFormat) -> Result<Value, ModelError> {
    let path = folder.join("config.json");
    let missing = || ModelError::NotAModel { path: folder.to_owned(), cause: "the folder has no config.json".to_owned() };
    let mut file: Map<String, Value> = read_json(&path)?.ok_or_else(missing)?;
    for key in ["dtype", "_name_or_path"] {
        file.shift_remove(key);
    }
    file.insert("torch_dtype".to_owned(), json!(format.name()));
    file.insert("tie_word_embeddings".to_owned(), json!(config.tied_embedding));
    Ok(file.into())
}

/// The configuration of a model in a GGUF file, as transformers has it before its version 5, which reads it too.
pub(super) fn of_gguf(path: &Path, config: &ModelConfig, format: WeightFormat, vocabulary: &GgufVocabulary) -> Result<Value, ModelError> {
    let class = match config.architecture {
        Architecture::Llama => "LlamaForCausalLM",
        Architecture::Qwen2 => "Qwen2ForCausalLM",
        Architecture::Qwen3 => "Qwen3ForCausalLM",
    };
    let id = |role: &str| vocabulary.special(role).map(|(id, _)| id);
    let mut file = json!({
        "architectures": [class],
        "model_type": config.architecture.name(),
        "torch_dtype": format.name(),
        "vocab_size": config.vocab,
        "hidden_size": config.hidden,
        "intermediate_size": config.ffn,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": number(config.rms_eps),
        "max_position_embeddings": config.context,
        "rope_theta": number(config.rope_theta),
        "rope_scaling": rope_scaling(path, config)?,
        "tie_word_embeddings": config.tied_embedding,
        "attention_dropout": 0.0,
        "use_cache": true,
        "bos_token_id": id("bos"),
        "eos_token_id": id("eos"),
        "pad_token_id": id("padding"),
    });
    match config.architecture {
        Architecture::Llama => {
            file["attention_bias"] = json!(false);
            file["mlp_bias"] = json!(false);
        }
        Architecture::Qwen2 => file["use_sliding_window"] = json!(false),
        Architecture::Qwen3 => {
            file["attention_bias"] = json!(false);
            file["use_sliding_window"] = json!(false);
        }
    }
    Ok(file)
}

fn rope_scaling(path: &Path, config: &ModelConfig) -> Result<Value, ModelError> {
    let scaling = match &config.rope_scaling {
        RopeScaling::Divisors(divisors) => as_llama3(divisors, config.rope_theta, config.head_dim).ok_or_else(|| {
            let what = "writing this file's rotary divisors, which are not Llama 3's, into config.json";
            ModelError::unsupported(path, what, "export from the model's Hugging Face folder")
        })?,
        other => other.clone(),
    };
    Ok(match scaling {
        RopeScaling::Linear(factor) => json!({ "rope_type": "linear", "factor": number(factor) }),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => json!({
            "rope_type": "llama3",
            "factor": number(factor),
            "low_freq_factor": number(low_freq_factor),
            "high_freq_factor": number(high_freq_factor),
            "original_max_position_embeddings": original_context as u64,
        }),
        RopeScaling::None | RopeScaling::Divisors(_) => Value::Null,
    })
}

/// An f32 with no more digits than it has: 1e-6, not 9.999999974752427e-7.
fn number(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::open;
    use crate::gguf::GgufFile;

    fn fixture(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
    }

    /// The shape of a fixture's GGUF file, through a config.json made from it.
    fn through_json(kind: &str) -> (ModelConfig, ModelConfig) {
        let gguf = fixture(&format!("tiny-{kind}.gguf"));
        let tokens = GgufFile::open(&fixture("tiny-tokenizer.gguf")).unwrap();
        let model = open(&gguf).unwrap();
        let file = of_gguf(&gguf, model.config(), WeightFormat::F32, &GgufVocabulary::read(&tokens).unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.json"), file.to_string()).unwrap();
        std::fs::copy(fixture(&format!("tiny-{kind}/model.safetensors")), folder.path().join("model.safetensors")).unwrap();
        let read = open(folder.path()).unwrap().config().clone();
        // Neither is config.json's: names are those of file and folder, padding is counted by the tokenizer.
        let read = ModelConfig { name: model.config().name.clone(), tokens: model.config().tokens, ..read };
        (model.config().clone(), read)
    }

    #[test]
    fn a_gguf_files_numbers_come_back_through_config_json() {
        for kind in ["qwen2", "qwen3"] {
            let (gguf, read) = through_json(kind);
            assert_eq!(gguf, read);
        }
        let (gguf, read) = through_json("llama");
        for (a, b) in gguf.inv_freq.iter().zip(&read.inv_freq) {
            assert!((a - b).abs() <= 1e-6 * b, "{:?} {:?}", gguf.inv_freq, read.inv_freq);
        }
        let llama3 = RopeScaling::Llama3 { factor: 8.0, low_freq_factor: 1.0, high_freq_factor: 4.0, original_context: 64.0 };
        assert_eq!(read.rope_scaling, llama3);
        assert_eq!(ModelConfig { inv_freq: gguf.inv_freq.clone(), rope_scaling: gguf.rope_scaling.clone(), ..read }, gguf);
    }

    #[test]
    fn a_folders_configuration_keeps_all_but_format_and_origin() {
        let folder = tempfile::tempdir().unwrap();
        let before = r#"{"model_type": "qwen2", "dtype": "float32", "vocab_size": 160, "_name_or_path": "a/b", "mine": [1]}"#;
        std::fs::write(folder.path().join("config.json"), before).unwrap();
        let config = crate::config::tests::sample();
        let file = of_folder(folder.path(), &config, WeightFormat::Bf16).unwrap();
        let expected =
            json!({ "model_type": "qwen2", "vocab_size": 160, "mine": [1], "torch_dtype": "bfloat16", "tie_word_embeddings": true });
        assert_eq!(file, expected);
        assert!(of_folder(Path::new("absent"), &config, WeightFormat::Bf16).unwrap_err().to_string().contains("config.json"));
    }

    #[test]
    fn numbers_have_no_more_digits_than_they_need() {
        assert_eq!([1e-6, 1e6, 0.1].map(|x| json!(number(x)).to_string()), ["1e-6", "1000000.0", "0.1"]);
    }
}
