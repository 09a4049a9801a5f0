// The tap, nhwc: how far apart the features of the two images of a pair are, reading them once.
//
// Formula   D(position) = sum over channels of lin * (a / norm(a) - b / norm(b))^2,
//           norm(f) = sqrt(sum over channels of f^2 + eps_inside) + eps_outside.
// Shapes    features (image, position, C), f32 or f16; pair_indices u32 [pair][2] (reference,
//           distorted); lin f32 [C]; partial f64 [pair][tiles], of which the tiles from `first_tile` on
//           are written; map f32 [pair][whole], or null. region.cuh says which positions count.
// Geometry  256 threads and TILE positions of one pair a block. LANES lanes hold one position's
//           features of both images in registers, 16 bytes at a time: one pass for the norms, one for
//           the differences, and one read of memory. About 4 vectors of each image are in flight.
// Caches    features bypass L1 and stay in L2 as usual: the next step reads them, and so do other pairs
//           with this reference.
// Traffic   reads both images' features once a pair: 8 (f32) or 4 (f16) * C bytes a position; writes 4
//           bytes a position where the map is wanted, and 8 a tile.
// Determinism  a lane adds its channels in order; xor-trees over lanes, in which all lanes get the same
//           bits; a tile's positions are added in f64. The order depends on C and positions alone.
// Limits    pairs * tiles < 2^31; equal features give exactly 0; an infinite or NaN feature gives NaN.
#include "region.cuh"
#include "tap_nhwc.cuh"

template <typename T, u32 C, u32 LANES, u32 TILE>
__device__ __forceinline__ void tap_nhwc(double* partial, float* map, const T* features,
                                         const u32* pair_indices, const float* lin, u32 pairs,
                                         const Region& region, u32 tiles, u32 first_tile,
                                         float eps_inside, float eps_outside) {
    constexpr u32 LENGTH = Vector<T>::LENGTH;
    constexpr u32 VECTORS = C / (LANES * LENGTH);
    constexpr u32 STEP = THREADS / LANES;
    constexpr u32 AT_ONCE = VECTORS > 2 ? 1 : 4 / VECTORS;
    static_assert(C == VECTORS * LANES * LENGTH, "lanes hold whole vectors");
    static_assert(TILE % (STEP * AT_ONCE) == 0, "a tile is whole rounds");
    __shared__ float distance[TILE];
    const u32 blocks = region.blocks<TILE>();
    const u32 pair = blockIdx.x / blocks;
    if (pair >= pairs) return;
    const u32 tile = blockIdx.x - pair * blocks;
    // Of the positions that count.
    const u32 begin = tile * TILE;
    const u32 lane = threadIdx.x % LANES, slot = threadIdx.x / LANES;
    const T* image_a = features + static_cast<u64>(pair_indices[2 * pair]) * region.positions * C;
    const T* image_b = features + static_cast<u64>(pair_indices[2 * pair + 1]) * region.positions * C;
    float own_lin[VECTORS * LENGTH];
    load_lin<T, VECTORS, LANES>(own_lin, lin, lane);
#pragma unroll 1
    for (u32 round = 0; round < TILE; round += STEP * AT_ONCE) {
        Held<T, VECTORS> held[AT_ONCE];
#pragma unroll
        for (u32 k = 0; k < AT_ONCE; ++k) {
            const u32 counted = begin + round + k * STEP + slot;
            const u64 at = static_cast<u64>(region.first + counted) * C + lane * LENGTH;
#pragma unroll
            for (u32 v = 0; v < VECTORS; ++v) {
                // Lanes past the last position hold zeros: they still take part in the shuffles.
                held[k].a[v] = held[k].b[v] = make_uint4(0, 0, 0, 0);
                if (counted < region.count) {
                    held[k].a[v] = __ldcg(vector_at(image_a, at + v * (LANES * LENGTH)));
                    held[k].b[v] = __ldcg(vector_at(image_b, at + v * (LANES * LENGTH)));
                }
            }
        }
#pragma unroll
        for (u32 k = 0; k < AT_ONCE; ++k) {
            const u32 in_tile = round + k * STEP + slot;
            const bool inside = begin + in_tile < region.count;
            const float value =
                distance_of<T, VECTORS, LANES>(held[k], own_lin, eps_inside, eps_outside);
            if (lane == 0) {
                distance[in_tile] = inside ? value : 0.0f;
                if (map != nullptr && inside) __stcs(map + region.target(pair, begin + in_tile), value);
            }
        }
    }
    __syncthreads();
    sum_tile<TILE>(partial + static_cast<u64>(pair) * tiles + first_tile + tile, distance);
}

#define TAP(NAME, T, C, LANES, TILE)                                                               \
    extern "C" __global__ void __launch_bounds__(THREADS)                                          \
        NAME(double* __restrict__ partial, float* __restrict__ map, const T* __restrict__ features, \
             const u32* __restrict__ pair_indices, const float* __restrict__ lin, u32 pairs,       \
             REGION_PARAMETERS, u32 tiles, u32 first_tile, float eps_inside, float eps_outside) {  \
        tap_nhwc<T, C, LANES, TILE>(partial, map, features, pair_indices, lin, pairs, REGION,      \
                                    tiles, first_tile, eps_inside, eps_outside);                   \
    }

TAP(tap_nhwc_f32_c64, float, 64, 16, 128)
TAP(tap_nhwc_f32_c128, float, 128, 32, 64)
TAP(tap_nhwc_f32_c192, float, 192, 16, 32)
TAP(tap_nhwc_f32_c256, float, 256, 32, 32)
TAP(tap_nhwc_f32_c384, float, 384, 32, 32)
TAP(tap_nhwc_f32_c512, float, 512, 32, 32)
TAP(tap_nhwc_f16_c64, __half, 64, 8, 128)
TAP(tap_nhwc_f16_c128, __half, 128, 16, 64)
TAP(tap_nhwc_f16_c192, __half, 192, 8, 32)
TAP(tap_nhwc_f16_c256, __half, 256, 32, 32)
TAP(tap_nhwc_f16_c384, __half, 384, 16, 32)
TAP(tap_nhwc_f16_c512, __half, 512, 32, 32)
