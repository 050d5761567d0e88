// What JavaScript may ask of the session table and the routable-ID codec.
#ifndef TLSFARM_BINDINGS_SESSION_H_
#define TLSFARM_BINDINGS_SESSION_H_

#include <napi.h>

namespace tlsfarm {

// Adds createSessionTable, openSessionTable, sealRoutableId and openRoutableId.
void registerSessionBindings(Napi::Env env, Napi::Object exports);

}  // namespace tlsfarm

#endif
