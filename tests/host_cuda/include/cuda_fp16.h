// IEEE half on the host: the part of NVIDIA's header of this name that the kernels use.
#pragma once

#include "host_cuda.h"

struct __half {
    _Float16 value;
};

struct alignas(4) __half2 {
    __half x, y;
};

inline float __half2float(__half half) { return static_cast<float>(half.value); }

inline float2 __half22float2(__half2 two) {
    return {static_cast<float>(two.x.value), static_cast<float>(two.y.value)};
}

inline __half2 __floats2half2_rn(float x, float y) {
    return {{static_cast<_Float16>(x)}, {static_cast<_Float16>(y)}};
}

namespace host_cuda {
template <> struct Spelling<__half> {
    static constexpr const char* text = "f16";
};
}  // namespace host_cuda
