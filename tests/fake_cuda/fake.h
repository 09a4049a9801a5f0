// What the stand-ins for the NVIDIA libraries share. README.md of this folder explains how they work.
//
// libcuda.so.1 (machine.cpp, memory.cpp, streams.cpp, driver.cpp, kernels.cpp) holds all state;
// libcudnn and libcublas link to it and use the functions below.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace fake {

// FNV-1a over words of 64 bits, with a shift so that high bits count too.
inline uint64_t hash_bytes(const void* data, size_t count) {
    uint64_t value = 1469598103934665603u;
    auto* bytes = static_cast<const uint8_t*>(data);
    for (; count >= 8; bytes += 8, count -= 8) {
        uint64_t word;
        memcpy(&word, bytes, 8);
        value = (value ^ word) * 1099511628211u;
        value ^= value >> 29;
    }
    for (; count; bytes++, count--) value = (value ^ *bytes) * 1099511628211u;
    return value;
}

using Address = uint64_t;  // CUdeviceptr: a number, never memory that the program could touch

// Codes of CUresult that the stand-ins return. Only codes that every binding knows.
enum : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NOT_INITIALIZED = 3,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_CONTEXT = 201,
    NO_BINARY_FOR_GPU = 209,
    INVALID_PTX = 218,
    UNSUPPORTED_PTX_VERSION = 222,
    INVALID_HANDLE = 400,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
    LAUNCH_FAILED = 719,
};

// After one of these a context only repeats it.
bool is_sticky(int code);

// ---- order: vector clocks over the host (0) and every stream -------------------------------

// How much of each actor's work has happened before some point.
struct Clock {
    std::vector<uint64_t> ticks;
    uint64_t of(size_t actor) const { return actor < ticks.size() ? ticks[actor] : 0; }
    void raise(size_t actor, uint64_t tick);
    void join(const Clock& other);
};
constexpr size_t HOST = 0;

// A use of memory, as the detector of races remembers it.
struct Access {
    size_t begin, end;  // bytes within the allocation
    bool writes;
    size_t actor;
    uint64_t tick;
    std::string by;
};

// ---- memory ----------------------------------------------------------------------------------

struct Device;

struct Allocation {
    Device* device;
    Address at;         // what the program holds; for pinned memory the address itself
    size_t bytes;
    uint8_t* data;      // where the bytes are, between two guard pages
    uint8_t* mapping;
    size_t mapped;
    bool pinned;
    bool freed = false;  // the program called free
    std::string made_by;
    std::vector<Access> accesses;
};

// One range that an operation reads or writes.
struct Use {
    Address at;
    size_t bytes;
    bool writes;
};

// ---- streams ---------------------------------------------------------------------------------

struct Stream;

// One recording of an event: the work before it on its stream.
struct Recording {
    Stream* stream;
    uint64_t serial;
    Clock clock;
    bool done = false;
};

struct Operation {
    std::string name;
    std::function<void()> run;
    std::shared_ptr<Recording> needs;  // an event of another stream that must come first
    int fault = SUCCESS;               // what this operation does to the context, if anything
};

struct Stream {
    Device* device;
    size_t actor;
    int number;  // per device, in the order of creation; the NULL stream is 0
    bool destroyed = false;
    Clock clock;
    std::deque<Operation> queue;
    uint64_t submitted = 0, executed = 0;
};

struct Event {
    Device* device;
    bool timing;
    bool destroyed = false;
    std::shared_ptr<Recording> last;
};

struct Device {
    int index;
    size_t memory, used = 0;
    int retained = 0;
    int sticky = SUCCESS;
    size_t uploading = 0, uploaded = 0;  // bytes since the last wait, and of the last batch
    Address first, next;
    Stream* null_stream;
    std::vector<Stream*> streams;
    std::map<Address, Allocation*> allocations;  // freed ones too: addresses are never used again
};

// ---- one call of the program -----------------------------------------------------------------

// Held during every call: takes the lock, writes the trace, and refuses the call where the
// environment or a broken context says so.
struct Call {
    explicit Call(const char* name, bool needs_context = true);
    ~Call();
    std::unique_lock<std::recursive_mutex> guard;
    int refused = SUCCESS;
};
#define FAKE_CALL(name, ...)                 \
    fake::Call call(#name, ##__VA_ARGS__);   \
    if (call.refused) return call.refused

std::recursive_mutex& lock();
std::string call_name();                        // "cuMemcpyHtoDAsync_v2 #17" of the current call
void set_detail(const std::string& detail);     // the kernel of a launch, for that name
int take_fault();                               // the sticky code that the current call was given
void trace(const char* format, ...) __attribute__((format(printf, 1, 2)));
void report(const char* format, ...) __attribute__((format(printf, 1, 2)));

// A deliberate fault at this call, `NAME=VALUE` in FAKE_CUDA_PLANT: what a wrong program would do.
bool planted(const char* name, std::string& value);
bool planted_nth(const char* name, std::string& value);  // the VALUEth call, from 1

// How many images (or columns) a convolution is called with. A program whose micro-batch follows
// --batch would call it with as many as it uploads.
long called_with(const Device* device, long count);

const char* setting(const char* name, const char* otherwise);
// Whether kernels and libraries compute. Where they do not, calls, allocations and bounds are still checked.
bool computes();
std::vector<Device*>& devices();
Device* current();                              // of this thread, or nullptr
void set_current(Device* device);
Clock& host_clock();

// memory.cpp
Allocation* allocate(Device* device, size_t bytes, bool pinned);
void release(Allocation* allocation);           // unmaps
Allocation* find(Address at, Device*& owner);   // live or freed, device or pinned
Allocation* find_pinned(const void* at);
void* resolve(Device* device, Address at, size_t bytes, const std::string& by);
bool check_uses(Stream* stream, const std::vector<Use>& uses);
void check_canaries(const std::vector<Use>& uses, const std::string& by);
void host_access(Allocation* allocation, const char* what);
size_t rest_of(Address at);                     // bytes from `at` to the end of its allocation
void report_leaks(Device* device);

// streams.cpp
Stream* make_stream(Device* device);
Stream* stream_of(void* handle);                // NULL: the current context's default stream
void submit(Stream* stream, const std::vector<Use>& uses, std::function<void()> run);
void wait_for(Stream* stream, std::shared_ptr<Recording> recording);
std::shared_ptr<Recording> record(Stream* stream);
void finish(Stream* stream, uint64_t serial);
void finish(Stream* stream);
void execution_failed(Device* device, int code);
std::string& running();                         // the operation that is executed just now, or ""

// kernels.cpp
struct Parameter {
    size_t bytes;
    bool pointer, writes;
};
using Values = std::vector<uint64_t>;
struct Kernel {
    std::string name;
    std::vector<Parameter> parameters;
};
const Kernel* find_kernel(const std::string& name);
std::vector<std::string> kernel_names();
void run_kernel(const Kernel& kernel, unsigned blocks, unsigned threads, Values values);

}  // namespace fake
