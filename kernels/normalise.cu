// Samples -> the trunk's input.
//
// Formula   v = gain * x + bias;  dst = (v - shift[channel]) / scale[channel], every operation rounded
//           on its own, in this order: the bits are those of the CPU evaluator. x = s / 255 for bytes.
// Shapes    src (image, position, RGB), u8 or f32 in [0, 1]; dst nchw (image, c_dst, position) f32 or
//           nhwc (image, position, c_dst) f32 or f16. Channels 3 .. c_dst of dst become 0.
// Geometry  256 threads and 2048 pixels a block, pixels of all images in one row; neighbouring threads
//           write neighbouring pixels. Bytes are looked up in a table of 3 x 256 results that each block
//           computes once, as six divisions a pixel would cost as much as the traffic.
// Traffic   reads 3 (u8) or 12 (f32) bytes a pixel, writes c_dst * 4 or 2.
// Determinism  no sums.
// Limits    images * positions <= 2^31; nhwc f32: c_dst 3 or a multiple of 4; nhwc f16: c_dst 4 or a
//           multiple of 8; nchw: any c_dst >= 3.
#include "vector.cuh"

constexpr u32 THREADS = 256;
constexpr u32 PIXELS_PER_THREAD = 8;
constexpr u32 LEVELS = 256;

struct Scaling {
    float gain, bias, shift[3], scale[3];

    __device__ __forceinline__ float operator()(float x, u32 channel) const {
        const float v = __fadd_rn(__fmul_rn(gain, x), bias);
        return __fdiv_rn(__fsub_rn(v, shift[channel]), scale[channel]);
    }
};

struct Bytes {
    // Pixels whose loads are issued together.
    static constexpr u32 AT_ONCE = 4;
    const unsigned char* src;
    const float* table;

    __device__ __forceinline__ float operator()(u64 sample, u32 channel) const {
        return table[channel * LEVELS + __ldg(src + sample)];
    }
};

struct Floats {
    // An exact division may call a subroutine, across which registers would spill.
    static constexpr u32 AT_ONCE = 1;
    const float* src;
    Scaling scaling;

    __device__ __forceinline__ float operator()(u64 sample, u32 channel) const {
        return scaling(__ldg(src + sample), channel);
    }
};

struct Nchw {
    float* dst;
    u32 positions, c_dst;

    __device__ __forceinline__ void operator()(u32 pixel, const float* rgb) const {
        const u32 image = pixel / positions;
        float* plane = dst + static_cast<u64>(image) * c_dst * positions + (pixel - image * positions);
#pragma unroll
        for (u32 channel = 0; channel < 3; ++channel, plane += positions) *plane = rgb[channel];
        for (u32 channel = 3; channel < c_dst; ++channel, plane += positions) *plane = 0.0f;
    }
};

struct NhwcF32 {
    float* dst;
    u32 c_dst;

    __device__ __forceinline__ void operator()(u32 pixel, const float* rgb) const {
        float* at = dst + static_cast<u64>(pixel) * c_dst;
        if (c_dst == 3) {
            at[0] = rgb[0];
            at[1] = rgb[1];
            at[2] = rgb[2];
            return;
        }
        *reinterpret_cast<float4*>(at) = make_float4(rgb[0], rgb[1], rgb[2], 0.0f);
        for (u32 channel = 4; channel < c_dst; channel += 4) {
            *reinterpret_cast<float4*>(at + channel) = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
    }
};

struct NhwcF16 {
    __half* dst;
    u32 c_dst;

    __device__ __forceinline__ void operator()(u32 pixel, const float* rgb) const {
        __half* at = dst + static_cast<u64>(pixel) * c_dst;
        const u32 red_green = Vector<__half>::pack(rgb[0], rgb[1]);
        const u32 blue = Vector<__half>::pack(rgb[2], 0.0f);
        if (c_dst == 4) {
            *reinterpret_cast<uint2*>(at) = make_uint2(red_green, blue);
            return;
        }
        *reinterpret_cast<uint4*>(at) = make_uint4(red_green, blue, 0, 0);
        for (u32 channel = 8; channel < c_dst; channel += 8) {
            *reinterpret_cast<uint4*>(at + channel) = make_uint4(0, 0, 0, 0);
        }
    }
};

template <typename Source, typename Target>
__device__ __forceinline__ void normalise(const Source& source, const Target& target, u32 pixels) {
    const u32 first = blockIdx.x * (THREADS * PIXELS_PER_THREAD) + threadIdx.x;
#pragma unroll 1
    for (u32 round = 0; round < PIXELS_PER_THREAD; round += Source::AT_ONCE) {
        float rgb[Source::AT_ONCE][3];
#pragma unroll
        for (u32 k = 0; k < Source::AT_ONCE; ++k) {
            const u32 pixel = first + (round + k) * THREADS;
            if (pixel < pixels) {
#pragma unroll
                for (u32 channel = 0; channel < 3; ++channel) {
                    rgb[k][channel] = source(static_cast<u64>(pixel) * 3 + channel, channel);
                }
            }
        }
#pragma unroll
        for (u32 k = 0; k < Source::AT_ONCE; ++k) {
            const u32 pixel = first + (round + k) * THREADS;
            if (pixel < pixels) target(pixel, rgb[k]);
        }
    }
}

template <typename Target>
__device__ __forceinline__ void normalise_bytes(const unsigned char* src, const Scaling& scaling,
                                                const Target& target, u32 pixels) {
    __shared__ float table[3 * LEVELS];
    const float x = __fdiv_rn(static_cast<float>(threadIdx.x), 255.0f);
#pragma unroll
    for (u32 channel = 0; channel < 3; ++channel) {
        table[channel * LEVELS + threadIdx.x] = scaling(x, channel);
    }
    __syncthreads();
    normalise(Bytes{src, table}, target, pixels);
}

// The arguments from `images` on, and what they become.
#define PARAMETERS                                                                                 \
    u32 images, u32 positions, u32 c_dst, float gain, float bias, float shift_r, float shift_g,    \
        float shift_b, float scale_r, float scale_g, float scale_b
#define SCALING                                                                                    \
    Scaling { gain, bias, {shift_r, shift_g, shift_b}, { scale_r, scale_g, scale_b } }

extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_u8_nchw_f32(float* __restrict__ dst, const unsigned char* __restrict__ src, PARAMETERS) {
    normalise_bytes(src, SCALING, Nchw{dst, positions, c_dst}, images * positions);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_u8_nhwc_f32(float* __restrict__ dst, const unsigned char* __restrict__ src, PARAMETERS) {
    normalise_bytes(src, SCALING, NhwcF32{dst, c_dst}, images * positions);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_u8_nhwc_f16(__half* __restrict__ dst, const unsigned char* __restrict__ src, PARAMETERS) {
    normalise_bytes(src, SCALING, NhwcF16{dst, c_dst}, images * positions);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_f32_nchw_f32(float* __restrict__ dst, const float* __restrict__ src, PARAMETERS) {
    normalise(Floats{src, SCALING}, Nchw{dst, positions, c_dst}, images * positions);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_f32_nhwc_f32(float* __restrict__ dst, const float* __restrict__ src, PARAMETERS) {
    normalise(Floats{src, SCALING}, NhwcF32{dst, c_dst}, images * positions);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    normalise_f32_nhwc_f16(__half* __restrict__ dst, const float* __restrict__ src, PARAMETERS) {
    normalise(Floats{src, SCALING}, NhwcF16{dst, c_dst}, images * positions);
}
