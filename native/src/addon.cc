// The addon's export table; native/index.ts types it.
#include <napi.h>

#include "bindings_load.h"
#include "bindings_planes.h"
#include "bindings_session.h"
#include "bindings_tls.h"

namespace {

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  tlsfarm::registerPlaneBindings(env, exports);
  tlsfarm::registerTlsBindings(env, exports);
  tlsfarm::registerSessionBindings(env, exports);
  tlsfarm::registerLoadBindings(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(tlsfarm, initialise)
