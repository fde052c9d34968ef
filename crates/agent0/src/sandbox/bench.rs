//! `agent0 sandbox bench`: how long a call takes, how many there are in a second, and how many with the peers' cold start.

use std::process::ExitCode;
use std::time::Instant;

use agent0_sandbox::Sandbox;
use anyhow::bail;
use serde_json::{Value, json};

use super::peers;
use crate::cli::SandboxBenchArgs;

const SIMPLE: &str = "print(sum(i * i for i in range(1000)))";
const SYMPY: &str = "import sympy, numpy\nx = sympy.symbols('x')\nprint(sympy.factor(x**6 - 1), sympy.integrate(3 * x**2 + 2 * x, x))\n\
                     print(numpy.linalg.det(numpy.array([[2.0, 1.0], [1.0, 3.0]])))";

/// What a snippet takes: milliseconds from the call to its outcome, one call at a time; and calls in a second, several at a time.
struct Measured {
    p50_ms: f64,
    p95_ms: f64,
    cpu_ms: f64,
    calls_per_s: f64,
}

/// Runs the command.
pub fn run(args: &SandboxBenchArgs) -> anyhow::Result<ExitCode> {
    let config = super::configure(&args.options)?;
    let python = config.python.clone();
    let at_once = config.concurrency;
    let began = Instant::now();
    let sandbox = super::start(config)?;
    let cold_start_s = began.elapsed().as_secs_f64();
    let measure = |code| measure(&sandbox, code, at_once, args.calls.get());
    let (simple, sympy, bare) = (measure(SIMPLE)?, measure(SYMPY)?, measure(peers::CODE)?);
    let peers = peers::measure(&python, at_once, args.peer_calls.get())?;
    let best = peers.iter().map(|peer| peer.calls_per_s).fold(0.0, f64::max);
    let times = (best > 0.0).then(|| bare.calls_per_s / best);
    if args.json {
        println!(
            "{}",
            json!({
                "isolation": sandbox.isolation(),
                "cpus": at_once,
                "load": load(),
                "cold_start_s": cold_start_s,
                "simple": simple.json(),
                "sympy": sympy.json(),
                "import_only": bare.json(),
                "peers": peers.iter().map(|p| json!({ "name": p.name, "calls_per_s": p.calls_per_s })).collect::<Vec<_>>(),
                "times_the_best_peer": times,
            })
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("isolation {}, load {}, cold start {cold_start_s:.2} s", sandbox.isolation(), load());
    println!("{:22} {:>8} {:>8} {:>8} {:>9}", "snippet", "p50 ms", "p95 ms", "CPU ms", "calls/s");
    for (name, m) in [("simple", &simple), ("sympy", &sympy), (peers::CODE, &bare)] {
        println!("{name:22} {:8.1} {:8.1} {:8.1} {:9.1}", m.p50_ms, m.p95_ms, m.cpu_ms, m.calls_per_s);
    }
    for peer in &peers {
        println!("{:22} {:>26} {:9.2}", peer.name, "cold, import only", peer.calls_per_s);
    }
    match times {
        Some(times) => println!("{times:.0} times the calls of the best peer"),
        None => println!("no peer is installed (bubblewrap, firejail), so there is nothing to compare with"),
    }
    Ok(ExitCode::SUCCESS)
}

impl Measured {
    fn json(&self) -> Value {
        json!({ "p50_ms": self.p50_ms, "p95_ms": self.p95_ms, "cpu_ms": self.cpu_ms, "calls_per_s": self.calls_per_s })
    }
}

fn measure(sandbox: &Sandbox, code: &str, at_once: usize, calls: usize) -> anyhow::Result<Measured> {
    let call = |seed: usize| -> anyhow::Result<(f64, f64)> {
        let began = Instant::now();
        let outcome = sandbox.run_blocking(code, seed as u64, sandbox.limits())?;
        if !outcome.status.is_success() {
            bail!("the snippet {}: {}", outcome.status, outcome.stderr);
        }
        Ok((1e3 * began.elapsed().as_secs_f64(), 1e3 * outcome.cpu_s))
    };
    call(0)?;
    let taken = (0..calls).map(call).collect::<anyhow::Result<Vec<(f64, f64)>>>()?;
    let mut times: Vec<f64> = taken.iter().map(|(wall, _)| *wall).collect();
    times.sort_by(f64::total_cmp);
    // One more than there are CPUs: the next call is being started while the others run.
    let workers = at_once + 1;
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(|| (0..calls).try_for_each(|seed| call(seed).map(drop)))).collect();
        workers.into_iter().try_for_each(|worker| worker.join().unwrap_or_else(|_| bail!("a worker died")))
    })?;
    Ok(Measured {
        p50_ms: times[times.len() / 2],
        p95_ms: times[times.len() * 95 / 100],
        cpu_ms: taken.iter().map(|(_, cpu)| cpu).sum::<f64>() / calls as f64,
        calls_per_s: (workers * calls) as f64 / began.elapsed().as_secs_f64(),
    })
}

/// Processes that wanted a CPU in the last minute, on average: with more than the bench itself, its figures are pessimistic.
fn load() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}
