// CUDA C++ as host C++: enough of the language to compile kernels/*.cu unchanged with g++.
//
// Every CUDA thread of a block is a fiber; one operating system thread runs them, in a chosen order,
// each until it waits or ends. Barriers and shuffles are where a fiber waits. A block in which some
// threads wait for others that never come is a fault, as is a barrier or a shuffle that threads reach
// at different places of the source: both end the process with a message. Blocks run one after the
// other, in the same kind of order.
//
// What it does not show: races within a warp that the chosen orders do not bring about, the memory
// model of a GPU, its rounding of fused multiply-adds, occupancy, speed, and whatever a compiler does.
//
// Include this through the compiler's -include, before a kernel's source.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(...)
// Blocks run one after the other, so that static memory serves. It has a section of its own, which is
// filled with NaN before every block: what a block has not written itself is seen.
#define __shared__ static __attribute__((section("host_cuda_shared")))

struct uint3 {
    unsigned int x, y, z;
};
struct alignas(8) uint2 {
    unsigned int x, y;
};
struct alignas(16) uint4 {
    unsigned int x, y, z, w;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};

inline uint2 make_uint2(unsigned int x, unsigned int y) { return {x, y}; }
inline uint4 make_uint4(unsigned int x, unsigned int y, unsigned int z, unsigned int w) {
    return {x, y, z, w};
}
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// The thread that runs; set whenever a fiber continues.
extern uint3 threadIdx, blockIdx, blockDim, gridDim;

using std::max;
using std::min;

namespace host_cuda {

// Waits until every thread of the block waits at `line` of `file`.
void barrier(const char* file, int line);

// Gives `value` (at most 8 bytes) to the warp and returns that of lane `this lane ^ mask`, after every
// lane of the warp has come to `line` of `file`.
uint64_t shuffle_xor(uint64_t value, int mask, const char* file, int line);

// Ends the process with a message; `on_fault` hears it before.
[[noreturn]] void fault(const std::string& message);
extern void (*on_fault)(const char* message);

template <typename T>
T shuffle_xor(unsigned int lanes, T value, int mask, const char* file, int line) {
    static_assert(sizeof(T) <= sizeof(uint64_t), "a shuffle moves at most 8 bytes");
    if (lanes != 0xffffffffu) fault("a shuffle of a part of a warp is not modelled");
    uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    bits = shuffle_xor(bits, mask, file, line);
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

template <typename To, typename From> To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "bits are kept");
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

// How a type is spelled in a signature.
template <typename T> struct Spelling;
template <> struct Spelling<unsigned char> { static constexpr const char* text = "u8"; };
template <> struct Spelling<unsigned int> { static constexpr const char* text = "u32"; };
template <> struct Spelling<float> { static constexpr const char* text = "f32"; };
template <> struct Spelling<double> { static constexpr const char* text = "f64"; };

// One parameter of a kernel, such as `const u8*`.
struct Parameter {
    std::string spelling;
    size_t bytes;
    bool is_pointer, is_written;
};

template <typename T> Parameter parameter() {
    using Target = std::remove_pointer_t<T>;
    constexpr bool POINTER = std::is_pointer_v<T>, WRITTEN = POINTER && !std::is_const_v<Target>;
    const std::string target = Spelling<std::remove_const_t<Target>>::text;
    return {(POINTER && !WRITTEN ? "const " : "") + target + (POINTER ? "*" : ""), sizeof(T), POINTER,
            WRITTEN};
}

// A kernel, found by its name.
struct Kernel {
    std::string name;
    std::vector<Parameter> parameters;
    void (*call)(const Kernel& kernel, void** arguments);
    void (*function)();
};

// In which order the threads of a block, and the blocks of a grid, run.
constexpr uint64_t FORWARD = 0, REVERSE = 1;  // any other number: shuffled, with this seed

// Null if no module that was linked has a kernel of this name.
const Kernel* find(const std::string& name);

// Kernel number `index`, in no particular order; null past the last.
const Kernel* nth(size_t index);

// Runs a grid to its end. `arguments` are those of cuLaunchKernel: the address of each argument.
void launch(const Kernel& kernel, unsigned int blocks, unsigned int threads, void** arguments,
            uint64_t order);

void add(const Kernel& kernel);

template <typename... A, size_t... I>
void call(void (*function)(A...), void** arguments, std::index_sequence<I...>) {
    function(*static_cast<A*>(arguments[I])...);
}

template <typename... A> struct Registration {
    Registration(const char* name, void (*function)(A...)) {
        const auto call = [](const Kernel& kernel, void** arguments) {
            host_cuda::call(reinterpret_cast<void (*)(A...)>(kernel.function), arguments,
                            std::index_sequence_for<A...>());
        };
        add({name, {parameter<A>()...}, call, reinterpret_cast<void (*)()>(function)});
    }
};

}  // namespace host_cuda

// Makes an `extern "C"` kernel of this translation unit known by its name.
#define HOST_CUDA_KERNEL(NAME) static host_cuda::Registration registration_of_##NAME(#NAME, NAME);

#define __syncthreads() host_cuda::barrier(__FILE__, __LINE__)
#define __shfl_xor_sync(LANES, VALUE, MASK) \
    host_cuda::shuffle_xor(LANES, VALUE, MASK, __FILE__, __LINE__)

template <typename T> T __ldg(const T* address) { return *address; }
template <typename T> T __ldcg(const T* address) { return *address; }
template <typename T> void __stcs(T* address, T value) { *address = value; }

// A compiler option keeps these from being contracted.
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline unsigned int __float_as_uint(float a) { return host_cuda::bits_as<unsigned int>(a); }
inline float __uint_as_float(unsigned int a) { return host_cuda::bits_as<float>(a); }
