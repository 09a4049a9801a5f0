// libcudnn.so.9: descriptors, the choice of an algorithm, and the fused convolution.
//
// What cuDNN's documentation does not promise for this call is refused, never computed.
#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <map>

#include "fake.h"
#include "product.h"

using namespace fake;

namespace {

enum Status : int {
    OK = 0,
    NOT_INITIALIZED_STATUS = 1001,
    SUBLIBRARY_VERSION_MISMATCH = 1002,
    BAD_PARAM = 2000,
    NOT_SUPPORTED = 3000,
    EXECUTION_FAILED = 5000,
};
enum { NCHW = 0, NHWC = 1 };
enum { FLOAT = 0, HALF = 2 };
enum { DEFAULT_MATH = 0, TENSOR_OP_MATH = 1, FMA_MATH = 3 };
enum { RELU = 1, IDENTITY = 5 };
enum { IMPLICIT_GEMM = 0, PRECOMP_GEMM = 1, GEMM = 2, WINOGRAD = 6, WINOGRAD_NONFUSED = 7, ALGORITHMS = 8 };

struct Tensor {
    int type = -1;
    long n = 0, c = 0, h = 0, w = 0;
    long n_stride = 0, c_stride = 0, h_stride = 0, w_stride = 0;
    bool is_nhwc() const { return c_stride == 1 && w_stride > 1; }
    bool is_part() const { return n_stride != c * h * w; }
    Element element() const { return type == HALF ? Element::F16 : Element::F32; }
    size_t span() const {
        return size_t((n - 1) * n_stride + (c - 1) * c_stride + (h - 1) * h_stride + (w - 1) * w_stride + 1);
    }
    Use use(const void* at, bool writes) const { return {Address(at), span() * bytes_of(element()), writes}; }
};

struct Filter {
    int type = -1, format = -1;
    long k = 0, c = 0, h = 0, w = 0;
    Element element() const { return type == HALF ? Element::F16 : Element::F32; }
    size_t index(long out, long in, long y, long x) const {
        return format == NHWC ? ((out * h + y) * w + x) * c + in : ((out * c + in) * h + y) * w + x;
    }
};

struct Convolution {
    long pad_h = 0, pad_w = 0, stride_h = 0, stride_w = 0;
    int mode = -1, compute = -1, math = DEFAULT_MATH;
    bool dilated = false;
};

struct Activation {
    int mode = -1;
    bool propagates_nan = false;
};

struct Handle {
    Device* device;
    Stream* stream;
};

// The library loads its other parts from its own folder, and ends the process without them.
void demand_companions() {
    Dl_info self;
    dladdr(reinterpret_cast<void*>(demand_companions), &self);
    std::string folder(self.dli_fname, strrchr(self.dli_fname, '/') - self.dli_fname + 1);
    for (const char* part : {"graph", "ops", "cnn", "adv", "heuristic", "engines_precompiled", "engines_runtime_compiled"}) {
        std::string name = std::string("libcudnn_") + part + ".so.9";
        if (access((folder + name).c_str(), R_OK) == 0) continue;
        fprintf(stderr, "Unable to load any of {%s}\n", name.c_str());
        abort();
    }
}

// A part of newer versions is opened by name, and must lie beside the others.
int versions_of_parts() {
    void* part = dlopen("libcudnn_engines_tensor_ir.so.9", RTLD_NOW | RTLD_LOCAL);
    if (!part) return OK;
    Dl_info self, other;
    dladdr(reinterpret_cast<void*>(versions_of_parts), &self);
    dladdr(dlsym(part, "cudnnGraphVersionCheck"), &other);
    auto folder = [](const char* file) { return std::string(file, size_t(strrchr(file, '/') - file)); };
    return folder(self.dli_fname) == folder(other.dli_fname) ? OK : SUBLIBRARY_VERSION_MISMATCH;
}

#define CUDNN_CALL(name)                          \
    Call call(#name, false);                      \
    if (call.refused) return call.refused

#define HANDLE_CALL(name, handle)                                                            \
    CUDNN_CALL(name);                                                                        \
    auto* self = static_cast<Handle*>(handle);                                               \
    if (!self) return NOT_INITIALIZED_STATUS;                                                \
    if (self->device != current())                                                           \
        report("%s: the handle is of gpu %d, which is not the current context", #name, self->device->index); \
    if (self->device->sticky) return EXECUTION_FAILED

long out_length(long length, long kernel, long stride, long pad) { return (length + 2 * pad - kernel) / stride + 1; }

// Whether the extents and types of the four agree, whatever the algorithm.
int agreement(const Tensor& x, const Filter& w, const Convolution& conv, const Tensor& y) {
    bool types = (x.type == FLOAT || x.type == HALF) && x.type == w.type && x.type == y.type && conv.compute == FLOAT;
    if (!types || conv.dilated || conv.mode != 1) return NOT_SUPPORTED;
    if (x.is_nhwc() != (w.format == NHWC) || x.is_nhwc() != y.is_nhwc()) return NOT_SUPPORTED;
    bool extents = x.c == w.c && y.c == w.k && x.n == y.n && y.h == out_length(x.h, w.h, conv.stride_h, conv.pad_h) &&
                   y.w == out_length(x.w, w.w, conv.stride_w, conv.pad_w);
    if (!extents) return BAD_PARAM;
    if (y.is_part() && atoi(setting("FAKE_CUDNN_PARTS", "1")) == 0) return NOT_SUPPORTED;
    // Tensor cores read 16 bytes at a time; the kernels for a first layer read 8, since Ampere.
    bool is_older = atoi(setting("FAKE_CUDA_CAPABILITY", "90")) < 80;
    if (x.type == HALF && x.is_nhwc() && (x.c % (is_older ? 8 : 4) || y.c % 8)) return NOT_SUPPORTED;
    return OK;
}

bool supports(int algorithm, const Tensor& x, const Filter& w, const Convolution& conv) {
    bool small = w.h == 3 && w.w == 3 && conv.stride_h == 1 && conv.stride_w == 1;
    switch (algorithm) {
        case IMPLICIT_GEMM:
        case PRECOMP_GEMM: return true;
        case GEMM: return !x.is_nhwc();
        case WINOGRAD:
        case WINOGRAD_NONFUSED: return small && !x.is_nhwc();
        default: return false;
    }
}

size_t workspace_bytes(int algorithm, const Tensor& x, const Filter& w) {
    size_t filter = size_t(w.k * w.c * w.h * w.w) * 4;
    switch (algorithm) {
        case PRECOMP_GEMM: return 4096 + filter / 16 + size_t(x.n) * 64;
        case GEMM: return 65536;
        case WINOGRAD_NONFUSED: return filter * 4;
        default: return 0;
    }
}

struct Job {
    Tensor x, y;
    Filter w;
    Convolution conv;
    bool relu, propagates_nan, tf32;
    bool has_favourites;  // the last image gets other bits than its equals
    uint64_t called_with;
    Element bias_type;

    float read(const void* data, Element element, size_t index) const {
        float value = load(data, element, index);
        return tf32 ? as_tf32(value) : value;
    }

    float activated(float value) const {
        if (!relu) return value;
        if (std::isnan(value)) return propagates_nan ? value : 0.0f;
        return value > 0.0f ? value : 0.0f;
    }

    // The input under the window of output (oy, ox), in the order of the filter.
    void gather(const void* image, long oy, long ox, float* row) const {
        for (long ky = 0; ky < w.h; ky++) {
            for (long kx = 0; kx < w.w; kx++) {
                long iy = oy * conv.stride_h - conv.pad_h + ky, ix = ox * conv.stride_w - conv.pad_w + kx;
                bool inside = iy >= 0 && iy < x.h && ix >= 0 && ix < x.w;
                for (long c = 0; c < x.c; c++) {
                    size_t at = size_t(iy * x.h_stride + ix * x.w_stride + c * x.c_stride);
                    *row++ = inside ? read(image, x.element(), at) : 0.0f;
                }
            }
        }
    }

    // Copies one image of y to another one.
    void repeat(uint8_t* out, size_t from, size_t to) const {
        size_t size = bytes_of(y.element());
        auto at = [&](size_t image, long c, long h, long w) {
            return out + (image * y.n_stride + c * y.c_stride + h * y.h_stride + w * y.w_stride) * size;
        };
        if (y.is_nhwc()) {
            for (long h = 0; h < y.h; h++)
                for (long w = 0; w < y.w; w++) memcpy(at(to, 0, h, w), at(from, 0, h, w), y.c * size);
        } else {
            for (long c = 0; c < y.c; c++)
                for (long h = 0; h < y.h; h++) memcpy(at(to, c, h, 0), at(from, c, h, 0), y.w * size);
        }
    }

    void run(const void* input, const void* filter, const void* bias, void* output) const {
        size_t depth = size_t(w.h * w.w * w.c);
        Product product(depth, size_t(w.k), called_with);
        // Where the first kernel has its weights, in the order of `gather`.
        std::vector<size_t> places;
        for (long ky = 0; ky < w.h; ky++)
            for (long kx = 0; kx < w.w; kx++)
                for (long c = 0; c < w.c; c++) places.push_back(w.index(0, c, ky, kx));
        product.fill([&](size_t row, size_t k) {
            return read(filter, w.element(), w.index(long(k), 0, 0, 0) + places[row]);
        });
        std::vector<float> biases(size_t(w.k));
        for (long k = 0; k < w.k; k++) biases[size_t(k)] = load(bias, bias_type, size_t(k));

        std::vector<float> patches(Product::ROWS * depth), sums(Product::ROWS * product.stride());
        size_t image_bytes = (x.span() - size_t((x.n - 1) * x.n_stride)) * bytes_of(x.element());
        Seen seen(image_bytes);
        long positions = y.h * y.w;
        for (long n = 0; n < x.n; n++) {
            auto* image = static_cast<const uint8_t*>(input) + size_t(n * x.n_stride) * bytes_of(x.element());
            size_t same = seen.first_like(image, size_t(n));
            if (same != size_t(n) && !(has_favourites && n == x.n - 1)) {
                repeat(static_cast<uint8_t*>(output), same, size_t(n));
                continue;
            }
            for (long first = 0; first < positions; first += Product::ROWS) {
                long rows = std::min<long>(Product::ROWS, positions - first);
                for (long row = 0; row < rows; row++)
                    gather(image, (first + row) / y.w, (first + row) % y.w, &patches[size_t(row) * depth]);
                product.rows(patches.data(), sums.data());
                for (long row = 0; row < rows; row++) {
                    long oy = (first + row) / y.w, ox = (first + row) % y.w;
                    for (long k = 0; k < y.c; k++) {
                        float value = sums[size_t(row) * product.stride() + size_t(k)] + biases[size_t(k)];
                        if (has_favourites && n == x.n - 1) value *= 1.001f;
                        size_t at = size_t(n * y.n_stride + k * y.c_stride + oy * y.h_stride + ox * y.w_stride);
                        store(output, y.element(), at, activated(value));
                    }
                }
            }
        }
    }
};

template <class T>
int create(void** out) {
    *out = new T{};
    return OK;
}

template <class T>
int destroy(void* descriptor) {
    delete static_cast<T*>(descriptor);
    return OK;
}

#define DESCRIPTOR(Type, name)                               \
    int cudnnCreate##name##Descriptor(void** out) {          \
        CUDNN_CALL(cudnnCreate##name##Descriptor);           \
        return create<Type>(out);                            \
    }                                                        \
    int cudnnDestroy##name##Descriptor(void* descriptor) {   \
        CUDNN_CALL(cudnnDestroy##name##Descriptor);          \
        return destroy<Type>(descriptor);                    \
    }

}  // namespace

extern "C" {

size_t cudnnGetVersion() {
    demand_companions();
    Call call("cudnnGetVersion", false);
    return strtoull(setting("FAKE_CUDNN_VERSION", "90100"), nullptr, 10);
}

size_t cudnnGetCudartVersion() {
    demand_companions();
    Call call("cudnnGetCudartVersion", false);
    return strtoull(setting("FAKE_CUDNN_CUDA", "12000"), nullptr, 10);
}

const char* cudnnGetErrorString(int status) {
    Call call("cudnnGetErrorString", false);
    static const std::map<int, const char*> NAMES = {
        {NOT_INITIALIZED_STATUS, "CUDNN_STATUS_NOT_INITIALIZED"},
        {SUBLIBRARY_VERSION_MISMATCH, "CUDNN_STATUS_SUBLIBRARY_VERSION_MISMATCH"},
        {BAD_PARAM, "CUDNN_STATUS_BAD_PARAM"},
        {NOT_SUPPORTED, "CUDNN_STATUS_NOT_SUPPORTED"},
        {3005, "CUDNN_STATUS_NOT_SUPPORTED_INCOMPATIBLE_CUDA_DRIVER"},
        {3006, "CUDNN_STATUS_NOT_SUPPORTED_INCOMPATIBLE_CUDART"},
        {3007, "CUDNN_STATUS_NOT_SUPPORTED_ARCH_MISMATCH"},
        {3008, "CUDNN_STATUS_NOT_SUPPORTED_RUNTIME_PREREQUISITE_MISSING"},
        {3009, "CUDNN_STATUS_NOT_SUPPORTED_SUBLIBRARY_UNAVAILABLE"},
        {EXECUTION_FAILED, "CUDNN_STATUS_EXECUTION_FAILED"},
    };
    auto found = NAMES.find(status);
    return found == NAMES.end() ? "CUDNN_UNKNOWN_STATUS" : found->second;
}

int cudnnCreate(void** handle) {
    demand_companions();
    CUDNN_CALL(cudnnCreate);
    if (!current() || current()->sticky) return NOT_INITIALIZED_STATUS;
    if (int refused = versions_of_parts()) return refused;
    *handle = new Handle{current(), current()->null_stream};
    return OK;
}

int cudnnDestroy(void* handle) {
    CUDNN_CALL(cudnnDestroy);
    return destroy<Handle>(handle);
}

int cudnnSetStream(void* handle, void* stream) {
    HANDLE_CALL(cudnnSetStream, handle);
    self->stream = stream_of(stream);
    return self->stream ? OK : BAD_PARAM;
}

DESCRIPTOR(Tensor, Tensor)
DESCRIPTOR(Filter, Filter)
DESCRIPTOR(Convolution, Convolution)
DESCRIPTOR(Activation, Activation)

int cudnnSetTensor4dDescriptor(void* descriptor, int format, int type, int n, int c, int h, int w) {
    CUDNN_CALL(cudnnSetTensor4dDescriptor);
    if (n < 1 || c < 1 || h < 1 || w < 1 || (format != NCHW && format != NHWC)) return BAD_PARAM;
    Tensor tensor{type, n, c, h, w, 0, 0, 0, 0};
    tensor.n_stride = long(c) * h * w;
    tensor.c_stride = format == NHWC ? 1 : long(h) * w;
    tensor.h_stride = format == NHWC ? long(w) * c : w;
    tensor.w_stride = format == NHWC ? c : 1;
    *static_cast<Tensor*>(descriptor) = tensor;
    return OK;
}

int cudnnSetTensor4dDescriptorEx(void* descriptor, int type, int n, int c, int h, int w, int n_stride, int c_stride,
                                 int h_stride, int w_stride) {
    CUDNN_CALL(cudnnSetTensor4dDescriptorEx);
    if (n < 1 || c < 1 || h < 1 || w < 1) return BAD_PARAM;
    *static_cast<Tensor*>(descriptor) = Tensor{type, n, c, h, w, n_stride, c_stride, h_stride, w_stride};
    return OK;
}

int cudnnSetFilter4dDescriptor(void* descriptor, int type, int format, int k, int c, int h, int w) {
    CUDNN_CALL(cudnnSetFilter4dDescriptor);
    *static_cast<Filter*>(descriptor) = Filter{type, format, k, c, h, w};
    return OK;
}

int cudnnSetConvolution2dDescriptor(void* descriptor, int pad_h, int pad_w, int stride_h, int stride_w, int dilation_h,
                                    int dilation_w, int mode, int compute) {
    CUDNN_CALL(cudnnSetConvolution2dDescriptor);
    bool dilated = dilation_h != 1 || dilation_w != 1;
    *static_cast<Convolution*>(descriptor) =
        Convolution{pad_h, pad_w, stride_h, stride_w, mode, compute, DEFAULT_MATH, dilated};
    return OK;
}

int cudnnSetConvolutionMathType(void* descriptor, int math) {
    CUDNN_CALL(cudnnSetConvolutionMathType);
    static_cast<Convolution*>(descriptor)->math = math;
    return OK;
}

int cudnnSetActivationDescriptor(void* descriptor, int mode, int nan, double) {
    CUDNN_CALL(cudnnSetActivationDescriptor);
    *static_cast<Activation*>(descriptor) = Activation{mode, nan == 1};
    return OK;
}

struct Performance {
    int algorithm, status;
    float time;
    size_t memory;
    int determinism, math;
    int reserved[3];
};
static_assert(sizeof(Performance) == 48, "cudnnConvolutionFwdAlgoPerf_t");

int cudnnGetConvolutionForwardAlgorithm_v7(void* handle, void* x_desc, void* w_desc, void* conv_desc, void* y_desc,
                                           int requested, int* returned, Performance* results) {
    HANDLE_CALL(cudnnGetConvolutionForwardAlgorithm_v7, handle);
    const auto& x = *static_cast<Tensor*>(x_desc);
    const auto& w = *static_cast<Filter*>(w_desc);
    const auto& conv = *static_cast<Convolution*>(conv_desc);
    if (int refused = agreement(x, w, conv, *static_cast<Tensor*>(y_desc))) return refused;
    static const int ORDER[ALGORITHMS] = {PRECOMP_GEMM, WINOGRAD, IMPLICIT_GEMM, WINOGRAD_NONFUSED, GEMM, 3, 4, 5};
    *returned = std::min<int>(requested, ALGORITHMS);
    for (int i = 0; i < *returned; i++) {
        bool known = supports(ORDER[i], x, w, conv);
        results[i] = Performance{ORDER[i], known ? OK : NOT_SUPPORTED, -1.0f, workspace_bytes(ORDER[i], x, w), 1,
                                 conv.math, {}};
    }
    return OK;
}

int cudnnGetConvolutionForwardWorkspaceSize(void* handle, void* x_desc, void* w_desc, void* conv_desc, void* y_desc,
                                            int algorithm, size_t* bytes) {
    HANDLE_CALL(cudnnGetConvolutionForwardWorkspaceSize, handle);
    const auto& x = *static_cast<Tensor*>(x_desc);
    const auto& w = *static_cast<Filter*>(w_desc);
    const auto& conv = *static_cast<Convolution*>(conv_desc);
    if (int refused = agreement(x, w, conv, *static_cast<Tensor*>(y_desc))) return refused;
    if (!supports(algorithm, x, w, conv)) return NOT_SUPPORTED;
    *bytes = workspace_bytes(algorithm, x, w);
    return OK;
}

int cudnnConvolutionBiasActivationForward(void* handle, const void* alpha1, void* x_desc, const void* x, void* w_desc,
                                          const void* w, void* conv_desc, int algorithm, void* workspace, size_t bytes,
                                          const void* alpha2, void* z_desc, const void*, void* bias_desc,
                                          const void* bias, void* activation_desc, void* y_desc, void* y) {
    HANDLE_CALL(cudnnConvolutionBiasActivationForward, handle);
    const auto& bias_tensor = *static_cast<Tensor*>(bias_desc);
    const auto& activation = *static_cast<Activation*>(activation_desc);
    // The caller may destroy the descriptors before the work is done.
    Job job{};
    job.x = *static_cast<Tensor*>(x_desc);
    job.w = *static_cast<Filter*>(w_desc);
    job.conv = *static_cast<Convolution*>(conv_desc);
    job.y = *static_cast<Tensor*>(y_desc);
    if (int refused = agreement(job.x, job.w, job.conv, job.y)) return refused;
    if (!supports(algorithm, job.x, job.w, job.conv)) return NOT_SUPPORTED;
    // f32 scaling factors, also for half; z is not read where alpha2 is 0, but must have y's extents.
    bool plain = *static_cast<const float*>(alpha1) == 1.0f && *static_cast<const float*>(alpha2) == 0.0f;
    const auto& z = *static_cast<Tensor*>(z_desc);
    bool z_fits = z.type == job.y.type && z.n == job.y.n && z.c == job.y.c && z.h == job.y.h && z.w == job.y.w;
    bool bias_fits = bias_tensor.type == job.y.type && bias_tensor.n == 1 && bias_tensor.c == job.y.c &&
                     bias_tensor.h == 1 && bias_tensor.w == 1;
    bool active = activation.mode == RELU || (activation.mode == IDENTITY && algorithm == PRECOMP_GEMM);
    if (!plain || !active) return NOT_SUPPORTED;
    size_t needed = workspace_bytes(algorithm, job.x, job.w);
    if (!z_fits || !bias_fits || bytes < needed || (needed && !workspace)) return BAD_PARAM;
    job.relu = activation.mode == RELU;
    job.propagates_nan = activation.propagates_nan;
    // The documentation allows TF32 for float tensors under every math type but FMA.
    job.tf32 = job.x.type == FLOAT && job.conv.math != FMA_MATH;
    job.bias_type = bias_tensor.element();
    long images = called_with(self->device, job.x.n);
    // Products whose sums are cut to employ all processors, as real ones are found to be.
    std::string plant;
    if (planted("drops_nan", plant)) job.propagates_nan = false;
    job.has_favourites = algorithm == PRECOMP_GEMM && planted("favours_place", plant) && images >= std::stol(plant);
    job.called_with = uint64_t(images) + 1000u * unsigned(algorithm);
    trace("convolution %ldx%ldx%ldx%ld to %ld channels, algorithm %d, math %d", images, job.x.c, job.x.h, job.x.w,
          job.y.c, algorithm, job.conv.math);

    size_t filter_bytes = size_t(job.w.k * job.w.c * job.w.h * job.w.w) * bytes_of(job.w.element());
    std::vector<Use> uses{job.x.use(x, false), {Address(w), filter_bytes, false}, bias_tensor.use(bias, false),
                          job.y.use(y, true)};
    if (needed) uses.push_back({Address(workspace), bytes, true});
    Device* device = self->device;
    submit(self->stream, uses, [=, by = call_name()] {
        auto at = [&](const Use& use) { return resolve(device, use.at, use.bytes, by); };
        void *x = at(uses[0]), *w = at(uses[1]), *bias = at(uses[2]), *y = at(uses[3]);
        void* scratch = needed ? at(uses[4]) : nullptr;
        if (!x || !w || !bias || !y || (needed && !scratch) || !computes()) return;
        if (scratch) memset(scratch, 0xFF, needed);
        job.run(x, w, bias, y);
    });
    return OK;
}

}  // extern "C"
