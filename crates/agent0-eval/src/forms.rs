//! How the rows of the published files become questions. A form looks at one row; it knows the field names of the copies in use.

mod bbeh;
mod mathematics;
mod multiple_choice;
mod olympiad;
mod own;

pub(crate) use bbeh::bbeh;
pub(crate) use mathematics::{gsm8k, mathematics};
pub(crate) use multiple_choice::{letter, multiple_choice};
pub(crate) use olympiad::olympiad;
pub(crate) use own::{is_own, own};

use crate::rows::Row;

/// Reads one row of a published form. An error says what is wrong with it and what to do, in a sentence.
pub(crate) type Form = fn(&Row) -> Result<Draft, String>;

/// A question before it has an id of its own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Draft {
    pub(crate) question: String,
    pub(crate) answer: String,
    pub(crate) choices: Vec<String>,
    pub(crate) subject: Option<String>,
}
