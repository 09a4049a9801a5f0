// What the nhwc kernels of the tap share: the distance of one position, by LANES lanes.
#pragma once

#include "tap.cuh"

constexpr u32 THREADS = 256;

// The features of one position that a lane holds.
template <typename T, u32 VECTORS> struct Held {
    uint4 a[VECTORS], b[VECTORS];
};

// The weights of the channels that a lane holds.
template <typename T, u32 VECTORS, u32 LANES>
__device__ __forceinline__ void load_lin(float* own, const float* lin, u32 lane) {
    constexpr u32 LENGTH = Vector<T>::LENGTH;
#pragma unroll
    for (u32 v = 0; v < VECTORS; ++v) {
#pragma unroll
        for (u32 i = 0; i < LENGTH; i += 4) {
            const u32 channel = (v * LANES + lane) * LENGTH + i;
            Vector<float>::unpack(__ldg(vector_at(lin, channel)), own + v * LENGTH + i);
        }
    }
}

template <u32 LANES> __device__ __forceinline__ float lanes_sum(float sum) {
#pragma unroll
    for (u32 half = LANES / 2; half > 0; half /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, half);
    return sum;
}

// D of one position, the same in all LANES lanes.
template <typename T, u32 VECTORS, u32 LANES>
__device__ __forceinline__ float distance_of(const Held<T, VECTORS>& held, const float* lin,
                                             float eps_inside, float eps_outside) {
    constexpr u32 LENGTH = Vector<T>::LENGTH;
    float squares_a = 0.0f, squares_b = 0.0f;
#pragma unroll
    for (u32 v = 0; v < VECTORS; ++v) {
        float a[LENGTH], b[LENGTH];
        Vector<T>::unpack(held.a[v], a);
        Vector<T>::unpack(held.b[v], b);
#pragma unroll
        for (u32 i = 0; i < LENGTH; ++i) {
            squares_a += a[i] * a[i];
            squares_b += b[i] * b[i];
        }
    }
    const float inverse_a = inverse_norm(lanes_sum<LANES>(squares_a), eps_inside, eps_outside);
    const float inverse_b = inverse_norm(lanes_sum<LANES>(squares_b), eps_inside, eps_outside);
    float sum = 0.0f;
#pragma unroll
    for (u32 v = 0; v < VECTORS; ++v) {
        float a[LENGTH], b[LENGTH];
        Vector<T>::unpack(held.a[v], a);
        Vector<T>::unpack(held.b[v], b);
#pragma unroll
        for (u32 i = 0; i < LENGTH; ++i) {
            sum += weighted_difference(a[i], b[i], inverse_a, inverse_b, lin[v * LENGTH + i]);
        }
    }
    return lanes_sum<LANES>(sum);
}
