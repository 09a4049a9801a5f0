//! LPIPS (Learned Perceptual Image Patch Similarity) for whole data sets of image pairs.

pub mod batch;
pub mod eval;
pub mod image;
pub mod net;
