// Max-pooling without padding.
//
// Formula   dst(y, x) = max over src(y * stride + i, x * stride + j), i and j below kernel, inside src.
//           A window may reach over the far edges (PyTorch's ceil rule) but holds at least one element.
//           NaN wins, as in PyTorch.
// Shapes    src (height, width), dst (height_out, width_out), each with c channels and `images` images;
//           nchw f32, or nhwc f32 or f16.
// Geometry  256 threads a block; nchw: one output element a thread, neighbours along a row; nhwc: one
//           output vector of 16 bytes a thread, neighbours along the channels. Windows of 2x2 and 3x3
//           are unrolled, so that all their loads are in flight at once; others take a loop.
// Traffic   reads src once from memory (overlaps of 3x3 windows at stride 2 come from the caches),
//           writes dst once.
// Determinism  a maximum has no order.
// Limits    output elements (nchw) or vectors (nhwc) <= 2^31; nhwc: c a multiple of the vector.
#include "pool.cuh"

constexpr u32 THREADS = 256;
// Blocks an SM should hold: without a wish the assembler spares so many registers that some spill.
constexpr u32 RESIDENT = 4;

// Where windows lie.
struct Window {
    u32 kernel, stride, height, width, height_out, width_out;

    // Calls `visit(offset)` with the offset of each element of the window from `plane`, which holds rows
    // of src. Elements beyond the far edges are replaced by the last inside: a maximum does not change
    // when an element counts twice, and every load can be issued without a condition.
    template <u32 KERNEL, typename Visit>
    __device__ __forceinline__ void walk(u32 row_out, u32 x_out, Visit visit) const {
        const u32 plane = row_out / height_out;
        const u32 y_first = (row_out - plane * height_out) * stride, x_first = x_out * stride;
        const u32 side = KERNEL == 0 ? kernel : KERNEL;
#pragma unroll
        for (u32 i = 0; i < side; ++i) {
            const u64 row = static_cast<u64>(plane) * height + min(y_first + i, height - 1);
#pragma unroll
            for (u32 j = 0; j < side; ++j) visit(row * width + min(x_first + j, width - 1));
        }
    }
};

template <typename T, u32 KERNEL>
__device__ __forceinline__ void pool_vector(T* dst, const T* src, const Window& window, u32 c,
                                            u32 index) {
    constexpr u32 LENGTH = Vector<T>::LENGTH;
    const u32 vectors = c / LENGTH;
    const u32 column = index / vectors;
    const u32 channel = (index - column * vectors) * LENGTH;
    const u32 row = column / window.width_out;
    float most[LENGTH];
#pragma unroll
    for (u32 i = 0; i < LENGTH; ++i) most[i] = __uint_as_float(MINUS_INFINITY);
    window.walk<KERNEL>(row, column - row * window.width_out, [&](u64 position) {
        float value[LENGTH];
        Vector<T>::unpack(__ldg(vector_at(src, position * c + channel)), value);
#pragma unroll
        for (u32 i = 0; i < LENGTH; ++i) most[i] = larger(most[i], value[i]);
    });
    *vector_at(dst, static_cast<u64>(index) * LENGTH) = Vector<T>::pack(most);
}

template <typename T>
__device__ __forceinline__ void max_pool_nhwc(T* dst, const T* src, const Window& window, u32 images,
                                              u32 c) {
    const u32 index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= images * window.height_out * window.width_out * (c / Vector<T>::LENGTH)) return;
    if (window.kernel == 2) return pool_vector<T, 2>(dst, src, window, c, index);
    if (window.kernel == 3) return pool_vector<T, 3>(dst, src, window, c, index);
    pool_vector<T, 0>(dst, src, window, c, index);
}

template <u32 KERNEL>
__device__ __forceinline__ void pool_element(float* dst, const float* src, const Window& window,
                                             u32 index) {
    const u32 row = index / window.width_out;
    float most = __uint_as_float(MINUS_INFINITY);
    window.walk<KERNEL>(row, index - row * window.width_out,
                        [&](u64 position) { most = larger(most, __ldg(src + position)); });
    dst[index] = most;
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    max_pool_nchw_f32(float* __restrict__ dst, const float* __restrict__ src, u32 images, u32 c,
                      u32 height, u32 width, u32 height_out, u32 width_out, u32 kernel, u32 stride) {
    const Window window{kernel, stride, height, width, height_out, width_out};
    const u32 index = blockIdx.x * THREADS + threadIdx.x;
    if (index >= images * c * height_out * width_out) return;
    if (kernel == 2) return pool_element<2>(dst, src, window, index);
    if (kernel == 3) return pool_element<3>(dst, src, window, index);
    pool_element<0>(dst, src, window, index);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    max_pool_nhwc_f32(float* __restrict__ dst, const float* __restrict__ src, u32 images, u32 c,
                      u32 height, u32 width, u32 height_out, u32 width_out, u32 kernel, u32 stride) {
    max_pool_nhwc(dst, src, Window{kernel, stride, height, width, height_out, width_out}, images, c);
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    max_pool_nhwc_f16(__half* __restrict__ dst, const __half* __restrict__ src, u32 images, u32 c,
                      u32 height, u32 width, u32 height_out, u32 width_out, u32 kernel, u32 stride) {
    max_pool_nhwc(dst, src, Window{kernel, stride, height, width, height_out, width_out}, images, c);
}
