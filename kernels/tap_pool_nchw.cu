// The tap and the max-pooling behind it, nchw: both need the same features, which are read once.
//
// Formula   as tap_pool_nhwc.cu
// Shapes    as there, with features f32 (image, C, row, column) and pooled (image, C, row_out, column_out).
// Geometry  WARPS warps and CELLS cells of one pair a block (cells.cuh). A warp holds C / WARPS channels of
//           all cells in registers, a lane one position of every 32: lanes 0 to 15 the upper positions of
//           8 cells, lanes 16 to 31 the lower ones, so that a load is twice 64 consecutive bytes where the
//           cells are in one row. Shuffles join the four positions of a cell.
// Caches    as tap_pool_nhwc.cu
// Traffic   as there. Windows of 3x3 read 12 positions again for every 4, from the caches.
// Determinism  D has the bits of tap_nchw.cu; otherwise as tap_pool_nhwc.cu
// Limits    as there.
#include "cells.cuh"
#include "tap_nchw.cuh"

template <u32 C, u32 WARPS, u32 CELLS, u32 KERNEL>
__device__ __forceinline__ void tap_pool_nchw(double* partial, float* map, float* pooled,
                                              const float* features, const u32* pair_indices,
                                              const u32* pools, const float* lin, u32 pairs,
                                              const Cells& cells, float eps_inside, float eps_outside) {
    constexpr u32 CHANNELS = C / WARPS;
    constexpr u32 TILE = CELLS * CELL;
    constexpr u32 PER_LANE = TILE / WARP;
    constexpr u32 CELLS_AT_ONCE = WARP / CELL;
    // Lanes that hold the neighbours of a position in its cell differ in these bits.
    constexpr u32 RIGHT = 1, BELOW = WARP / SIDE;
    static_assert(C == CHANNELS * WARPS && TILE % WARP == 0, "warps hold whole channels");
    __shared__ float distance[TILE];
    const u32 blocks = cells.blocks<CELLS>();
    const u32 pair = blockIdx.x / blocks;
    if (pair >= pairs) return;
    const u32 tile = blockIdx.x - pair * blocks;
    const u32 lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    const auto cell_of = [&](u32 k) {
        return cells.at(tile * CELLS + k * CELLS_AT_ONCE + lane % BELOW / SIDE);
    };
    const u32 down = lane / BELOW, right = lane % SIDE;

    float held[2][PER_LANE][CHANNELS];
#pragma unroll
    for (u32 side = 0; side < 2; ++side) {
        const u64 plane = static_cast<u64>(pair_indices[2 * pair + side]) * C + warp * CHANNELS;
        const float* image = features + plane * cells.positions();
#pragma unroll
        for (u32 k = 0; k < PER_LANE; ++k) {
            const Cell cell = cell_of(k);
            const float* at = image + cells.nearest(cell.y + down, cell.x + right);
#pragma unroll
            for (u32 channel = 0; channel < CHANNELS; ++channel, at += cells.positions()) {
                held[side][k][channel] = load<KERNEL>(at);
            }
        }
    }
#pragma unroll
    for (u32 side = 0; side < 2; ++side) {
        if (pools[2 * pair + side] == 0) continue;
        const u64 plane = static_cast<u64>(pair_indices[2 * pair + side]) * C + warp * CHANNELS;
        const u32 positions_out = cells.height_out * cells.width_out;
#pragma unroll
        for (u32 k = 0; k < PER_LANE; ++k) {
            const Cell cell = cell_of(k);
            const bool writes = down + right == 0 && cells.has_window(cell);
            const float* image = features + plane * cells.positions();
            float* target = pooled + plane * positions_out + cells.target(cell);
#pragma unroll
            for (u32 channel = 0; channel < CHANNELS; ++channel) {
                float most = held[side][k][channel];
                // The window is all positions of the cell with the KERNEL - 2 rows and columns behind each.
#pragma unroll
                for (u32 at = 1; at < (KERNEL - 1) * (KERNEL - 1); ++at) {
                    const u32 i = at / (KERNEL - 1), j = at % (KERNEL - 1);
                    const u32 position = cells.nearest(cell.y + down + i, cell.x + right + j);
                    most = larger(most, load<KERNEL>(image + position));
                }
                most = larger(most, __shfl_xor_sync(ALL_LANES, most, RIGHT));
                most = larger(most, __shfl_xor_sync(ALL_LANES, most, BELOW));
                if (writes) *target = most;
                image += cells.positions();
                target += positions_out;
            }
        }
    }
    const float value = distance_of<CHANNELS, WARPS, PER_LANE>(held, lin, eps_inside, eps_outside);
    if (threadIdx.x < TILE) {
        const Cell cell = cell_of(warp);
        const u32 y = cell.y + down, x = cell.x + right;
        const bool inside = cells.inside(y, x);
        distance[threadIdx.x] = inside ? value : 0.0f;
        if (map != nullptr && inside) {
            __stcs(map + static_cast<u64>(pair) * cells.positions() + cells.nearest(y, x), value);
        }
    }
    __syncthreads();
    sum_tile<TILE>(partial + static_cast<u64>(pair) * blocks + tile, distance);
}

#define TAP_POOL(NAME, C, WARPS, CELLS, KERNEL)                                                      \
    extern "C" __global__ void __launch_bounds__(WARPS * WARP)                                       \
        NAME(double* __restrict__ partial, float* __restrict__ map, float* __restrict__ pooled,      \
             const float* __restrict__ features, const u32* __restrict__ pair_indices,               \
             const u32* __restrict__ pools, const float* __restrict__ lin, u32 pairs, u32 height,    \
             u32 width, u32 height_out, u32 width_out, float eps_inside, float eps_outside) {        \
        tap_pool_nchw<C, WARPS, CELLS, KERNEL>(                                                      \
            partial, map, pooled, features, pair_indices, pools, lin, pairs,                         \
            Cells{height, width, height_out, width_out}, eps_inside, eps_outside);                   \
    }

TAP_POOL(tap_pool2_nchw_f32_c64, 64, 8, 32, 2)
TAP_POOL(tap_pool2_nchw_f32_c128, 128, 8, 16, 2)
TAP_POOL(tap_pool2_nchw_f32_c256, 256, 8, 8, 2)
TAP_POOL(tap_pool2_nchw_f32_c512, 512, 16, 8, 2)
TAP_POOL(tap_pool3_nchw_f32_c64, 64, 8, 32, 3)
TAP_POOL(tap_pool3_nchw_f32_c128, 128, 8, 16, 3)
TAP_POOL(tap_pool3_nchw_f32_c192, 192, 8, 8, 3)
TAP_POOL(tap_pool3_nchw_f32_c256, 256, 8, 8, 3)
