// L2 pooling, which DISTS has in place of max-pooling.
//
// Formula   dst(y, x) = sqrt(sum of g(i) g(j) src(2y + i - 1, 2x + j - 1)^2 + 1e-12), i and j in 0..2, with
//           g = (1/4, 1/2, 1/4); src is 0 outside.
// Shapes    src (height, width), dst (ceil(height / 2), ceil(width / 2)), each with c channels and `images`
//           images; nchw f32, or nhwc f32 or f16.
// Geometry  256 threads a block; nchw: one output element a thread, neighbours along a row; nhwc: one
//           output vector of 16 bytes a thread, neighbours along the channels.
// Traffic   reads src about 9/4 times (overlaps come from the caches), writes dst once.
// Determinism  nine products in the order of rows, then columns, in f32.
// Limits    output elements (nchw) or vectors (nhwc) <= 2^31; nhwc: c a multiple of the vector.
#include "vector.cuh"

constexpr u32 THREADS = 256;

// Calls `visit(row, column, weight)` for each element of the window that lies inside.
template <typename Visit>
static __device__ __forceinline__ void window(u32 y, u32 x, u32 height, u32 width, Visit visit) {
#pragma unroll
    for (u32 i = 0; i < 3; ++i) {
        // One more than the row of src: rows and columns begin outside.
        const u32 row = 2 * y + i;
        if (row == 0 || row > height) continue;
#pragma unroll
        for (u32 j = 0; j < 3; ++j) {
            const u32 column = 2 * x + j;
            if (column == 0 || column > width) continue;
            visit(row - 1, column - 1, (i == 1 ? 0.5f : 0.25f) * (j == 1 ? 0.5f : 0.25f));
        }
    }
}

static __device__ __forceinline__ float root(float sum) { return __fsqrt_rn(__fadd_rn(sum, 1e-12f)); }

template <typename T>
__device__ __forceinline__ void l2_pool_nhwc(T* dst, const T* src, u32 images, u32 c, u32 height,
                                             u32 width) {
    constexpr u32 LENGTH = Vector<T>::LENGTH;
    const u32 height_out = (height + 1) / 2, width_out = (width + 1) / 2, vectors = c / LENGTH;
    const u32 index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= images * height_out * width_out * vectors) return;
    const u32 column = index / vectors;
    const u32 channel = (index - column * vectors) * LENGTH;
    const u32 row = column / width_out;
    const u32 image = row / height_out;
    float sum[LENGTH];
#pragma unroll
    for (u32 i = 0; i < LENGTH; ++i) sum[i] = 0.0f;
    window(row - image * height_out, column - row * width_out, height, width,
           [&](u32 y, u32 x, float weight) {
               const u64 position = (static_cast<u64>(image) * height + y) * width + x;
               float value[LENGTH];
               Vector<T>::unpack(__ldg(vector_at(src, position * c + channel)), value);
#pragma unroll
               for (u32 i = 0; i < LENGTH; ++i) sum[i] += weight * (value[i] * value[i]);
           });
#pragma unroll
    for (u32 i = 0; i < LENGTH; ++i) sum[i] = root(sum[i]);
    *vector_at(dst, static_cast<u64>(index) * LENGTH) = Vector<T>::pack(sum);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    l2_pool_nchw_f32(float* __restrict__ dst, const float* __restrict__ src, u32 images, u32 c, u32 height,
                     u32 width) {
    const u32 height_out = (height + 1) / 2, width_out = (width + 1) / 2;
    const u32 index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= images * c * height_out * width_out) return;
    const u32 row = index / width_out;
    const u32 plane = row / height_out;
    float sum = 0.0f;
    window(row - plane * height_out, index - row * width_out, height, width,
           [&](u32 y, u32 x, float weight) {
               const float value = __ldg(src + (static_cast<u64>(plane) * height + y) * width + x);
               sum += weight * (value * value);
           });
    dst[index] = root(sum);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    l2_pool_nhwc_f32(float* __restrict__ dst, const float* __restrict__ src, u32 images, u32 c, u32 height,
                     u32 width) {
    l2_pool_nhwc(dst, src, images, c, height, width);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    l2_pool_nhwc_f16(__half* __restrict__ dst, const __half* __restrict__ src, u32 images, u32 c,
                     u32 height, u32 width) {
    l2_pool_nhwc(dst, src, images, c, height, width);
}
