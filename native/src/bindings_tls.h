// TLS options and devices as JavaScript gives them (shapes in native/index.ts), and `checkTls`.
#ifndef TLSFARM_BINDINGS_TLS_H_
#define TLSFARM_BINDINGS_TLS_H_

#include <napi.h>

#include <memory>
#include <string>

#include "device.h"
#include "tls_context.h"

namespace tlsfarm {

// Exports `checkTls`.
void registerTlsBindings(Napi::Env env, Napi::Object exports);

// Copies a TlsOptions. False: the shape is wrong (a bug of our TypeScript, not of the operator), and
// `error` names the field.
bool readTlsConfig(Napi::Value value, TlsConfig* config, std::string* error);

// The device that a DeviceOptions asks for; null if there is no such kind.
std::unique_ptr<Device> makeDevice(Napi::Value value);

}  // namespace tlsfarm

#endif
