// The tap and the max-pooling behind it, nhwc: both need the same features, which are read once.
//
// Formula   D as in tap_nhwc.cu, of all positions. pooled(Y, X) = the largest of the KERNEL x KERNEL
//           features from (2 Y, 2 X) on; windows and NaN as in max_pool.cu.
// Shapes    features (image, row, column, C) and pooled (image, row_out, column_out, C), f32 or f16;
//           pair_indices u32 [pair][2] (reference, distorted); pools u32 [pair][2]: not 0 where the pair
//           writes the pooled map of that image, which one pair at most does for each image; lin f32 [C];
//           partial f64 [pair][tile]; map f32 [pair][position], or null.
// Geometry  256 threads and CELLS cells of one pair a block (cells.cuh). LANES lanes hold the features of
//           one position of both images, 16 bytes at a time, of as many positions as tap_nhwc.cu does.
//           Where windows are cells, their largest features stay in registers; others are read again.
// Caches    features bypass L1 where windows do not overlap, and stay in L2 for other pairs.
// Traffic   reads both images' features once a pair, and writes the pooled map of each image once. Windows
//           of 3x3 read 9 positions again for every 4, from the caches.
// Determinism  D has the bits of tap_nhwc.cu. A tile's positions are added in f64, in an order that
//           depends on C, height and width alone; a maximum has no order.
// Limits    pairs * tiles < 2^31. NaN as in tap_nhwc.cu and max_pool.cu.
#include "cells.cuh"
#include "tap_nhwc.cuh"

// The largest features of a window so far.
template <typename T, u32 VECTORS>
__device__ __forceinline__ void widen(float* most, const uint4 (&raw)[VECTORS]) {
    constexpr u32 LENGTH = Vector<T>::LENGTH;
#pragma unroll
    for (u32 v = 0; v < VECTORS; ++v) {
        float value[LENGTH];
        Vector<T>::unpack(raw[v], value);
#pragma unroll
        for (u32 i = 0; i < LENGTH; ++i) most[v * LENGTH + i] = larger(most[v * LENGTH + i], value[i]);
    }
}

template <typename T, u32 C, u32 LANES, u32 CELLS, u32 KERNEL>
__device__ __forceinline__ void tap_pool_nhwc(double* partial, float* map, T* pooled, const T* features,
                                              const u32* pair_indices, const u32* pools,
                                              const float* lin, u32 pairs, const Cells& cells,
                                              float eps_inside, float eps_outside) {
    constexpr u32 LENGTH = Vector<T>::LENGTH;
    constexpr u32 VECTORS = C / (LANES * LENGTH);
    constexpr u32 STEP = THREADS / LANES;
    constexpr u32 AT_ONCE = VECTORS > 2 ? 1 : CELL / VECTORS;
    // Whether windows are cells.
    constexpr bool IS_CELL = KERNEL == SIDE;
    static_assert(C == VECTORS * LANES * LENGTH, "lanes hold whole vectors");
    static_assert(CELLS % STEP == 0, "a tile is whole rounds");
    __shared__ float distance[CELLS * CELL];
    const u32 blocks = cells.blocks<CELLS>();
    const u32 pair = blockIdx.x / blocks;
    if (pair >= pairs) return;
    const u32 tile = blockIdx.x - pair * blocks;
    const u32 lane = threadIdx.x % LANES, slot = threadIdx.x / LANES;
    const u64 image_a = pair_indices[2 * pair], image_b = pair_indices[2 * pair + 1];
    const bool pools_a = pools[2 * pair] != 0, pools_b = pools[2 * pair + 1] != 0;
    const T* features_a = features + image_a * cells.positions() * C + lane * LENGTH;
    const T* features_b = features + image_b * cells.positions() * C + lane * LENGTH;
    float own_lin[VECTORS * LENGTH];
    load_lin<T, VECTORS, LANES>(own_lin, lin, lane);
    const auto read = [&](uint4(&raw)[VECTORS], const T* image, u32 y, u32 x) {
        const u64 at = static_cast<u64>(cells.nearest(y, x)) * C;
#pragma unroll
        for (u32 v = 0; v < VECTORS; ++v) {
            raw[v] = load<KERNEL>(vector_at(image, at + v * (LANES * LENGTH)));
        }
    };
#pragma unroll 1
    for (u32 round = 0; round < CELLS; round += STEP) {
        const Cell cell = cells.at(tile * CELLS + round + slot);
        float most_a[VECTORS * LENGTH], most_b[VECTORS * LENGTH];
#pragma unroll
        for (u32 i = 0; i < VECTORS * LENGTH; ++i) {
            most_a[i] = most_b[i] = __uint_as_float(MINUS_INFINITY);
        }
#pragma unroll 1
        for (u32 first = 0; first < CELL; first += AT_ONCE) {
            Held<T, VECTORS> held[AT_ONCE];
#pragma unroll
            for (u32 k = 0; k < AT_ONCE; ++k) {
                const u32 y = cell.y + (first + k) / SIDE, x = cell.x + (first + k) % SIDE;
                read(held[k].a, features_a, y, x);
                read(held[k].b, features_b, y, x);
            }
#pragma unroll
            for (u32 k = 0; k < AT_ONCE; ++k) {
                const u32 y = cell.y + (first + k) / SIDE, x = cell.x + (first + k) % SIDE;
                const bool inside = cells.inside(y, x);
                const float value =
                    distance_of<T, VECTORS, LANES>(held[k], own_lin, eps_inside, eps_outside);
                if (lane == 0) {
                    distance[(round + slot) * CELL + first + k] = inside ? value : 0.0f;
                    if (map != nullptr && inside) {
                        __stcs(map + static_cast<u64>(pair) * cells.positions() + cells.nearest(y, x),
                               value);
                    }
                }
                if (IS_CELL) {
                    widen<T>(most_a, held[k].a);
                    widen<T>(most_b, held[k].b);
                }
            }
        }
        const bool has_window = cells.has_window(cell);
        const auto pool = [&](const T* image, u64 index, float* most) {
#pragma unroll 1
            for (u32 i = 0; i < (IS_CELL ? 0 : KERNEL); ++i) {
#pragma unroll
                for (u32 j = 0; j < KERNEL; ++j) {
                    uint4 raw[VECTORS];
                    read(raw, image, cell.y + i, cell.x + j);
                    widen<T>(most, raw);
                }
            }
            const u64 at = index * cells.height_out * cells.width_out + cells.target(cell);
#pragma unroll
            for (u32 v = 0; v < VECTORS; ++v) {
                *vector_at(pooled, at * C + (v * LANES + lane) * LENGTH) =
                    Vector<T>::pack(most + v * LENGTH);
            }
        };
        if (pools_a && has_window) pool(features_a, image_a, most_a);
        if (pools_b && has_window) pool(features_b, image_b, most_b);
    }
    __syncthreads();
    sum_tile<CELLS * CELL>(partial + static_cast<u64>(pair) * blocks + tile, distance);
}

// Blocks an SM should hold: with one vector a position there are registers for a third.
#define RESIDENT(T, C, LANES) (C == LANES * Vector<T>::LENGTH ? 3 : 2)

#define TAP_POOL(NAME, T, C, LANES, CELLS, KERNEL)                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT(T, C, LANES))                       \
        NAME(double* __restrict__ partial, float* __restrict__ map, T* __restrict__ pooled,          \
             const T* __restrict__ features, const u32* __restrict__ pair_indices,                   \
             const u32* __restrict__ pools, const float* __restrict__ lin, u32 pairs, u32 height,    \
             u32 width, u32 height_out, u32 width_out, float eps_inside, float eps_outside) {        \
        tap_pool_nhwc<T, C, LANES, CELLS, KERNEL>(                                                   \
            partial, map, pooled, features, pair_indices, pools, lin, pairs,                         \
            Cells{height, width, height_out, width_out}, eps_inside, eps_outside);                   \
    }

TAP_POOL(tap_pool2_nhwc_f32_c64, float, 64, 16, 32, 2)
TAP_POOL(tap_pool2_nhwc_f32_c128, float, 128, 32, 16, 2)
TAP_POOL(tap_pool2_nhwc_f32_c256, float, 256, 32, 8, 2)
TAP_POOL(tap_pool2_nhwc_f32_c512, float, 512, 32, 8, 2)
TAP_POOL(tap_pool3_nhwc_f32_c64, float, 64, 16, 32, 3)
TAP_POOL(tap_pool3_nhwc_f32_c128, float, 128, 32, 16, 3)
TAP_POOL(tap_pool3_nhwc_f32_c192, float, 192, 16, 32, 3)
TAP_POOL(tap_pool3_nhwc_f32_c256, float, 256, 32, 8, 3)
TAP_POOL(tap_pool2_nhwc_f16_c64, __half, 64, 8, 32, 2)
TAP_POOL(tap_pool2_nhwc_f16_c128, __half, 128, 16, 16, 2)
TAP_POOL(tap_pool2_nhwc_f16_c256, __half, 256, 32, 8, 2)
TAP_POOL(tap_pool2_nhwc_f16_c512, __half, 512, 32, 8, 2)
TAP_POOL(tap_pool3_nhwc_f16_c64, __half, 64, 8, 32, 3)
TAP_POOL(tap_pool3_nhwc_f16_c128, __half, 128, 16, 16, 3)
TAP_POOL(tap_pool3_nhwc_f16_c192, __half, 192, 8, 32, 3)
TAP_POOL(tap_pool3_nhwc_f16_c256, __half, 256, 32, 8, 3)
