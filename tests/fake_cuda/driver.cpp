// libcuda.so.1: the functions of the CUDA driver that the program calls, and no others, so that a
// new dependency shows as a missing symbol.
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "fake.h"

using namespace fake;

namespace {

struct Function {
    const Kernel* kernel;
    Device* device;
};

struct Module {
    Device* device;
    std::map<std::string, std::vector<size_t>> entries;  // bytes of each parameter
    std::map<std::string, Function> functions;
    bool unloaded = false;
};

int driver_version() { return atoi(setting("FAKE_CUDA_DRIVER", "13000")); }
int compute_capability() { return atoi(setting("FAKE_CUDA_CAPABILITY", "90")); }  // 90 is 9.0

Device* device_at(int index) {
    return index >= 0 && index < int(devices().size()) ? devices()[index] : nullptr;
}

bool is_context(void* context) {
    for (Device* device : devices()) {
        if (device == context) return true;
    }
    return false;
}

int bytes_of_type(const std::string& type) {
    return type == "pred" ? 1 : atoi(type.c_str() + 1) / 8;  // .u32 .s64 .f32 .b8
}

// The entries of a PTX text with the size of each parameter:
//   .visible .entry NAME( .param .u64 NAME_param_0, .param .align 8 .b8 NAME_param_1[32] )
std::map<std::string, std::vector<size_t>> parse_entries(const std::string& ptx) {
    std::map<std::string, std::vector<size_t>> entries;
    for (size_t at = ptx.find(".entry"); at != std::string::npos; at = ptx.find(".entry", at + 1)) {
        size_t open = ptx.find('(', at), close = ptx.find(')', at), body = ptx.find('{', at);
        std::stringstream head(ptx.substr(at + 6, std::min(open, body) - at - 6));
        std::string name, word, type;
        head >> name;
        std::vector<size_t>& sizes = entries[name];
        if (open > body) continue;
        std::string list = ptx.substr(open + 1, close - open - 1);
        for (char& letter : list) {
            if (letter == ',') letter = ' ';
        }
        std::stringstream words(list);
        while (words >> word) {
            if (word == ".param") continue;
            if (word == ".align" || word == ".ptr") {
                if (word == ".align") words >> word;
            } else if (word[0] == '.') {
                type = word.substr(1);
            } else {
                size_t bracket = word.find('[');
                size_t count = bracket == std::string::npos ? 1 : std::stoul(word.substr(bracket + 1));
                sizes.push_back(count * bytes_of_type(type));
            }
        }
    }
    return entries;
}

double number_after(const std::string& ptx, const char* directive) {
    size_t at = ptx.find(directive);
    return at == std::string::npos ? -1 : atof(ptx.c_str() + at + strlen(directive));
}

// A cubin is an ELF file with a section ".text.NAME" for each entry. How it states parameters is not documented, so
// they count as those of the source.
int load_cubin(Module** out, const char* image) {
    uint64_t sections;
    uint32_t flags;
    uint16_t section_bytes, section_count;
    memcpy(&sections, image + 40, 8), memcpy(&flags, image + 48, 4);
    memcpy(&section_bytes, image + 58, 2), memcpy(&section_count, image + 60, 2);
    int assembled_for = image[8] < 8 ? flags & 0xff : flags >> 8 & 0xff;  // the ABI's version decides
    bool runs = assembled_for / 10 == compute_capability() / 10 && assembled_for <= compute_capability();
    if (setting("CUDA_FORCE_PTX_JIT", "0") == std::string("1") || !runs) return NO_BINARY_FOR_GPU;
    std::string all(image, sections + section_bytes * section_count);
    auto* module = new Module{current(), {}, {}, false};
    for (const std::string& name : kernel_names()) {
        std::string section = '\0' + (".text." + name) + '\0';
        if (all.find(section) == std::string::npos) continue;
        for (const Parameter& parameter : find_kernel(name)->parameters) module->entries[name].push_back(parameter.bytes);
    }
    trace("cubin sm_%d", assembled_for);
    *out = module;
    return SUCCESS;
}

int load_module(Module** out, const char* image) {
    if (!memcmp(image, "\177ELF", 4)) return load_cubin(out, image);
    if (!strstr(image, ".version")) {
        report("%s: the image is not PTX text", call_name().c_str());
        return INVALID_PTX;
    }
    std::string ptx = image;
    // CUDA 11.x reads PTX 7.x, 12.x reads 8.x, 13.x reads 9.x; the minor numbers agree.
    int newest = (driver_version() / 1000 - 4) * 10 + driver_version() % 1000 / 10;
    if (number_after(ptx, ".version") * 10 > newest + 0.5) return UNSUPPORTED_PTX_VERSION;
    if (number_after(ptx, ".target sm_") > compute_capability()) return NO_BINARY_FOR_GPU;
    auto* module = new Module{current(), parse_entries(ptx), {}, false};
    *out = module;
    return SUCCESS;
}

// A kernel that differs from the PTX is a stale PTX file, which a GPU would run with garbage.
bool same_signature(const std::string& name, const std::vector<size_t>& ptx, const Kernel& kernel) {
    std::vector<size_t> host;
    for (const Parameter& parameter : kernel.parameters) host.push_back(parameter.bytes);
    if (host == ptx) return true;
    auto shown = [](const std::vector<size_t>& sizes) {
        std::string text;
        for (size_t size : sizes) text += " " + std::to_string(size);
        return text;
    };
    report("%s takes parameters of%s bytes in the PTX but of%s in the source", name.c_str(), shown(ptx).c_str(),
           shown(host).c_str());
    return false;
}

// "DETAIL=VALUE" plants that change the arguments of a launch.
void plant_arguments(const Kernel& kernel, Values& values) {
    std::string plant;
    if (planted("swap_arguments", plant)) {  // KERNEL:I:J, a prefix of the name
        std::stringstream parts(plant);
        std::string name, i, j;
        std::getline(parts, name, ':'), std::getline(parts, i, ':'), std::getline(parts, j, ':');
        if (kernel.name.compare(0, name.size(), name) == 0)
            std::swap(values[std::stoul(i)], values[std::stoul(j)]);
    }
    if (planted_nth("free_before_launch", plant)) {
        for (size_t i = 0; i < values.size(); i++) {
            Device* owner;
            if (!kernel.parameters[i].pointer || !values[i]) continue;
            find(values[i], owner)->freed = true;
            return;
        }
    }
}

// One byte more or less than the program asked for: `copy_bytes=N:+1`.
size_t plant_length(size_t bytes, const char* name) {
    std::string plant;
    if (!planted(name, plant)) return bytes;
    static std::map<std::string, uint64_t> seen;
    size_t colon = plant.find(':');
    bool now = ++seen[name] == std::stoull(plant.substr(0, colon));
    return now ? bytes + std::stol(plant.substr(colon + 1)) : bytes;
}

int copy_to_device(Address to, const void* from, size_t bytes, Stream* stream) {
    bytes = plant_length(bytes, "upload_bytes");
    trace("upload %zu", bytes);
    Device* device = stream->device;
    device->uploading += bytes;
    std::string by = call_name();
    std::vector<Use> uses{{to, bytes, true}};
    auto* source = static_cast<const uint8_t*>(from);
    if (!find_pinned(from)) {
        // Pageable memory is free for the caller as soon as the call returns.
        auto copy = std::make_shared<std::vector<uint8_t>>(source, source + bytes);
        submit(stream, uses, [=] {
            if (void* target = resolve(device, to, bytes, by)) memcpy(target, copy->data(), bytes);
        });
        return SUCCESS;
    }
    uses.push_back({Address(from), bytes, false});
    Device* owner;
    Allocation* pinned = find(Address(from), owner);
    bool inside = Address(from) + bytes <= pinned->at + pinned->bytes && !pinned->freed;
    uint64_t before = inside ? hash_bytes(source, bytes) : 0;
    submit(stream, uses, [=] {
        void* target = resolve(device, to, bytes, by);
        if (!target || !inside) return;
        if (hash_bytes(source, bytes) != before)
            report("%s: pinned memory was written while its copy to the device was pending", by.c_str());
        memcpy(target, source, bytes);
    });
    return SUCCESS;
}

int copy_to_host(void* to, Address from, size_t bytes, Stream* stream) {
    bytes = plant_length(bytes, "download_bytes");
    trace("download %zu", bytes);
    Device* device = stream->device;
    std::string by = call_name();
    std::vector<Use> uses{{from, bytes, false}};
    bool pinned = find_pinned(to);
    if (pinned) {
        uses.push_back({Address(to), bytes, true});
        // What is read before the copy has happened is not yesterday's right result.
        Device* owner;
        Allocation* target = find(Address(to), owner);
        if (Address(to) + bytes <= target->at + target->bytes) memset(to, 0xA5, bytes);
    }
    submit(stream, uses, [=] {
        if (void* source = resolve(device, from, bytes, by)) memcpy(to, source, bytes);
    });
    if (!pinned) {
        finish(stream);
        host_clock().join(stream->clock);
        return stream->device->sticky;
    }
    return SUCCESS;
}

}  // namespace

// Device pointers, sizes and handles have the widths of the C declarations; enums are ints.
// The driver's name of a code; those that tests plant, and nothing for others.
const char* name_of(int code) {
    static const std::map<int, const char*> NAMES = {
        {INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
        {OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED"},
        {NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
        {221, "CUDA_ERROR_JIT_COMPILER_NOT_FOUND"},
        {UNSUPPORTED_PTX_VERSION, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION"},
        {223, "CUDA_ERROR_JIT_COMPILATION_DISABLED"},
        {ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {999, "CUDA_ERROR_UNKNOWN"},
    };
    auto found = NAMES.find(code);
    return found == NAMES.end() ? nullptr : found->second;
}

extern "C" {

int cuGetErrorName(int code, const char** name) {
    Call call("cuGetErrorName", false);
    *name = name_of(code);
    return *name ? SUCCESS : INVALID_VALUE;
}

int cuInit(unsigned) {
    FAKE_CALL(cuInit, false);
    return devices().empty() ? NO_DEVICE : SUCCESS;
}

int cuDriverGetVersion(int* version) {
    FAKE_CALL(cuDriverGetVersion, false);
    *version = driver_version();
    return SUCCESS;
}

int cuDeviceGetCount(int* count) {
    FAKE_CALL(cuDeviceGetCount, false);
    *count = int(devices().size());
    return SUCCESS;
}

int cuDeviceGet(int* device, int index) {
    FAKE_CALL(cuDeviceGet, false);
    *device = index;
    return device_at(index) ? SUCCESS : INVALID_DEVICE;
}

int cuDeviceGetName(char* name, int bytes, int index) {
    FAKE_CALL(cuDeviceGetName, false);
    std::stringstream names(setting("FAKE_CUDA_NAME", "Stand-in GPU"));
    std::string found;
    for (int i = 0; i <= index && std::getline(names, found, ','); i++) {
    }
    snprintf(name, bytes, "%s", found.c_str());
    return SUCCESS;
}

int cuDeviceTotalMem_v2(size_t* bytes, int index) {
    FAKE_CALL(cuDeviceTotalMem_v2, false);
    if (!device_at(index)) return INVALID_DEVICE;
    *bytes = device_at(index)->memory;
    return SUCCESS;
}

int cuDeviceGetAttribute(int* value, int attribute, int) {
    FAKE_CALL(cuDeviceGetAttribute, false);
    switch (attribute) {
        case 16: return *value = atoi(setting("FAKE_CUDA_PROCESSORS", "108")), SUCCESS;  // multiprocessors
        case 75: return *value = compute_capability() / 10, SUCCESS;
        case 76: return *value = compute_capability() % 10, SUCCESS;
        default: report("%s: attribute %d is not one that the stand-in knows", call_name().c_str(), attribute);
    }
    return INVALID_VALUE;
}

// ---- contexts

int cuDevicePrimaryCtxRetain(void** context, int index) {
    FAKE_CALL(cuDevicePrimaryCtxRetain, false);
    Device* device = device_at(index);
    if (!device) return INVALID_DEVICE;
    if (device->retained++ == 0 && !device->null_stream) device->null_stream = make_stream(device);
    *context = device;
    return SUCCESS;
}

int cuDevicePrimaryCtxRelease_v2(int index) {
    FAKE_CALL(cuDevicePrimaryCtxRelease_v2, false);
    Device* device = device_at(index);
    if (!device || device->retained == 0) return INVALID_CONTEXT;
    if (--device->retained > 0) return SUCCESS;
    for (Stream* stream : device->streams) finish(stream);
    return SUCCESS;
}

int cuCtxSetCurrent(void* context) {
    FAKE_CALL(cuCtxSetCurrent, false);
    if (context && (!is_context(context) || static_cast<Device*>(context)->retained == 0)) return INVALID_CONTEXT;
    set_current(static_cast<Device*>(context));
    return SUCCESS;
}

// The contexts below the current one, of each thread.
thread_local std::vector<Device*> pushed_over;

int cuCtxPushCurrent_v2(void* context) {
    FAKE_CALL(cuCtxPushCurrent_v2, false);
    if (!is_context(context) || static_cast<Device*>(context)->retained == 0) return INVALID_CONTEXT;
    pushed_over.push_back(current());
    set_current(static_cast<Device*>(context));
    return SUCCESS;
}

int cuCtxPopCurrent_v2(void** out) {
    FAKE_CALL(cuCtxPopCurrent_v2, false);
    if (pushed_over.empty()) return INVALID_CONTEXT;
    *out = current();
    set_current(pushed_over.back());
    pushed_over.pop_back();
    return SUCCESS;
}

int cuCtxSynchronize() {
    FAKE_CALL(cuCtxSynchronize);
    for (Stream* stream : current()->streams) {
        finish(stream);
        host_clock().join(stream->clock);
    }
    return current()->sticky;
}

// ---- memory

int cuMemGetInfo_v2(size_t* free, size_t* total) {
    FAKE_CALL(cuMemGetInfo_v2);
    *free = current()->memory - current()->used;
    *total = current()->memory;
    return SUCCESS;
}

int cuMemAlloc_v2(Address* out, size_t bytes) {
    FAKE_CALL(cuMemAlloc_v2);
    Device* device = current();
    trace("allocate %zu", bytes);
    if (bytes == 0) return INVALID_VALUE;
    if (device->used + bytes > device->memory) return OUT_OF_MEMORY;
    device->used += bytes;
    *out = allocate(device, bytes, false)->at;
    return SUCCESS;
}

int cuMemFree_v2(Address at) {
    FAKE_CALL(cuMemFree_v2);
    Device* owner;
    Allocation* allocation = find(at, owner);
    if (!allocation || allocation->at != at || owner != current()) {
        report("%s: %#lx is not the start of memory of the current context's GPU", call_name().c_str(), at);
        return INVALID_VALUE;
    }
    if (allocation->freed) {
        report("double free: %s frees %s again", call_name().c_str(), allocation->made_by.c_str());
        return INVALID_VALUE;
    }
    host_access(allocation, "frees");
    allocation->freed = true;
    owner->used -= allocation->bytes;
    release(allocation);
    return SUCCESS;
}

int cuMemHostAlloc(void** out, size_t bytes, unsigned) {
    FAKE_CALL(cuMemHostAlloc);
    if (bytes == 0) return INVALID_VALUE;
    *out = allocate(current(), bytes, true)->data;
    return SUCCESS;
}

int cuMemFreeHost(void* at) {
    FAKE_CALL(cuMemFreeHost);
    Allocation* allocation = find_pinned(at);
    if (!allocation || allocation->data != at || allocation->freed) {
        report("%s: %p is not pinned memory", call_name().c_str(), at);
        return INVALID_VALUE;
    }
    host_access(allocation, "frees");
    allocation->freed = true;
    release(allocation);
    return SUCCESS;
}

int cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, void* handle) {
    FAKE_CALL(cuMemcpyHtoDAsync_v2);
    Stream* stream = stream_of(handle);
    return stream ? copy_to_device(to, from, bytes, stream) : INVALID_HANDLE;
}

int cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, void* handle) {
    FAKE_CALL(cuMemcpyDtoHAsync_v2);
    Stream* stream = stream_of(handle);
    return stream ? copy_to_host(to, from, bytes, stream) : INVALID_HANDLE;
}

struct Copy2D {
    struct Side {
        size_t x_bytes, y;
        int kind;
        const void* host;
        Address device;
        void* array;
        size_t pitch;
    } from, to;
    size_t width_bytes, height;
};
static_assert(sizeof(Copy2D) == 128, "CUDA_MEMCPY2D");

int cuMemcpy2DAsync_v2(const Copy2D* copy, void* handle) {
    FAKE_CALL(cuMemcpy2DAsync_v2);
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    Copy2D it = *copy;
    constexpr int DEVICE = 2;
    bool known = it.from.kind == DEVICE && it.to.kind == DEVICE && !it.from.x_bytes && !it.from.y && !it.to.x_bytes &&
                 !it.to.y;
    bool sized = it.width_bytes && it.height && it.width_bytes <= it.from.pitch && it.width_bytes <= it.to.pitch;
    if (!known || !sized) {
        report("%s: only whole copies from device to device are known", call_name().c_str());
        return INVALID_VALUE;
    }
    auto use = [&](const Copy2D::Side& side, bool writes) {
        return Use{side.device, (it.height - 1) * side.pitch + it.width_bytes, writes};
    };
    std::vector<Use> uses{use(it.from, false), use(it.to, true)};
    Device* device = stream->device;
    submit(stream, uses, [=, by = call_name()] {
        auto* source = static_cast<uint8_t*>(resolve(device, uses[0].at, uses[0].bytes, by));
        auto* target = static_cast<uint8_t*>(resolve(device, uses[1].at, uses[1].bytes, by));
        if (!source || !target || !computes()) return;
        for (size_t row = 0; row < it.height; row++)
            memcpy(target + row * it.to.pitch, source + row * it.from.pitch, it.width_bytes);
    });
    return SUCCESS;
}

int cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void* handle) {
    FAKE_CALL(cuMemsetD8Async);
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    std::string by = call_name();
    submit(stream, {{to, bytes, true}}, [=] {
        void* target = resolve(stream->device, to, bytes, by);
        // Without computing, only short ones: flags that the program reads. Activations would take memory.
        if (target && (computes() || bytes <= 4096)) memset(target, value, bytes);
    });
    return SUCCESS;
}

// ---- streams and events

int cuStreamCreate(void** out, unsigned flags) {
    FAKE_CALL(cuStreamCreate);
    // A blocking stream waits for the NULL stream and it for them; the program does not need that.
    if (flags != 1) report("%s: only non-blocking streams are known", call_name().c_str());
    *out = make_stream(current());
    return SUCCESS;
}

int cuStreamDestroy_v2(void* handle) {
    FAKE_CALL(cuStreamDestroy_v2);
    Stream* stream = stream_of(handle);
    if (!stream || stream == stream->device->null_stream) return INVALID_HANDLE;
    stream->destroyed = true;  // its queue still runs
    return SUCCESS;
}

int cuStreamSynchronize(void* handle) {
    FAKE_CALL(cuStreamSynchronize);
    Stream* stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    finish(stream);
    host_clock().join(stream->clock);
    stream->device->uploading = 0;
    return stream->device->sticky;
}

int cuStreamWaitEvent(void* handle, void* event, unsigned) {
    FAKE_CALL(cuStreamWaitEvent);
    Stream* stream = stream_of(handle);
    std::string plant;
    if (!stream || static_cast<Event*>(event)->destroyed) return INVALID_HANDLE;
    if (planted_nth("drop_wait", plant)) return trace("planted drop_wait"), SUCCESS;
    // An event that was never recorded delays nothing.
    if (auto& last = static_cast<Event*>(event)->last) wait_for(stream, last);
    return SUCCESS;
}

int cuEventCreate(void** out, unsigned flags) {
    FAKE_CALL(cuEventCreate);
    *out = new Event{current(), !(flags & 2), false, nullptr};
    return SUCCESS;
}

int cuEventDestroy_v2(void* handle) {
    FAKE_CALL(cuEventDestroy_v2);
    static_cast<Event*>(handle)->destroyed = true;  // kept, so that a late use is seen
    return SUCCESS;
}

int cuEventRecord(void* handle, void* stream_handle) {
    FAKE_CALL(cuEventRecord);
    auto* event = static_cast<Event*>(handle);
    Stream* stream = stream_of(stream_handle);
    if (!stream || event->destroyed) return INVALID_HANDLE;
    if (stream->device != event->device) {
        report("%s: the event and the stream belong to different GPUs", call_name().c_str());
        return INVALID_HANDLE;
    }
    // The event that follows the uploads of a batch; what was waited for before belongs to none.
    if (stream->device->uploading) stream->device->uploaded = stream->device->uploading;
    stream->device->uploading = 0;
    event->last = record(stream);
    return SUCCESS;
}

int cuEventSynchronize(void* handle) {
    FAKE_CALL(cuEventSynchronize);
    auto* event = static_cast<Event*>(handle);
    std::string plant;
    if (event->destroyed) return INVALID_HANDLE;
    if (!event->last || planted_nth("skip_event_synchronize", plant)) return SUCCESS;
    finish(event->last->stream, event->last->serial);
    host_clock().join(event->last->clock);
    return event->device->sticky;
}

// ---- modules and launches

int cuModuleLoadDataEx(void** out, const void* image, unsigned, int*, void**) {
    FAKE_CALL(cuModuleLoadDataEx);
    return load_module(reinterpret_cast<Module**>(out), static_cast<const char*>(image));
}

int cuModuleUnload(void* handle) {
    FAKE_CALL(cuModuleUnload);
    static_cast<Module*>(handle)->unloaded = true;
    return SUCCESS;
}

int cuModuleGetFunction(void** out, void* handle, const char* name) {
    FAKE_CALL(cuModuleGetFunction);
    auto* module = static_cast<Module*>(handle);
    auto entry = module->entries.find(name);
    if (entry == module->entries.end()) return NOT_FOUND;
    const Kernel* kernel = find_kernel(name);
    if (!kernel) {
        report("%s is in the PTX but not in kernels/*.cu", name);
        return NOT_FOUND;
    }
    if (!same_signature(name, entry->second, *kernel)) return INVALID_PTX;
    module->functions[name] = {kernel, module->device};
    *out = &module->functions[name];
    return SUCCESS;
}

int cuLaunchKernel(void* handle, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                   unsigned block_z, unsigned shared_bytes, void* stream_handle, void** arguments, void** extra) {
    FAKE_CALL(cuLaunchKernel);
    auto* function = static_cast<Function*>(handle);
    const Kernel& kernel = *function->kernel;
    set_detail(kernel.name);
    Stream* stream = stream_of(stream_handle);
    if (!stream || stream->device != current() || function->device != current()) {
        report("%s: function, stream and current context belong to different GPUs", call_name().c_str());
        return INVALID_HANDLE;
    }
    bool is_row = grid_y == 1 && grid_z == 1 && block_y == 1 && block_z == 1 && grid_x && grid_x <= 2147483647u;
    if (extra || shared_bytes || !is_row || block_x == 0 || block_x > 1024) {
        report("%s: not one of our grids, which are rows of at most 2^31 - 1 blocks of 1024 threads", call_name().c_str());
        return INVALID_VALUE;
    }
    // The values are the caller's only until the call returns.
    Values values;
    for (size_t i = 0; i < kernel.parameters.size(); i++) {
        uint64_t value = 0;
        memcpy(&value, arguments[i], kernel.parameters[i].bytes);
        values.push_back(value);
    }
    plant_arguments(kernel, values);
    std::vector<Use> uses;
    for (size_t i = 0; i < values.size(); i++) {
        const Parameter& parameter = kernel.parameters[i];
        if (parameter.pointer && values[i]) uses.push_back({values[i], rest_of(values[i]), parameter.writes});
    }
    Device* device = stream->device;
    submit(stream, uses, [=, by = call_name(), &kernel]() mutable {
        for (size_t i = 0; i < values.size(); i++) {
            if (!kernel.parameters[i].pointer || !values[i]) continue;
            void* data = resolve(device, values[i], 1, by);
            if (!data) return;
            values[i] = uint64_t(data);
        }
        if (computes()) run_kernel(kernel, grid_x, block_x, values);
    });
    return SUCCESS;
}

}  // extern "C"
