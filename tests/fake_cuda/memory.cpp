// Device and pinned memory: poisoned, between guard pages, never at the same address twice; and
// the detector of races, which knows for every range who used it last.
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "fake.h"

namespace fake {

namespace {

constexpr size_t PAGE = 4096;
constexpr size_t POISON_BYTES = size_t(16) << 20;

std::map<Address, Allocation*>& pinned() {
    static auto* all = new std::map<Address, Allocation*>;
    return *all;
}

size_t round_up(size_t value, size_t to) { return (value + to - 1) / to * to; }

// A file of 0xFF (NaN in every float format). Mapped privately, memory that is never written costs
// nothing, however large.
int poison_file() {
    static int file = [] {
        int file = memfd_create("poison", MFD_CLOEXEC);
        std::vector<uint8_t> poison(POISON_BYTES, 0xFF);
        if (file < 0 || write(file, poison.data(), poison.size()) != ssize_t(poison.size())) abort();
        return file;
    }();
    return file;
}

Allocation* containing(std::map<Address, Allocation*>& all, Address at) {
    auto after = all.upper_bound(at);
    if (after == all.begin()) return nullptr;
    Allocation* allocation = std::prev(after)->second;
    // One past the end belongs to the allocation too, for messages about copies that are too long.
    return at <= allocation->at + allocation->bytes ? allocation : nullptr;
}

std::string described(const Allocation& allocation) {
    return allocation.made_by + " (" + std::to_string(allocation.bytes) + " bytes)";
}

std::string described(const Stream* stream) {
    return "gpu " + std::to_string(stream->device->index) + " stream " + std::to_string(stream->number);
}

// Faults in guard pages and at device addresses become reports; the process still dies.
struct sigaction previous;
void on_fault(int, siginfo_t* info, void*) {
    Address at = Address(info->si_addr);
    for (Device* device : devices()) {
        if (at >= device->first && at < device->next)
            report("the host touches device memory at %#lx", at);
        for (auto& [_, allocation] : device->allocations) {
            Address begin = Address(allocation->mapping);
            if (at < begin || at >= begin + allocation->mapped) continue;
            report("out of bounds: byte %ld of %s is touched while %s runs", long(at - Address(allocation->data)),
                   described(*allocation).c_str(), running().c_str());
        }
    }
    for (auto& [_, allocation] : pinned()) {
        Address begin = Address(allocation->mapping);
        if (at >= begin && at < begin + allocation->mapped)
            report("byte %ld of pinned %s is touched%s", long(at - Address(allocation->data)),
                   described(*allocation).c_str(), allocation->freed ? " after it was freed" : "");
    }
    if (!running().empty()) report("illegal address %#lx while %s runs", at, running().c_str());
    sigaction(SIGSEGV, &previous, nullptr);
}

void watch_faults() {
    static bool watched = false;
    if (watched) return;
    watched = true;
    struct sigaction action {};
    action.sa_sigaction = on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &action, &previous);
}

void map_poisoned(uint8_t* at, size_t bytes) {
    for (size_t done = 0; done < bytes; done += POISON_BYTES) {
        size_t part = std::min(POISON_BYTES, bytes - done);
        void* mapped = mmap(at + done, part, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, poison_file(), 0);
        if (mapped == MAP_FAILED) abort();
    }
}

// Bytes beside an allocation outside of all allocations: still poison, or something wrote there.
bool canaries_alive(const Allocation& allocation) {
    const uint8_t* first = allocation.mapping + PAGE;
    const uint8_t* end = allocation.mapping + allocation.mapped - PAGE;
    auto untouched = [](uint8_t byte) { return byte == 0xFF; };
    return std::all_of(first, static_cast<const uint8_t*>(allocation.data), untouched) &&
           std::all_of(static_cast<const uint8_t*>(allocation.data) + allocation.bytes, end, untouched);
}

}  // namespace

Allocation* allocate(Device* device, size_t bytes, bool is_pinned) {
    watch_faults();
    // The end lies against a guard page, as closely as the alignment that CUDA promises allows.
    size_t used = round_up(bytes, is_pinned ? 64 : 256);
    size_t mapped = round_up(used, PAGE) + 2 * PAGE;
    void* mapping = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (mapping == MAP_FAILED) abort();
    auto* allocation = new Allocation{};
    allocation->device = device;
    allocation->bytes = bytes;
    allocation->mapping = static_cast<uint8_t*>(mapping);
    allocation->mapped = mapped;
    allocation->data = allocation->mapping + mapped - PAGE - used;
    allocation->pinned = is_pinned;
    allocation->made_by = call_name();
    map_poisoned(allocation->mapping + PAGE, mapped - 2 * PAGE);
    if (is_pinned) {
        allocation->at = Address(allocation->data);
        pinned()[allocation->at] = allocation;
    } else {
        allocation->at = device->next;
        device->next += round_up(bytes, PAGE) + PAGE;
        device->allocations[allocation->at] = allocation;
    }
    return allocation;
}

void release(Allocation* allocation) {
    if (!canaries_alive(*allocation))
        report("out of bounds: bytes beside %s were overwritten", described(*allocation).c_str());
    // The addresses stay taken, so that a late use is a fault.
    mprotect(allocation->mapping, allocation->mapped, PROT_NONE);
    madvise(allocation->mapping, allocation->mapped, MADV_DONTNEED);
}

Allocation* find(Address at, Device*& owner) {
    for (Device* device : devices()) {
        if (at < device->first || at > device->next) continue;
        owner = device;
        return containing(device->allocations, at);
    }
    owner = nullptr;
    return containing(pinned(), at);
}

Allocation* find_pinned(const void* at) { return containing(pinned(), Address(at)); }

size_t rest_of(Address at) {
    Device* owner;
    Allocation* allocation = find(at, owner);
    return allocation ? allocation->at + allocation->bytes - at : 0;
}

void* resolve(Device* device, Address at, size_t bytes, const std::string& by) {
    Device* owner;
    Allocation* allocation = find(at, owner);
    bool inside = allocation && at + bytes <= allocation->at + allocation->bytes;
    if (!inside || allocation->freed || (owner && owner != device)) {
        // `check_uses` reported it when it was submitted, unless it was freed since.
        if (inside && allocation->freed)
            report("use after free: %s runs on %s, freed meanwhile", by.c_str(), described(*allocation).c_str());
        execution_failed(device, ILLEGAL_ADDRESS);
        return nullptr;
    }
    return allocation->data + (at - allocation->at);
}

bool check_uses(Stream* stream, const std::vector<Use>& uses) {
    bool good = true;
    std::string by = call_name();
    for (const Use& use : uses) {
        Device* owner;
        Allocation* allocation = find(use.at, owner);
        if (!allocation) {
            report("%s on %s: %#lx is no device pointer", by.c_str(), described(stream).c_str(), use.at);
            good = false;
            continue;
        }
        size_t begin = use.at - allocation->at, end = begin + use.bytes;
        std::string what = described(*allocation);
        if (allocation->freed) {
            report("use after free: %s on %s uses %s", by.c_str(), described(stream).c_str(), what.c_str());
            good = false;
        } else if (owner && owner != stream->device) {
            report("%s on %s uses %s of gpu %d", by.c_str(), described(stream).c_str(), what.c_str(), owner->index);
            good = false;
        } else if (end > allocation->bytes || use.bytes == 0) {
            report("out of bounds: %s on %s uses bytes %zu to %zu of %s", by.c_str(), described(stream).c_str(), begin,
                   end, what.c_str());
            good = false;
        }
        for (const Access& past : allocation->accesses) {
            bool apart = past.end <= begin || end <= past.begin || !(past.writes || use.writes);
            if (apart || past.tick <= stream->clock.of(past.actor)) continue;
            report("race: %s on %s %s %s, which %s %s with nothing to order the two", by.c_str(),
                   described(stream).c_str(), use.writes ? "writes" : "reads", what.c_str(), past.by.c_str(),
                   past.writes ? "writes" : "reads");
        }
        // A use makes an older one superfluous if everything that is ordered after it is after both.
        auto superfluous = [&](const Access& past) {
            bool covered = begin <= past.begin && past.end <= end;
            return covered && (use.writes || (!past.writes && past.actor == stream->actor));
        };
        auto& all = allocation->accesses;
        all.erase(std::remove_if(all.begin(), all.end(), superfluous), all.end());
        all.push_back({begin, end, use.writes, stream->actor, stream->clock.of(stream->actor), by});
    }
    return good;
}

void check_canaries(const std::vector<Use>& uses, const std::string& by) {
    for (const Use& use : uses) {
        Device* owner;
        Allocation* allocation = find(use.at, owner);
        if (!use.writes || !allocation || allocation->freed || canaries_alive(*allocation)) continue;
        report("out of bounds: %s writes beside %s", by.c_str(), described(*allocation).c_str());
        execution_failed(allocation->device, ILLEGAL_ADDRESS);
    }
}

void host_access(Allocation* allocation, const char* what) {
    for (const Access& past : allocation->accesses) {
        if (past.tick <= host_clock().of(past.actor)) continue;
        report("race: %s %s %s, which %s still uses", call_name().c_str(), what, described(*allocation).c_str(),
               past.by.c_str());
    }
}

void report_leaks(Device* device) {
    auto leak = [](Allocation* allocation) {
        if (!allocation->freed) report("leak: %s was never freed", described(*allocation).c_str());
    };
    for (auto& [_, allocation] : device->allocations) leak(allocation);
    for (auto& [_, allocation] : pinned()) {
        if (allocation->device == device) leak(allocation);
    }
    if (device->retained)
        report("leak: the primary context of gpu %d is still retained %d times", device->index, device->retained);
}

}  // namespace fake
