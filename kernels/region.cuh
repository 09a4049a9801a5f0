// Which positions of a map in memory a kernel reduces.
//
// Memory holds a whole map, or a band of rows of a larger one: of its `positions`, `count` from `first` on
// are reduced. In the larger map, which has `whole` positions, they follow each other from `whole_first` on.
#pragma once

#include "vector.cuh"

struct Region {
    u32 positions, first, count, whole, whole_first;

    // Blocks of a pair, of TILE positions each.
    template <u32 TILE> __device__ __forceinline__ u32 blocks() const { return (count + TILE - 1) / TILE; }

    // Of an array (pair, position of the larger map), the element of the counted position `at`.
    __device__ __forceinline__ u64 target(u32 pair, u32 at) const {
        return static_cast<u64>(pair) * whole + whole_first + at;
    }
};

// The arguments of a kernel that make a region.
#define REGION_PARAMETERS u32 positions, u32 first, u32 count, u32 whole, u32 whole_first
#define REGION \
    Region { positions, first, count, whole, whole_first }
