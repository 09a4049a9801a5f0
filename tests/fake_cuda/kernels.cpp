// Our own kernels, compiled for the host by tests/host_cuda and linked in.
#include "host_cuda.h"

#include "fake.h"

namespace fake {

const Kernel* find_kernel(const std::string& name) {
    static auto* known = new std::map<std::string, Kernel>;
    host_cuda::on_fault = [](const char* what) { report("%s: %s", running().c_str(), what); };
    const host_cuda::Kernel* host = host_cuda::find(name);
    if (!host) return nullptr;
    Kernel kernel{name, {}};
    for (const host_cuda::Parameter& parameter : host->parameters)
        kernel.parameters.push_back({parameter.bytes, parameter.is_pointer, parameter.is_written});
    return &known->emplace(name, kernel).first->second;
}

std::vector<std::string> kernel_names() {
    std::vector<std::string> names;
    for (size_t index = 0; const host_cuda::Kernel* kernel = host_cuda::nth(index); ++index) names.push_back(kernel->name);
    return names;
}

void run_kernel(const Kernel& kernel, unsigned blocks, unsigned threads, Values values) {
    std::vector<void*> arguments;
    for (uint64_t& value : values) arguments.push_back(&value);
    host_cuda::launch(*host_cuda::find(kernel.name), blocks, threads, arguments.data(), host_cuda::FORWARD);
}

}  // namespace fake
