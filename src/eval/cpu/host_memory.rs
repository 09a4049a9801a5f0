//! How much memory this process could still allocate.

use std::path::Path;

/// Bytes that this process could still allocate: what the system reports as free, or less where its
/// control groups (which batch systems and containers set) have a lower limit. `u64::MAX` where the
/// system reports nothing.
pub(super) fn available_bytes() -> u64 {
    available_below(Path::new("/"))
}

fn available_below(root: &Path) -> u64 {
    let read = |path: &Path| fs_err::read_to_string(path).unwrap_or_default();
    let meminfo = read(&root.join("proc/meminfo"));
    let free = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let free = free.and_then(|text| text.trim().trim_end_matches(" kB").parse::<u64>().ok());
    let mut available = free.map_or(u64::MAX, |kib| kib << 10);
    for line in read(&root.join("proc/self/cgroup")).lines() {
        let (tree, [limit, used]) = match line.split(':').nth(1) {
            Some("") => ("sys/fs/cgroup", ["memory.max", "memory.current"]),
            Some("memory") => {
                ("sys/fs/cgroup/memory", ["memory.limit_in_bytes", "memory.usage_in_bytes"])
            }
            _ => continue,
        };
        let group = line.splitn(3, ':').last().unwrap_or_default().trim_start_matches('/');
        // The limits of the enclosing groups apply as well.
        for group in Path::new(group).ancestors() {
            let number = |name| read(&root.join(tree).join(group).join(name)).trim().parse::<u64>();
            if let (Ok(limit), Ok(used)) = (number(limit), number(used)) {
                available = available.min(limit.saturating_sub(used));
            }
        }
    }
    available
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_limit_of_all_groups_applies() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        assert_eq!(available_below(root.path()), u64::MAX);
        write("proc/meminfo", "MemTotal:  900 kB\nMemAvailable:     800 kB\n");
        assert_eq!(available_below(root.path()), 800 << 10);
        write("proc/self/cgroup", "4:memory:/job/step\n1:cpu:/\n0::/user\n");
        assert_eq!(available_below(root.path()), 800 << 10);
        write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "700000\n");
        write("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "100000\n");
        assert_eq!(available_below(root.path()), 600_000);
        write("sys/fs/cgroup/user/memory.max", "max\n");
        write("sys/fs/cgroup/user/memory.current", "5\n");
        assert_eq!(available_below(root.path()), 600_000);
        write("sys/fs/cgroup/user/memory.max", "50\n");
        assert_eq!(available_below(root.path()), 45);
    }
}
