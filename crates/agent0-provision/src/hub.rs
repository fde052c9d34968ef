//! The Hugging Face hub over the network: descriptions of repositories, and files, downloaded going on where they were cut off.
//! Does not check digests.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use ureq::Body;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{Response, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::progress::{Progress, Task};
use crate::repo_name::RepoKind;
use crate::{ProvisionError, hub_settings, human_bytes};

pub(crate) const SOURCE: &str = "Hugging Face hub";
/// A machine that cannot reach the hub should move on to the next source in seconds.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const RESPONSE_LIMIT: Duration = Duration::from_secs(20);
/// A connection is used for this long, then renewed from where it was: a stalled one costs this much and no more.
const BODY_LIMIT: Duration = Duration::from_secs(120);
/// Tries in a row that may fail without delivering a byte.
const TRIES: u32 = 3;
/// Longest text that is read; the description of a repository with ten thousand files has a few megabytes.
const MAX_TEXT: u64 = 32 << 20;

/// A hub server and the way to speak to it.
pub(crate) struct Hub {
    endpoint: String,
    token: Option<String>,
    agent: ureq::Agent,
    pause: Duration,
}

/// A file of a repository at a revision.
#[derive(Clone, Copy)]
pub(crate) struct HubPath<'a> {
    pub(crate) kind: RepoKind,
    /// `org/name`.
    pub(crate) repo: &'a str,
    /// Branch, tag or commit.
    pub(crate) revision: &'a str,
    /// Path inside the repository.
    pub(crate) file: &'a str,
}

/// What the hub can be asked for.
#[derive(Clone, Copy)]
pub(crate) enum Query<'a> {
    /// The description of a repository at a revision.
    Listing { kind: RepoKind, repo: &'a str, revision: &'a str },
    /// A file's content.
    File(HubPath<'a>),
}

impl<'a> Query<'a> {
    /// The address below the hub's own. A revision is one part of it, even one with slashes.
    fn address(self) -> String {
        match self {
            Self::Listing { kind, repo, revision } => {
                format!("api/{}/{repo}/revision/{}?blobs=true", kind.plural(), revision.replace('/', "%2F"))
            }
            Self::File(HubPath { kind, repo, revision, file }) => {
                format!("{}{repo}/resolve/{}/{file}", kind.prefix(), revision.replace('/', "%2F"))
            }
        }
    }

    fn repo_and_revision(self) -> (RepoKind, &'a str, &'a str) {
        match self {
            Self::Listing { kind, repo, revision } | Self::File(HubPath { kind, repo, revision, .. }) => (kind, repo, revision),
        }
    }
}

/// Why one request did not deliver what was asked for.
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
        if hub_settings::is_offline() {
            return None;
        }
        Some(Self::new(&hub_settings::endpoint(), hub_settings::token(), Duration::from_secs(1)))
    }

    /// The hub at `endpoint`; `pause` is waited before a second try, and longer before a third.
    pub(crate) fn new(endpoint: &str, token: Option<String>, pause: Duration) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_resolve(Some(CONNECT_LIMIT))
            .timeout_connect(Some(CONNECT_LIMIT))
            .timeout_recv_response(Some(RESPONSE_LIMIT))
            .timeout_recv_body(Some(BODY_LIMIT))
            .http_status_as_error(false)
            // The hub redirects within itself, for renamed repositories and small files; the token stays with it.
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .tls_config(TlsConfig::builder().root_certs(root_certs()).build())
            .user_agent(concat!("agent0/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { endpoint: endpoint.trim_end_matches('/').to_string(), token, agent: config.into(), pause }
    }

    /// Completes `part` to the `bytes` bytes of a file, keeping what it already holds.
    ///
    /// # Errors
    /// When the hub cannot be reached, refuses, or offers a file of another size; or the disk fails.
    pub(crate) fn fetch(&self, path: &HubPath, bytes: u64, part: &Path, progress: Progress) -> Result<(), ProvisionError> {
        let task = Task::start(progress, format!("downloading {} from the Hugging Face hub", path.file), Some(bytes));
        let once = |kept| {
            task.advanced(kept);
            if kept == bytes && part.exists() { Ok(()) } else { self.fetch_rest(path, bytes, kept, part, &task) }
        };
        self.with_retries(&|| kept_bytes(part, bytes), &once)
    }

    /// The text that answers `query`.
    ///
    /// # Errors
    /// When the hub cannot be reached or refuses.
    pub(crate) fn text(&self, query: &Query) -> Result<String, ProvisionError> {
        let once = |_| {
            let mut response = self.request(*query, 0)?;
            let text = response.body_mut().with_config().limit(MAX_TEXT).read_to_string();
            text.map_err(|e| Fault::Passing(format!("the connection broke: {e}")))
        };
        self.with_retries(&|| Ok(0), &once)
    }

    /// Calls `once` with the bytes kept so far until it succeeds, or cannot, or several tries in a row added no byte.
    fn with_retries<T>(
        &self,
        kept: &dyn Fn() -> Result<u64, ProvisionError>,
        once: &dyn Fn(u64) -> Result<T, Fault>,
    ) -> Result<T, ProvisionError> {
        let mut failures = 0;
        loop {
            let before = kept()?;
            let cause = match once(before) {
                Ok(value) => return Ok(value),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Unreachable(cause)) if failures == 0 && before == 0 => return Err(ProvisionError::source(SOURCE, cause)),
                Err(Fault::Unreachable(cause) | Fault::Passing(cause)) => cause,
            };
            failures = if kept()? > before { 0 } else { failures + 1 };
            if failures == TRIES {
                return Err(ProvisionError::source(SOURCE, cause));
            }
            std::thread::sleep(self.pause * failures);
        }
    }

    /// One request for everything from `offset` on, appended to `part` as it comes.
    fn fetch_rest(&self, path: &HubPath, bytes: u64, offset: u64, part: &Path, task: &Task) -> Result<(), Fault> {
        let mut response = self.request(Query::File(*path), offset)?;
        let start = start_of(&response, bytes, offset)?;
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

    /// One request, for what lies from byte `offset` on. An answer that is not a success is a fault.
    fn request(&self, query: Query, offset: u64) -> Result<Response<Body>, Fault> {
        let mut request = self.agent.get(format!("{}/{}", self.endpoint, query.address()));
        if offset > 0 {
            request = request.header(header::RANGE, format!("bytes={offset}-"));
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let response = request.call().map_err(|e| self.request_fault(&e))?;
        if matches!(response.status().as_u16(), 200 | 206) { Ok(response) } else { Err(self.refusal(query, &response)) }
    }

    /// What an answer without success means. The hub's error codes tell apart what its statuses do not.
    fn refusal(&self, query: Query, response: &Response<Body>) -> Fault {
        let status = response.status().as_u16();
        let code = response.headers().get("x-error-code").and_then(|v| v.to_str().ok());
        let (kind, repo, revision) = query.repo_and_revision();
        let page = || format!("{}/{}{repo}", self.endpoint, kind.prefix());
        let other = |cause: String| ProvisionError::source(SOURCE, cause);
        Fault::Final(match (status, code, query) {
            (408 | 429 | 500.., ..) => return Fault::Passing(format!("it is busy or broken (HTTP {status})")),
            (_, Some("GatedRepo"), _) => ProvisionError::GatedRepo { repo: repo.to_string(), page: page() },
            (_, Some("RevisionNotFound"), _) => ProvisionError::NoSuchRevision { repo: repo.to_string(), revision: revision.to_string() },
            (_, Some("RepoNotFound"), _) | (404, None, Query::Listing { .. }) => {
                ProvisionError::NoSuchRepo { kind, repo: repo.to_string(), page: page() }
            }
            (401 | 403, ..) => other(format!("no access to {repo} (HTTP {status}); set HF_TOKEN to a token that has it")),
            (404, _, Query::File(path)) => other(format!("{repo} has no file {} (HTTP 404)", path.file)),
            _ => other(format!("unexpected answer (HTTP {status})")),
        })
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

/// Where in a file of `bytes` bytes the body of `response` begins, if it is what was asked for.
fn start_of(response: &Response<Body>, bytes: u64, offset: u64) -> Result<u64, Fault> {
    let field = |name| response.headers().get(name).and_then(|v| v.to_str().ok());
    let refuse = |cause: String| Err(Fault::Final(ProvisionError::source(SOURCE, cause)));
    let (start, total) = match response.status().as_u16() {
        206 => match field(header::CONTENT_RANGE).and_then(content_range) {
            Some((start, total)) if start == offset => (start, total),
            _ => return refuse("it answered with another part of the file than was asked for".to_string()),
        },
        _ => (0, field(header::CONTENT_LENGTH).and_then(|v| v.parse().ok())),
    };
    match total {
        Some(total) if total != bytes => refuse(format!("the file there has {total} bytes ({}), expected {bytes}", human_bytes(total))),
        _ => Ok(start),
    }
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
    let named = std::env::var_os("SSL_CERT_FILE").and_then(|path| fs::read(path).ok()).map(|pem| {
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
