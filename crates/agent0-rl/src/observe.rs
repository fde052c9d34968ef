//! Telling someone of a trajectory while it grows. What is told never has to be taken back: a token that may yet be cut away, because
//! it could begin an invented tool result, is told when that is decided.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use agent0_engine::{Codec, OnToken, TokenId};

use crate::scan::{Scanner, Watch};

/// What happens along a trajectory. Its tokens, told in order, are exactly those that follow the prompt in the end.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The policy chose this token, and it stays.
    Sampled {
        /// The token.
        id: TokenId,
        /// Its log-probability at sampling time.
        logprob: f32,
    },
    /// The environment put these tokens in.
    Environment(Vec<TokenId>),
}

/// Who is told. Called on the engine's threads too, so it must not block.
pub type Observer = Arc<dyn Fn(Event) + Send + Sync>;

/// Tells of one stretch.
#[derive(Clone)]
pub(crate) struct Telling {
    observer: Observer,
    codec: Arc<dyn Codec>,
    heard: Arc<Mutex<Heard>>,
}

/// What is known of the stretch while it is drawn.
struct Heard {
    /// Knows what may be cut away; `None` where nothing is.
    scanner: Option<Scanner>,
    /// Something ended the stretch: what is left to tell is for [`Telling::finish`].
    ended: bool,
    /// Bytes of all tokens.
    bytes: usize,
    /// Tokens told.
    told: usize,
    /// Tokens not told yet, each with the byte it ends at.
    pending: VecDeque<(TokenId, f32, usize)>,
}

impl Telling {
    pub(crate) fn new(observer: &Observer, codec: &Arc<dyn Codec>, watch: Option<Watch>) -> Self {
        let heard = Heard { scanner: watch.map(Scanner::new), ended: false, bytes: 0, told: 0, pending: VecDeque::new() };
        Self { observer: observer.clone(), codec: codec.clone(), heard: Arc::new(Mutex::new(heard)) }
    }

    /// For the engine.
    pub(crate) fn on_token(&self) -> OnToken {
        let telling = self.clone();
        Arc::new(move |_, id, logprob| telling.token(id, logprob))
    }

    fn token(&self, id: TokenId, logprob: f32) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.ended {
            return;
        }
        let bytes = self.codec.bytes(id);
        heard.bytes += bytes.len();
        let end = heard.bytes;
        heard.pending.push_back((id, logprob, end));
        heard.ended = heard.scanner.as_mut().is_some_and(|scanner| scanner.push(bytes).is_some());
        let in_doubt = heard.scanner.as_ref().map_or(0, Scanner::in_doubt);
        let certain = if heard.ended { 0 } else { heard.bytes - in_doubt };
        while let Some((id, logprob, _)) = heard.pending.pop_front_if(|&mut (_, _, end)| end <= certain) {
            (self.observer)(Event::Sampled { id, logprob });
            heard.told += 1;
        }
    }

    /// The stretch is over, and these of its tokens stay: tells those that were not told.
    pub(crate) fn finish(&self, ids: &[TokenId], logprobs: &[f32]) {
        let told = self.heard.lock().unwrap_or_else(PoisonError::into_inner).told;
        for (&id, &logprob) in ids.iter().zip(logprobs).skip(told) {
            (self.observer)(Event::Sampled { id, logprob });
        }
    }
}
