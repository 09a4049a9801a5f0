// Launches kernels for another process: requests on stdin, answers on stdout, faults on stderr.
//
// A request is a line `launch NAME BLOCKS THREADS ORDER ARGUMENTS`, then each argument: the byte `s` and
// 4 bytes (a scalar), `n` (a null pointer), or `b`, a u64 length and that many bytes (a buffer). The
// answer is the bytes of all buffers after the launch, in order. `list` answers with a line
// `NAME: PARAMETER, PARAMETER,` for every kernel and an empty line. Numbers are native-endian.
//
// Every buffer is an allocation of its own, so that AddressSanitizer sees each access outside.

#include "host_cuda.h"

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <sstream>
#include <vector>

namespace {

struct Free {
    void operator()(void* memory) const { std::free(memory); }
};

// One argument as cuLaunchKernel wants it: `value` holds the scalar or the pointer.
struct Argument {
    uint64_t value = 0;
    size_t size = 0;
    std::unique_ptr<void, Free> memory;
};

void read(void* to, size_t size) {
    if (!std::cin.read(static_cast<char*>(to), static_cast<std::streamsize>(size))) {
        host_cuda::fault("the request ends too early");
    }
}

Argument read_argument() {
    Argument argument;
    char kind = 0;
    read(&kind, 1);
    if (kind == 's') {
        read(&argument.value, 4);
    } else if (kind == 'b') {
        uint64_t size = 0;
        read(&size, sizeof size);
        argument.size = size;
        argument.memory.reset(std::malloc(size));
        read(argument.memory.get(), size);
        argument.value = reinterpret_cast<uint64_t>(argument.memory.get());
    } else if (kind != 'n') {
        host_cuda::fault("an argument of no kind");
    }
    return argument;
}

void launch(std::istringstream& words) {
    std::string name;
    unsigned int blocks = 0, threads = 0;
    uint64_t order = 0;
    size_t count = 0;
    words >> name >> blocks >> threads >> order >> count;
    std::vector<Argument> arguments;
    std::vector<void*> addresses;
    for (size_t i = 0; i < count; ++i) arguments.push_back(read_argument());
    for (Argument& argument : arguments) addresses.push_back(&argument.value);
    const host_cuda::Kernel* kernel = host_cuda::find(name);
    if (kernel == nullptr) host_cuda::fault("no kernel is called " + name);
    host_cuda::launch(*kernel, blocks, threads, addresses.data(), order);
    for (const Argument& argument : arguments) {
        if (argument.memory) {
            std::cout.write(static_cast<char*>(argument.memory.get()),
                            static_cast<std::streamsize>(argument.size));
        }
    }
}

}  // namespace

int main() {
    std::ios::sync_with_stdio(false);
    std::string line;
    while (std::getline(std::cin, line)) {
        std::istringstream words(line);
        std::string verb;
        words >> verb;
        if (verb == "launch") {
            launch(words);
        } else if (verb == "list") {
            for (size_t i = 0; const host_cuda::Kernel* kernel = host_cuda::nth(i); ++i) {
                std::cout << kernel->name << ":";
                for (const auto& parameter : kernel->parameters) std::cout << " " << parameter.spelling << ",";
                std::cout << "\n";
            }
            std::cout << "\n";
        } else {
            host_cuda::fault("unknown request: " + line);
        }
        std::cout.flush();
    }
}
