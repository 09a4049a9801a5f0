// What all kernels of the tap share: the two scalar formulas and the sum of a tile.
#pragma once

#include "vector.cuh"

// The norm's reciprocal. An infinite or NaN sum must not vanish: 1 / inf is 0, and inf * 0 is NaN for
// the features that made it so.
static __device__ __forceinline__ float inverse_norm(float sum_of_squares, float eps_inside,
                                                     float eps_outside) {
    const float norm = __fsqrt_rn(__fadd_rn(sum_of_squares, eps_inside));
    return __fdiv_rn(1.0f, __fadd_rn(norm, eps_outside));
}

// lin * (a / |a| - b / |b|)^2 of one channel. Both products are rounded on their own (a fused
// multiply-add would round one of them only), so that equal features differ by exactly nothing.
static __device__ __forceinline__ float weighted_difference(float a, float b, float inverse_a,
                                                            float inverse_b, float lin) {
    const float difference = __fsub_rn(__fmul_rn(a, inverse_a), __fmul_rn(b, inverse_b));
    return lin * (difference * difference);
}

// Writes the sum of a tile's distances, in f64 and in one order, by the block's first warp alone.
template <u32 TILE> __device__ __forceinline__ void sum_tile(double* target, const float* distance) {
    if (threadIdx.x >= WARP) return;
    double sum = 0.0;
#pragma unroll
    for (u32 at = 0; at < TILE; at += WARP) sum += distance[at + threadIdx.x];
#pragma unroll
    for (u32 half = WARP / 2; half > 0; half /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, half);
    if (threadIdx.x == 0) *target = sum;
}
