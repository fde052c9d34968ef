//! Reading model files: both kinds give the same weights, and files that are damaged or of another kind are refused clearly.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use agent0_lm::{Architecture, LayerTensor, ModelConfig, ModelError, Tensor, Tokenizer, open};
use safetensors::SafeTensors;
use tempfile::TempDir;

const PARTS: [LayerTensor; 14] = [
    LayerTensor::AttnNorm,
    LayerTensor::Q,
    LayerTensor::QBias,
    LayerTensor::K,
    LayerTensor::KBias,
    LayerTensor::V,
    LayerTensor::VBias,
    LayerTensor::QNorm,
    LayerTensor::KNorm,
    LayerTensor::O,
    LayerTensor::FfnNorm,
    LayerTensor::Gate,
    LayerTensor::Up,
    LayerTensor::Down,
];

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn all_tensors(config: &ModelConfig) -> Vec<Tensor> {
    let layers = (0..config.layers).flat_map(|layer| PARTS.map(|part| Tensor::Layer(layer, part)));
    [Tensor::Embedding, Tensor::Head, Tensor::FinalNorm].into_iter().chain(layers).collect()
}

fn exists(config: &ModelConfig, tensor: Tensor) -> bool {
    match tensor {
        Tensor::Layer(_, LayerTensor::QBias | LayerTensor::KBias | LayerTensor::VBias) => config.qkv_bias,
        Tensor::Layer(_, LayerTensor::QNorm | LayerTensor::KNorm) => config.qk_norm,
        _ => true,
    }
}

/// The error of opening `path`, which must name the path and say what to do.
fn refusal(path: &Path) -> String {
    let message = open(path).err().expect("refused").to_string();
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(message.contains(name), "{message}");
    message
}

/// A copy of a fixture folder that a test may damage.
fn copy(name: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn edit(path: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{from:?} in {text}");
    fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn both_file_kinds_hold_the_same_model() {
    for kind in ["llama", "qwen2", "qwen3"] {
        let folder = open(&fixture(&format!("tiny-{kind}"))).unwrap();
        let gguf = open(&fixture(&format!("tiny-{kind}.gguf"))).unwrap();
        let (a, b) = (folder.config(), gguf.config());
        assert!(a.inv_freq.iter().zip(&b.inv_freq).all(|(a, b)| (a / b - 1.0).abs() < 1e-6), "{kind}: {a:?} {b:?}");
        let same = ModelConfig { rope_scaling: a.rope_scaling.clone(), inv_freq: a.inv_freq.clone(), tokens: a.tokens, ..b.clone() };
        assert_eq!((a, a.tokens, b.tokens), (&same, 160, 150));
        assert_eq!(a.tied_embedding, kind != "llama");

        for tensor in all_tensors(a) {
            if !exists(a, tensor) {
                assert!(matches!(folder.tensor(tensor), Err(ModelError::MissingTensor { .. })), "{kind} {tensor:?}");
                assert!(matches!(gguf.tensor(tensor), Err(ModelError::MissingTensor { .. })), "{kind} {tensor:?}");
                continue;
            }
            let (exact, quantised) = (folder.tensor(tensor).unwrap(), gguf.tensor(tensor).unwrap());
            assert_eq!(exact.len(), tensor.shape(a).iter().product::<usize>());
            assert_eq!(exact.len(), quantised.len());
            // Q8_0 rounds to 1/254 of a block's largest weight; a misplaced row would be off by that weight itself.
            let largest = exact.iter().fold(0.0f32, |max, w| max.max(w.abs()));
            for (e, q) in exact.iter().zip(&quantised) {
                assert!((e - q).abs() <= largest / 200.0, "{kind} {tensor:?}: {e} {q}");
            }
        }
    }
}

#[test]
fn rotary_frequencies_are_those_of_transformers() {
    for kind in ["llama", "qwen2", "qwen3"] {
        let folder = fixture(&format!("tiny-{kind}"));
        let bytes = fs::read(folder.join("expected.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&bytes).unwrap();
        let expected: Vec<f32> = expected.tensor("inv_freq").unwrap().data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        let found = &open(&folder).unwrap().config().inv_freq.clone();
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(&expected) {
            assert!((f - e).abs() <= 2.0 * f32::EPSILON * e, "{kind}: {found:?} {expected:?}");
        }
    }
}

#[test]
fn a_tied_model_with_two_copies_uses_the_finer_one() {
    let gguf = open(&fixture("tiny-qwen2.gguf")).unwrap();
    assert!(gguf.config().tied_embedding);
    assert_eq!(gguf.tensor(Tensor::Embedding).unwrap(), gguf.tensor(Tensor::Head).unwrap());
    let untied = open(&fixture("tiny-llama.gguf")).unwrap();
    assert_ne!(untied.tensor(Tensor::Embedding).unwrap(), untied.tensor(Tensor::Head).unwrap());
}

#[test]
fn weights_in_several_files_are_found_through_the_index() {
    let folder = copy("tiny-qwen2");
    fs::rename(folder.path().join("model.safetensors"), folder.path().join("a.safetensors")).unwrap();
    assert!(refusal(folder.path()).contains("model.safetensors.index.json"));
    let index = folder.path().join("model.safetensors.index.json");
    fs::write(&index, r#"{"weight_map": {"model.norm.weight": "a.safetensors"}}"#).unwrap();
    assert!(open(folder.path()).unwrap().tensor(Tensor::FinalNorm).is_ok());
    fs::write(&index, r#"{"weight_map": {"model.norm.weight": "../a.safetensors"}}"#).unwrap();
    assert!(open(folder.path()).err().unwrap().to_string().contains("plain file name"));
}

#[test]
fn older_configurations_are_understood() {
    let folder = copy("tiny-llama");
    let config = folder.path().join("config.json");
    let before = open(folder.path()).unwrap().config().clone();
    edit(&config, "\"rope_parameters\"", "\"rope_scaling\"");
    edit(&config, "\"rope_type\"", "\"type\"");
    let same = ModelConfig { name: before.name.clone(), ..open(folder.path()).unwrap().config().clone() };
    assert_eq!(same, before);
    edit(&config, "\"llama3\"", "\"linear\"");
    let linear = open(folder.path()).unwrap().config().inv_freq.clone();
    assert_eq!(linear[0], 1.0 / 8.0);
}

#[test]
fn what_is_no_model_is_refused() {
    let folder = TempDir::new().unwrap();
    assert!(refusal(&folder.path().join("absent.gguf")).contains("check that the model path is right"));
    assert!(refusal(folder.path()).contains("no config.json"));
    let file = folder.path().join("notes.gguf");
    for content in [&b""[..], b"GG", b"just some text"] {
        fs::write(&file, content).unwrap();
        assert!(refusal(&file).contains("give a .gguf file or a folder"));
    }
}

#[test]
fn other_models_and_variants_are_refused_by_name() {
    for (from, to, words) in [
        ("\"model_type\": \"llama\"", "\"model_type\": \"gpt_neox\"", "architecture \"gpt_neox\""),
        ("\"llama3\"", "\"yarn\"", "rotary scaling \"yarn\""),
        ("\"factor\": 8.0", "\"unknown\": 8.0", "without factor"),
        ("\"hidden_act\": \"silu\"", "\"hidden_act\": \"gelu\"", "activation \"gelu\""),
        ("\"attention_bias\": false", "\"attention_bias\": true", "attention_bias"),
        ("\"use_cache\": true", "\"quantization_config\": {}", "quantised"),
        ("\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "cannot share"),
        ("\"head_dim\": 16", "\"head_dim\": 9007199254740991", "head size"),
        ("\"hidden_size\": 64", "\"hidden_size\": -1", "integer `-1`"),
        ("\"hidden_size\": 64", "\"hidden_size\": 32", "the configuration needs [160, 32]"),
        ("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 16777216", "model.layers.2.input_layernorm.weight\" is missing"),
        ("{", "", "config.json"),
    ] {
        let folder = copy("tiny-llama");
        edit(&folder.path().join("config.json"), from, to);
        let message = open(folder.path()).err().expect(to).to_string();
        assert!(message.contains(words), "{message}");
    }
}

#[test]
fn damaged_safetensors_are_refused() {
    let folder = copy("tiny-llama");
    let path = folder.path().join("model.safetensors");
    let sound = fs::read(&path).unwrap();
    for length in [0, 7, 8, 100, sound.len() - 1] {
        fs::write(&path, &sound[..length]).unwrap();
        assert!(matches!(open(folder.path()), Err(ModelError::Damaged { .. })), "{length} bytes");
    }
    let mut huge = sound.clone();
    huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    fs::write(&path, &huge).unwrap();
    assert!(matches!(open(folder.path()), Err(ModelError::Damaged { .. })));
}

/// The tiny llama file with one stretch of bytes replaced by another of the same length.
fn gguf_with(folder: &Path, from: &[u8], to: &[u8]) -> PathBuf {
    let mut bytes = fs::read(fixture("tiny-llama.gguf")).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from).expect("the bytes to replace");
    bytes[at..at + to.len()].copy_from_slice(to);
    let path = folder.join("changed.gguf");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn damaged_and_foreign_gguf_files_are_refused() {
    let folder = TempDir::new().unwrap();
    let refused = |from: &[u8], to: &[u8]| refusal(&gguf_with(folder.path(), from, to));
    assert!(refused(b"GGUF", b"GGML").contains("GGUF's mark"));
    assert!(refused(b"GGUF\x03", b"GGUF\x01").contains("version 1"));
    let message = refused(b"\x08\0\0\0\x05\0\0\0\0\0\0\0llama", b"\x08\0\0\0\x05\0\0\0\0\0\0\0mamba");
    assert!(message.contains("architecture \"mamba\"") && message.contains("llama, qwen2 or qwen3"));
    assert!(refused(b"blk.1.attn_q.weight", b"blk.1.attn_x.weight").contains("\"blk.1.attn_q.weight\" is missing"));
    assert!(refused(b"llama.block_count\x04\0\0\0\x02", b"llama.block_count\x04\0\0\0\x03").contains("blk.2.attn_norm.weight"));
    let message = refused(b"llama.feed_forward_length\x04\0\0\0\x60", b"llama.feed_forward_length\x04\0\0\0\x61");
    assert!(message.contains("shape [96, 64], the configuration needs [97, 64]"), "{message}");
    // Number format 8 (Q8_0) of a matrix becomes 22.
    let place = |kind: u8| [b"output.weight\x02\0\0\0\x40\0\0\0\0\0\0\0\xa0\0\0\0\0\0\0\0".as_slice(), &[kind, 0, 0, 0]].concat();
    assert!(refused(&place(8), &place(22)).contains("number format 22"));
    // A string, an array and a tensor count that no file could hold.
    let length = |n: u64| [n.to_le_bytes().as_slice(), b"general.architecture"].concat();
    assert!(refused(&length(20), &length(u64::MAX)).contains("damaged or incomplete"));
    let count = |n: u64| [b"token_type\x09\0\0\0\x05\0\0\0".as_slice(), &n.to_le_bytes()].concat();
    assert!(refused(&count(160), &count(u64::MAX / 2)).contains("array of"));
    assert!(refused(b"GGUF\x03\0\0\0\x16\0\0\0\0\0\0\0", b"GGUF\x03\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f").contains("damaged"));
}

#[test]
fn a_cut_gguf_file_is_refused_wherever_it_is_cut() {
    let sound = fs::read(fixture("tiny-llama.gguf")).unwrap();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("cut.gguf");
    for length in (0..4000).step_by(37).chain((4000..sound.len()).step_by(4999)).chain([sound.len() - 40]) {
        fs::write(&path, &sound[..length]).unwrap();
        let error = open(&path).err().unwrap_or_else(|| panic!("{length} bytes were accepted"));
        assert!(matches!(error, ModelError::Damaged { .. } | ModelError::NotAModel { .. }), "{length} bytes: {error}");
    }
}

#[test]
fn no_changed_byte_makes_the_readers_panic() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("changed.gguf");
    let mut state = 1u64;
    let mut random = |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    for (file, header) in [("tiny-llama.gguf", 3000), ("tiny-tokenizer.gguf", 19_000)] {
        let sound = fs::read(fixture(file)).unwrap();
        for _ in 0..300 {
            let mut bytes = sound.clone();
            for _ in 0..1 + random(3) {
                bytes[random(header)] = random(256) as u8;
            }
            fs::write(&path, &bytes).unwrap();
            if let Ok(model) = open(&path) {
                for tensor in all_tensors(model.config()) {
                    let _ = model.tensor(tensor);
                }
            }
            let _ = Tokenizer::open(&path);
        }
    }
}

#[test]
fn the_tokenizers_absence_is_told() {
    let message = Tokenizer::open(&fixture("tiny-llama")).err().unwrap().to_string();
    assert!(message.contains("no tokenizer.json"), "{message}");
    let message = Tokenizer::open(&fixture("tiny-llama.gguf")).err().unwrap().to_string();
    assert!(message.contains("tokenizer.ggml.model"), "{message}");
}

#[test]
fn the_real_models_are_what_their_cards_say() {
    let qwen = open(&common::model("qwen2.5-coder-0.5b-instruct")).unwrap();
    let config = qwen.config();
    let shape = (config.architecture, config.layers, config.hidden, config.ffn, config.heads, config.kv_heads, config.head_dim);
    assert_eq!(shape, (Architecture::Qwen2, 24, 896, 4864, 14, 2, 64));
    assert_eq!((config.vocab, config.tokens, config.tied_embedding, config.context), (151_936, 151_665, true, 32_768));
    let norm = qwen.tensor(Tensor::FinalNorm).unwrap();
    assert_eq!(norm.len(), 896);

    let smollm = open(&common::model("smollm2-135m-instruct")).unwrap();
    let config = smollm.config();
    let shape = (config.architecture, config.layers, config.hidden, config.ffn, config.heads, config.kv_heads, config.head_dim);
    assert_eq!(shape, (Architecture::Llama, 30, 576, 1536, 9, 3, 64));
    assert_eq!((config.vocab, config.tokens, config.tied_embedding), (49_152, 49_152, true));
    assert_eq!(smollm.tensor(Tensor::Layer(29, LayerTensor::Q)).unwrap().len(), 576 * 576);
}
