// Matrix products and element types for the stand-ins of cuDNN and cuBLAS.
//
// The order of summation depends on how many columns or images the library was called with, as it
// may in the real libraries: their kernels, splits and tiles are chosen by extents.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "fake.h"

namespace fake {

// NVIDIA's tensor cores read float32 as TF32: 10 bits of mantissa, rounded to nearest.
inline float as_tf32(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if ((bits & 0x7f800000u) != 0x7f800000u) bits = (bits + 0x1000u) & ~0x1fffu;
    memcpy(&value, &bits, 4);
    return value;
}

enum class Element { F32, F16 };
inline size_t bytes_of(Element element) { return element == Element::F32 ? 4 : 2; }

inline float load(const void* data, Element element, size_t index) {
    if (element == Element::F32) return static_cast<const float*>(data)[index];
    return float(static_cast<const _Float16*>(data)[index]);
}

inline void store(void* data, Element element, size_t index, float value) {
    if (element == Element::F32) {
        static_cast<float*>(data)[index] = value;
    } else {
        static_cast<_Float16*>(data)[index] = _Float16(value);
    }
}

// out[row][column] = sum over k of a[row][k] * b[k][column], in float32.
class Product {
#ifdef __AVX512F__
    static constexpr size_t LANES = 16;
#else
    static constexpr size_t LANES = 8;  // compilers keep longer vectors in memory, not in registers
#endif

  public:
    static constexpr size_t ROWS = 6, COLUMNS = 2 * LANES;

    // `called_with` is what the order of summation depends on.
    Product(size_t depth, size_t columns, uint64_t called_with)
        : depth_(depth), columns_(columns), stride_((columns + COLUMNS - 1) / COLUMNS * COLUMNS),
          first_((called_with * 2654435761u) % depth), b_(depth * stride_) {}

    // Fills b with `value(k, column)`: a cache line of a row at a time, from as many streams.
    template <typename Value> void fill(Value value) {
        for (size_t first = 0; first < columns_; first += 16) {
            size_t last = std::min(columns_, first + 16);
            for (size_t k = 0; k < depth_; k++)
                for (size_t column = first; column < last; column++) b_[k * stride_ + column] = value(k, column);
        }
    }
    size_t columns() const { return columns_; }

    // Up to ROWS rows of `a`, `depth` apart; `out` has rows of `stride()` elements.
    void rows(const float* a, float* out) const {
        for (size_t column = 0; column < columns_; column += COLUMNS) {
            Vec total[ROWS][2] = {};
            sum(a, column, first_, depth_, total);
            sum(a, column, 0, first_, total);
            for (size_t row = 0; row < ROWS; row++) memcpy(out + row * stride_ + column, total[row], sizeof total[row]);
        }
    }
    size_t stride() const { return stride_; }

  private:
    typedef float Vec __attribute__((vector_size(4 * LANES)));
    static constexpr size_t CHUNK = 256;  // partial sums keep long sums accurate

    void sum(const float* a, size_t column, size_t begin, size_t end, Vec (&total)[ROWS][2]) const {
        for (size_t from = begin; from < end; from += CHUNK) {
            size_t to = std::min(end, from + CHUNK);
            Vec part[ROWS][2] = {};
            for (size_t k = from; k < to; k++) {
                Vec left, right;
                memcpy(&left, &b_[k * stride_ + column], sizeof left);
                memcpy(&right, &b_[k * stride_ + column + LANES], sizeof right);
                for (size_t row = 0; row < ROWS; row++) {
                    float factor = a[row * depth_ + k];
                    part[row][0] += factor * left;
                    part[row][1] += factor * right;
                }
            }
            for (size_t row = 0; row < ROWS; row++) {
                total[row][0] += part[row][0];
                total[row][1] += part[row][1];
            }
        }
    }

    size_t depth_, columns_, stride_, first_;
    std::vector<float> b_;
};

// Finds blocks of bytes that came before, so that a padded batch costs as much as what differs in
// it. Every request gets the first block with the same bytes.
class Seen {
  public:
    explicit Seen(size_t bytes) : bytes_(bytes) {}
    // `index` itself where the block is new.
    size_t first_like(const void* block, size_t index) {
        auto [begin, end] = seen_.equal_range(hash_bytes(block, bytes_));
        for (auto it = begin; it != end; ++it) {
            if (memcmp(it->second.first, block, bytes_) == 0) return it->second.second;
        }
        seen_.insert({hash_bytes(block, bytes_), {block, index}});
        return index;
    }

  private:
    size_t bytes_;
    std::multimap<uint64_t, std::pair<const void*, size_t>> seen_;
};

}  // namespace fake
