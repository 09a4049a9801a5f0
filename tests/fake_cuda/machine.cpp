// The simulated machine: what the environment says of it, its calls, and what is reported.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "fake.h"

namespace fake {

namespace {

// "NAME:NTH:CODE" in FAKE_CUDA_FAIL: the NTH call of NAME (`*` at its end stands for anything,
// `@2` for GPU 2 alone) returns CODE. A sticky code strikes when the operation is executed.
struct Failure {
    std::string name;
    int device = -1;
    uint64_t nth, seen = 0;
    int code;
};

// All state lives until the process ends, whatever runs at exit.
struct State {
    std::recursive_mutex lock;
    std::vector<Device*> devices;
    std::vector<Failure> failures;
    std::map<std::string, std::string> plants;
    std::map<std::string, uint64_t> plant_counts;
    Clock host;
    uint64_t calls = 0;
    int trace_file = -1, report_file = -1;
};

struct Thread {
    Device* device = nullptr;
    std::string call;
    uint64_t call_number = 0;
    int depth = 0;
    int fault = SUCCESS;
};
thread_local Thread thread_state;

std::vector<std::string> split(const std::string& text, char at) {
    std::vector<std::string> parts;
    std::stringstream stream(text);
    for (std::string part; std::getline(stream, part, at);) parts.push_back(part);
    return parts;
}

int open_log(const char* name) {
    const char* path = getenv(name);
    return path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
}

State* make_state() {
    auto* state = new State;
    state->trace_file = open_log("FAKE_CUDA_TRACE");
    state->report_file = open_log("FAKE_CUDA_REPORT");
    for (const std::string& rule : split(setting("FAKE_CUDA_FAIL", ""), ',')) {
        std::vector<std::string> parts = split(rule, ':');
        if (parts.size() != 3) {
            fprintf(stderr, "fake_cuda: FAKE_CUDA_FAIL is NAME[@GPU]:NTH:CODE, not `%s`\n", rule.c_str());
            abort();
        }
        std::vector<std::string> name = split(parts[0], '@');
        Failure failure;
        failure.name = name[0];
        if (name.size() > 1) failure.device = std::stoi(name[1]);
        failure.nth = std::stoull(parts[1]);
        failure.code = std::stoi(parts[2]);
        state->failures.push_back(failure);
    }
    for (const std::string& plant : split(setting("FAKE_CUDA_PLANT", ""), ',')) {
        size_t at = plant.find('=');
        state->plants[plant.substr(0, at)] = at == std::string::npos ? "" : plant.substr(at + 1);
    }
    int count = atoi(setting("FAKE_CUDA_GPUS", "1"));
    size_t memory = strtoull(setting("FAKE_CUDA_MEMORY", "8589934592"), nullptr, 10);
    for (int index = 0; index < count; index++) {
        // A terabyte of addresses that nothing else gets, so that a device pointer that the host
        // dereferences is a fault and never somebody else's memory.
        constexpr size_t SPACE = size_t(1) << 40;
        void* space = mmap(nullptr, SPACE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (space == MAP_FAILED) abort();
        auto* device = new Device{};
        device->index = index;
        device->memory = memory;
        device->first = device->next = Address(space);
        state->devices.push_back(device);
    }
    return state;
}

State& state() {
    static State* state = make_state();
    return *state;
}

bool matches(const std::string& pattern, const std::string& name) {
    if (!pattern.empty() && pattern.back() == '*')
        return name.compare(0, pattern.size() - 1, pattern, 0, pattern.size() - 1) == 0;
    return pattern == name;
}

// Whether a call of this name puts work into a stream, which may break the context later.
bool submits(const std::string& name) {
    for (const char* pattern : {"cuLaunchKernel", "cuMemcpy*", "cuMemset*", "cudnnConvolution*", "cublasGemm*"}) {
        if (matches(pattern, name)) return true;
    }
    return false;
}

void write_line(int file, const std::string& line) {
    if (file >= 0 && write(file, line.data(), line.size()) < 0) abort();
}

std::string formatted(const char* format, va_list arguments) {
    char text[1024];
    vsnprintf(text, sizeof text, format, arguments);
    return text;
}

}  // namespace

bool is_sticky(int code) {
    return code == 214 || code == ILLEGAL_ADDRESS || code == 702 || (code >= 714 && code <= LAUNCH_FAILED);
}

void Clock::raise(size_t actor, uint64_t tick) {
    if (ticks.size() <= actor) ticks.resize(actor + 1);
    ticks[actor] = std::max(ticks[actor], tick);
}

void Clock::join(const Clock& other) {
    for (size_t actor = 0; actor < other.ticks.size(); actor++) raise(actor, other.ticks[actor]);
}

std::recursive_mutex& lock() { return state().lock; }
std::vector<Device*>& devices() { return state().devices; }
Clock& host_clock() { return state().host; }
Device* current() { return thread_state.device; }
void set_current(Device* device) { thread_state.device = device; }

const char* setting(const char* name, const char* otherwise) {
    const char* value = getenv(name);
    return value ? value : otherwise;
}

bool computes() {
    static const bool computes = atoi(setting("FAKE_CUDA_COMPUTE", "1")) != 0;
    return computes;
}

std::string call_name() { return thread_state.call + " #" + std::to_string(thread_state.call_number); }

void set_detail(const std::string& detail) { thread_state.call += "(" + detail + ")"; }

int take_fault() {
    int fault = thread_state.fault;
    thread_state.fault = SUCCESS;
    return fault;
}

void trace(const char* format, ...) {
    if (state().trace_file < 0) return;
    va_list arguments;
    va_start(arguments, format);
    write_line(state().trace_file, formatted(format, arguments) + "\n");
    va_end(arguments);
}

void report(const char* format, ...) {
    va_list arguments;
    va_start(arguments, format);
    std::string line = formatted(format, arguments) + "\n";
    va_end(arguments);
    write_line(state().report_file, line);
    fputs(("fake_cuda: " + line).c_str(), stderr);
}

bool planted(const char* name, std::string& value) {
    auto plant = state().plants.find(name);
    if (plant == state().plants.end()) return false;
    value = plant->second;
    return true;
}

bool planted_nth(const char* name, std::string& value) {
    if (!planted(name, value)) return false;
    return ++state().plant_counts[name] == std::stoull(value);
}

long called_with(const Device* device, long count) {
    std::string plant;
    return planted("micro_batch_follows_batch", plant) ? long(device->uploaded / sizeof(uint32_t)) : count;
}

Call::Call(const char* name, bool needs_context) : guard(state().lock) {
    if (thread_state.depth++ > 0) return;  // a stand-in called by another one
    State& all = state();
    thread_state.call = name;
    thread_state.call_number = ++all.calls;
    thread_state.fault = SUCCESS;
    Device* device = thread_state.device;
    trace("%s %d", name, device ? device->index : -1);
    for (Failure& failure : all.failures) {
        bool here = failure.device < 0 || (device && device->index == failure.device);
        if (!here || !matches(failure.name, name) || ++failure.seen != failure.nth) continue;
        trace("fault %s %d", name, failure.code);
        if (is_sticky(failure.code) && submits(name)) {
            thread_state.fault = failure.code;
            continue;
        }
        if (is_sticky(failure.code) && device) execution_failed(device, failure.code);
        refused = failure.code;
    }
    if (refused || !needs_context) return;
    if (!device) {
        refused = INVALID_CONTEXT;
    } else if (device->sticky) {
        refused = device->sticky;
    }
}

Call::~Call() { thread_state.depth--; }

namespace {
// What is left at the end of the process is a leak. A broken context cannot free anything.
struct AtExit {
    ~AtExit() {
        std::unique_lock<std::recursive_mutex> guard(state().lock);
        for (Device* device : state().devices) {
            if (device->sticky) return;
            thread_state.device = device;
            for (Stream* stream : device->streams) finish(stream);
            report_leaks(device);
        }
    }
} at_exit;
}  // namespace

}  // namespace fake
