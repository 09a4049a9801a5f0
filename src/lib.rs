//! LPIPS (Learned Perceptual Image Patch Similarity) for whole data sets of image pairs.
//!
//! # From a program
//!
//! [`Lpips`] scores images that are in memory or in files. Its numbers are those of the command
//! `lpips eval`, bit for bit.
//!
//! ```
//! use lpips::{Lpips, Options};
//!
//! let mut lpips = Lpips::open(&Options::default())?;
//! let reference = lpips.file("tests/data/sr/hr/astronaut.png")?;
//! let distorted = lpips.file("tests/data/sr/bicubic/astronaut.png")?;
//! println!("{:.4}", lpips.score(&reference, &distorted)?.total);
//! # Ok::<(), lpips::Error>(())
//! ```
//!
//! The items that this page lists are the public face, and follow semantic versioning. The rest of
//! this page is for those who change the program: its modules may change with every release.
//!
//! # The life of a pair
//!
//! ```text
//! folders, stdin     -> a manifest (source, pairing)
//!   v
//! manifest row       ref = hr/a.png, dist = x4/a.png, method = x4
//!   | manifest       indexed; rows of one reference follow each other in scoring order
//!   v pipeline       a decoding thread reads each file once per group
//!   | image          file -> RGB samples, equal to PIL's
//!   v batch          unique images of one size, and pairs of indices into them
//!   | eval           normalise, trunk, at each tap: normalise - difference - lin - average
//!   v                one distance per layer; their sum is LPIPS
//!   | run            journal -> pairs.csv in manifest order, summary.csv, run.json
//! ```
//!
//! # Module map
//!
//! Dependencies point down only: [`cli`] (what was typed), [`config`] (what was decided),
//! [`commands`] (what is done), [`source`] with [`pairing`] (where pairs come from), [`pipeline`]
//! (the flow) and [`check`] (the inputs examined without it), [`shard`] and [`signals`] (what
//! schedulers ask for), then [`manifest`], [`masks`], [`image`],
//! [`batch`], [`run`] with [`stats`], [`report`] (leaderboards), [`compare`] (what differences of
//! scores prove), [`progress`],
//! [`eval`], and at the bottom [`net`].

mod part_file;
mod scorer;

// Its code is compiled and run with the other doctests.
#[cfg(doctest)]
#[doc = include_str!("../docs/rust.md")]
struct PageOnRust;

pub use self::code::{Code, Severity};
pub use self::eval::{Device, Gpus, Map, Precision};
pub use self::image::Range;
pub use self::metric::Preset;
pub use self::net::Net;
pub use self::net::weights::Version;
pub use self::scorer::{Error, Image, Lpips, Options, Score};

// What the program and the tests use. It may change with every release.
#[doc(hidden)]
pub mod batch;
#[doc(hidden)]
pub mod check;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod code;
#[doc(hidden)]
pub mod column;
#[doc(hidden)]
pub mod commands;
#[doc(hidden)]
pub mod compare;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod decimal;
#[doc(hidden)]
pub mod device;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod eval;
#[doc(hidden)]
pub mod fetch;
#[doc(hidden)]
pub mod fidelity;
#[doc(hidden)]
pub mod hash;
#[doc(hidden)]
pub mod image;
#[doc(hidden)]
pub mod isa;
#[doc(hidden)]
pub mod manifest;
#[doc(hidden)]
pub mod masks;
#[doc(hidden)]
pub mod memory;
#[doc(hidden)]
pub mod metric;
#[doc(hidden)]
pub mod net;
#[doc(hidden)]
pub mod oracle;
#[doc(hidden)]
pub mod pair;
#[doc(hidden)]
pub mod pairing;
#[doc(hidden)]
pub mod pipeline;
#[doc(hidden)]
pub mod progress;
#[doc(hidden)]
pub mod random;
#[doc(hidden)]
pub mod regular;
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod run;
#[doc(hidden)]
pub mod scheduler;
#[doc(hidden)]
pub mod selftest;
#[doc(hidden)]
pub mod shard;
#[doc(hidden)]
pub mod shell;
#[doc(hidden)]
pub mod signals;
#[doc(hidden)]
pub mod source;
#[doc(hidden)]
pub mod spool;
#[doc(hidden)]
pub mod stats;
#[doc(hidden)]
pub mod stdout;
#[doc(hidden)]
pub mod suggest;
#[doc(hidden)]
pub mod system;
