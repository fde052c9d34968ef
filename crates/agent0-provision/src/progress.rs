//! How long-running set-up work tells the caller where it is. Drawing is the caller's business.

/// Something that happened during set-up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A piece of work began; `total` is its size in bytes when it can be measured in bytes.
    Started {
        /// What is being done, such as `downloading qwen2.5-coder-0.5b-instruct from the hub`.
        what: String,
        /// Bytes to do in all, if known.
        total: Option<u64>,
    },
    /// The piece of work is `done` bytes far, counted from its beginning (bytes kept from an earlier try included).
    Advanced {
        /// Bytes done so far.
        done: u64,
    },
    /// The piece of work that began last is over, successfully or not.
    Finished,
    /// A line worth showing that is no piece of work.
    Note(String),
}

/// Where events go.
pub type Progress<'a> = &'a (dyn Fn(Event) + Sync);

/// Reports one piece of work: `Started` when made, `Finished` when dropped, whatever happens in between.
pub(crate) struct Task<'a>(Progress<'a>);

impl<'a> Task<'a> {
    pub(crate) fn start(progress: Progress<'a>, what: String, total: Option<u64>) -> Self {
        progress(Event::Started { what, total });
        Self(progress)
    }

    pub(crate) fn advanced(&self, done: u64) {
        (self.0)(Event::Advanced { done });
    }
}

impl Drop for Task<'_> {
    fn drop(&mut self) {
        (self.0)(Event::Finished);
    }
}

/// A size for people: `491 MB`, `1.1 GB` (decimal units, as disks and downloads are sold).
pub fn human_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return if value < 9.95 && unit != "B" { format!("{value:.1} {unit}") } else { format!("{value:.0} {unit}") };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

#[cfg(test)]
mod tests {
    use super::human_bytes;

    #[test]
    fn sizes_read_well() {
        let cases =
            [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (491_400_064, "491 MB"), (1_117_320_768, "1.1 GB"), (999_700_000, "1.0 GB")];
        for (bytes, text) in cases {
            assert_eq!(human_bytes(bytes), text);
        }
    }
}
