//! Which files hold the published trunks, and the SHA-256 that each must have.
//!
//! Every hash is whole: a prefix of eight digits, as in torchvision's file names, can be forged in
//! minutes.

use crate::net::Net;

/// SHA-256 of `weights/alex.safetensors`.
pub const ALEX_SHA256: &str = "9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9";
/// SHA-256 of `weights/vgg.safetensors`, as `scripts/fetch_weights.py` writes it.
pub const VGG_SHA256: &str = "cabd922aeb0dd6d56f2bed33221aee74b7f1e760ddd105c0e0891606cbab6d0d";
/// SHA-256 of `weights/dists.safetensors`.
pub const DISTS_SHA256: &str = "71453e426759c138a6d2cf5c72a0a4d4ad6fa66e2e2991125a275b3be7646541";
/// SHA-256 of `weights/lin.safetensors`.
pub const LIN_SHA256: &str = "f0570923b8aa66bb76c20b4d9fe655e962d7f8cf4d3e3162cb0d5b92da11a5bb";

/// A file of torchvision (IMAGENET1K_V1), with its classifier.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Torchvision {
    /// Its name, which ends in the first digits of its SHA-256.
    pub file: &'static str,
    /// Its SHA-256.
    pub sha256: &'static str,
    /// Its length.
    pub bytes: u64,
}

/// torchvision's file of a net.
#[must_use]
pub fn torchvision(net: Net) -> Torchvision {
    match net {
        Net::Alex => Torchvision {
            file: "alexnet-owt-7be5be79.pth",
            sha256: "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02",
            bytes: 244_408_911,
        },
        Net::Vgg => Torchvision {
            file: "vgg16-397923af.pth",
            sha256: "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
            bytes: 553_433_881,
        },
        Net::Squeeze => Torchvision {
            file: "squeezenet1_1-b8a52dc0.pth",
            sha256: "b8a52dc049b60e4b6ab68ad0df457362afab8b6304b2febdc1650a5dab4d7e7b",
            bytes: 4_958_839,
        },
    }
}

/// The file that the published trunk of a net is read from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Published {
    /// Its name. AlexNet's is embedded, and used under no other name.
    pub file: &'static str,
    /// Its SHA-256.
    pub sha256: &'static str,
}

/// The published trunk of a net. AlexNet's and VGG16's are safetensors files without the
/// classifier; SqueezeNet's is torchvision's own file, which is small and has a published hash.
#[must_use]
pub fn published(net: Net) -> Published {
    match net {
        Net::Alex => Published { file: "alex.safetensors", sha256: ALEX_SHA256 },
        Net::Vgg => Published { file: "vgg.safetensors", sha256: VGG_SHA256 },
        Net::Squeeze => {
            let Torchvision { file, sha256, .. } = torchvision(net);
            Published { file, sha256 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_whole_and_begin_as_the_file_names_say() {
        for net in Net::ALL {
            let Torchvision { file, sha256, .. } = torchvision(net);
            let stem = file.strip_suffix(".pth").unwrap();
            let (_, digits) = stem.rsplit_once('-').unwrap();
            assert!(sha256.starts_with(digits), "{file}");
            for sha256 in [sha256, published(net).sha256] {
                assert!(sha256.len() == 64 && sha256.bytes().all(|it| it.is_ascii_hexdigit()));
            }
        }
    }
}
