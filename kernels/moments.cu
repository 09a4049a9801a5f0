// The sums that DISTS has the means, variances and covariances of channels from.
//
// Formula   with a and b the features of the reference and of the distorted image at a position, less those
//           at position 0 (a_0, b_0), the sums over the positions of a tile of a, b, a^2, b^2 and a b;
//           partial[pair][tile][0..6][channel] holds these five, then a_0 and b_0. Memory holds a map, or a
//           band of rows of one: of its `positions`, `count` from `first` on are reduced, and the tiles from
//           `first_tile` on are written. Tile 0 is written first: bands with other tiles take a_0 and b_0
//           from there.
// Shapes    features nchw (image, c_slot, position) f32, or nhwc (image, position, c_slot) f32 or f16, of
//           which channels 0 .. c count; pair_indices u32 [pair][2]; partial f64.
// Geometry  256 threads and a tile of 1024 positions a block. nhwc: 32 channels, one a lane, and eight
//           positions at a time. nchw: eight channels, one a warp, and a position a lane.
// Traffic   reads the features of both images of a pair once, writes 56 bytes a channel and tile.
// Determinism  nhwc: every eighth position in order, then the eight in order. nchw: every 32nd position in
//           order, then a fixed tree over lanes. All in f64, where the difference from position 0 keeps
//           what a large mean would cost.
// Limits    pairs * channel groups * tiles < 2^31.
#include "vector.cuh"

constexpr u32 THREADS = 256;
constexpr u32 TILE = 1024;
constexpr u32 WARPS = THREADS / WARP;
constexpr u32 SUMS = 5;
constexpr u32 ROWS = SUMS + 2;

static __device__ __forceinline__ double wide(float value) { return value; }
static __device__ __forceinline__ double wide(__half value) { return __half2float(value); }

// Sums of one channel, and what is subtracted from its features.
struct Moments {
    double sum[SUMS], first_a, first_b;

    __device__ __forceinline__ Moments(double a, double b) : sum(), first_a(a), first_b(b) {}

    __device__ __forceinline__ void add(double a, double b) {
        a -= first_a;
        b -= first_b;
        sum[0] += a;
        sum[1] += b;
        sum[2] = fma(a, a, sum[2]);
        sum[3] = fma(b, b, sum[3]);
        sum[4] = fma(a, b, sum[4]);
    }
};

// The part of a block: a tile of a pair, and some channels.
struct Part {
    u32 pair, group, begin, end;
    // Row 0 of the channels of this pair, in tile 0 and in this tile.
    double *rows_of_first, *rows;

    __device__ __forceinline__ Part(u32 groups, u32 first, u32 count, double* partial, u32 c, u32 tiles,
                                    u32 first_tile) {
        const u32 blocks = (count + TILE - 1) / TILE;
        const u32 of_pair = blockIdx.x / blocks;
        const u32 tile = blockIdx.x - of_pair * blocks;
        pair = of_pair / groups;
        group = of_pair - pair * groups;
        begin = first + tile * TILE;
        end = first + min((tile + 1) * TILE, count);
        const u64 size = static_cast<u64>(ROWS) * c;
        rows_of_first = partial + static_cast<u64>(pair) * tiles * size;
        rows = rows_of_first + (first_tile + tile) * size;
    }

    // The features that are subtracted, of a channel: those at `first`, or what tile 0 says.
    template <typename T>
    __device__ __forceinline__ Moments start(T a, T b, u32 first_tile, u32 c, u32 channel) const {
        if (first_tile == 0) return Moments(wide(a), wide(b));
        const double* firsts = rows_of_first + static_cast<u64>(SUMS) * c + channel;
        return Moments(firsts[0], firsts[c]);
    }
};

template <typename T>
__device__ __forceinline__ void moments_nhwc(double* partial, const T* features, const u32* pair_indices,
                                             u32 pairs, u32 c, u32 c_slot, u32 positions, u32 first,
                                             u32 count, u32 tiles, u32 first_tile) {
    __shared__ double sums[WARPS][SUMS][WARP];
    const Part part((c + WARP - 1) / WARP, first, count, partial, c, tiles, first_tile);
    if (part.pair >= pairs) return;
    const u32 lane = threadIdx.x % WARP, row = threadIdx.x / WARP;
    const u32 channel = part.group * WARP + lane;
    const bool is_channel = channel < c;
    const u64 image = static_cast<u64>(positions) * c_slot;
    const u32 at = is_channel ? channel : 0;
    const T* a = features + pair_indices[2 * part.pair] * image + at;
    const T* b = features + pair_indices[2 * part.pair + 1] * image + at;
    const u64 start = static_cast<u64>(first) * c_slot;
    Moments moments = part.start(__ldg(a + start), __ldg(b + start), first_tile, c, at);
    for (u32 position = part.begin + row; position < part.end; position += WARPS) {
        const u64 offset = static_cast<u64>(position) * c_slot;
        moments.add(wide(__ldg(a + offset)), wide(__ldg(b + offset)));
    }
#pragma unroll
    for (u32 i = 0; i < SUMS; ++i) sums[row][i][lane] = moments.sum[i];
    __syncthreads();
    if (!is_channel || row >= ROWS) return;
    double value = row == SUMS ? moments.first_a : moments.first_b;
    if (row < SUMS) {
        value = 0.0;
#pragma unroll
        for (u32 i = 0; i < WARPS; ++i) value += sums[i][row][lane];
    }
    part.rows[static_cast<u64>(row) * c + channel] = value;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    moments_nchw_f32(double* __restrict__ partial, const float* __restrict__ features,
                     const u32* __restrict__ pair_indices, u32 pairs, u32 c, u32 c_slot, u32 positions,
                     u32 first, u32 count, u32 tiles, u32 first_tile) {
    const Part part((c + WARPS - 1) / WARPS, first, count, partial, c, tiles, first_tile);
    const u32 lane = threadIdx.x % WARP;
    const u32 channel = part.group * WARPS + threadIdx.x / WARP;
    if (part.pair >= pairs || channel >= c) return;
    const u64 image = static_cast<u64>(positions) * c_slot, plane = static_cast<u64>(channel) * positions;
    const float* a = features + pair_indices[2 * part.pair] * image + plane;
    const float* b = features + pair_indices[2 * part.pair + 1] * image + plane;
    Moments moments = part.start(__ldg(a + first), __ldg(b + first), first_tile, c, channel);
    for (u32 position = part.begin + lane; position < part.end; position += WARP) {
        moments.add(wide(__ldg(a + position)), wide(__ldg(b + position)));
    }
    double* rows = part.rows + channel;
#pragma unroll
    for (u32 i = 0; i < SUMS; ++i) {
        double sum = moments.sum[i];
#pragma unroll
        for (u32 half = WARP / 2; half > 0; half /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, half);
        if (lane == 0) rows[static_cast<u64>(i) * c] = sum;
    }
    if (lane != 0) return;
    rows[static_cast<u64>(SUMS) * c] = moments.first_a;
    rows[static_cast<u64>(SUMS + 1) * c] = moments.first_b;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    moments_nhwc_f32(double* __restrict__ partial, const float* __restrict__ features,
                     const u32* __restrict__ pair_indices, u32 pairs, u32 c, u32 c_slot, u32 positions,
                     u32 first, u32 count, u32 tiles, u32 first_tile) {
    moments_nhwc(partial, features, pair_indices, pairs, c, c_slot, positions, first, count, tiles,
                 first_tile);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    moments_nhwc_f16(double* __restrict__ partial, const __half* __restrict__ features,
                     const u32* __restrict__ pair_indices, u32 pairs, u32 c, u32 c_slot, u32 positions,
                     u32 first, u32 count, u32 tiles, u32 first_tile) {
    moments_nhwc(partial, features, pair_indices, pairs, c, c_slot, positions, first, count, tiles,
                 first_tile);
}
