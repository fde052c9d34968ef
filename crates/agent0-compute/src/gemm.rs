//! stub
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
/// x
pub enum Dtype { /// x
 F32, /// y
 Bf16 }
