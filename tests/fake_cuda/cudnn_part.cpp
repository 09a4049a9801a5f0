// libcudnn_graph.so.9, _ops, _cnn, _adv and the others: here they hold nothing but the question whether a
// part is of one version with those that it uses, which each answers for itself.
#include <cstdlib>
#include <cstring>

namespace {
constexpr int SUBLIBRARY_VERSION_MISMATCH = 1002;

int check(const char* part) {
    const char* mixed = getenv("FAKE_CUDNN_MIXED");
    return mixed && strcmp(mixed, part) == 0 ? SUBLIBRARY_VERSION_MISMATCH : 0;
}
}  // namespace

// As newer versions do, it names a part that it opens where there is one.
extern const char LATER_PART[] = "libcudnn_engines_tensor_ir.so";

extern "C" {
int cudnnGraphVersionCheck() { return check("graph"); }
int cudnnOpsVersionCheck() { return check("ops"); }
int cudnnCnnVersionCheck() { return check("cnn"); }
int cudnnAdvVersionCheck() { return check("adv"); }
}
