// Whether images of an activation have other bits than the first one: the check of a convolution.
//
// cuDNN's kernels may treat an image of a batch according to its place, such as by splitting the
// sums of the last tiles among processors, which adds in another order. A pair's value would then
// depend on its company. A batch of copies of one image shows it before any pair is scored.
//
// Formula   flag = 1 if data[image][word] != data[0][word] for any image and word; else flag stays.
// Shapes    data u32 (image, word), whatever its elements are; flag u32 [1].
// Geometry  256 threads. 1024 vectors of 4 words of one image a block, 4 a thread. Next to a block
//           are those of the same vectors of other images, so that image 0 is found in the L2.
// Traffic   reads every image once; image 0 once more for every further image, mostly from L2.
// Determinism  threads store only the same 1. Bits are compared: a NaN equals itself, -0 is not 0.
// Limits    images >= 2; words a multiple of 4; (images - 1) * ceil(words / 4096) < 2^31.
#include "vector.cuh"

constexpr u32 THREADS = 256;
constexpr u32 VECTORS = 4;
constexpr u32 WORDS = 4;

__device__ __forceinline__ u32 other_bits(const uint4& a, const uint4& b) {
    return (a.x ^ b.x) | (a.y ^ b.y) | (a.z ^ b.z) | (a.w ^ b.w);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    differ(u32* __restrict__ flag, const u32* __restrict__ data, u32 images, u32 words) {
    const u32 others = images - 1;
    const u32 vectors = words / WORDS;
    const u32 tile = blockIdx.x / others;
    const u32 image = 1 + blockIdx.x - tile * others;
    const u32 first = tile * (THREADS * VECTORS) + threadIdx.x;
    if (first >= vectors) return;
    const uint4* reference = vector_at(data, 0);
    const uint4* other = vector_at(data, static_cast<u64>(image) * words);
    uint4 a[VECTORS], b[VECTORS];
    // Past the end the last vector is compared again: without branches all loads are in flight.
#pragma unroll
    for (u32 i = 0; i < VECTORS; ++i) {
        const u32 at = min(first + i * THREADS, vectors - 1);
        a[i] = __ldg(reference + at);
        b[i] = __ldg(other + at);
    }
    u32 bits = 0;
#pragma unroll
    for (u32 i = 0; i < VECTORS; ++i) bits |= other_bits(a[i], b[i]);
    if (bits != 0) *flag = 1;
}
