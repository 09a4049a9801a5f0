// Max-pooling without padding.
//
// Formula   dst(y, x) = max over src(y * stride + i, x * stride + j), i and j below kernel, inside src.
//           A window may reach over the far edges (PyTorch's ceil rule) but holds at least one element.
//           NaN wins, as in PyTorch.
// Shapes    src (height, width), dst (height_out, width_out), each with c channels and `images` images;
//           nchw f32, or nhwc f32 or f16.
// Geometry  256 threads a block; nchw: one output element a thread, neighbours along a row; nhwc: one
//           output vector of 16 bytes a thread, neighbours along the channels.
// Traffic   reads src once from memory (overlaps of 3x3 windows at stride 2 come from the caches),
//           writes dst once.
// Determinism  a maximum has no order.
// Limits    output elements (nchw) or vectors (nhwc) <= 2^31; nhwc: c a multiple of the vector.
#include "vector.cuh"

constexpr u32 THREADS = 256;

// Minus infinity: below every element of a window, of which there is at least one.
#define LOWEST __uint_as_float(0xff800000u)

static __device__ __forceinline__ float larger(float old, float value) {
    return value > old || value != value ? value : old;
}

// Index of an output element or vector, taken apart.
struct Place {
    u32 inner, x, y, outer;

    __device__ __forceinline__ Place(u32 index, u32 inner_len, u32 width, u32 height) {
        const u32 column = index / inner_len;
        inner = index - column * inner_len;
        const u32 row = column / width;
        x = column - row * width;
        outer = row / height;
        y = row - outer * height;
    }
};

template <typename T>
__device__ __forceinline__ void max_pool_nhwc(T* dst, const T* src, u32 images, u32 c, u32 height,
                                              u32 width, u32 height_out, u32 width_out, u32 kernel,
                                              u32 stride) {
    constexpr u32 LENGTH = Vector<T>::LENGTH;
    const u32 vectors = c / LENGTH;
    const u32 index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= images * height_out * width_out * vectors) return;
    const Place place(index, vectors, width_out, height_out);
    const u32 y_end = min(place.y * stride + kernel, height);
    const u32 x_end = min(place.x * stride + kernel, width);
    float most[LENGTH];
#pragma unroll
    for (u32 i = 0; i < LENGTH; ++i) most[i] = LOWEST;
    for (u32 y = place.y * stride; y < y_end; ++y) {
        const u64 row = (static_cast<u64>(place.outer) * height + y) * width;
#pragma unroll 3
        for (u32 x = place.x * stride; x < x_end; ++x) {
            float value[LENGTH];
            Vector<T>::unpack(__ldg(vector_at(src, (row + x) * c + place.inner * LENGTH)), value);
#pragma unroll
            for (u32 i = 0; i < LENGTH; ++i) most[i] = larger(most[i], value[i]);
        }
    }
    *vector_at(dst, static_cast<u64>(index) * LENGTH) = Vector<T>::pack(most);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    max_pool_nchw_f32(float* __restrict__ dst, const float* __restrict__ src, u32 images, u32 c,
                      u32 height, u32 width, u32 height_out, u32 width_out, u32 kernel, u32 stride) {
    const u32 index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= images * c * height_out * width_out) return;
    const Place place(index, 1, width_out, height_out);
    const u32 y_end = min(place.y * stride + kernel, height);
    const u32 x_end = min(place.x * stride + kernel, width);
    float most = LOWEST;
    for (u32 y = place.y * stride; y < y_end; ++y) {
        const float* row = src + (static_cast<u64>(place.outer) * height + y) * width;
#pragma unroll 3
        for (u32 x = place.x * stride; x < x_end; ++x) most = larger(most, __ldg(row + x));
    }
    dst[index] = most;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    max_pool_nhwc_f32(float* __restrict__ dst, const float* __restrict__ src, u32 images, u32 c,
                      u32 height, u32 width, u32 height_out, u32 width_out, u32 kernel, u32 stride) {
    max_pool_nhwc(dst, src, images, c, height, width, height_out, width_out, kernel, stride);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    max_pool_nhwc_f16(__half* __restrict__ dst, const __half* __restrict__ src, u32 images, u32 c,
                      u32 height, u32 width, u32 height_out, u32 width_out, u32 kernel, u32 stride) {
    max_pool_nhwc(dst, src, images, c, height, width, height_out, width_out, kernel, stride);
}
