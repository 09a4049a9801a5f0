// Windows of a convolution as the rows of a matrix, for the cuBLAS engine.
//
// Formula   dst[r][(ky * kernel + kx) * c + channel] =
//           src(image, y * stride + ky - pad, x * stride + kx - pad, channel), 0 outside the image,
//           where first_row + r = (image * height_out + y) * width_out + x; columns from
//           kernel * kernel * c to k_dst are 0.
// Shapes    src nhwc (image, height, width, c), dst [rows][k_dst]; f32 or f16, copied bit by bit. The
//           caller cuts a micro-batch into chunks of rows, so that dst stays small.
// Geometry  256 threads and 8 rows a block: a warp fills one row, a lane 16 bytes at a time, so that
//           the divisions that find a row's place are done once a row.
// Traffic   writes rows * k_dst elements; reads as many, of which memory sees each element of src about
//           once (neighbouring windows overlap in the caches).
// Determinism  no arithmetic.
// Limits    rows, first_row + rows <= 2^31; c and k_dst multiples of the vector (4 f32, 8 f16);
//           k_dst >= kernel * kernel * c.
#include "vector.cuh"

constexpr u32 THREADS = 256;

template <typename T>
__device__ __forceinline__ void im2col(T* dst, const T* src, u32 c, u32 height, u32 width,
                                       u32 height_out, u32 width_out, u32 kernel, u32 stride, u32 pad,
                                       u32 first_row, u32 rows, u32 k_dst) {
    constexpr u32 LENGTH = Vector<T>::LENGTH;
    const u32 row = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (row >= rows) return;
    const u32 place = first_row + row;
    const u32 line = place / width_out;
    const u32 image = line / height_out;
    // The window's corner; it may lie outside the image.
    const int x_first = static_cast<int>((place - line * width_out) * stride) - static_cast<int>(pad);
    const int y_first =
        static_cast<int>((line - image * height_out) * stride) - static_cast<int>(pad);
    const T* corner = src + static_cast<u64>(image) * height * width * c;
    T* to = dst + static_cast<u64>(row) * k_dst;
    const auto load = [&](u32 column) {
        const u32 tap = column / c;
        const u32 ky = tap / kernel;
        // Negative places wrap to large ones, so that one comparison sees both edges.
        const u32 y = static_cast<u32>(y_first + static_cast<int>(ky));
        const u32 x = static_cast<u32>(x_first + static_cast<int>(tap - ky * kernel));
        const u64 at = (static_cast<u64>(y) * width + x) * c + (column - tap * c);
        const bool inside = ky < kernel && y < height && x < width;
        return inside ? __ldg(vector_at(corner, at)) : make_uint4(0, 0, 0, 0);
    };
    constexpr u32 STEP = WARP * LENGTH;
    // Two loads are in flight at a time.
    for (u32 column = threadIdx.x % WARP * LENGTH; column < k_dst; column += 2 * STEP) {
        const bool both = column + STEP < k_dst;
        const uint4 first = load(column);
        const uint4 second = both ? load(column + STEP) : make_uint4(0, 0, 0, 0);
        *vector_at(to, column) = first;
        if (both) *vector_at(to, column + STEP) = second;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    im2col_f32(float* __restrict__ dst, const float* __restrict__ src, u32 c, u32 height, u32 width,
               u32 height_out, u32 width_out, u32 kernel, u32 stride, u32 pad, u32 first_row, u32 rows,
               u32 k_dst) {
    im2col(dst, src, c, height, width, height_out, width_out, kernel, stride, pad, first_row, rows,
           k_dst);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    im2col_f16(__half* __restrict__ dst, const __half* __restrict__ src, u32 c, u32 height, u32 width,
               u32 height_out, u32 width_out, u32 kernel, u32 stride, u32 pad, u32 first_row, u32 rows,
               u32 k_dst) {
    im2col(dst, src, c, height, width, height_out, width_out, kernel, stride, pad, first_row, rows,
           k_dst);
}
