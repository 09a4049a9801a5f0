// How a map is divided for a tap and the max-pooling behind it, in one kernel.
//
// A cell is 2x2 positions; the cells of a map are numbered in row-major order. At stride 2 a window of
// the pooling begins where a cell does, so each position and each window belongs to one cell. A cell of
// the last row or column may lie in part outside the map, and may have no window.
#pragma once

#include "pool.cuh"
#include "tap.cuh"

constexpr u32 SIDE = 2;
constexpr u32 CELL = SIDE * SIDE;

// The first position of a cell.
struct Cell {
    u32 y, x;
};

struct Cells {
    u32 height, width, height_out, width_out;

    __device__ __forceinline__ u32 positions() const { return height * width; }
    __device__ __forceinline__ u32 columns() const { return (width + 1) / SIDE; }
    __device__ __forceinline__ u32 count() const { return (height + 1) / SIDE * columns(); }

    // Blocks of a pair, of CELLS cells each.
    template <u32 CELLS> __device__ __forceinline__ u32 blocks() const {
        return (count() + CELLS - 1) / CELLS;
    }

    // Past the last cell this is outside the map.
    __device__ __forceinline__ Cell at(u32 index) const {
        const u32 row = index / columns();
        return Cell{row * SIDE, (index - row * columns()) * SIDE};
    }

    __device__ __forceinline__ bool inside(u32 y, u32 x) const { return y < height && x < width; }

    // The position (y, x), or the nearest one inside the map: every load is issued without a condition,
    // and a maximum does not change when an element of its window counts twice.
    __device__ __forceinline__ u32 nearest(u32 y, u32 x) const {
        return min(y, height - 1) * width + min(x, width - 1);
    }

    __device__ __forceinline__ bool has_window(const Cell& cell) const {
        return cell.y / SIDE < height_out && cell.x / SIDE < width_out;
    }

    // The position of a cell's window in the pooled map.
    __device__ __forceinline__ u32 target(const Cell& cell) const {
        return cell.y / SIDE * width_out + cell.x / SIDE;
    }
};

// Windows of 3x3 overlap: what they share is read again, from L1.
template <u32 KERNEL, typename T> __device__ __forceinline__ T load(const T* address) {
    return KERNEL > SIDE ? __ldg(address) : __ldcg(address);
}
