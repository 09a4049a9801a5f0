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

extern "C" {
int cudnnGraphVersionCheck() { return check("graph"); }
int cudnnOpsVersionCheck() { return check("ops"); }
int cudnnCnnVersionCheck() { return check("cnn"); }
int cudnnAdvVersionCheck() { return check("adv"); }
}
