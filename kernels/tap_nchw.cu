// The tap, nchw: how far apart the features of the two images of a pair are, reading them once.
//
// Formula   D(position) = sum over channels of lin * (a / norm(a) - b / norm(b))^2,
//           norm(f) = sqrt(sum over channels of f^2 + eps_inside) + eps_outside.
// Shapes    features f32 (image, C, position); pair_indices u32 [pair][2] (reference, distorted);
//           lin f32 [C]; partial f64 [pair][tiles], of which the tiles from `first_tile` on are written;
//           map f32 [pair][whole], or null. region.cuh says which positions count.
// Geometry  WARPS warps and TILE positions of one pair a block. A warp holds C / WARPS channels of all
//           positions of the tile in registers, a lane one position of every 32, so that a load is 128
//           consecutive bytes: one pass for the norms, one for the differences, and one read of memory.
//           Every thread has 48 or 64 loads in flight. Shared memory joins the warps.
// Caches    as tap_nhwc.
// Traffic   reads both images' features once a pair: 8 * C bytes a position; writes 4 bytes a position
//           where the map is wanted, and 8 a tile.
// Determinism  a thread adds its channels in order, one thread adds the warps in order; a tile's
//           positions are added in f64. The order depends on C and positions alone.
// Limits    pairs * tiles < 2^31; equal features give exactly 0; an infinite or NaN feature gives NaN.
#include "region.cuh"
#include "tap_nchw.cuh"

template <u32 C, u32 WARPS, u32 TILE>
__device__ __forceinline__ void tap_nchw(double* partial, float* map, const float* features,
                                         const u32* pair_indices, const float* lin, u32 pairs,
                                         const Region& region, u32 tiles, u32 first_tile,
                                         float eps_inside, float eps_outside) {
    constexpr u32 CHANNELS = C / WARPS;
    constexpr u32 PER_LANE = TILE / WARP;
    static_assert(C == CHANNELS * WARPS && TILE % WARP == 0, "warps hold whole channels");
    __shared__ float distance[TILE];
    const u32 blocks = region.blocks<TILE>();
    const u32 pair = blockIdx.x / blocks;
    if (pair >= pairs) return;
    const u32 tile = blockIdx.x - pair * blocks;
    // Of the positions that count.
    const u32 begin = tile * TILE;
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;

    float held[2][PER_LANE][CHANNELS];
#pragma unroll
    for (u32 side = 0; side < 2; ++side) {
        const u64 plane = static_cast<u64>(pair_indices[2 * pair + side]) * C + warp * CHANNELS;
        const float* at = features + plane * region.positions + region.first + begin + lane;
#pragma unroll
        for (u32 channel = 0; channel < CHANNELS; ++channel, at += region.positions) {
#pragma unroll
            for (u32 k = 0; k < PER_LANE; ++k) {
                const bool inside = begin + k * WARP + lane < region.count;
                held[side][k][channel] = inside ? __ldcg(at + k * WARP) : 0.0f;
            }
        }
    }
    const float value = distance_of<CHANNELS, WARPS, PER_LANE>(held, lin, eps_inside, eps_outside);
    if (threadIdx.x < TILE) {
        const bool inside = begin + threadIdx.x < region.count;
        distance[threadIdx.x] = inside ? value : 0.0f;
        if (map != nullptr && inside) __stcs(map + region.target(pair, begin + threadIdx.x), value);
    }
    __syncthreads();
    sum_tile<TILE>(partial + static_cast<u64>(pair) * tiles + first_tile + tile, distance);
}

#define TAP(NAME, C, WARPS, TILE)                                                                  \
    extern "C" __global__ void __launch_bounds__(WARPS * WARP)                                     \
        NAME(double* __restrict__ partial, float* __restrict__ map,                                \
             const float* __restrict__ features, const u32* __restrict__ pair_indices,             \
             const float* __restrict__ lin, u32 pairs, REGION_PARAMETERS, u32 tiles,               \
             u32 first_tile, float eps_inside, float eps_outside) {                                \
        tap_nchw<C, WARPS, TILE>(partial, map, features, pair_indices, lin, pairs, REGION, tiles,  \
                                 first_tile, eps_inside, eps_outside);                             \
    }

TAP(tap_nchw_f32_c64, 64, 8, 128)
TAP(tap_nchw_f32_c128, 128, 8, 64)
TAP(tap_nchw_f32_c192, 192, 8, 32)
TAP(tap_nchw_f32_c256, 256, 8, 32)
TAP(tap_nchw_f32_c384, 384, 16, 32)
TAP(tap_nchw_f32_c512, 512, 16, 32)
