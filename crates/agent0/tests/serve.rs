//! `agent0 serve` with the real model, driven by OpenAI's own Python client. The client is installed into the user's cache once, with pip.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use agent0_provision::Cache;

const CLIENT: &str = "openai==3.57.0";
const KEY: &str = "a secret";

/// The user's Python, as the program itself takes it.
fn python() -> Command {
    Command::new(std::env::var_os("AGENT0_PYTHON").filter(|path| !path.is_empty()).unwrap_or_else(|| "python3".into()))
}

/// A folder with the client in it. It is made aside and renamed, so that it is whole when it is there.
fn client() -> PathBuf {
    let folder = Cache::open().unwrap().root().join("tests").join(CLIENT);
    if !folder.is_dir() {
        let parent = folder.parent().unwrap();
        std::fs::create_dir_all(parent).unwrap();
        let aside = tempfile::tempdir_in(parent).unwrap();
        let mut pip = python();
        pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--only-binary", ":all:", "--target"]).arg(aside.path()).arg(CLIENT);
        let installed = pip.output().expect("Python 3.10 or newer is needed");
        let said = String::from_utf8_lossy(&installed.stderr);
        assert!(installed.status.success(), "pip could not install {CLIENT}, which this test needs; is there a network? It said: {said}");
        // Another test may have been quicker.
        if std::fs::rename(aside.path(), &folder).is_ok() {
            let _ = aside.keep();
        }
    }
    folder
}

/// A server that ends with the test, however the test ends.
struct Server(Child);

impl Server {
    /// Starts it, and waits for the address that it says.
    fn start(args: &[&str]) -> (Self, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent0"));
        command.arg("serve").args(["--port", "0"]).args(args).env("AGENT0_TOKEN", KEY);
        let mut server = Self(command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        let mut said = String::new();
        let mut lines = BufReader::new(server.0.stderr.take().unwrap());
        loop {
            let mut line = String::new();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the server ended early: {said}");
            if let Some((_, rest)) = line.split_once(" at http://") {
                let address = format!("http://{}", rest.split(';').next().unwrap());
                // Somebody must go on reading what it says.
                std::thread::spawn(move || std::io::copy(&mut lines, &mut std::io::sink()));
                return (server, address);
            }
            said += &line;
        }
    }

    /// Asks it to end, and says whether it ended well.
    fn end(mut self) -> bool {
        let asked = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status().unwrap();
        asked.success() && self.0.wait().unwrap().success()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn openais_client_gets_what_it_expects() {
    let client = client();
    let (server, address) = Server::start(&["--queue", "1"]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openai_client.py");
    let mut run = python();
    run.arg(script).args([&address, "qwen2.5-coder-0.5b-instruct", KEY]).env("PYTHONPATH", client);
    let output = run.stdin(Stdio::null()).output().unwrap();
    let (told, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}{said}");
    assert_eq!(told.lines().count(), 8, "{told}");
    assert!(server.end(), "it ends well when asked to");
}
