//! LPIPS (Learned Perceptual Image Patch Similarity) for whole data sets of image pairs.
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
//! (the flow) and [`check`] (a look at the inputs without it), [`shard`] and [`signals`] (what
//! schedulers say), then [`manifest`], [`masks`], [`image`],
//! [`batch`], [`run`] with [`stats`], [`compare`] (what differences of scores prove), [`progress`],
//! [`eval`], and at the bottom [`net`].

pub mod batch;
pub mod check;
pub mod cli;
pub mod code;
pub mod column;
pub mod commands;
pub mod compare;
pub mod config;
pub mod decimal;
pub mod device;
pub mod error;
pub mod eval;
pub mod fetch;
pub mod hash;
pub mod image;
pub mod manifest;
pub mod masks;
pub mod metric;
pub mod net;
pub mod oracle;
pub mod pair;
pub mod pairing;
mod part_file;
pub mod pipeline;
pub mod progress;
pub mod random;
pub mod run;
pub mod scheduler;
pub mod selftest;
pub mod shard;
pub mod signals;
pub mod source;
pub mod spool;
pub mod stats;
pub mod stdout;
pub mod suggest;
pub mod system;
