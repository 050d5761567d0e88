// The load generator's way into JavaScript: startLoad.
#ifndef TLSFARM_BINDINGS_LOAD_H_
#define TLSFARM_BINDINGS_LOAD_H_

#include <napi.h>

namespace tlsfarm {

void registerLoadBindings(Napi::Env env, Napi::Object exports);

}  // namespace tlsfarm

#endif
