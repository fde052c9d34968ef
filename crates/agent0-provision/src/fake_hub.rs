//! A hub on a local port, for tests: it answers as it is told and records what it was asked.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::Event;
use crate::hub::Hub;

/// How the hub answers one request.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    /// The bytes asked for, but at most this many before the connection is cut.
    Bytes(usize),
    /// As `Bytes`, ignoring the range asked for.
    WholeOnly,
    /// As `WholeOnly`, with every byte changed.
    Garbled,
    /// A redirect to another path of the same server.
    Redirect,
    /// This status, without a body.
    Status(u16),
    /// This status and error code.
    Code(u16, &'static str),
}

/// What was asked, each as `path range authorization`.
pub(crate) type Requests = Arc<Mutex<Vec<String>>>;

pub(crate) struct FakeHub {
    pub(crate) hub: Hub,
    pub(crate) requests: Requests,
}

/// A hub that has `body` at every path and gives `answers` one after another, then closes.
pub(crate) fn fake_hub(body: Vec<u8>, answers: &'static [Answer]) -> FakeHub {
    let mut answers = answers.iter();
    serve(move |_| Some((*answers.next()?, body.clone())))
}

/// The first path asked for that contains the text gets the answer.
pub(crate) type Fault = (&'static str, Answer);

/// A hub that has `files` by path and gives what it is asked for, but for the faults, each of which happens once.
pub(crate) fn fake_repo(files: BTreeMap<String, Vec<u8>>, faults: &[Fault]) -> FakeHub {
    let mut faults = faults.to_vec();
    serve(move |path| {
        let fault = faults.iter().position(|(part, _)| path.contains(part)).map(|at| faults.remove(at).1);
        match files.get(path) {
            Some(body) => Some((fault.unwrap_or(Answer::Bytes(usize::MAX)), body.clone())),
            None => Some((fault.unwrap_or(Answer::Code(404, "EntryNotFound")), Vec::new())),
        }
    })
}

/// Takes no notice of events.
pub(crate) fn quiet(_: Event) {}

/// Serves what `choose` says for each path until it says nothing more.
fn serve(mut choose: impl FnMut(&str) -> Option<(Answer, Vec<u8>)> + Send + 'static) -> FakeHub {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(Vec::new()));
    let record = requests.clone();
    std::thread::spawn(move || {
        // A client that goes away in the middle ends its own request only.
        while let Ok((stream, _)) = listener.accept() {
            let Ok(request) = Request::read(&stream) else { continue };
            let Some((answer, body)) = choose(&request.path) else { return };
            record.lock().unwrap().push(format!("{} {} {}", request.path, request.range, request.authorization));
            let _ = reply(stream, &request, answer, &body);
        }
    });
    FakeHub { hub: Hub::new(&endpoint, Some("secret".into()), Duration::ZERO), requests }
}

#[derive(Default)]
struct Request {
    path: String,
    range: String,
    authorization: String,
}

impl Request {
    fn read(stream: &TcpStream) -> std::io::Result<Self> {
        let mut lines = BufReader::new(stream.try_clone()?).lines();
        let first = lines.next().transpose()?.unwrap_or_default();
        let mut request = Self { path: first.split(' ').nth(1).unwrap_or_default().to_string(), ..Self::default() };
        for line in lines {
            let line = line?;
            match line.split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("range") => request.range = value.to_string(),
                Some((name, value)) if name.eq_ignore_ascii_case("authorization") => request.authorization = value.to_string(),
                Some(_) => {}
                None => break,
            }
        }
        Ok(request)
    }

    fn start(&self) -> Option<usize> {
        self.range.strip_prefix("bytes=").and_then(|r| r.strip_suffix('-')).map(|start| start.parse().unwrap())
    }
}

fn reply(mut stream: TcpStream, request: &Request, answer: Answer, body: &[u8]) -> std::io::Result<()> {
    let all = body.len();
    let whole = format!("HTTP/1.1 200 OK\r\nContent-Length: {all}\r\nConnection: close\r\n\r\n");
    match (answer, request.start()) {
        (Answer::Bytes(limit), Some(start)) => {
            let (last, rest) = (all - 1, all - start);
            write!(
                stream,
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {start}-{last}/{all}\r\nContent-Length: {rest}\r\nConnection: close\r\n\r\n"
            )?;
            stream.write_all(&body[start..all.min(start.saturating_add(limit))])
        }
        (Answer::Bytes(limit), None) => {
            stream.write_all(whole.as_bytes())?;
            stream.write_all(&body[..all.min(limit)])
        }
        (Answer::WholeOnly, _) => {
            stream.write_all(whole.as_bytes())?;
            stream.write_all(body)
        }
        (Answer::Garbled, _) => {
            stream.write_all(whole.as_bytes())?;
            stream.write_all(&body.iter().map(|byte| !byte).collect::<Vec<_>>())
        }
        (Answer::Redirect, _) => {
            write!(stream, "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        (Answer::Status(status), _) => {
            write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        (Answer::Code(status, code), _) => {
            write!(stream, "HTTP/1.1 {status} X\r\nX-Error-Code: {code}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
    }
}
