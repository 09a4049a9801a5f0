//! Kernels that were assembled when the program was built, for the GPUs that are in use. They need
//! no compiler of the driver, which takes time and may be missing or disabled.
//!
//! Released programs have them (scripts/release, LPIPS_CUBINS in build.rs); other builds have none,
//! and let the driver compile the PTX from which they were made.

/// One module, assembled for one architecture.
#[derive(Debug)]
pub(super) struct Cubin {
    module: &'static str,
    /// Compute capability without its dot, such as 86.
    sm: i32,
    /// An ELF file.
    image: &'static [u8],
}

/// What build.rs found.
const CUBINS: &[Cubin] = include!(concat!(env!("OUT_DIR"), "/cubins.rs"));

/// The cubin of a module for a GPU, if the program has one.
pub(super) fn cubin(module: &str, capability: (i32, i32)) -> Option<&'static [u8]> {
    best(CUBINS, module, capability)
}

/// The architectures that this build has cubins for, such as 86 for sm_86, ascending.
#[must_use]
pub fn architectures() -> Vec<i32> {
    let mut all: Vec<i32> = CUBINS.iter().map(|cubin| cubin.sm).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// A cubin runs on GPUs of its major version and of no smaller minor version; the nearest is best.
fn best(
    cubins: &'static [Cubin],
    module: &str,
    (major, minor): (i32, i32),
) -> Option<&'static [u8]> {
    let runs =
        |cubin: &&Cubin| cubin.module == module && cubin.sm / 10 == major && cubin.sm % 10 <= minor;
    cubins.iter().filter(runs).max_by_key(|cubin| cubin.sm).map(|cubin| cubin.image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_gets_the_nearest_cubin_that_it_can_run() {
        const fn cubin(module: &'static str, sm: i32, image: &'static [u8]) -> Cubin {
            Cubin { module, sm, image }
        }
        static ALL: [Cubin; 5] = [
            cubin("tap", 80, b"80"),
            cubin("tap", 86, b"86"),
            cubin("pool", 89, b"other"),
            cubin("tap", 90, b"90"),
            cubin("tap", 120, b"120"),
        ];
        let of = |capability: (i32, i32)| best(&ALL, "tap", capability);
        assert_eq!(of((8, 0)), Some(&b"80"[..]));
        assert_eq!(of((8, 7)), Some(&b"86"[..]));
        assert_eq!(of((8, 9)), Some(&b"86"[..]));
        assert_eq!(of((9, 0)), Some(&b"90"[..]));
        assert_eq!(of((12, 1)), Some(&b"120"[..]));
        // Volta and Turing, and what comes later, compile the PTX.
        assert!([(7, 0), (7, 5), (10, 0), (13, 0)].into_iter().all(|newer| of(newer).is_none()));
    }

    #[test]
    fn a_build_has_cubins_of_every_module_or_none() {
        let of = |module: &str| CUBINS.iter().filter(|cubin| cubin.module == module).count();
        for (module, _) in super::super::PTX {
            assert_eq!(of(module), architectures().len(), "{module}");
        }
    }
}
