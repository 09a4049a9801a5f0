//! Errors of the operating system: whether one file is at fault or the machine, and what helps.
//!
//! A file that is missing or damaged concerns its pairs. A file server that is gone, or a process
//! without file descriptors, concerns every pair that follows, so it must not become rows.

use std::error::Error;

use rustix::io::Errno;

/// The error number of an error, or of the first of its causes that has one.
#[must_use]
pub fn errno(error: &(dyn Error + 'static)) -> Option<Errno> {
    let number = |error: &(dyn Error + 'static)| Errno::from_io_error(error.downcast_ref()?);
    let mut causes = Some(error);
    while let Some(cause) = causes {
        if let Some(errno) = number(cause) {
            return Some(errno);
        }
        causes = cause.source();
    }
    None
}

/// Whether an error while a file was read, or one of its causes, is one of the machine: it would
/// hit other files as well.
#[must_use]
pub fn is_of_machine(error: &(dyn Error + 'static)) -> bool {
    errno(error).is_some_and(|errno| kind(errno).is_some_and(|kind| kind.stops_reading))
}

/// What helps against an error of the system.
#[must_use]
pub fn remedy(errno: Errno) -> &'static str {
    kind(errno).map_or(OTHERS, |kind| kind.remedy)
}

/// Errors with one remedy.
struct Kind {
    errors: &'static [Errno],
    /// Whether one of them ends a run although only an image could not be read.
    stops_reading: bool,
    remedy: &'static str,
}

const OTHERS: &str = "correct what the message names, then run the same command again";

const KINDS: &[Kind] = &[
    Kind {
        errors: &[
            Errno::IO,
            Errno::STALE,
            Errno::NOTCONN,
            Errno::CONNABORTED,
            Errno::CONNREFUSED,
            Errno::CONNRESET,
            Errno::HOSTDOWN,
            Errno::HOSTUNREACH,
            Errno::NETDOWN,
            Errno::NETUNREACH,
            Errno::TIMEDOUT,
            Errno::REMOTEIO,
            Errno::NOLINK,
            Errno::SHUTDOWN,
        ],
        stops_reading: true,
        remedy: "check the disk or the file server, then run the same command again to resume",
    },
    Kind {
        errors: &[Errno::MFILE, Errno::NFILE],
        stops_reading: true,
        remedy: "raise the limit of open files (`ulimit -n`) or lower `--threads`, then run the \
                 same command again to resume",
    },
    Kind {
        errors: &[Errno::AGAIN],
        stops_reading: true,
        remedy: "raise the limit of processes and threads (`ulimit -u`, or that of the \
                 container) or lower `--threads`, then run the same command again to resume",
    },
    Kind {
        errors: &[Errno::NOMEM, Errno::NOBUFS],
        stops_reading: true,
        remedy: "free memory, raise its limit or lower `--threads`, then run the same command \
                 again to resume",
    },
    Kind {
        errors: &[Errno::NOSPC, Errno::DQUOT],
        stops_reading: false,
        remedy: "free space on the disk, or raise the quota, then run the same command again",
    },
    Kind {
        errors: &[Errno::FBIG],
        stops_reading: false,
        remedy: "raise the limit of file sizes (`ulimit -f`), then run the same command again",
    },
    Kind {
        errors: &[Errno::ACCESS, Errno::PERM, Errno::ROFS],
        stops_reading: false,
        remedy: "change the permissions of what the message names, or name another place",
    },
];

fn kind(errno: Errno) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.errors.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_file_server_is_no_missing_file() {
        let of = |errno: Errno| is_of_machine(&std::io::Error::from(errno));
        for errno in
            [Errno::STALE, Errno::IO, Errno::NOTCONN, Errno::MFILE, Errno::NFILE, Errno::AGAIN]
        {
            assert!(of(errno), "{errno}");
        }
        for errno in [Errno::NOENT, Errno::ACCESS, Errno::NOTDIR, Errno::LOOP, Errno::NAMETOOLONG] {
            assert!(!of(errno), "{errno}");
        }
        assert!(!is_of_machine(&std::io::Error::other("no error of the system")));
    }

    #[test]
    fn the_number_is_found_below_what_names_the_path() {
        let error = fs_err::File::open("/nowhere/at/all").unwrap_err();
        assert_eq!(error.raw_os_error(), None);
        assert_eq!(errno(&error), Some(Errno::NOENT));
    }
}
