//! One file from the Hugging Face hub: looked up in the user's hub cache, or downloaded, going on where it was cut off.
//! Follows the hub's own conventions (`HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_OFFLINE`). Does not check digests.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ureq::http::{Response, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::progress::{Progress, Task};
use crate::registry::HubFile;
use crate::{ProvisionError, human_bytes};

const SOURCE: &str = "Hugging Face hub";
/// A machine that cannot reach the hub should move on to the next source in seconds.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const RESPONSE_LIMIT: Duration = Duration::from_secs(20);
/// A connection is used for this long, then renewed from where it was: a stalled one costs this much and no more.
const BODY_LIMIT: Duration = Duration::from_secs(120);
/// Tries in a row that may fail without delivering a byte.
const TRIES: u32 = 3;

/// A hub server and the way to speak to it.
pub(crate) struct Hub {
    endpoint: String,
    token: Option<String>,
    agent: ureq::Agent,
    pause: Duration,
}

/// Why one request did not deliver the rest of the file.
enum Fault {
    /// Asking again would not help.
    Final(ProvisionError),
    /// No connection could be made at all.
    Unreachable(String),
    /// It may go better next time.
    Passing(String),
}

impl Hub {
    /// The hub that the user's environment names; `None` when it says to stay offline.
    pub(crate) fn from_env() -> Option<Self> {
        if var("HF_HUB_OFFLINE").is_some_and(|v| ["1", "on", "true", "yes"].contains(&v.to_lowercase().as_str())) {
            return None;
        }
        let endpoint = var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_string());
        let token = var("HF_TOKEN").or_else(|| fs::read_to_string(home_folder()?.join("token")).ok().map(|t| t.trim().to_string()));
        Some(Self::new(&endpoint, token.filter(|t| !t.is_empty()), Duration::from_secs(1)))
    }

    /// The hub at `endpoint`; `pause` is waited before a second try, and longer before a third.
    pub(crate) fn new(endpoint: &str, token: Option<String>, pause: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_resolve(Some(CONNECT_LIMIT))
            .timeout_connect(Some(CONNECT_LIMIT))
            .timeout_recv_response(Some(RESPONSE_LIMIT))
            .timeout_recv_body(Some(BODY_LIMIT))
            .http_status_as_error(false)
            .tls_config(TlsConfig::builder().root_certs(root_certs()).build())
            .user_agent(concat!("agent0/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { endpoint: endpoint.trim_end_matches('/').to_string(), token, agent: config.into(), pause }
    }

    /// Completes `part` to the `bytes` bytes of `file`, keeping what it already holds.
    ///
    /// # Errors
    /// When the hub cannot be reached, refuses, or offers a file of another size; or the disk fails.
    pub(crate) fn fetch(&self, file: &HubFile, bytes: u64, part: &Path, progress: Progress) -> Result<(), ProvisionError> {
        let task = Task::start(progress, format!("downloading {} from the Hugging Face hub", file.file), Some(bytes));
        let mut failures = 0;
        loop {
            let before = kept_bytes(part, bytes)?;
            task.advanced(before);
            if before == bytes {
                return Ok(());
            }
            let cause = match self.fetch_rest(file, bytes, before, part, &task) {
                Ok(()) => continue,
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Unreachable(cause)) if failures == 0 && before == 0 => return Err(ProvisionError::source(SOURCE, cause)),
                Err(Fault::Unreachable(cause) | Fault::Passing(cause)) => cause,
            };
            failures = if kept_bytes(part, bytes)? > before { 0 } else { failures + 1 };
            if failures == TRIES {
                return Err(ProvisionError::source(SOURCE, cause));
            }
            std::thread::sleep(self.pause * failures);
        }
    }

    /// One request for everything from `offset` on, appended to `part` as it comes.
    fn fetch_rest(&self, file: &HubFile, bytes: u64, offset: u64, part: &Path, task: &Task) -> Result<(), Fault> {
        let mut request = self.agent.get(format!("{}/{}/resolve/main/{}", self.endpoint, file.repo, file.file));
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let mut response = request.call().map_err(|e| self.request_fault(&e))?;
        let start = self.start_of(&response, file, bytes, offset)?;
        let mut out = File::options().create(true).append(true).open(part).map_err(disk("open", part))?;
        out.set_len(start).map_err(disk("write", part))?;
        let mut body = response.body_mut().with_config().limit(u64::MAX).reader().take(bytes - start);
        let mut buffer = vec![0; 256 << 10];
        let mut done = start;
        while done < bytes {
            let n = body.read(&mut buffer).map_err(|e| Fault::Passing(format!("the connection broke: {e}")))?;
            if n == 0 {
                return Err(Fault::Passing("the connection was closed early".to_string()));
            }
            out.write_all(&buffer[..n]).map_err(disk("write", part))?;
            done += n as u64;
            task.advanced(done);
        }
        Ok(())
    }

    /// Where in the file the body of `response` begins, if the response is one to use.
    fn start_of<B>(&self, response: &Response<B>, file: &HubFile, bytes: u64, offset: u64) -> Result<u64, Fault> {
        let field = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
        let refuse = |cause: String| Err(Fault::Final(ProvisionError::source(SOURCE, cause)));
        let status = response.status().as_u16();
        let (start, total) = match status {
            200 => (0, field(header::CONTENT_LENGTH).and_then(|v| v.parse().ok())),
            206 => match field(header::CONTENT_RANGE).and_then(content_range) {
                Some((start, total)) if start == offset => (start, total),
                _ => return refuse("it answered with another part of the file than was asked for".to_string()),
            },
            401 | 403 => return refuse(format!("no access to {} (HTTP {status}); set HF_TOKEN if it needs one", file.repo)),
            404 => return refuse(format!("{} has no file {} (HTTP 404)", file.repo, file.file)),
            408 | 429 | 500.. => return Err(Fault::Passing(format!("it is busy or broken (HTTP {status})"))),
            _ => return refuse(format!("unexpected answer (HTTP {status})")),
        };
        match total {
            Some(total) if total != bytes => refuse(format!("the file there has {total} bytes ({}), expected {bytes}", human_bytes(total))),
            _ => Ok(start),
        }
    }

    fn request_fault(&self, error: &ureq::Error) -> Fault {
        let cause = format!("cannot reach {}: {error}", self.endpoint);
        match error {
            ureq::Error::Timeout(ureq::Timeout::RecvResponse | ureq::Timeout::RecvBody) => Fault::Passing(cause),
            ureq::Error::Io(e) if e.kind() != std::io::ErrorKind::ConnectionRefused => Fault::Passing(cause),
            ureq::Error::BadUri(_) => Fault::Final(ProvisionError::source(SOURCE, format!("HF_ENDPOINT: {error}"))),
            _ => Fault::Unreachable(cause),
        }
    }
}

/// The file in the user's own hub cache, if some other program has already fetched it there.
pub(crate) fn cached(hub_cache: &Path, file: &HubFile) -> Option<PathBuf> {
    let snapshots = hub_cache.join(format!("models--{}", file.repo.replace('/', "--"))).join("snapshots");
    let mut found: Vec<PathBuf> =
        fs::read_dir(snapshots).ok()?.filter_map(|entry| Some(entry.ok()?.path().join(file.file))).filter(|p| p.is_file()).collect();
    found.sort();
    found.pop()
}

/// The user's hub cache: `$HF_HUB_CACHE`, else `$HF_HOME/hub`, else `~/.cache/huggingface/hub`.
pub(crate) fn cache_folder() -> Option<PathBuf> {
    var("HF_HUB_CACHE").map(PathBuf::from).or_else(|| Some(home_folder()?.join("hub")))
}

fn home_folder() -> Option<PathBuf> {
    let cache = || var("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".cache")));
    var("HF_HOME").map(PathBuf::from).or_else(|| Some(cache()?.join("huggingface")))
}

fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// Bytes of the file that `part` holds; a part that is too long is of another file and is dropped.
fn kept_bytes(part: &Path, bytes: u64) -> Result<u64, ProvisionError> {
    match fs::metadata(part) {
        Ok(meta) if meta.len() <= bytes => Ok(meta.len()),
        Ok(_) => fs::remove_file(part).map(|()| 0).map_err(ProvisionError::io("remove", part)),
        Err(_) => Ok(0),
    }
}

/// First byte and total size out of `bytes 100-199/200`.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.strip_prefix("bytes ")?.split_once('/')?;
    Some((range.split_once('-')?.0.parse().ok()?, total.parse().ok()))
}

/// The roots in `SSL_CERT_FILE` (where a company's proxy signs for everyone), else the usual ones.
fn root_certs() -> RootCerts {
    let named = var("SSL_CERT_FILE").and_then(|path| fs::read(path).ok()).map(|pem| {
        parse_pem(&pem).filter_map(|item| if let Ok(PemItem::Certificate(cert)) = item { Some(cert) } else { None }).collect::<Vec<_>>()
    });
    match named {
        Some(certs) if !certs.is_empty() => RootCerts::new_with_certs(&certs),
        _ => RootCerts::WebPki,
    }
}

fn disk(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Fault {
    let as_error = ProvisionError::io(action, path);
    move |e| Fault::Final(as_error(e))
}
