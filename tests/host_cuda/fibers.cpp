// Runs the threads of a block as fibers. See include/host_cuda.h.

#include "host_cuda.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

uint3 threadIdx, blockIdx, blockDim, gridDim;

// Bounds of the section of shared memory; absent (null) if no kernel has any.
extern "C" {
extern char __start_host_cuda_shared[] __attribute__((weak, visibility("hidden")));
extern char __stop_host_cuda_shared[] __attribute__((weak, visibility("hidden")));
}

namespace host_cuda {
namespace {

constexpr unsigned int WARP = 32;
constexpr size_t STACK = 64 << 10;

// A stack and where it continues. Switching is a matter of the callee-saved registers; swapcontext would
// also make two system calls each time, which costs most of the tests' time.
struct Context {
#if defined(__x86_64__)
    void* stack_pointer = nullptr;
#else
    ucontext_t registers;
#endif
    void* fake_stack = nullptr;
    const void* bottom = nullptr;
    size_t size = 0;
};

#if defined(__x86_64__)
extern "C" void host_cuda_switch(void** save, void* load);
asm(R"(
    .text
    .globl host_cuda_switch
    .hidden host_cuda_switch
    .type host_cuda_switch, @function
host_cuda_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size host_cuda_switch, .-host_cuda_switch
)");
#endif

// Continues at `to`. `ends`: the calling context never continues.
void switch_context(Context& from, Context& to, bool ends) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(ends ? nullptr : &from.fake_stack, to.bottom, to.size);
#else
    (void)ends;
#endif
#if defined(__x86_64__)
    host_cuda_switch(&from.stack_pointer, to.stack_pointer);
#else
    swapcontext(&from.registers, &to.registers);
#endif
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
#endif
}

enum class State : uint8_t { New, Ready, AtBarrier, AtShuffle, Ended };

// One CUDA thread of the block, once it has waited.
struct Fiber {
    Context context;
    const char* file = "";
    int line = 0;
    // Shuffles executed, of which the last two are kept: a lane that comes to its next shuffle has
    // taken what it wanted of the last, so that a slot is free again when it is written.
    unsigned int shuffles = 0;
    uint64_t given[2] = {0, 0};
};

// Threads start one after the other on one stack. A thread that waits keeps the stack, and the next
// ones start on another: threads that never wait cost a call each, without a switch.
struct Block {
    Context scheduler;
    std::vector<Fiber> fibers;
    std::vector<State> states;
    std::vector<char*> stacks;
    // The stack that runs now.
    char* stack = nullptr;
    // Threads in the order of this turn, and the first that has not had its turn.
    const std::vector<unsigned int>* order = nullptr;
    size_t next = 0;
    unsigned int current = 0;
    bool has_waited = false;
    const Kernel* kernel = nullptr;
    void** arguments = nullptr;
};

// One at a time: a launch runs to its end on the thread that called it.
Block block;

std::string place(const Fiber& fiber) {
    const char* name = std::strrchr(fiber.file, '/');
    return std::string(name ? name + 1 : fiber.file) + ":" + std::to_string(fiber.line);
}

void wait(State state, const char* file, int line) {
    const unsigned int thread = block.current;
    Fiber& fiber = block.fibers[thread];
    block.states[thread] = state;
    block.has_waited = true;
    fiber.file = file;
    fiber.line = line;
    fiber.context.bottom = block.stack;
    fiber.context.size = STACK;
    switch_context(fiber.context, block.scheduler, false);
}

// Runs new threads of this turn until one is next that continues on a stack of its own.
void run_new() {
    while (block.next < block.order->size()) {
        const unsigned int thread = (*block.order)[block.next];
        if (block.states[thread] != State::New) return;
        ++block.next;
        block.current = thread;
        threadIdx = {thread, 0, 0};
        block.kernel->call(*block.kernel, block.arguments);
        block.states[block.current] = State::Ended;
    }
}

void stack_main() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &block.scheduler.bottom, &block.scheduler.size);
#endif
    run_new();
    block.stacks.push_back(block.stack);
    Context ended;
    switch_context(ended, block.scheduler, true);
    std::abort();
}

// A context that runs `stack_main` on a free stack.
Context fresh() {
    if (block.stacks.empty()) block.stacks.push_back(new char[STACK]);
    char* stack = block.stacks.back();
    block.stacks.pop_back();
#if defined(__SANITIZE_ADDRESS__)
    // The frames of the stack's last use never returned, and are still marked.
    __asan_unpoison_memory_region(stack, STACK);
#endif
    Context context;
    context.bottom = stack;
    context.size = STACK;
#if defined(__x86_64__)
    // What host_cuda_switch pops: six registers and the address to return to, above which the stack is
    // as after a call.
    auto top = reinterpret_cast<uintptr_t>(stack + STACK) & ~uintptr_t{15};
    auto words = reinterpret_cast<void**>(top) - 8;
    std::fill(words, words + 8, nullptr);
    words[6] = reinterpret_cast<void*>(&stack_main);
    context.stack_pointer = words;
#else
    getcontext(&context.registers);
    context.registers.uc_stack.ss_sp = stack;
    context.registers.uc_stack.ss_size = STACK;
    context.registers.uc_link = nullptr;
    makecontext(&context.registers, stack_main, 0);
#endif
    return context;
}

void run(Context& context) {
    block.stack = static_cast<char*>(const_cast<void*>(context.bottom));
    switch_context(block.scheduler, context, false);
}

// One turn: every thread that does not wait runs until it waits or ends. Whether there was one.
bool run_turn(const std::vector<unsigned int>& order) {
    bool moved = false;
    block.order = &order;
    for (block.next = 0; block.next < order.size();) {
        const unsigned int thread = order[block.next];
        if (block.states[thread] == State::New) {
            Context context = fresh();
            run(context);
            moved = true;
            continue;
        }
        ++block.next;
        if (block.states[thread] == State::Ready) {
            block.current = thread;
            threadIdx = {thread, 0, 0};
            run(block.fibers[thread].context);
            moved = true;
        }
    }
    return moved;
}

[[noreturn]] void diverged(unsigned int from, unsigned int to) {
    std::map<std::string, unsigned int> places;
    for (unsigned int thread = from; thread < to; ++thread) {
        const Fiber& fiber = block.fibers[thread];
        const State state = block.states[thread];
        const char* what = state == State::AtBarrier   ? "at the barrier of "
                           : state == State::AtShuffle ? "at the shuffle of "
                                                       : "have ended";
        places[what + (state == State::Ended ? "" : place(fiber))] += 1;
    }
    std::string message = "divergence in block " + std::to_string(blockIdx.x) + ", threads " +
                          std::to_string(from) + ".." + std::to_string(to) + ":";
    for (const auto& [where, count] : places) message += " " + std::to_string(count) + " " + where + ";";
    fault(message);
}

// Lets threads `from .. to` continue if all of them are in `state`. Whether they were.
bool release(unsigned int from, unsigned int to, State state) {
    const Fiber& first = block.fibers[from];
    for (unsigned int thread = from; thread < to; ++thread) {
        if (block.states[thread] != state) return false;
    }
    for (unsigned int thread = from; thread < to; ++thread) {
        const Fiber& fiber = block.fibers[thread];
        if (fiber.file != first.file || fiber.line != first.line) diverged(from, to);
        block.states[thread] = State::Ready;
    }
    return true;
}

void run_block(std::vector<unsigned int>& order, std::minstd_rand* random) {
    std::fill(__start_host_cuda_shared, __stop_host_cuda_shared, static_cast<char>(0xff));
    const auto threads = static_cast<unsigned int>(order.size());
    if (block.has_waited || block.fibers.size() != threads) block.fibers.assign(threads, Fiber());
    block.has_waited = false;
    block.states.assign(threads, State::New);
    for (;;) {
        if (random != nullptr) std::shuffle(order.begin(), order.end(), *random);
        bool moved = run_turn(order);
        if (!block.has_waited) return;
        moved |= release(0, threads, State::AtBarrier);
        for (unsigned int first = 0; first < threads; first += WARP) {
            moved |= release(first, first + WARP, State::AtShuffle);
        }
        if (moved) continue;
        for (const State state : block.states) {
            if (state != State::Ended) diverged(0, threads);
        }
        return;
    }
}

std::vector<Kernel>& kernels() {
    static auto* all = new std::vector<Kernel>;
    return *all;
}

}  // namespace

void (*on_fault)(const char* message) = nullptr;

void fault(const std::string& message) {
    const std::string whole = (block.kernel ? "kernel " + block.kernel->name + ": " : "") + message;
    if (on_fault != nullptr) on_fault(whole.c_str());
    std::fprintf(stderr, "%s\n", whole.c_str());
    std::fflush(nullptr);
    std::_Exit(3);
}

void barrier(const char* file, int line) { wait(State::AtBarrier, file, line); }

uint64_t shuffle_xor(uint64_t value, int mask, const char* file, int line) {
    const unsigned int lane = block.current;
    if (mask < 0 || mask >= static_cast<int>(WARP)) fault("a shuffle with a lane that no warp has");
    const unsigned int slot = block.fibers[lane].shuffles++ % 2;
    block.fibers[lane].given[slot] = value;
    wait(State::AtShuffle, file, line);
    return block.fibers[lane ^ static_cast<unsigned int>(mask)].given[slot];
}

void add(const Kernel& kernel) { kernels().push_back(kernel); }

const Kernel* nth(size_t index) { return index < kernels().size() ? &kernels()[index] : nullptr; }

const Kernel* find(const std::string& name) {
    for (const Kernel& kernel : kernels()) {
        if (kernel.name == name) return &kernel;
    }
    return nullptr;
}

void launch(const Kernel& kernel, unsigned int blocks, unsigned int threads, void** arguments,
            uint64_t order) {
    block.kernel = &kernel;
    block.arguments = arguments;
    if (blocks == 0 || threads == 0 || threads % WARP != 0 || threads > 1024) {
        fault("a launch of " + std::to_string(blocks) + " blocks of " + std::to_string(threads) +
              " threads");
    }
    gridDim = {blocks, 1, 1};
    blockDim = {threads, 1, 1};
    std::vector<unsigned int> thread_order(threads), block_order(blocks);
    for (unsigned int i = 0; i < threads; ++i) thread_order[i] = i;
    for (unsigned int i = 0; i < blocks; ++i) block_order[i] = i;
    std::minstd_rand random(static_cast<std::minstd_rand::result_type>(order));
    if (order == REVERSE) {
        std::reverse(thread_order.begin(), thread_order.end());
        std::reverse(block_order.begin(), block_order.end());
    } else if (order != FORWARD) {
        std::shuffle(block_order.begin(), block_order.end(), random);
    }
    const bool shuffled = order != FORWARD && order != REVERSE;
    for (const unsigned int index : block_order) {
        blockIdx = {index, 0, 0};
        run_block(thread_order, shuffled ? &random : nullptr);
    }
}

}  // namespace host_cuda
