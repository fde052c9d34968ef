//! `agent0 doctor`: what this machine offers, and what to do about what is missing.

use std::path::Path;
use std::process::ExitCode;

use agent0_compute::Isa;
use agent0_provision::{Cache, ModelEntry, ProvisionError, PythonOutlook, cached_model, human_bytes, models, python_outlook};
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
/// Disk that the Python environment takes while it is made, in bytes.
const ENVIRONMENT_NEEDED: u64 = 600 << 20;
/// Disk with which nobody runs out soon, in bytes.
const DISK_COMFORT: u64 = 2 << 30;

/// Runs the command. The exit code is 1 when something that is needed is missing.
pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let cache = Cache::open();
    let findings = match &cache {
        Ok(cache) => {
            let outlook = python_outlook(cache, None);
            let has_environment = outlook.as_ref().is_ok_and(|outlook| outlook.is_made);
            vec![processor(), memory(), isolation(), python(&outlook), model_cache(cache), disk(cache, has_environment)]
        }
        Err(error) => {
            vec![processor(), memory(), isolation(), Finding { name: "cache", ok: false, detail: error.to_string(), remedy: None }]
        }
    };
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

/// The interpreter that `agent0 evolve` takes, and its environment.
fn python(outlook: &Result<PythonOutlook, ProvisionError>) -> Finding {
    let finding = |ok, detail, remedy: Option<&str>| Finding { name: "python", ok, detail, remedy: remedy.map(str::to_owned) };
    let found = match outlook {
        Err(error) => return finding(false, error.to_string(), None),
        Ok(found) => found,
    };
    let who = format!("{} {}", found.base.display(), found.version);
    match (found.is_made, found.maker) {
        (true, _) => finding(true, format!("{who}; its environment is in the cache"), None),
        (false, Some(way)) => finding(true, format!("{who}; its environment will be made by {way}"), None),
        (false, None) => {
            finding(false, format!("{who} cannot make virtual environments"), Some("apt install python3-venv (or python3-pip, or uv)"))
        }
    }
}

fn model_cache(cache: &Cache) -> Finding {
    let here: Vec<&str> = models().iter().filter(|model| is_cached(cache, model)).map(|model| model.name).collect();
    let default = models().first().map_or("", |model| model.name);
    let detail = format!("{} in {}", if here.is_empty() { "none".into() } else { here.join(", ") }, cache.root().display());
    let remedy = (!here.contains(&default)).then(|| {
        format!("`agent0 evolve` takes {default} from the Hugging Face cache, or fetches it as `agent0 model fetch {default}` does")
    });
    Finding { name: "models", ok: true, detail, remedy }
}

fn is_cached(cache: &Cache, model: &ModelEntry) -> bool {
    matches!(cached_model(cache, model), Ok(Some(_)))
}

/// Disk that what is not in the cache yet takes while it is fetched and made, in bytes: the default model and the environment.
fn disk_needed(model: Option<&ModelEntry>, environment: bool) -> u64 {
    // One that comes in parts takes a part more.
    let model = model.map_or(0, |model| model.bytes + model.bytes / 4);
    model + if environment { ENVIRONMENT_NEEDED } else { 0 }
}

fn disk(cache: &Cache, has_environment: bool) -> Finding {
    let free_at = |path: &Path| rustix::fs::statvfs(path).ok().map(|stat| stat.f_bavail * stat.f_frsize);
    let root = cache.root();
    let model = models().first().filter(|model| !is_cached(cache, model));
    let needed = disk_needed(model, !has_environment);
    let Some(free) = free_at(root) else {
        return Finding { name: "disk", ok: true, detail: format!("unknown at {}", root.display()), remedy: None };
    };
    let advice = match (free < needed, free < DISK_COMFORT) {
        (true, _) => Some(format!("model and Python environment still take up to {}; make room", human_bytes(needed))),
        (false, true) => Some("enough to begin with, but little for another model".to_owned()),
        (false, false) => None,
    };
    let remedy = advice.map(|advice| format!("{advice}, or set AGENT0_CACHE to a folder on another disk"));
    Finding { name: "disk", ok: free >= needed, detail: format!("{} free at {}", human_bytes(free), root.display()), remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_the_cache_needs_no_room() {
        let model = models().first();
        assert_eq!(disk_needed(None, false), 0);
        assert_eq!(disk_needed(None, true), ENVIRONMENT_NEEDED);
        assert!(disk_needed(model, true) > ENVIRONMENT_NEEDED + model.unwrap().bytes);
    }

    #[test]
    fn an_environment_that_is_there_need_not_be_made() {
        let outlook = |is_made, maker| Ok(PythonOutlook { base: "/usr/bin/python3".into(), version: "3.11.7".into(), is_made, maker });
        let found = [(true, None), (false, Some("uv")), (false, None)].map(|(is_made, maker)| python(&outlook(is_made, maker)));
        assert_eq!(found.each_ref().map(|finding| finding.ok), [true, true, false]);
        assert!(found[0].detail.ends_with("its environment is in the cache"), "{}", found[0].detail);
        assert!(found[2].remedy.as_ref().unwrap().contains("python3-venv"));
    }
}
