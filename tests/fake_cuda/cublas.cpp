// libcublas: single and half precision products, column-major as always.
#include <cstdlib>
#include <map>

#include "fake.h"
#include "product.h"

using namespace fake;

namespace {

enum { OK = 0, NOT_INITIALIZED_STATUS = 1, INVALID = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum { DEFAULT_MATH = 0, TF32_MATH = 3, DISALLOW_REDUCED_PRECISION_REDUCTION = 16 };
enum { NO_TRANSPOSE = 0, TRANSPOSE = 1 };
enum { R_32F = 0, R_16F = 2 };
enum { COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77 };

struct Handle {
    Device* device;
    Stream* stream;
    int math = DEFAULT_MATH;
    bool reduces_in_half = true;
    Address workspace = 0;
    size_t workspace_bytes = 0;
};

#define CUBLAS_CALL(name, handle)                                                            \
    Call call(#name, false);                                                                 \
    if (call.refused) return call.refused;                                                   \
    auto* self = static_cast<Handle*>(handle);                                               \
    if (!self) return NOT_INITIALIZED_STATUS;                                                \
    if (self->device != current())                                                           \
        report("%s: the handle is of gpu %d, which is not the current context", #name, self->device->index); \
    if (self->device->sticky) return EXECUTION_FAILED

struct Matrix {
    const void* data;
    Element element;
    long leading;
    bool transposed;
    // Element (row, column) of the matrix after transposition.
    size_t index(long row, long column) const {
        return transposed ? size_t(row * leading + column) : size_t(column * leading + row);
    }
    size_t span(long rows, long columns) const { return index(rows - 1, columns - 1) + 1; }
};

bool element_of(int type, Element& element) {
    if (type != R_32F && type != R_16F) return false;
    element = type == R_16F ? Element::F16 : Element::F32;
    return true;
}

// An element of a matrix as it is multiplied.
float as_multiplied(const Matrix& matrix, size_t index, bool tf32) {
    float value = load(matrix.data, matrix.element, index);
    return tf32 ? as_tf32(value) : value;
}

// The columns of every B of a batch, for one A.
void multiply(long m, long n, long k, long batch, const Matrix& a, Matrix b, long b_stride, Matrix c, long c_stride,
              void* out, bool tf32, uint64_t called_with) {
    // A column of C is a row of the transposed product.
    Product product(size_t(k), size_t(m), called_with);
    product.fill([&](size_t depth, size_t i) { return as_multiplied(a, a.index(long(i), long(depth)), tf32); });
    std::vector<float> rows(Product::ROWS * size_t(k)), sums(Product::ROWS * product.stride());
    auto source = [&](long column) { return size_t(column / n * b_stride) + b.index(0, column % n); };
    auto target = [&](long column) { return size_t(column / n * c_stride) + c.index(0, column % n); };
    Seen seen(size_t(k) * bytes_of(b.element));
    std::vector<long> pending;
    std::vector<std::pair<long, long>> copies;
    auto flush = [&] {
        for (size_t row = 0; row < pending.size(); row++)
            for (long depth = 0; depth < k; depth++)
                rows[row * size_t(k) + size_t(depth)] = as_multiplied(b, source(pending[row]) + size_t(depth), tf32);
        product.rows(rows.data(), sums.data());
        for (size_t row = 0; row < pending.size(); row++)
            for (long i = 0; i < m; i++)
                store(out, c.element, target(pending[row]) + size_t(i), sums[row * product.stride() + size_t(i)]);
        pending.clear();
    };
    for (long column = 0; column < n * batch; column++) {
        auto* bytes = static_cast<const uint8_t*>(b.data) + source(column) * bytes_of(b.element);
        long same = long(seen.first_like(bytes, size_t(column)));
        if (same != column) {
            copies.push_back({same, column});
            continue;
        }
        pending.push_back(column);
        if (pending.size() == Product::ROWS) flush();
    }
    if (!pending.empty()) flush();
    size_t size = bytes_of(c.element);
    auto* base = static_cast<uint8_t*>(out);
    for (auto [from, to] : copies) memcpy(base + target(to) * size, base + target(from) * size, size_t(m) * size);
}

// The rows of every A of a batch, for one B: A holds the planes of an image one after another.
void multiply_planes(long m, long n, long k, long batch, Matrix a, long a_stride, const Matrix& b, const Matrix& c,
                     long c_stride, void* out, bool tf32, uint64_t called_with) {
    Product product(size_t(k), size_t(n), called_with);
    product.fill([&](size_t depth, size_t i) { return as_multiplied(b, b.index(long(depth), long(i)), tf32); });
    std::vector<float> rows(Product::ROWS * size_t(k)), sums(Product::ROWS * product.stride());
    size_t size = bytes_of(c.element);
    Seen seen(a.span(m, k) * size);
    auto target = [&](long image, long row, long i) { return size_t(image * c_stride) + c.index(row, i); };
    for (long image = 0; image < batch; image++) {
        auto* bytes = static_cast<const uint8_t*>(a.data) + size_t(image * a_stride) * size;
        long same = long(seen.first_like(bytes, size_t(image)));
        auto* base = static_cast<uint8_t*>(out);
        for (long i = 0; i < n && same != image; i++)
            memcpy(base + target(image, 0, i) * size, base + target(same, 0, i) * size, size_t(m) * size);
        for (long first = 0; first < m && same == image; first += Product::ROWS) {
            long count = std::min<long>(Product::ROWS, m - first);
            for (long row = 0; row < count; row++)
                for (long depth = 0; depth < k; depth++)
                    rows[size_t(row * k + depth)] = as_multiplied(a, size_t(image * a_stride) + a.index(first + row, depth), tf32);
            product.rows(rows.data(), sums.data());
            for (long row = 0; row < count; row++)
                for (long i = 0; i < n; i++)
                    store(out, c.element, target(image, first + row, i), sums[size_t(row) * product.stride() + size_t(i)]);
        }
    }
}

}  // namespace

extern "C" {

const char* cublasGetStatusName(int status) {
    Call call("cublasGetStatusName", false);
    static const std::map<int, const char*> NAMES = {
        {NOT_INITIALIZED_STATUS, "CUBLAS_STATUS_NOT_INITIALIZED"},
        {3, "CUBLAS_STATUS_ALLOC_FAILED"},
        {INVALID, "CUBLAS_STATUS_INVALID_VALUE"},
        {EXECUTION_FAILED, "CUBLAS_STATUS_EXECUTION_FAILED"},
        {NOT_SUPPORTED, "CUBLAS_STATUS_NOT_SUPPORTED"},
    };
    auto found = NAMES.find(status);
    return found == NAMES.end() ? "unrecognized status" : found->second;
}

int cublasCreate_v2(void** handle) {
    Call call("cublasCreate_v2", false);
    if (call.refused) return call.refused;
    if (!current() || current()->sticky) return NOT_INITIALIZED_STATUS;
    *handle = new Handle{current(), current()->null_stream};
    return OK;
}

int cublasDestroy_v2(void* handle) {
    Call call("cublasDestroy_v2", false);
    delete static_cast<Handle*>(handle);
    return OK;
}

int cublasGetProperty(int property, int* value) {
    Call call("cublasGetProperty", false);
    if (call.refused) return call.refused;
    int version = atoi(setting("FAKE_CUBLAS_VERSION", "120002"));
    const int parts[] = {version / 10000, version / 100 % 100, version % 100};
    if (property < 0 || property > 2) return INVALID;
    *value = parts[property];
    return OK;
}

int cublasSetStream_v2(void* handle, void* stream) {
    CUBLAS_CALL(cublasSetStream_v2, handle);
    self->stream = stream_of(stream);
    return self->stream ? OK : INVALID;
}

int cublasSetMathMode(void* handle, int mode) {
    CUBLAS_CALL(cublasSetMathMode, handle);
    self->math = mode & 15;
    self->reduces_in_half = !(mode & DISALLOW_REDUCED_PRECISION_REDUCTION);
    return OK;
}

int cublasSetWorkspace_v2(void* handle, void* workspace, size_t bytes) {
    CUBLAS_CALL(cublasSetWorkspace_v2, handle);
    if (bytes > rest_of(Address(workspace))) return INVALID;
    self->workspace = Address(workspace);
    self->workspace_bytes = bytes;
    return OK;
}

int cublasGemmStridedBatchedEx(void* handle, int trans_a, int trans_b, int m, int n, int k, const void* alpha,
                               const void* a, int a_type, int lda, long long a_stride, const void* b, int b_type,
                               int ldb, long long b_stride, const void* beta, void* c, int c_type, int ldc,
                               long long c_stride, int batch, int compute, int) {
    CUBLAS_CALL(cublasGemmStridedBatchedEx, handle);
    Element element = Element::F32, other = element, third = element;
    bool types = element_of(a_type, element) && element_of(b_type, other) && element_of(c_type, third) &&
                 element == other && element == third;
    bool known = compute == COMPUTE_32F || compute == COMPUTE_32F_FAST_TF32;
    // One of the factors is the filter of all images.
    bool has_filter = trans_a == TRANSPOSE ? a_stride == 0 : b_stride == 0;
    bool plain = trans_b == NO_TRANSPOSE && has_filter && *static_cast<const float*>(alpha) == 1.0f &&
                 *static_cast<const float*>(beta) == 0.0f;
    if (!types || !known || !plain) return NOT_SUPPORTED;
    if (element == Element::F16 && self->reduces_in_half)
        report("%s: sums that are split are added in half, unless the math mode forbids it", call_name().c_str());
    bool sized = m > 0 && n > 0 && k > 0 && batch > 0 && lda >= (trans_a == TRANSPOSE ? k : m) && ldb >= k && ldc >= m;
    if (!sized || a_stride < 0 || b_stride < 0 || c_stride < 0) return INVALID;
    bool tf32 = element == Element::F32 && (compute == COMPUTE_32F_FAST_TF32 || self->math == TF32_MATH);
    Matrix first{a, element, lda, trans_a == TRANSPOSE}, second{b, element, ldb, false}, result{c, element, ldc, false};
    long columns = called_with(self->device, trans_a == TRANSPOSE ? n : m);
    uint64_t order = uint64_t(columns) * 31 + uint64_t(batch);
    trace("product %dx%ldx%d of %d", trans_a == TRANSPOSE ? m : n, columns, k, batch);
    auto use = [&](const Matrix& matrix, long rows, long columns, long long stride, bool writes) {
        size_t elements = size_t(batch - 1) * size_t(stride) + matrix.span(rows, columns);
        return Use{Address(matrix.data), elements * bytes_of(element), writes};
    };
    std::vector<Use> uses{use(first, m, k, a_stride, false), use(second, k, n, b_stride, false),
                          use(result, m, n, c_stride, true)};
    if (self->workspace) uses.push_back({self->workspace, self->workspace_bytes, true});
    Device* device = self->device;
    submit(self->stream, uses, [=, by = call_name()]() mutable {
        first.data = resolve(device, uses[0].at, uses[0].bytes, by);
        second.data = resolve(device, uses[1].at, uses[1].bytes, by);
        void* out = resolve(device, uses[2].at, uses[2].bytes, by);
        if (!first.data || !second.data || !out || !computes()) return;
        if (first.transposed) {
            multiply(m, n, k, batch, first, second, b_stride, result, c_stride, out, tf32, order);
        } else {
            multiply_planes(m, n, k, batch, first, a_stride, second, result, c_stride, out, tf32, order);
        }
    });
    return OK;
}

}  // extern "C"
