//! What the kernel says about a process (proc(5)).

use std::{fs, time::Duration};

use crate::Fault;

/// CPU time of a process so far, user plus system, from `/proc/<pid>/stat`: in units of 10 ms, so measure over seconds.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(pid: u32) -> Result<Duration, Fault> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // the second field is the program's name in brackets, and may hold spaces
    let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let mut ticks = || -> Result<u64, Fault> {
        let field = fields.next().ok_or("/proc/<pid>/stat has too few fields")?;
        Ok(field.parse()?)
    };
    let ticks = ticks()? + ticks()?;
    Ok(Duration::from_millis(
        ticks * 1000 / rustix::param::clock_ticks_per_second(),
    ))
}

/// Resident memory of a process in bytes, from `VmRSS` of `/proc/<pid>/status`.
///
/// # Errors
/// When there is no such process.
pub fn resident(pid: u32) -> Result<u64, Fault> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .ok_or("/proc/<pid>/status has no VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kibibytes * 1024)
}

/// The child of `parent` whose program is `name`.
///
/// # Errors
/// When there is none.
pub fn child_named(parent: u32, name: &str) -> Result<u32, Fault> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))?;
    for pid in children.split_ascii_whitespace() {
        let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if program.trim() == name {
            return Ok(pid.parse()?);
        }
    }
    Err(format!("process {parent} has no child {name}").into())
}

/// The processor's name and how many there are.
#[must_use]
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let names: Vec<&str> = info
        .lines()
        .filter_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map(|(_, name)| name.trim())
        .collect();
    let ifma = if info.contains("avx512ifma") {
        "with AVX-512 IFMA"
    } else {
        "without AVX-512 IFMA"
    };
    let name = names.first().copied().unwrap_or("unknown processor");
    format!("{} x {name}, {ifma}", names.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_cpu_and_memory() {
        let start = crate::now();
        let mut work = 0_u64;
        while start.elapsed() < Duration::from_millis(60) {
            work = work.wrapping_add(std::hint::black_box(1));
        }
        assert!(work > 0);
        let me = std::process::id();
        assert!(cpu_time(me).unwrap() >= Duration::from_millis(10));
        assert!(resident(me).unwrap() > 100_000);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(cpu_time(u32::MAX).is_err());
        assert!(resident(u32::MAX).is_err());
        assert!(child_named(std::process::id(), "nothing-like-this").is_err());
    }
}
