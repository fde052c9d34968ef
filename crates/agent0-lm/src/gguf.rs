//! The GGUF container: header, metadata, where each tensor lies. Knows nothing of what metadata and tensors mean.
//!
//! Everything in the file is taken for hostile: lengths are checked against the file before memory is asked for.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::blocks::BlockType;
use crate::checkpoint::{matrix, part};
use crate::error::ModelError;

/// Most entries of a metadata array; vocabularies have a few hundred thousand.
const MAX_ARRAY: u64 = 1 << 24;
/// Longest metadata string, in bytes; chat templates have a few thousand.
const MAX_STRING: u64 = 1 << 24;
/// Most dimensions of a tensor.
const MAX_DIMENSIONS: u32 = 4;

/// A metadata value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Int(i128),
    Float(f64),
    Bool(bool),
    String(String),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Strings(Vec<String>),
}

/// Where a tensor lies in the file.
#[derive(Debug, Clone)]
pub(crate) struct TensorInfo {
    /// Rows first.
    pub(crate) shape: Vec<usize>,
    /// ggml's number of the format.
    type_id: u32,
    /// From the start of the file, in bytes.
    offset: u64,
}

/// An open GGUF file.
#[derive(Debug)]
pub(crate) struct GgufFile {
    path: PathBuf,
    file: File,
    length: u64,
    header: Header,
}

/// What precedes the tensors' data.
#[derive(Debug)]
struct Header {
    metadata: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorInfo>,
}

impl GgufFile {
    /// Reads everything but the tensors' data.
    pub(crate) fn open(path: &Path) -> Result<Self, ModelError> {
        let file = File::open(path).map_err(|e| ModelError::io(path, e))?;
        let length = file.metadata().map_err(|e| ModelError::io(path, e))?.len();
        let mut reader = Reader { path, input: BufReader::with_capacity(1 << 18, &file), position: 0, length };
        let header = reader.header()?;
        Ok(Self { path: path.to_owned(), file, length, header })
    }

    /// The file's path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A metadata value.
    pub(crate) fn value(&self, key: &str) -> Option<&Value> {
        self.header.metadata.get(key)
    }

    /// A metadata value that is a string.
    pub(crate) fn string(&self, key: &str) -> Option<&str> {
        match self.value(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// A metadata value that is a non-negative integer.
    pub(crate) fn integer(&self, key: &str) -> Option<usize> {
        match self.value(key) {
            Some(&Value::Int(number)) => usize::try_from(number).ok(),
            _ => None,
        }
    }

    /// A metadata value that is a number.
    pub(crate) fn float(&self, key: &str) -> Option<f32> {
        match self.value(key) {
            Some(&Value::Float(number)) => Some(number as f32),
            Some(&Value::Int(number)) => Some(number as f32),
            _ => None,
        }
    }

    /// The names of all tensors, in order.
    pub(crate) fn tensor_names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    /// A tensor's place.
    pub(crate) fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.header.tensors.get(name)
    }

    /// Checks that a tensor is there, has this shape, is of a known format and lies inside the file.
    pub(crate) fn check(&self, name: &str, shape: &[usize]) -> Result<(), ModelError> {
        self.locate(name, shape).map(drop)
    }

    /// Reads `rows` of a tensor of this shape as f32; a vector is one row.
    ///
    /// # Panics
    /// When `rows` lies outside the shape or does not fill `out`.
    pub(crate) fn read_rows(&self, name: &str, shape: &[usize], rows: Range<usize>, out: &mut [f32]) -> Result<(), ModelError> {
        let (kind, offset) = self.locate(name, shape)?;
        let first = kind.stored_bytes(part(shape, rows, out)).ok_or_else(|| self.broken_rows(name))?;
        kind.read(&self.file, offset + first as u64, out).map_err(|e| ModelError::io(&self.path, e))
    }

    /// Reads a whole tensor of this shape as f32.
    pub(crate) fn read(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, ModelError> {
        self.check(name, shape)?; // before memory is asked for
        let (rows, columns) = matrix(shape);
        let mut values = vec![0.0; rows * columns];
        self.read_rows(name, shape, 0..rows, &mut values)?;
        Ok(values)
    }

    fn locate(&self, name: &str, shape: &[usize]) -> Result<(BlockType, u64), ModelError> {
        let info = self.tensor(name).ok_or_else(|| ModelError::MissingTensor { path: self.path.clone(), tensor: name.to_owned() })?;
        if info.shape != shape {
            return Err(ModelError::Shape {
                path: self.path.clone(),
                tensor: name.to_owned(),
                found: info.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        let kind = BlockType::from_ggml(info.type_id).ok_or_else(|| {
            ModelError::unsupported(
                &self.path,
                format!("tensor {name:?} in ggml number format {}", info.type_id),
                "use a file quantised as Q4_K_M, Q5_K_M, Q6_K, Q8_0 or F16",
            )
        })?;
        let columns = shape.last().copied().unwrap_or(1);
        let row_bytes = kind.stored_bytes(columns).ok_or_else(|| self.broken_rows(name))?;
        let rows = shape.iter().rev().skip(1).try_fold(1u64, |rows, &dimension| rows.checked_mul(dimension as u64));
        let bytes = rows.and_then(|rows| rows.checked_mul(row_bytes as u64));
        if bytes.and_then(|bytes| info.offset.checked_add(bytes)).is_none_or(|end| end > self.length) {
            return Err(ModelError::damaged(&self.path, format!("the file ends before tensor {name:?} does")));
        }
        Ok((kind, info.offset))
    }

    fn broken_rows(&self, name: &str) -> ModelError {
        ModelError::damaged(&self.path, format!("the rows of tensor {name:?} are not whole blocks"))
    }
}

/// The header, read in order.
struct Reader<'a> {
    path: &'a Path,
    input: BufReader<&'a File>,
    position: u64,
    length: u64,
}

impl Reader<'_> {
    fn header(&mut self) -> Result<Header, ModelError> {
        if self.length < 4 || &self.take::<4>()? != b"GGUF" {
            return Err(ModelError::NotAModel { path: self.path.to_owned(), cause: "the file does not start with GGUF's mark".to_owned() });
        }
        let version = self.u32()?;
        if !(2..=3).contains(&version) {
            return Err(ModelError::unsupported(
                self.path,
                format!("GGUF version {version}"),
                "convert the model again with a current llama.cpp",
            ));
        }
        let tensor_count = self.u64()?;
        let pair_count = self.u64()?;
        let mut metadata = BTreeMap::new();
        for _ in 0..pair_count {
            let key = self.string()?;
            let kind = self.u32()?;
            let value = self.value(kind)?;
            if metadata.insert(key.clone(), value).is_some() {
                return Err(self.damaged(format!("metadata key {key:?} occurs twice")));
            }
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = self.string()?;
            let info = self.tensor_info()?;
            if tensors.insert(name.clone(), info).is_some() {
                return Err(self.damaged(format!("tensor {name:?} occurs twice")));
            }
        }
        let alignment = match metadata.get("general.alignment") {
            Some(&Value::Int(bytes)) => u64::try_from(bytes).unwrap_or(0),
            _ => 32,
        };
        if !alignment.is_power_of_two() || alignment > 1 << 20 {
            return Err(self.damaged(format!("the alignment is {alignment}")));
        }
        let data = self.position.next_multiple_of(alignment);
        for (name, info) in &mut tensors {
            info.offset = info.offset.checked_add(data).ok_or_else(|| self.damaged(format!("tensor {name:?} lies outside the file")))?;
        }
        Ok(Header { metadata, tensors })
    }

    fn tensor_info(&mut self) -> Result<TensorInfo, ModelError> {
        let dimensions = self.u32()?;
        if dimensions > MAX_DIMENSIONS {
            return Err(self.damaged(format!("a tensor of {dimensions} dimensions")));
        }
        let mut shape = Vec::new();
        for _ in 0..dimensions {
            let size = self.u64()?;
            shape.push(usize::try_from(size).map_err(|_| self.damaged(format!("a dimension of {size}")))?);
        }
        // The file states the fastest-varying dimension first.
        shape.reverse();
        Ok(TensorInfo { shape, type_id: self.u32()?, offset: self.u64()? })
    }

    fn value(&mut self, kind: u32) -> Result<Value, ModelError> {
        Ok(match kind {
            6 => Value::Float(f64::from(f32::from_le_bytes(self.take()?))),
            12 => Value::Float(f64::from_le_bytes(self.take()?)),
            7 => Value::Bool(self.take::<1>()? != [0]),
            8 => Value::String(self.string()?),
            9 => self.array()?,
            _ => Value::Int(self.int(kind)?),
        })
    }

    fn array(&mut self) -> Result<Value, ModelError> {
        let kind = self.u32()?;
        let count = self.u64()?;
        if count > MAX_ARRAY.min(self.length - self.position) {
            return Err(self.damaged(format!("a metadata array of {count} entries")));
        }
        Ok(match kind {
            6 => Value::Floats((0..count).map(|_| Ok(f32::from_le_bytes(self.take()?))).collect::<Result<_, ModelError>>()?),
            12 => Value::Floats((0..count).map(|_| Ok(f64::from_le_bytes(self.take()?) as f32)).collect::<Result<_, ModelError>>()?),
            8 => Value::Strings((0..count).map(|_| self.string()).collect::<Result<_, _>>()?),
            // Saturation is harmless: no array that is used holds numbers of that size.
            7 => Value::Ints((0..count).map(|_| Ok(i64::from(self.take::<1>()?[0]))).collect::<Result<_, ModelError>>()?),
            _ => Value::Ints(
                (0..count).map(|_| self.int(kind).map(|n| i64::try_from(n).unwrap_or(i64::MAX))).collect::<Result<_, ModelError>>()?,
            ),
        })
    }

    fn int(&mut self, kind: u32) -> Result<i128, ModelError> {
        Ok(match kind {
            0 => u8::from_le_bytes(self.take()?).into(),
            1 => i8::from_le_bytes(self.take()?).into(),
            2 => u16::from_le_bytes(self.take()?).into(),
            3 => i16::from_le_bytes(self.take()?).into(),
            4 => u32::from_le_bytes(self.take()?).into(),
            5 => i32::from_le_bytes(self.take()?).into(),
            10 => u64::from_le_bytes(self.take()?).into(),
            11 => i64::from_le_bytes(self.take()?).into(),
            _ => return Err(self.damaged(format!("a metadata value of unknown type {kind}"))),
        })
    }

    fn string(&mut self) -> Result<String, ModelError> {
        let bytes = self.u64()?;
        if bytes > MAX_STRING.min(self.length - self.position) {
            return Err(self.damaged(format!("a string of {bytes} bytes in the header")));
        }
        let mut text = vec![0; bytes as usize];
        self.fill(&mut text)?;
        String::from_utf8(text).map_err(|_| self.damaged("a string in the header is not UTF-8"))
    }

    fn u32(&mut self) -> Result<u32, ModelError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn u64(&mut self) -> Result<u64, ModelError> {
        Ok(u64::from_le_bytes(self.take()?))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ModelError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ModelError> {
        if bytes.len() as u64 > self.length - self.position {
            return Err(self.damaged("the file ends inside its header"));
        }
        self.input.read_exact(bytes).map_err(|e| ModelError::io(self.path, e))?;
        self.position += bytes.len() as u64;
        Ok(())
    }

    fn damaged(&self, cause: impl Into<String>) -> ModelError {
        ModelError::damaged(self.path, cause)
    }
}
