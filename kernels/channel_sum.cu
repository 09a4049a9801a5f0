// The sum over channels of the reference's features: S_k, the weights of semantic LPIPS.
//
// Formula   dst[pair][position] = sum over channels of features[pair_indices[pair][0]](position).
// Shapes    features nchw (image, c, position) f32, or nhwc (image, position, c) f32 or f16;
//           pair_indices u32 [pair][2]; dst f32 [pair][position].
// Geometry  256 threads. nchw: 256 positions a block, one a thread. nhwc: 32 positions a block; a
//           position is read by the largest power of two of lanes, at most 32, that its vectors employ.
// Traffic   reads the reference's features once a pair, writes 4 bytes a position.
// Determinism  four sums of every fourth channel (nchw), or a sum a lane and a fixed tree over lanes.
// Limits    pairs * ceil(positions / items) < 2^31; nhwc: c a multiple of the vector.
#include "vector.cuh"

constexpr u32 THREADS = 256;
constexpr u32 NHWC_TILE = 32;

template <typename T>
__device__ __forceinline__ void channel_sum_nhwc(float* dst, const T* features, const u32* pair_indices,
                                                 u32 pairs, u32 c, u32 positions) {
    constexpr u32 LENGTH = Vector<T>::LENGTH;
    const u32 tiles = (positions + NHWC_TILE - 1) / NHWC_TILE;
    const u32 pair = blockIdx.x / tiles;
    if (pair >= pairs) return;
    const u32 tile = blockIdx.x - pair * tiles;
    const T* image = features + static_cast<u64>(pair_indices[2 * pair]) * positions * c;
    u32 lanes = WARP;
    while (lanes * LENGTH > c) lanes /= 2;
    const u32 lane = threadIdx.x % lanes;
    const u32 step = THREADS / lanes;
    for (u32 at = threadIdx.x / lanes; at < NHWC_TILE; at += step) {
        const u32 position = tile * NHWC_TILE + at;
        float sum = 0.0f;
        if (position < positions) {
            for (u32 channel = lane * LENGTH; channel < c; channel += lanes * LENGTH) {
                float value[LENGTH];
                Vector<T>::unpack(__ldg(vector_at(image, static_cast<u64>(position) * c + channel)),
                                  value);
#pragma unroll
                for (u32 i = 0; i < LENGTH; ++i) sum += value[i];
            }
        }
        for (u32 half = lanes / 2; half > 0; half /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, half);
        if (lane == 0 && position < positions) dst[static_cast<u64>(pair) * positions + position] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    channel_sum_nchw_f32(float* __restrict__ dst, const float* __restrict__ features,
                         const u32* __restrict__ pair_indices, u32 pairs, u32 c, u32 positions) {
    const u32 tiles = (positions + THREADS - 1) / THREADS;
    const u32 pair = blockIdx.x / tiles;
    const u32 position = (blockIdx.x - pair * tiles) * THREADS + threadIdx.x;
    if (pair >= pairs || position >= positions) return;
    const float* at = features + static_cast<u64>(pair_indices[2 * pair]) * c * positions + position;
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    u32 channel = 0;
#pragma unroll 2
    for (; channel + 4 <= c; channel += 4) {
#pragma unroll
        for (u32 i = 0; i < 4; ++i, at += positions) sums[i] += __ldg(at);
    }
    for (; channel < c; ++channel, at += positions) sums[0] += __ldg(at);
    dst[static_cast<u64>(pair) * positions + position] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    channel_sum_nhwc_f32(float* __restrict__ dst, const float* __restrict__ features,
                         const u32* __restrict__ pair_indices, u32 pairs, u32 c, u32 positions) {
    channel_sum_nhwc(dst, features, pair_indices, pairs, c, positions);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    channel_sum_nhwc_f16(float* __restrict__ dst, const __half* __restrict__ features,
                         const u32* __restrict__ pair_indices, u32 pairs, u32 c, u32 positions) {
    channel_sum_nhwc(dst, features, pair_indices, pairs, c, positions);
}
