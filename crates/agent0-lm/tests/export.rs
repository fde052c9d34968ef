//! Exports read back: the engine computes with a merged folder what it computes with base and adapter, real models keep weights and
//! token ids, an adapter stays itself; what cannot be exported is refused and leaves nothing.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use agent0_compute::Dtype;
use agent0_engine::{Codec, Engine, Message, Role, ScoreRequest, TokenId, Weights};
use agent0_lm::{
    Base, Checkpoint, Export, ExportError, LayerTensor, LocalEngine, LocalOptions, Tensor, Tokenizer, WeightFormat, export_adapter,
    export_model, open,
};
use serde::Deserialize;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn export(model: &Path, adapter: Option<&Path>, format: WeightFormat, out: &Path) -> Result<Vec<String>, ExportError> {
    let exported = export_model(&Export { model, adapter, format, out }, &|_, _| {})?;
    Ok(exported.files.into_iter().map(|(name, _)| name).collect())
}

fn engine(model: &Path) -> LocalEngine {
    LocalEngine::open(model, &LocalOptions { dtype: Some(Dtype::F32), threads: Some(2), ..Default::default() }).unwrap()
}

fn sequence() -> Vec<TokenId> {
    (0..60).map(|i| 3 + i * 7 % 150).collect()
}

async fn logprobs(engine: &LocalEngine, weights: Weights) -> Vec<f32> {
    let ids = sequence();
    let wanted = vec![true; ids.len()];
    engine.logprobs(vec![ScoreRequest { ids, wanted }], weights, 1.0).await.unwrap().remove(0)
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[tokio::test]
async fn a_merged_folder_answers_as_base_and_adapter_do() {
    for kind in ["qwen2", "qwen3"] {
        let (model, adapter) = (fixture(&format!("tiny-{kind}")), fixture(&format!("gradients-{kind}/adapter")));
        let base = engine(&model);
        let adapted = Weights::Live(base.load(&adapter).await.unwrap());
        let (plain, expected) = (logprobs(&base, Weights::Base).await, logprobs(&base, adapted).await);
        assert!(largest_difference(&plain, &expected) > 0.5, "the adapter matters");
        for (format, bound) in [(WeightFormat::F32, 1e-4), (WeightFormat::Bf16, 0.2)] {
            let folder = TempDir::new().unwrap();
            let out = folder.path().join("merged");
            let files = export(&model, Some(&adapter), format, &out).unwrap();
            assert_eq!(files, ["config.json", "generation_config.json", "model.safetensors"]);
            let off = largest_difference(&logprobs(&engine(&out), Weights::Base).await, &expected);
            println!("{kind} {format:?}: log-probabilities off by {off:e}");
            assert!(off <= bound, "{kind} {format:?}: off by {off}");
        }
    }
}

#[tokio::test]
async fn a_folder_without_an_adapter_keeps_every_weight() {
    let folder = TempDir::new().unwrap();
    for kind in ["llama", "qwen2", "qwen3"] {
        let (model, out) = (fixture(&format!("tiny-{kind}")), folder.path().join(kind));
        export(&model, None, WeightFormat::F32, &out).unwrap();
        assert_eq!(logprobs(&engine(&out), Weights::Base).await, logprobs(&engine(&model), Weights::Base).await);
        let stored = |path: &Path| {
            let bytes = fs::read(path.join("model.safetensors")).unwrap();
            let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let mut all: Vec<_> = tensors.iter().map(|(name, view)| (name.to_owned(), view.data().to_vec())).collect();
            all.sort();
            all
        };
        assert!(stored(&out) == stored(&model), "{kind}: the same tensors, bit for bit");
    }
}

#[derive(Deserialize)]
struct Cases {
    strings: Vec<TextCase>,
}

#[derive(Deserialize)]
struct TextCase {
    text: String,
    ids: Vec<TokenId>,
}

/// Everything that a tokenizer does is the same after an export.
fn assert_same_tokenizer(before: &Tokenizer, after: &Tokenizer, strings: &[TextCase]) {
    assert_eq!((before.tokens(), before.stop_tokens()), (after.tokens(), after.stop_tokens()));
    for id in 0..before.tokens() as TokenId {
        assert_eq!(before.bytes(id), after.bytes(id), "token {id}");
    }
    for TextCase { text, .. } in strings {
        assert_eq!(before.encode(text).unwrap(), after.encode(text).unwrap(), "{text:?}");
        let chat = [Message::new(Role::System, "s"), Message::new(Role::User, text.as_str())];
        assert_eq!(before.chat(&chat).unwrap(), after.chat(&chat).unwrap(), "{text:?}");
    }
}

#[test]
fn real_gguf_files_keep_weights_and_token_ids() {
    let cases: Cases = serde_json::from_slice(&fs::read(fixture("tokenizer-qwen.json")).unwrap()).unwrap();
    for name in ["qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct"] {
        let model = common::model(name);
        let folder = TempDir::new().unwrap();
        let out = folder.path().join("exported");
        let files = export(&model, None, WeightFormat::Bf16, &out).unwrap();
        assert_eq!(files, ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]);

        let after = Tokenizer::open(&out).unwrap();
        assert_same_tokenizer(&Tokenizer::open(&model).unwrap(), &after, &cases.strings);
        if name.starts_with("qwen") {
            assert!(cases.strings.iter().all(|case| after.encode(&case.text).unwrap() == case.ids));
        }
        let (gguf, read) = (open(&model).unwrap(), open(&out).unwrap());
        let (a, b) = (gguf.config(), read.config());
        assert_eq!((a.vocab, a.tokens, a.context, a.tied_embedding), (b.vocab, b.tokens, b.context, b.tied_embedding));
        assert_eq!((&a.inv_freq, a.rms_eps), (&b.inv_freq, b.rms_eps));
        let rounded = |checkpoint: &dyn Checkpoint, tensor| -> Vec<half::bf16> {
            checkpoint.tensor(tensor).unwrap().into_iter().map(half::bf16::from_f32).collect()
        };
        for tensor in [
            Tensor::Embedding,
            Tensor::FinalNorm,
            Tensor::Layer(0, LayerTensor::Q),
            Tensor::Layer(7, LayerTensor::K),
            Tensor::Layer(7, LayerTensor::Down),
        ] {
            assert!(rounded(gguf.as_ref(), tensor) == rounded(read.as_ref(), tensor), "{name}: {tensor:?}");
        }
    }
}

#[tokio::test]
async fn an_adapter_alone_stays_the_same_adapter() {
    let (model, adapter) = (fixture("tiny-qwen3"), fixture("gradients-qwen3/adapter"));
    let folder = TempDir::new().unwrap();
    let base = engine(&model);
    // As a run has it: with the optimizer's state.
    let (kept, out) = (folder.path().join("kept"), folder.path().join("out"));
    let loaded = base.load(&adapter).await.unwrap();
    base.save(loaded, &kept).await.unwrap();
    assert!(kept.join("optimizer.safetensors").exists());
    let revised = Base { name: "org/base".into(), revision: Some("v1".into()) };
    let exported = export_adapter(&kept, Some(&revised), &out).unwrap();
    let names: Vec<&str> = exported.files.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["adapter_config.json", "adapter_model.safetensors"]);
    let config = fs::read_to_string(out.join("adapter_config.json")).unwrap();
    assert!(config.contains("\"base_model_name_or_path\": \"org/base\"") && config.contains("\"revision\": \"v1\""), "{config}");

    let again = base.load(&out).await.unwrap();
    assert_eq!(logprobs(&base, Weights::Live(again)).await, logprobs(&base, Weights::Live(loaded)).await);
    let same = export_adapter(&kept, None, &folder.path().join("same")).unwrap();
    let config = fs::read_to_string(same.folder.join("adapter_config.json")).unwrap();
    assert!(config.contains("\"base_model_name_or_path\": \"tiny-qwen3\""), "{config}");
}

/// A copy of the qwen3 adapter with one piece of its description replaced.
fn changed_adapter(folder: &Path, from: &str, to: &str) -> PathBuf {
    let out = folder.join("adapter");
    fs::create_dir_all(&out).unwrap();
    for name in ["adapter_config.json", "adapter_model.safetensors"] {
        fs::copy(fixture("gradients-qwen3/adapter").join(name), out.join(name)).unwrap();
    }
    let path = out.join("adapter_config.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(path, text.replace(from, to)).unwrap();
    out
}

#[test]
fn what_cannot_be_exported_is_refused_and_leaves_nothing() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let qwen3 = fixture("tiny-qwen3");
    let refused = |model: &Path, adapter: Option<&Path>| export(model, adapter, WeightFormat::F32, &out).unwrap_err().to_string();

    assert!(refused(&folder.path().join("absent"), None).contains("absent"));
    // Of another model.
    let message = refused(&qwen3, Some(&fixture("gradients-qwen2/adapter")));
    assert!(message.contains("this model needs"), "{message}");
    // A target that would be left out unnoticed: its tensors belong to no layer that is asked for.
    let message = refused(&qwen3, Some(&changed_adapter(folder.path(), "\"up_proj\"", "\"other\"")));
    assert!(message.contains("up_proj.lora_A.weight belongs to none"), "{message}");
    let message = refused(&qwen3, Some(&changed_adapter(folder.path(), "\"alpha_pattern\": {}", "\"alpha_pattern\": {\"q_proj\": 1}")));
    assert!(message.contains("alpha_pattern is not supported"), "{message}");
    // A file whose tokenizer is missing.
    let message = refused(&fixture("tiny-qwen2.gguf"), None);
    assert!(message.contains("tokenizer.ggml.model"), "{message}");
    assert!(export_adapter(&qwen3, None, &out).unwrap_err().to_string().contains("adapter_config.json"));
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["adapter"]);

    fs::create_dir(&out).unwrap();
    fs::write(out.join("mine"), "x").unwrap();
    let message = refused(&qwen3, None);
    assert!(message.contains("is there already") && message.contains("choose another name"), "{message}");
    assert_eq!(fs::read_dir(&out).unwrap().count(), 1);
}
