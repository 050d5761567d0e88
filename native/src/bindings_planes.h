// The data planes' way into JavaScript: startBalancer, startTerminator and the helpers around them.
#ifndef TLSFARM_BINDINGS_PLANES_H_
#define TLSFARM_BINDINGS_PLANES_H_

#include <napi.h>

namespace tlsfarm {

void registerPlaneBindings(Napi::Env env, Napi::Object exports);

}  // namespace tlsfarm

#endif
