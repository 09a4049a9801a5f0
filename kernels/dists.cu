// Sums of moments -> what a layer contributes to DISTS, for each pair.
//
// Formula   out[pair][layer] = sum over channels of alpha (1 - S1) + beta (1 - S2), with
//           1 - S1 = (m_a - m_b)^2 / (m_a^2 + m_b^2 + 1e-6) of the means and
//           1 - S2 = (v_a + v_b - 2 cov) / (v_a + v_b + 1e-6) of the variances and the covariance, all of
//           gain * feature + bias. Equal features give exactly 0: each numerator vanishes.
// Shapes    partial f64 as moments.cu writes it; weights f64 [channel][alpha, beta, gain, bias];
//           out f64 [pair][layers], of which column `layer` is written.
// Geometry  256 threads and one pair a block.
// Traffic   reads every partial once: 56 bytes a channel and tile.
// Determinism  tiles in order; thread t adds channels t, t + 256, ... in order, then a fixed tree over
//           threads. f64.
#include "vector.cuh"

constexpr u32 THREADS = 256;
constexpr u32 SUMS = 5;
constexpr u32 ROWS = SUMS + 2;
constexpr double STABILIZER = 1e-6;

static __device__ __forceinline__ double channel_distance(const double* sum, double first_a, double first_b,
                                                          u32 positions, const double* weights) {
    const double alpha = weights[0], beta = weights[1], gain = weights[2], bias = weights[3];
    const double a = sum[0] / positions, b = sum[1] / positions;
    const double square = gain * gain;
    const double var_a = square * fma(-a, a, sum[2] / positions);
    const double var_b = square * fma(-b, b, sum[3] / positions);
    const double covariance = square * fma(-a, b, sum[4] / positions);
    const double mean_a = fma(gain, first_a + a, bias), mean_b = fma(gain, first_b + b, bias);
    const double means = mean_a - mean_b;
    const double of_means = means * means / (mean_a * mean_a + mean_b * mean_b + STABILIZER);
    const double of_structure = (var_a + var_b - 2.0 * covariance) / (var_a + var_b + STABILIZER);
    return alpha * of_means + beta * of_structure;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    dists(double* __restrict__ out, const double* __restrict__ partial, const double* __restrict__ weights,
          u32 pairs, u32 tiles, u32 c, u32 positions, u32 layers, u32 layer) {
    __shared__ double sums[THREADS];
    const u32 pair = blockIdx.x;
    if (pair >= pairs) return;
    partial += static_cast<u64>(pair) * tiles * ROWS * c;
    double total = 0.0;
    for (u32 channel = threadIdx.x; channel < c; channel += THREADS) {
        double sum[SUMS] = {0.0, 0.0, 0.0, 0.0, 0.0};
        for (u32 tile = 0; tile < tiles; ++tile) {
            const double* rows = partial + static_cast<u64>(tile) * ROWS * c + channel;
#pragma unroll
            for (u32 i = 0; i < SUMS; ++i) sum[i] += rows[static_cast<u64>(i) * c];
        }
        const double* firsts = partial + static_cast<u64>(SUMS) * c + channel;
        total += channel_distance(sum, firsts[0], firsts[c], positions, weights + 4ull * channel);
    }
    sums[threadIdx.x] = total;
    for (u32 half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    }
    if (threadIdx.x == 0) out[static_cast<u64>(pair) * layers + layer] = sums[0];
}
