// Bias and ReLU in place, where the convolution engine does not fuse them.
//
// Formula   x = x + bias[channel]; dst = x < 0 ? 0 : x. NaN stays NaN.
// Shapes    data nchw (image, c_slot, position) f32, or nhwc (image, position, c_slot) f32 or f16;
//           channels c_first .. c_first + c are touched; bias f32 [c].
// Geometry  256 threads; nchw: 1024 elements a block, nhwc: 512 vectors of 16 bytes a block. A thread's
//           loads are issued together; neighbouring threads touch neighbouring addresses.
// Traffic   reads and writes images * positions * c elements once.
// Determinism  no sums. f16 is widened, added in f32 and rounded once.
// Limits    images * positions * c <= 2^31; nhwc: c, c_slot and c_first multiples of the vector.
#include "vector.cuh"

constexpr u32 THREADS = 256;
constexpr u32 ELEMENTS_PER_THREAD = 4;
constexpr u32 VECTORS_PER_THREAD = 2;

static __device__ __forceinline__ float relu(float x) { return x < 0.0f ? 0.0f : x; }

template <typename T>
__device__ __forceinline__ void bias_relu_nhwc(T* data, const float* bias, u32 rows, u32 c, u32 c_slot,
                                               u32 c_first) {
    constexpr u32 LENGTH = Vector<T>::LENGTH;
    const u32 row_vectors = c / LENGTH;
    const u32 vectors = rows * row_vectors;
    const u32 first = blockIdx.x * (THREADS * VECTORS_PER_THREAD) + threadIdx.x;
    uint4 raw[VECTORS_PER_THREAD];
    uint4* at[VECTORS_PER_THREAD];
    u32 channel[VECTORS_PER_THREAD];
#pragma unroll
    for (u32 k = 0; k < VECTORS_PER_THREAD; ++k) {
        const u32 index = first + k * THREADS;
        const u32 row = index / row_vectors;
        channel[k] = (index - row * row_vectors) * LENGTH;
        at[k] = vector_at(data, static_cast<u64>(row) * c_slot + c_first + channel[k]);
        if (index < vectors) raw[k] = *at[k];
    }
#pragma unroll
    for (u32 k = 0; k < VECTORS_PER_THREAD; ++k) {
        if (first + k * THREADS < vectors) {
            float value[LENGTH];
            Vector<T>::unpack(raw[k], value);
#pragma unroll
            for (u32 i = 0; i < LENGTH; ++i) value[i] = relu(value[i] + __ldg(bias + channel[k] + i));
            *at[k] = Vector<T>::pack(value);
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    bias_relu_nchw_f32(float* __restrict__ data, const float* __restrict__ bias, u32 images,
                       u32 positions, u32 c, u32 c_slot, u32 c_first) {
    const u32 elements = images * positions * c;
    const u32 first = blockIdx.x * (THREADS * ELEMENTS_PER_THREAD) + threadIdx.x;
#pragma unroll
    for (u32 k = 0; k < ELEMENTS_PER_THREAD; ++k) {
        const u32 index = first + k * THREADS;
        if (index < elements) {
            const u32 plane = index / positions;
            const u32 image = plane / c;
            const u32 channel = plane - image * c;
            const u64 plane_at = static_cast<u64>(image) * c_slot + c_first + channel;
            float* at = data + plane_at * positions + (index - plane * positions);
            *at = relu(*at + __ldg(bias + channel));
        }
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    bias_relu_nhwc_f32(float* __restrict__ data, const float* __restrict__ bias, u32 images,
                       u32 positions, u32 c, u32 c_slot, u32 c_first) {
    bias_relu_nhwc(data, bias, images * positions, c, c_slot, c_first);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    bias_relu_nhwc_f16(__half* __restrict__ data, const float* __restrict__ bias, u32 images,
                       u32 positions, u32 c, u32 c_slot, u32 c_first) {
    bias_relu_nhwc(data, bias, images * positions, c, c_slot, c_first);
}
