//! How much memory this process may still take, and whose limit that is.

use std::path::Path;

use rustix::process::{Resource, getrlimit};

/// What `--memory` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Setting {
    /// What the system allows.
    #[default]
    Auto,
    /// This process takes at most so many bytes, and never more than the system allows.
    Limit(u64),
}

impl std::str::FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Setting, String> {
        if text == "auto" {
            return Ok(Setting::Auto);
        }
        let expected = "expected `auto`, or bytes with a unit, such as 800M or 16G";
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let shift = match text[digits.len()..].trim_end_matches('B').trim_end_matches('i') {
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            "" if digits == text => 0,
            _ => return Err(expected.to_owned()),
        };
        let count: u64 = digits.parse().map_err(|_| expected.to_owned())?;
        match count.checked_mul(1 << shift) {
            Some(0) | None => Err(expected.to_owned()),
            Some(bytes) => Ok(Setting::Limit(bytes)),
        }
    }
}

/// At most 1/3 of the address space that is left is taken: threads and the C library reserve more
/// than they use.
const ADDRESS_SPACE_PARTS: u64 = 3;

/// Memory that may still be taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Available {
    /// Bytes; `u64::MAX` where nothing is known.
    pub bytes: u64,
    /// What sets the limit, such as `--memory` or `the control group /job`.
    pub limit: String,
}

impl Available {
    /// Decoded images may take at most 1/8 of it.
    const DECODED_PARTS: u64 = 8;

    /// Where no limit is known.
    #[must_use]
    pub fn unlimited() -> Available {
        Available { bytes: u64::MAX, limit: "no limit".to_owned() }
    }

    /// Whether a pair that needs so many bytes fits where `free` of these are left, or why not.
    ///
    /// # Errors
    /// A sentence with both figures and what sets the limit.
    pub fn admit(&self, needed: u64, free: u64) -> Result<(), String> {
        if needed <= free {
            return Ok(());
        }
        let figure = |bytes: u64| match bytes as f64 {
            bytes if bytes < 1e8 => format!("{:.1} MB", bytes / 1e6),
            bytes => format!("{:.2} GB", bytes / 1e9),
        };
        let [needed, free] = [needed, free].map(figure);
        Err(format!("a pair takes {needed} of memory; {free} are left by {}", self.limit))
    }

    /// Bytes that decoded images may take while they wait to be scored.
    #[must_use]
    pub fn decoded_bytes(&self) -> u64 {
        self.bytes / Available::DECODED_PARTS
    }
}

/// The least of: what `setting` says, what the machine has free, the limits of this process's
/// control groups (of batch systems and containers), that of its Slurm job, and that on its address
/// space. `environment` gives the values of environment variables.
#[must_use]
pub fn available(setting: Setting, environment: &dyn Fn(&str) -> Option<String>) -> Available {
    available_below(Path::new("/"), setting, environment, getrlimit(Resource::As).current)
}

/// Lets all threads allocate from one arena where the address space is limited: glibc reserves
/// 64 MiB and more for each further one, until nothing is left for what is too large for an
/// arena. To be called before threads are started.
pub fn share_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if getrlimit(Resource::As).current.is_some() {
        const M_ARENA_MAX: std::ffi::c_int = -8;
        #[expect(unsafe_code, reason = "a function of glibc that no crate of this program wraps")]
        // SAFETY: the declaration is that of malloc.h; the call takes two numbers and changes a
        // setting of the allocator under its own lock.
        unsafe {
            unsafe extern "C" {
                fn mallopt(parameter: std::ffi::c_int, value: std::ffi::c_int) -> std::ffi::c_int;
            }
            mallopt(M_ARENA_MAX, 1);
        }
    }
}

/// Bytes of this process that are in memory now.
#[must_use]
pub fn resident() -> u64 {
    status(Path::new("/"), "VmRSS:").unwrap_or(0)
}

/// A line of this process's status, in bytes.
fn status(root: &Path, name: &str) -> Option<u64> {
    kib(&fs_err::read_to_string(root.join("proc/self/status")).ok()?, name)
}

/// The number of a line such as `VmRSS:  12 kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let number = text.lines().find_map(|line| line.strip_prefix(name))?;
    number.trim().trim_end_matches(" kB").parse::<u64>().ok()?.checked_mul(1 << 10)
}

/// Bytes that Slurm grants to each process of the job on this node.
fn of_slurm(environment: &dyn Fn(&str) -> Option<String>) -> Option<u64> {
    let number = |name: &str| environment(name)?.parse::<u64>().ok();
    let per_cpu = || {
        Some(number("SLURM_MEM_PER_CPU")?.saturating_mul(number("SLURM_CPUS_ON_NODE").unwrap_or(1)))
    };
    let mebibytes = number("SLURM_MEM_PER_NODE").or_else(per_cpu).filter(|&limit| limit > 0)?;
    // `2`, or `2(x3),1` for several nodes.
    let tasks = environment("SLURM_STEP_TASKS_PER_NODE").unwrap_or_default();
    let tasks = tasks.split(',').filter_map(|one| one.split('(').next()?.parse::<u64>().ok()).max();
    Some(mebibytes.saturating_mul(1 << 20) / tasks.unwrap_or(1).max(1))
}

fn available_below(
    root: &Path,
    setting: Setting,
    environment: &dyn Fn(&str) -> Option<String>,
    address_space: Option<u64>,
) -> Available {
    let read = |path: &Path| fs_err::read_to_string(path).unwrap_or_default();
    let mut least = Available::unlimited();
    let mut limit = |bytes: u64, name: &dyn Fn() -> String| {
        if bytes < least.bytes {
            least = Available { bytes, limit: name() };
        }
    };
    let resident = status(root, "VmRSS:").unwrap_or(0);
    if let Some(free) = kib(&read(&root.join("proc/meminfo")), "MemAvailable:") {
        limit(free, &|| "the free memory of the machine".to_owned());
    }
    for line in read(&root.join("proc/self/cgroup")).lines() {
        let (tree, [max, used, reclaimable]) = match line.split(':').nth(1) {
            Some("") => ("sys/fs/cgroup", ["memory.max", "memory.current", "inactive_file "]),
            Some("memory") => (
                "sys/fs/cgroup/memory",
                ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "],
            ),
            _ => continue,
        };
        let group = line.splitn(3, ':').last().unwrap_or_default().trim_start_matches('/');
        // The limits of the enclosing groups apply as well.
        for group in Path::new(group).ancestors() {
            let folder = root.join(tree).join(group);
            let number = |name| read(&folder.join(name)).trim().parse::<u64>();
            if let (Ok(max), Ok(used)) = (number(max), number(used)) {
                // Contents of files, which the system drops when memory is short.
                let stat = read(&folder.join("memory.stat"));
                let cached = stat.lines().find_map(|line| line.strip_prefix(reclaimable));
                let cached = cached.and_then(|bytes| bytes.parse().ok()).unwrap_or(0);
                let free = max.saturating_sub(used.saturating_sub(cached));
                limit(free, &|| format!("the control group `/{}`", group.display()));
            }
        }
    }
    if let Some(granted) = of_slurm(environment) {
        limit(granted.saturating_sub(resident), &|| "the memory of the Slurm job".to_owned());
    }
    if let Some(space) = address_space {
        let taken = status(root, "VmSize:").unwrap_or(0);
        limit(space.saturating_sub(taken) / ADDRESS_SPACE_PARTS, &|| "`ulimit -v`".to_owned());
    }
    if let Setting::Limit(bytes) = setting {
        limit(bytes.saturating_sub(resident), &|| "`--memory`".to_owned());
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_of_all_limits_applies() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        let of = |setting| available_below(root.path(), setting, &|_| None, None);
        let bytes = || of(Setting::Auto).bytes;
        assert_eq!(bytes(), u64::MAX);
        write("proc/meminfo", "MemTotal:  900 kB\nMemAvailable:     800 kB\n");
        assert_eq!(bytes(), 800 << 10);
        write("proc/self/cgroup", "4:memory:/job/step\n1:cpu:/\n0::/user\n");
        assert_eq!(bytes(), 800 << 10);
        write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "700000\n");
        write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "100000\n");
        assert_eq!(bytes(), 600_000);
        assert_eq!(of(Setting::Auto).limit, "the control group `/job`");
        write("sys/fs/cgroup/user/memory.max", "max\n");
        write("sys/fs/cgroup/user/memory.current", "5\n");
        assert_eq!(bytes(), 600_000);
        write("sys/fs/cgroup/user/memory.max", "50\n");
        assert_eq!(bytes(), 45);
        // The contents of files leave when memory is short.
        write("sys/fs/cgroup/user/memory.max", "500000\n");
        write("sys/fs/cgroup/user/memory.current", "490000\n");
        write("sys/fs/cgroup/user/memory.stat", "anon 1000\ninactive_file 400000\n");
        assert_eq!(bytes(), 410_000);

        write("proc/self/status", "VmSize:\t 300 kB\nVmRSS:\t 100 kB\n");
        let limited = of(Setting::Limit(300_000));
        assert_eq!((limited.bytes, limited.limit.as_str()), (300_000 - (100 << 10), "`--memory`"));
        let space = available_below(root.path(), Setting::Auto, &|_| None, Some(400_000));
        assert_eq!(
            (space.bytes, space.limit.as_str()),
            ((400_000 - (300 << 10)) / 3, "`ulimit -v`")
        );
    }

    #[test]
    fn slurm_grants_memory_to_a_node_or_to_a_processor() {
        let of = |variables: &[(&str, &str)]| {
            let value = |name: &str| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            of_slurm(&value).map(|bytes| bytes >> 20)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("SLURM_MEM_PER_NODE", "0")]), None, "all memory of the node");
        assert_eq!(of(&[("SLURM_MEM_PER_NODE", "4000")]), Some(4000));
        let tasks = ("SLURM_STEP_TASKS_PER_NODE", "4(x2),1");
        assert_eq!(of(&[("SLURM_MEM_PER_NODE", "4000"), tasks]), Some(1000));
        let per_cpu = [("SLURM_MEM_PER_CPU", "500"), ("SLURM_CPUS_ON_NODE", "8")];
        assert_eq!(of(&per_cpu), Some(4000));
    }

    #[test]
    fn limits_have_units() {
        for (text, bytes) in [("800M", 800 << 20), ("16G", 16 << 30), ("16GiB", 16 << 30), ("9", 9)]
        {
            assert_eq!(text.parse(), Ok(Setting::Limit(bytes)), "{text}");
        }
        assert_eq!("auto".parse(), Ok(Setting::Auto));
        for wrong in ["", "0", "G", "-1G", "1.5G", "8X", "99999999999T", "18446744073709551616"] {
            assert!(wrong.parse::<Setting>().is_err(), "{wrong}");
        }
    }
}
