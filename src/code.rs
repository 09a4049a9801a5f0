//! Every stable code: what it means, how severe it is, and what helps.
//!
//! A code names one kind of problem, in the `error_code` column of pairs.csv, in the report of
//! `lpips check`, and in the messages of a run. Scripts may rely on it; the sentence beside it may
//! change. docs/errors.md lists the same table, and a test compares the two.

use serde::{Deserialize, Serialize};

/// Whether a code fails a pair.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The pair has no score, or its score would mean nothing.
    Error,
    /// The pair is scored; its inputs deserve a look.
    Warning,
}

/// Makes the enum and its table from one list: variant, code, severity, meaning, remedy.
macro_rules! codes {
    ($($variant:ident = $text:literal, $severity:ident, $meaning:literal, $remedy:literal;)*) => {
        /// A stable code. Their order is the alphabetical one of their texts, errors first.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $meaning] #[serde(rename = $text)] $variant,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The code as it is written, such as `E_SIZE`.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text,)* }
            }

            /// Whether it fails a pair.
            #[must_use]
            pub fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity,)* }
            }

            /// The kind of problem that it stands for.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$variant => $meaning,)* }
            }

            /// What helps.
            #[must_use]
            pub fn remedy(self) -> &'static str {
                match self { $(Code::$variant => $remedy,)* }
            }
        }
    };
}

codes! {
    AllIdentical = "E_ALL_IDENTICAL", Error,
        "all distorted images of a method are identical to their references",
        "compare with the method's own images; the reference folder was probably given twice";
    Ambiguous = "E_AMBIGUOUS", Error,
        "two files of a folder have the same name without extension",
        "remove or rename one of the two, or list the pairs in a manifest";
    Decode = "E_DECODE", Error,
        "a file is damaged or cut short",
        "write or download the file again";
    Empty = "E_EMPTY", Error,
        "a file has no bytes",
        "write or download the file again";
    Manifest = "E_MANIFEST", Error,
        "a row of the manifest cannot be used",
        "correct the row; the message names its line";
    Mask = "E_MASK", Error,
        "a mask is missing, ambiguous, damaged, coloured, all zero, or not of its pair's size",
        "put one grey image of the pair's size at `<item>.<extension>` in the folder of --mask";
    Missing = "E_MISSING", Error,
        "a file does not exist",
        "correct the path; paths of a manifest are relative to its folder";
    Name = "E_NAME", Error,
        "the name of a file is not UTF-8",
        "rename the file";
    NotFinite = "E_NAN", Error,
        "a layer of the distance is infinite or not a number",
        "use --precision fp32; if it was fp32, check the values of your own weights";
    NotFile = "E_NOT_FILE", Error,
        "a path names a folder, a pipe, a socket or a device, not a regular file",
        "give the path of an image file; write what comes through a pipe to a file first";
    NotImage = "E_NOT_IMAGE", Error,
        "the content of a file is of no image format that is known",
        "check that the file is an image; convert it to PNG";
    NotRun = "E_NOT_RUN", Error,
        "the run ended before the pair was scored",
        "resume the run with the same command";
    NoActivity = "E_NO_ACTIVITY", Error,
        "the reference's activations at the layer of --semantic-layer are all zero",
        "leave the pair out, or choose another layer";
    Range = "E_RANGE", Error,
        "a float sample lies outside the range of --range",
        "scale or clamp the samples, or name their range with --range";
    Read = "E_READ", Error,
        "a file cannot be read",
        "check permissions and the storage; the message is the operating system's";
    Size = "E_SIZE", Error,
        "reference and distorted image have different sizes",
        "bring them to one size, or cut both with --size-policy modcrop:N";
    TooLarge = "E_TOO_LARGE", Error,
        "an image has more pixels than --max-pixels allows or takes too much to decode, or a pair \
         exceeds the memory",
        "raise --max-pixels, or write the image again as a plain PNG; use --device cpu where a GPU \
         is too small";
    TooSmall = "E_TOO_SMALL", Error,
        "an image is smaller than the net accepts, or nothing is left of it after cropping",
        "leave the pair out, use a net that accepts smaller images, or crop less";
    Unmatched = "E_UNMATCHED", Error,
        "a file of one folder has no partner in the other",
        "add or remove the file, or give --dist-suffix where names differ by an ending";
    Unsupported = "E_UNSUPPORTED", Error,
        "a file holds something that is not known to decode as PIL decodes it",
        "convert the file to PNG";
    WholeIdentical = "W_ALL_IDENTICAL", Warning,
        "all distorted images of a method are identical to their references",
        "compare with the method's own images; the reference folder was probably given twice";
    Alpha = "W_ALPHA", Warning,
        "only one of ref and dist has alpha; see --alpha",
        "write both without alpha, or choose with --alpha how it is blended";
    Changed = "W_CHANGED", Warning,
        "a file changed while the run read it: two reads saw different contents",
        "run again once no other program writes the file";
    Depth = "W_DEPTH", Warning,
        "ref and dist differ in bit depth; 16 bits are scaled to 0..1, not clipped",
        "write both with the same bit depth";
    Duplicate = "W_DUPLICATE", Warning,
        "two rows name the same two files",
        "remove one of the rows, or correct its paths";
    Orientation = "W_EXIF", Warning,
        "ref and dist differ in EXIF orientation, which is ignored as PIL does",
        "apply the orientation to the pixels of both, or remove it from both";
    Fp16Overflow = "W_FP16_OVERFLOW", Warning,
        "fp16 overflowed in a pair, which was scored in fp32 instead",
        "none is needed; use --precision fp32 to score all pairs alike";
    Identical = "W_IDENTICAL", Warning,
        "distorted image and reference are the same bytes",
        "check that the distorted image is not a copy of the reference";
    Infinite = "W_INFINITE", Warning,
        "the samples of distorted image and reference are equal, so PSNR and its mean are infinite",
        "check that the pair is meant to be identical; leave it out where a finite mean is needed";
    NotJoined = "W_NOT_JOINED", Warning,
        "a file of --join has no value for a pair; its column is incomplete",
        "compute the missing values and run the same command again";
    Profile = "W_PROFILE", Warning,
        "ref and dist differ in their colour profile, which is ignored as PIL does",
        "convert both to sRGB";
    SameDistorted = "W_SAME_DIST", Warning,
        "two methods have the same file for one reference",
        "check that each method's folder holds its own images";
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// A code that a journal holds: one of [`Code`], or that of another version of the program, which
/// is kept as it was written.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Recorded {
    /// A code of this version.
    Known(Code),
    /// Any other text.
    Unknown(String),
}

impl Recorded {
    /// The code as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Recorded::Known(code) => code.as_str(),
            Recorded::Unknown(text) => text,
        }
    }
}

impl From<Code> for Recorded {
    fn from(code: Code) -> Recorded {
        Recorded::Known(code)
    }
}

impl PartialEq<Code> for Recorded {
    fn eq(&self, code: &Code) -> bool {
        *self == Recorded::Known(*code)
    }
}

impl std::fmt::Display for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_the_order_of_their_texts() {
        let texts: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert!(texts.is_sorted_by(|a, b| a < b), "{texts:?}");
    }

    #[test]
    fn a_code_says_its_severity_and_no_sentence_is_empty() {
        for code in Code::ALL {
            let prefix = match code.severity() {
                Severity::Error => "E_",
                Severity::Warning => "W_",
            };
            assert!(code.as_str().starts_with(prefix), "{code}");
            assert!(!code.meaning().is_empty() && !code.remedy().is_empty(), "{code}");
        }
    }

    /// docs/errors.md holds this table; a failure prints the one that it should hold.
    #[test]
    fn the_documented_table_is_this_one() {
        let row = |code: &Code| format!("| `{code}` | {} | {} |\n", code.meaning(), code.remedy());
        let of = |severity| -> String {
            Code::ALL.iter().filter(|code| code.severity() == severity).map(row).collect()
        };
        let page = include_str!("../docs/errors.md");
        for severity in [Severity::Error, Severity::Warning] {
            let table = format!("| code | meaning | remedy |\n|---|---|---|\n{}", of(severity));
            assert!(page.contains(&table), "docs/errors.md lacks this table:\n{table}");
        }
    }

    #[test]
    fn a_code_of_another_version_is_kept_as_it_was_written() {
        for (json, expected) in [
            ("\"E_SIZE\"", Recorded::Known(Code::Size)),
            ("\"OLD\"", Recorded::Unknown("OLD".into())),
        ] {
            let read: Recorded = serde_json::from_str(json).unwrap();
            assert_eq!(read, expected);
            assert_eq!(serde_json::to_string(&read).unwrap(), json);
        }
    }
}
