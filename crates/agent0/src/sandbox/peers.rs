//! What others do for a call: start Python afresh inside bubblewrap or firejail. Only to be measured against.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};

/// The call that is measured, in which nothing is computed: starting is what costs.
pub const CODE: &str = "import sympy, numpy";
/// A peer and the arguments under which it isolates about as its users do.
const PEERS: [(&str, &[&str]); 2] = [
    ("bwrap", &["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all", "--new-session", "--die-with-parent"]),
    (
        "firejail",
        &["--quiet", "--noprofile", "--net=none", "--seccomp", "--rlimit-nproc=32", "--rlimit-nofile=64", "--rlimit-as=1096000000"],
    ),
];

/// How fast a peer is.
pub struct Peer {
    pub name: &'static str,
    pub calls_per_s: f64,
}

/// Measures the peers that are installed, with `at_once` calls at a time.
pub fn measure(python: &Path, at_once: usize, calls: usize) -> anyhow::Result<Vec<Peer>> {
    let installed = PEERS.into_iter().filter(|(name, _)| Command::new(name).arg("--version").output().is_ok_and(|o| o.status.success()));
    let peer = |(name, arguments): (&'static str, &[&str])| -> anyhow::Result<Peer> {
        Ok(Peer { name, calls_per_s: rate(name, arguments, python, at_once, calls)? })
    };
    installed.map(peer).collect()
}

fn rate(name: &str, arguments: &[&str], python: &Path, at_once: usize, calls: usize) -> anyhow::Result<f64> {
    let call = || -> anyhow::Result<()> {
        let mut command = Command::new(name);
        command.args(arguments).arg(python).args(["-c", CODE]).env("OPENBLAS_NUM_THREADS", "1").stdin(Stdio::null());
        let output = command.output().with_context(|| format!("running {name}"))?;
        if !output.status.success() {
            bail!("{name} does not work here: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    };
    call()?; // files are read from the disk once
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(|| (0..calls).try_for_each(|_| call()))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker died")))
    })?;
    Ok((at_once * calls) as f64 / began.elapsed().as_secs_f64())
}
