// What the kernels of max-pooling share.
#pragma once

#include "vector.cuh"

constexpr u32 MINUS_INFINITY = 0xff800000u;

// The larger of two numbers. NaN wins, as in PyTorch.
static __device__ __forceinline__ float larger(float old, float value) {
    return value > old || value != value ? value : old;
}
