// Partial sums of the taps -> layer distances: the last step of a micro-batch, one launch for all layers.
//
// Formula   out[pair][layer] = sum over tiles of partial[layer][pair][tile] / positions[layer].
// Shapes    partial f64: the layers one after the other, each [pair][tile]; tiles, positions u32 [layer];
//           out f64 [pair][layer].
// Geometry  256 threads and one (pair, layer) a block.
// Traffic   reads every partial once: 8 bytes for 32 to 128 positions.
// Determinism  thread t adds tiles t, t + 256, ... in order; then a fixed tree over threads. f64.
// Limits    pairs * layers < 2^31; tiles[layer] < 2^31.
#include "vector.cuh"

constexpr u32 THREADS = 256;

extern "C" __global__ void __launch_bounds__(THREADS)
    finish(double* __restrict__ out, const double* __restrict__ partial, const u32* __restrict__ tiles,
           const u32* __restrict__ positions, u32 pairs, u32 layers) {
    __shared__ double sums[THREADS];
    const u32 pair = blockIdx.x / layers;
    const u32 layer = blockIdx.x - pair * layers;
    if (pair >= pairs) return;
    for (u32 earlier = 0; earlier < layer; ++earlier) {
        partial += static_cast<u64>(pairs) * tiles[earlier];
    }
    const u32 count = tiles[layer];
    partial += static_cast<u64>(pair) * count;
    double sum = 0.0;
    for (u32 tile = threadIdx.x; tile < count; tile += THREADS) sum += partial[tile];
    sums[threadIdx.x] = sum;
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) out[blockIdx.x] = sums[0] / positions[layer];
}
