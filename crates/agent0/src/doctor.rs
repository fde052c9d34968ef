//! `agent0 doctor`: what this machine offers, and what to do about what is missing.

use std::path::Path;
use std::process::{Command, ExitCode};

use agent0_compute::Isa;
use agent0_provision::{Cache, cached_model, human_bytes, models};
use serde_json::{Value, json};

use crate::cli::DoctorArgs;

/// One thing looked at.
struct Finding {
    name: &'static str,
    /// Whether `agent0 evolve` can work with it.
    ok: bool,
    detail: String,
    /// What to do, when something is missing.
    remedy: Option<String>,
}

/// Memory that the default model needs for training, in bytes.
const MEMORY_NEEDED: u64 = 6 << 30;
/// Disk for the default model and the Python environment, in bytes.
const DISK_NEEDED: u64 = 2 << 30;

/// Runs the command. The exit code is 1 when something that is needed is missing.
pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let findings = [processor(), memory(), isolation(), python(), model_cache(), disk()];
    let ready = findings.iter().all(|finding| finding.ok);
    if args.json {
        let list: Vec<Value> =
            findings.iter().map(|f| json!({ "name": f.name, "ok": f.ok, "detail": f.detail, "remedy": f.remedy })).collect();
        println!("{}", json!({ "ready": ready, "findings": list }));
    } else {
        for finding in &findings {
            println!("{:4} {:10} {}", if finding.ok { "ok" } else { "NO" }, finding.name, finding.detail);
            if let Some(remedy) = &finding.remedy {
                println!("{:16}-> {remedy}", "");
            }
        }
        println!("\n{}", if ready { "Ready for `agent0 evolve`." } else { "Not ready: see the lines marked NO." });
    }
    Ok(ExitCode::from(u8::from(!ready)))
}

fn processor() -> Finding {
    let best = Isa::detect();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let known: Vec<String> = Isa::available().iter().map(Isa::to_string).collect();
    let remedy = (best < Isa::Avx2).then(|| "works, but slowly: a processor with AVX2 or AVX-512 is many times faster".to_owned());
    Finding { name: "processor", ok: true, detail: format!("{threads} cores, {best} (of {})", known.join(", ")), remedy }
}

fn memory() -> Finding {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
    };
    let (Some(total), Some(free)) = (field("MemTotal:"), field("MemAvailable:")) else {
        return Finding { name: "memory", ok: true, detail: "unknown: /proc/meminfo cannot be read".into(), remedy: None };
    };
    let remedy = (free < MEMORY_NEEDED).then(|| {
        format!(
            "the default model wants about {}; close other programs, or lower training.micro_batch_tokens and engine.kv_mib",
            human_bytes(MEMORY_NEEDED)
        )
    });
    Finding { name: "memory", ok: true, detail: format!("{} free of {}", human_bytes(free), human_bytes(total)), remedy }
}

fn isolation() -> Finding {
    let probe = agent0_sandbox::probe();
    let detail = match probe.isolation {
        Some(level) => format!("isolation {level}; {}", working(&probe)),
        None => format!("no isolation can be had, and nothing runs without it:\n{probe}"),
    };
    let missing = || {
        let steps = probe.steps.iter().filter(|step| !step.available).map(|step| format!("{}: {}", step.name, step.detail));
        steps.collect::<Vec<_>>().join("; ")
    };
    let remedy = (probe.isolation != Some(agent0_sandbox::Isolation::Full)).then(missing).filter(|text| !text.is_empty());
    Finding { name: "sandbox", ok: probe.isolation.is_some(), detail, remedy }
}

/// What works, and in which form.
fn working(probe: &agent0_sandbox::Probe) -> String {
    let steps = probe.steps.iter().filter(|step| step.available).map(|step| format!("{}: {}", step.name, step.detail));
    steps.collect::<Vec<_>>().join(", ")
}

fn python() -> Finding {
    let program = std::env::var("AGENT0_PYTHON").ok().filter(|value| !value.is_empty()).unwrap_or_else(|| "python3".into());
    let asked = Command::new(&program).args(["-c", "import sys, venv, ensurepip; print(*sys.version_info[:3], sep='.')"]).output();
    match asked {
        Ok(output) if output.status.success() => {
            let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let new_enough =
                version.strip_prefix("3.").and_then(|rest| rest.split('.').next()?.parse::<u32>().ok()).is_some_and(|minor| minor >= 10);
            let remedy = (!new_enough).then(|| "install Python 3.10 or newer, or set AGENT0_PYTHON to one".to_owned());
            Finding { name: "python", ok: new_enough, detail: format!("{program} {version}"), remedy }
        }
        Ok(_) => Finding {
            name: "python",
            ok: false,
            detail: format!("{program} cannot make virtual environments"),
            remedy: Some("apt install python3-venv".into()),
        },
        Err(cause) => Finding {
            name: "python",
            ok: false,
            detail: format!("{program}: {cause}"),
            remedy: Some("apt install python3 python3-venv, or set AGENT0_PYTHON to an interpreter".into()),
        },
    }
}

fn model_cache() -> Finding {
    match Cache::open() {
        Err(error) => Finding { name: "models", ok: false, detail: error.to_string(), remedy: None },
        Ok(cache) => {
            let here: Vec<&str> =
                models().iter().filter(|model| matches!(cached_model(&cache, model), Ok(Some(_)))).map(|model| model.name).collect();
            let default = models().first().map_or("", |model| model.name);
            let detail = format!("{} in {}", if here.is_empty() { "none".into() } else { here.join(", ") }, cache.root().display());
            let remedy =
                (!here.contains(&default)).then(|| format!("`agent0 evolve` fetches {default}, or `agent0 model fetch {default}` now"));
            Finding { name: "models", ok: true, detail, remedy }
        }
    }
}

fn disk() -> Finding {
    let free_at = |path: &Path| rustix::fs::statvfs(path).ok().map(|stat| stat.f_bavail * stat.f_frsize);
    let root = Cache::open().map_or_else(|_| ".".into(), |cache| cache.root().to_path_buf());
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
    match free_at(existing) {
        None => Finding { name: "disk", ok: true, detail: format!("unknown at {}", existing.display()), remedy: None },
        Some(free) => {
            let remedy = (free < DISK_NEEDED)
                .then(|| format!("model and Python environment take up to {}; make room, or set AGENT0_CACHE", human_bytes(DISK_NEEDED)));
            Finding {
                name: "disk",
                ok: free >= DISK_NEEDED,
                detail: format!("{} free at {}", human_bytes(free), existing.display()),
                remedy,
            }
        }
    }
}
