// 16-byte vectors of consecutive channels: how the NHWC kernels load, convert and store features.
//
// Arithmetic is always f32: f16 is a format of storage, rounded to nearest even on the way out.
// Included by the kernels alone; NVRTC and the host build read this same file.
#pragma once

#include <cuda_fp16.h>

typedef unsigned int u32;
typedef unsigned long long u64;

// Lanes of a warp, and the mask that names them all: every shuffle is executed by whole warps.
constexpr u32 WARP = 32;
constexpr u32 ALL_LANES = 0xffffffffu;

template <typename T> struct Vector;

template <> struct Vector<float> {
    static constexpr u32 LENGTH = 4;

    static __device__ __forceinline__ void unpack(const uint4& raw, float* value) {
        value[0] = __uint_as_float(raw.x);
        value[1] = __uint_as_float(raw.y);
        value[2] = __uint_as_float(raw.z);
        value[3] = __uint_as_float(raw.w);
    }

    static __device__ __forceinline__ uint4 pack(const float* value) {
        return make_uint4(__float_as_uint(value[0]), __float_as_uint(value[1]),
                          __float_as_uint(value[2]), __float_as_uint(value[3]));
    }
};

template <> struct Vector<__half> {
    static constexpr u32 LENGTH = 8;

    union Two {
        u32 raw;
        __half2 value;
        __device__ __forceinline__ Two() : raw(0) {}
    };

    static __device__ __forceinline__ void unpack(u32 raw, float* value) {
        Two two;
        two.raw = raw;
        const float2 wide = __half22float2(two.value);
        value[0] = wide.x;
        value[1] = wide.y;
    }

    static __device__ __forceinline__ u32 pack(float low, float high) {
        Two two;
        two.value = __floats2half2_rn(low, high);
        return two.raw;
    }

    static __device__ __forceinline__ void unpack(const uint4& raw, float* value) {
        unpack(raw.x, value);
        unpack(raw.y, value + 2);
        unpack(raw.z, value + 4);
        unpack(raw.w, value + 6);
    }

    static __device__ __forceinline__ uint4 pack(const float* value) {
        return make_uint4(pack(value[0], value[1]), pack(value[2], value[3]),
                          pack(value[4], value[5]), pack(value[6], value[7]));
    }
};

// The vector that holds element `index` (a multiple of the vector's length) of `data`.
template <typename T> __device__ __forceinline__ const uint4* vector_at(const T* data, u64 index) {
    return reinterpret_cast<const uint4*>(data + index);
}

template <typename T> __device__ __forceinline__ uint4* vector_at(T* data, u64 index) {
    return reinterpret_cast<uint4*>(data + index);
}
