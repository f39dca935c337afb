//! What the kernel says about a process and about the machine.

use std::{fs, time::Duration};

use nix::{
    time::{ClockId, clock_getcpuclockid},
    unistd::Pid,
};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::Fault;

/// CPU time of a process so far, user plus system, of all its threads, those that have ended included: the kernel's own
/// account in nanoseconds (`clock_getcpuclockid(3)`), where `/proc/<pid>/stat` shows the same in ticks of 10 ms.
///
/// # Errors
/// When there is no such process.
pub fn cpu_time(pid: u32) -> Result<Duration, Fault> {
    let clock = clock_getcpuclockid(Pid::from_raw(i32::try_from(pid)?))?;
    Ok(clock.now()?.into())
}

/// CPU time of this process.
///
/// # Errors
/// As [`cpu_time`].
pub fn own_cpu_time() -> Result<Duration, Fault> {
    cpu_time(std::process::id())
}

/// CPU time of the calling thread: what a loop costs, whatever else the machine does.
///
/// # Errors
/// When the kernel lacks the clock.
pub fn thread_cpu_time() -> Result<Duration, Fault> {
    Ok(ClockId::CLOCK_THREAD_CPUTIME_ID.now()?.into())
}

/// Resident memory of a process in bytes.
///
/// # Errors
/// When there is no such process.
pub fn resident(pid: u32) -> Result<u64, Fault> {
    status_bytes(pid, "VmRSS:")
}

/// The most resident memory that a process ever had, in bytes, or since [`forget_peak`].
///
/// # Errors
/// When there is no such process.
pub fn peak_resident(pid: u32) -> Result<u64, Fault> {
    status_bytes(pid, "VmHWM:")
}

/// Lets [`peak_resident`] start over.
///
/// # Errors
/// When the process is not ours.
pub fn forget_peak(pid: u32) -> Result<(), Fault> {
    Ok(fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

fn status_bytes(pid: u32, field: &str) -> Result<u64, Fault> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(field))
        .ok_or_else(|| format!("/proc/{pid}/status has no {field}"))?;
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

/// Keeps the calling thread, and whatever it starts from now on, on one core.
///
/// # Errors
/// When there is no such core.
pub fn stay_on(core: usize) -> Result<(), Fault> {
    if core >= cores() {
        return Err(format!("there is no core {core}: this machine has {}", cores()).into());
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// How many cores there are.
#[must_use]
pub fn cores() -> usize {
    processors(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()).len()
}

/// Where a run took place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// The processor's name.
    pub cpu: String,
    /// How many there are.
    pub cores: usize,
    /// Whether it has AVX-512 IFMA, which the lanes are made of.
    pub ifma: bool,
    /// The kernel's release.
    pub kernel: String,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn here() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = processors(&info).first().copied();
        let memory = rustix::system::sysinfo();
        Self {
            cpu: name.unwrap_or("unknown processor").to_owned(),
            cores: processors(&info).len(),
            ifma: info.contains("avx512ifma"),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            memory_mib: memory.totalram * u64::from(memory.mem_unit) / (1024 * 1024),
        }
    }
}

fn processors(info: &str) -> Vec<&str> {
    info.lines()
        .filter_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map(|(_, name)| name.trim())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(until: Duration) {
        let start = crate::now();
        let mut work = 0_u64;
        while start.elapsed() < until {
            work = work.wrapping_add(std::hint::black_box(1));
        }
        assert!(work > 0);
    }

    #[test]
    fn this_process_and_this_thread_have_used_cpu_and_memory() {
        let (process, thread) = (own_cpu_time().unwrap(), thread_cpu_time().unwrap());
        work(Duration::from_millis(5));
        assert!(own_cpu_time().unwrap() > process);
        assert!(thread_cpu_time().unwrap() > thread);
        let me = std::process::id();
        assert!(resident(me).unwrap() > 100_000);
        assert!(peak_resident(me).unwrap() >= resident(me).unwrap() / 2);
    }

    #[test]
    fn threads_that_have_ended_still_count() {
        let before = own_cpu_time().unwrap();
        let spent = std::thread::spawn(|| {
            let before = thread_cpu_time().unwrap();
            work(Duration::from_millis(20));
            thread_cpu_time().unwrap() - before
        });
        let spent = spent.join().unwrap();
        assert!(own_cpu_time().unwrap() - before >= spent);
    }

    #[test]
    fn a_process_that_is_not_there_is_an_error() {
        assert!(cpu_time(u32::MAX).is_err());
        // one more than Linux ever gives
        assert!(cpu_time((1 << 22) + 1).is_err());
        assert!(resident(u32::MAX).is_err());
        assert!(forget_peak(u32::MAX).is_err());
        assert!(child_named(std::process::id(), "nothing-like-this").is_err());
    }

    #[test]
    fn a_thread_stays_on_its_core_and_a_core_that_is_not_there_is_an_error() {
        let pinned = std::thread::spawn(|| {
            stay_on(0).unwrap();
            rustix::thread::sched_getaffinity(None).unwrap().count()
        });
        assert_eq!(pinned.join().unwrap(), 1);
        assert!(stay_on(100_000).is_err());
    }

    #[test]
    fn the_machine_has_a_name_cores_and_memory() {
        let machine = Machine::here();
        assert!(!machine.cpu.is_empty() && !machine.kernel.is_empty());
        assert!(machine.cores > 0 && machine.memory_mib > 100);
    }
}
