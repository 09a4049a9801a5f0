// The sum over channels of the reference's features: S_k, the weights of semantic LPIPS.
//
// Formula   dst[pair][position] = sum over channels of features[pair_indices[pair][0]](position), of the
//           positions that count (region.cuh).
// Shapes    features nchw (image, c, position) f32, or nhwc (image, position, c) f32 or f16;
//           pair_indices u32 [pair][2]; dst f32 [pair][whole].
// Geometry  256 threads. nchw: 256 positions a block, one a thread. nhwc: 32 positions a block; a
//           position is read by the largest power of two of lanes, at most 32, that its vectors employ.
// Traffic   reads the reference's features once a pair, writes 4 bytes a position.
// Determinism  four sums of every fourth channel (nchw), or a sum a lane and a fixed tree over lanes.
// Limits    pairs * ceil(positions / items) < 2^31; nhwc: c a multiple of the vector.
#include "region.cuh"

constexpr u32 THREADS = 256;
constexpr u32 NHWC_TILE = 32;

template <typename T>
__device__ __forceinline__ void channel_sum_nhwc(float* dst, const T* features, const u32* pair_indices,
                                                 u32 pairs, u32 c, const Region& region) {
    constexpr u32 LENGTH = Vector<T>::LENGTH;
    const u32 blocks = region.blocks<NHWC_TILE>();
    const u32 pair = blockIdx.x / blocks;
    if (pair >= pairs) return;
    const u32 tile = blockIdx.x - pair * blocks;
    const u64 image_first = static_cast<u64>(pair_indices[2 * pair]) * region.positions + region.first;
    const T* image = features + image_first * c;
    u32 lanes = WARP;
    while (lanes * LENGTH > c) lanes /= 2;
    const u32 lane = threadIdx.x % lanes;
    const u32 step = THREADS / lanes;
    for (u32 at = threadIdx.x / lanes; at < NHWC_TILE; at += step) {
        const u32 position = tile * NHWC_TILE + at;
        float sum = 0.0f;
        if (position < region.count) {
            for (u32 channel = lane * LENGTH; channel < c; channel += lanes * LENGTH) {
                float value[LENGTH];
                Vector<T>::unpack(__ldg(vector_at(image, static_cast<u64>(position) * c + channel)),
                                  value);
#pragma unroll
                for (u32 i = 0; i < LENGTH; ++i) sum += value[i];
            }
        }
        for (u32 half = lanes / 2; half > 0; half /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, half);
        if (lane == 0 && position < region.count) dst[region.target(pair, position)] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    channel_sum_nchw_f32(float* __restrict__ dst, const float* __restrict__ features,
                         const u32* __restrict__ pair_indices, u32 pairs, u32 c, REGION_PARAMETERS) {
    const Region region = REGION;
    const u32 blocks = region.blocks<THREADS>();
    const u32 pair = blockIdx.x / blocks;
    const u32 position = (blockIdx.x - pair * blocks) * THREADS + threadIdx.x;
    if (pair >= pairs || position >= count) return;
    const u64 plane = static_cast<u64>(pair_indices[2 * pair]) * c;
    const float* at = features + plane * positions + first + position;
    float sums[4] = {0.0f, 0.0f, 0.0f, 0.0f};
    u32 channel = 0;
#pragma unroll 2
    for (; channel + 4 <= c; channel += 4) {
#pragma unroll
        for (u32 i = 0; i < 4; ++i, at += positions) sums[i] += __ldg(at);
    }
    for (; channel < c; ++channel, at += positions) sums[0] += __ldg(at);
    dst[region.target(pair, position)] = (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    channel_sum_nhwc_f32(float* __restrict__ dst, const float* __restrict__ features,
                         const u32* __restrict__ pair_indices, u32 pairs, u32 c, REGION_PARAMETERS) {
    channel_sum_nhwc(dst, features, pair_indices, pairs, c,
                     REGION);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    channel_sum_nhwc_f16(float* __restrict__ dst, const __half* __restrict__ features,
                         const u32* __restrict__ pair_indices, u32 pairs, u32 c, REGION_PARAMETERS) {
    channel_sum_nhwc(dst, features, pair_indices, pairs, c,
                     REGION);
}
