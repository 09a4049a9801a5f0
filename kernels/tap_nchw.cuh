// What the nchw kernels of the tap share: the distances of a tile, by a whole block.
#pragma once

#include "tap.cuh"

// Of a tile of PER_LANE * 32 positions, whose features the warps hold (image, position of every 32,
// channel), thread t gets D of position t. Threads past the tile get 0. Shared memory joins the warps: a
// pass for the norms, and one for the differences.
template <u32 CHANNELS, u32 WARPS, u32 PER_LANE>
__device__ __forceinline__ float distance_of(const float (&held)[2][PER_LANE][CHANNELS],
                                             const float* lin, float eps_inside, float eps_outside) {
    constexpr u32 TILE = PER_LANE * WARP;
    static_assert(TILE <= WARPS * WARP, "a thread a position joins the warps");
    __shared__ float sums[2][WARPS][TILE];
    __shared__ float inverse[2][TILE];
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
#pragma unroll
    for (u32 side = 0; side < 2; ++side) {
#pragma unroll
        for (u32 k = 0; k < PER_LANE; ++k) {
            float sum = 0.0f;
#pragma unroll
            for (u32 channel = 0; channel < CHANNELS; ++channel) {
                sum += held[side][k][channel] * held[side][k][channel];
            }
            sums[side][warp][k * WARP + lane] = sum;
        }
    }
    __syncthreads();
    if (threadIdx.x < TILE) {
#pragma unroll
        for (u32 side = 0; side < 2; ++side) {
            float sum = 0.0f;
#pragma unroll
            for (u32 w = 0; w < WARPS; ++w) sum += sums[side][w][threadIdx.x];
            inverse[side][threadIdx.x] = inverse_norm(sum, eps_inside, eps_outside);
        }
    }
    __syncthreads();

#pragma unroll
    for (u32 k = 0; k < PER_LANE; ++k) {
        const float inverse_a = inverse[0][k * WARP + lane], inverse_b = inverse[1][k * WARP + lane];
        float sum = 0.0f;
#pragma unroll
        for (u32 channel = 0; channel < CHANNELS; ++channel) {
            sum += weighted_difference(held[0][k][channel], held[1][k][channel], inverse_a, inverse_b,
                                       __ldg(lin + warp * CHANNELS + channel));
        }
        sums[0][warp][k * WARP + lane] = sum;
    }
    __syncthreads();
    float distance = 0.0f;
    if (threadIdx.x < TILE) {
#pragma unroll
        for (u32 w = 0; w < WARPS; ++w) distance += sums[0][w][threadIdx.x];
    }
    return distance;
}
