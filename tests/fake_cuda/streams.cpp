// Streams as queues that nothing empties by itself. Who waits makes the work happen, in the order
// that FAKE_CUDA_SCHEDULE says:
//   eager    every operation at once (as if the GPU were infinitely fast)
//   lazy     only what a wait demands, as late as CUDA allows
//   first=N  stream N of each GPU as early as its events allow, the others lazily
#include <cstdlib>
#include <cstring>

#include "fake.h"

namespace fake {

namespace {

struct Schedule {
    bool eager = false;
    int first = -1;
    Schedule() {
        std::string text = setting("FAKE_CUDA_SCHEDULE", "eager");
        if (text == "eager") {
            eager = true;
        } else if (text.compare(0, 6, "first=") == 0) {
            first = std::stoi(text.substr(6));
        } else if (text != "lazy") {
            fprintf(stderr, "fake_cuda: FAKE_CUDA_SCHEDULE is eager, lazy or first=N, not `%s`\n", text.c_str());
            abort();
        }
    }
};

const Schedule& schedule() {
    static const auto* schedule = new Schedule;
    return *schedule;
}

size_t actors = HOST + 1;

bool is_ready(const Stream* stream) {
    return !stream->queue.empty() && (!stream->queue.front().needs || stream->queue.front().needs->done);
}

void execute(Stream* stream) {
    Operation operation = std::move(stream->queue.front());
    stream->queue.pop_front();
    stream->executed++;
    if (operation.fault) execution_failed(stream->device, operation.fault);
    if (operation.run) operation.run();
}

void run_first(Device* device) {
    for (Stream* stream : device->streams) {
        if (stream->number != schedule().first) continue;
        while (is_ready(stream)) execute(stream);
    }
}

void push(Stream* stream, Operation operation) {
    stream->queue.push_back(std::move(operation));
    stream->submitted++;
    if (schedule().eager) finish(stream);
    run_first(stream->device);
}

// The point in order at which the next operation of `stream` happens: after everything that the
// host knows to be done, and after the stream's own past.
void tick(Stream* stream) {
    stream->clock.join(host_clock());
    stream->clock.raise(stream->actor, stream->clock.of(stream->actor) + 1);
}

}  // namespace

std::string& running() {
    static auto* name = new std::string;
    return *name;
}

Stream* make_stream(Device* device) {
    auto* stream = new Stream{};
    stream->device = device;
    stream->actor = actors++;
    stream->number = int(device->streams.size());
    device->streams.push_back(stream);
    return stream;
}

Stream* stream_of(void* handle) {
    if (!handle) return current() ? current()->null_stream : nullptr;
    for (Device* device : devices()) {
        for (Stream* stream : device->streams) {
            if (stream == handle && !stream->destroyed) return stream;
        }
    }
    report("%s: %p is no stream", call_name().c_str(), handle);
    return nullptr;
}

void submit(Stream* stream, const std::vector<Use>& uses, std::function<void()> run) {
    tick(stream);
    bool good = check_uses(stream, uses);
    int fault = take_fault();
    Operation operation;
    operation.name = call_name();
    operation.fault = good || fault ? fault : int(ILLEGAL_ADDRESS);
    Device* device = stream->device;
    operation.run = [device, uses, run, name = operation.name] {
        if (device->sticky) return;  // a broken context executes nothing
        running() = name;
        run();
        running().clear();
        check_canaries(uses, name);
    };
    push(stream, std::move(operation));
}

std::shared_ptr<Recording> record(Stream* stream) {
    tick(stream);
    auto recording = std::make_shared<Recording>();
    recording->stream = stream;
    recording->serial = stream->submitted + 1;
    recording->clock = stream->clock;
    Operation operation;
    operation.name = call_name();
    operation.run = [recording] { recording->done = true; };
    push(stream, std::move(operation));
    return recording;
}

void wait_for(Stream* stream, std::shared_ptr<Recording> recording) {
    tick(stream);
    stream->clock.join(recording->clock);
    Operation operation;
    operation.name = call_name();
    operation.needs = std::move(recording);
    push(stream, std::move(operation));
}

void finish(Stream* stream, uint64_t serial) {
    run_first(stream->device);
    while (stream->executed < serial) {
        if (is_ready(stream)) {
            execute(stream);
        } else {
            auto needs = stream->queue.front().needs;
            finish(needs->stream, needs->serial);
        }
        run_first(stream->device);
    }
}

void finish(Stream* stream) { finish(stream, stream->submitted); }

void execution_failed(Device* device, int code) {
    if (!device->sticky) device->sticky = code;
    // A context that broke executes nothing any more: whatever was queued is over.
    for (Stream* stream : device->streams) host_clock().join(stream->clock);
}

}  // namespace fake
