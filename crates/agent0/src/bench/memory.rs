//! The memory of this process, as Linux tells it.

/// Most memory that was resident since the last [`reset_peak`], in bytes.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// Memory that is resident now, in bytes.
pub fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// Lets the peak start from what is resident now. False where the system does not allow it: the peak is then that of the
/// process so far.
pub fn reset_peak() -> bool {
    std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn status(field: &str) -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// GiB with one decimal, or a dash.
pub fn gib(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".into(), |bytes| format!("{:.1}", bytes as f64 / f64::from(1 << 30)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_covers_what_is_resident() {
        let Some(resident) = resident() else { return };
        assert!(resident > 1 << 20 && peak().unwrap() >= resident / 2);
    }

    #[test]
    fn memory_reads_well() {
        assert_eq!((gib(None), gib(Some(3 << 29))), ("-".into(), "1.5".into()));
    }
}
