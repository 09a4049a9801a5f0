//! CUDA: what scores batches on NVIDIA GPUs.
//!
//! [`signature`] describes the kernels of `kernels/`, which do everything around the convolutions.

pub mod signature;
