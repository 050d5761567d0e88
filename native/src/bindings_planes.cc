#include "bindings_planes.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>

#include "balancer.h"
#include "bindings_tls.h"
#include "hello_framer.h"
#include "terminator.h"

namespace tlsfarm {

namespace {

// ---- reading option objects -------------------------------------------------------------------
// TypeScript has validated them for people; a wrong type here is a programmer's error and throws.

uint32_t number(const Napi::Object& from, const char* name) {
  return from.Get(name).ToNumber().Uint32Value();
}

int readFd(const Napi::Object& from, const char* name) {
  return from.Get(name).ToNumber().Int32Value();
}

bool readAddress(const Napi::Value& value, SocketAddress* out) {
  if (!value.IsObject()) return false;
  const Napi::Object object = value.As<Napi::Object>();
  if (object.Has("path")) return out->setUnix(object.Get("path").ToString().Utf8Value());
  return out->setInternet(object.Get("host").ToString().Utf8Value(),
                          static_cast<uint16_t>(number(object, "port")));
}

void readLimits(const Napi::Object& options, Limits* limits, Timeouts* timeouts) {
  const Napi::Object l = options.Get("limits").As<Napi::Object>();
  limits->maxConnections = number(l, "maxConnections");
  limits->maxUndecidedHellos = number(l, "maxUndecidedHellos");
  const Napi::Object t = options.Get("timeouts").As<Napi::Object>();
  timeouts->helloMs = number(t, "helloTimeoutMs");
  timeouts->handshakeMs = number(t, "handshakeTimeoutMs");
  timeouts->connectMs = number(t, "connectTimeoutMs");
  timeouts->firstByteMs = number(t, "firstByteTimeoutMs");
  timeouts->idleMs = number(t, "idleTimeoutMs");
  timeouts->lingerMs = number(t, "lingerTimeoutMs");
  timeouts->tcp.userTimeoutMs = static_cast<int>(number(t, "tcpUserTimeoutMs"));
  timeouts->tcp.keepAliveIdleS = static_cast<int>(number(t, "keepAliveIdleS"));
}

// A typed array whose memory both sides use. The reference keeps it from being collected.
template <typename Array>
auto* sharedData(const Napi::Object& options, const char* name, Napi::Reference<Array>* hold) {
  Array array = options.Get(name).As<Array>();
  *hold = Napi::Persistent(array);
  return array.Data();
}

const char* errnoName(int error) {
  const char* name = strerrorname_np(error);
  return name != nullptr ? name : "EUNKNOWN";
}

Napi::Value throwErrno(Napi::Env env, const char* what, int error) {
  Napi::Error thrown = Napi::Error::New(env, std::string(what) + ": " + strerror(error));
  thrown.Set("code", errnoName(error));
  thrown.ThrowAsJavaScriptException();
  return env.Undefined();
}

// ---- calling JavaScript -----------------------------------------------------------------------

// The batch callback. The Int32Array is reused; it grows to the largest batch there has been.
class EventsCallback {
 public:
  void bind(const Napi::Object& options) {
    function_ = Napi::Persistent(options.Get("events").As<Napi::Function>());
    context_ = std::make_unique<Napi::AsyncContext>(options.Env(), "tlsfarm");
  }

  void call(const int32_t* values, size_t length) {
    Napi::Env env = function_.Env();
    Napi::HandleScope scope(env);
    if (capacity_ < length) {
      capacity_ = std::max<size_t>(length, 192);
      batch_ = Napi::Persistent(Napi::Int32Array::New(env, capacity_));
    }
    Napi::Int32Array batch = batch_.Value();
    memcpy(batch.Data(), values, length * sizeof(int32_t));
    function_.MakeCallback(env.Global(), {batch, Napi::Number::New(env, static_cast<double>(length))},
                           *context_);
    // A policy that throws is our own bug: Node's uncaughtException reports it.
    if (env.IsExceptionPending()) {
      napi_fatal_exception(env, env.GetAndClearPendingException().Value());
    }
  }

 private:
  Napi::FunctionReference function_;
  std::unique_ptr<Napi::AsyncContext> context_;
  Napi::Reference<Napi::Int32Array> batch_;
  size_t capacity_ = 0;
};

// ---- the balancer -----------------------------------------------------------------------------

class BalancerPlane final : public BalancerPolicy {
 public:
  explicit BalancerPlane(const Napi::Object& options) {
    BalancerConfig config;
    config.listenFd = readFd(options, "listenFd");
    readLimits(options, &config.limits, &config.timeouts);
    config.maxPipes = number(options, "maxPipes");
    const Napi::Array list = options.Get("terminators").As<Napi::Array>();
    for (uint32_t i = 0; i < list.Length(); ++i) {
      SocketAddress address;
      if (!readAddress(list.Get(i), &address)) {
        error_ = "terminators[" + std::to_string(i) + "] is no literal address";
        return;
      }
      config.terminators.push_back(address);
    }
    hello_ = sharedData(options, "hello", &helloHold_);
    candidates_ = sharedData(options, "candidates", &candidatesHold_);
    candidatesLength_ = options.Get("candidates").As<Napi::Uint16Array>().ElementLength();
    config.live = sharedData(options, "live", &liveHold_);
    config.counters = sharedData(options, "counters", &countersHold_);
    route_ = Napi::Persistent(options.Get("route").As<Napi::Function>());
    events_.bind(options);
    plane_ = std::make_unique<Balancer>(std::move(config), this);
  }

  std::string start(uv_loop_t* loop) {
    if (!error_.empty()) return error_;
    const int error = plane_->start(loop);
    return error == 0 ? "" : std::string("epoll: ") + strerror(-error);
  }

  int route(const uint8_t* hello, size_t length, const SocketAddress& source, uint16_t* candidates,
            int capacity) override {
    Napi::Env env = route_.Env();
    Napi::HandleScope scope(env);
    memcpy(hello_, hello, length);
    char text[64];
    const size_t textLength = source.hostText(text, sizeof text);
    napi_value source16;
    napi_create_string_latin1(env, text, textLength, &source16);
    const Napi::Value answer = route_.Call(
        {Napi::Number::New(env, static_cast<double>(length)), Napi::Value(env, source16)});
    if (env.IsExceptionPending()) {
      napi_fatal_exception(env, env.GetAndClearPendingException().Value());
      return -1;
    }
    const int count = answer.ToNumber().Int32Value();
    const int usable = std::min({count, capacity, static_cast<int>(candidatesLength_)});
    int kept = 0;
    for (int i = 0; i < usable; ++i) {
      if (candidates_[i] < plane_->config().terminators.size()) candidates[kept++] = candidates_[i];
    }
    return count < 0 ? count : kept;
  }

  void events(const int32_t* values, size_t length) override { events_.call(values, length); }
  Balancer* plane() { return plane_.get(); }

 private:
  std::string error_;
  std::unique_ptr<Balancer> plane_;
  Napi::FunctionReference route_;
  EventsCallback events_;
  Napi::Reference<Napi::Uint8Array> helloHold_;
  Napi::Reference<Napi::Uint16Array> candidatesHold_;
  Napi::Reference<Napi::Int32Array> liveHold_;
  Napi::Reference<Napi::Float64Array> countersHold_;
  uint8_t* hello_ = nullptr;
  uint16_t* candidates_ = nullptr;
  size_t candidatesLength_ = 0;
};

// ---- the terminator ---------------------------------------------------------------------------

class TerminatorPlane final : public TerminatorPolicy {
 public:
  explicit TerminatorPlane(const Napi::Object& options) {
    TerminatorConfig config;
    config.listenFd = readFd(options, "listenFd");
    config.sessionTableFd = readFd(options, "sessionTableFd");
    readLimits(options, &config.limits, &config.timeouts);
    config.maxFibers = number(options, "maxFibers");
    if (!readAddress(options.Get("upstream"), &config.upstream)) {
      error_ = "upstream is no literal address";
      return;
    }
    if (!readTlsConfig(options.Get("tls"), &config.tls, &error_)) return;
    const Napi::Value id = options.Get("routableId");
    if (id.IsObject()) {
      const Napi::Object key = id.As<Napi::Object>();
      config.routable = true;
      config.idEpoch = static_cast<uint8_t>(number(key, "epoch"));
      config.nodeId = number(key, "nodeId");
      if (!readKey(key, "k1", config.idKey1) || !readKey(key, "k2", config.idKey2)) return;
    }
    std::unique_ptr<Device> device = makeDevice(options.Get("device"));
    if (device == nullptr) {
      error_ = "no such device";
      return;
    }
    config.counters = sharedData(options, "counters", &countersHold_);
    events_.bind(options);
    plane_ = std::make_unique<Terminator>(std::move(config), std::move(device), this);
    OPENSSL_cleanse(config.idKey1, sizeof config.idKey1);
    OPENSSL_cleanse(config.idKey2, sizeof config.idKey2);
  }

  std::string start(uv_loop_t* loop) { return error_.empty() ? plane_->start(loop) : error_; }
  void events(const int32_t* values, size_t length) override { events_.call(values, length); }
  Terminator* plane() { return plane_.get(); }

 private:
  bool readKey(const Napi::Object& from, const char* name, uint8_t* out) {
    const Napi::Uint8Array bytes = from.Get(name).As<Napi::Uint8Array>();
    if (bytes.ByteLength() != RoutableIdCodec::kKeyLength) {
      error_ = std::string("routableId.") + name + " must be 32 bytes";
      return false;
    }
    memcpy(out, bytes.Data(), RoutableIdCodec::kKeyLength);
    return true;
  }

  std::string error_;
  std::unique_ptr<Terminator> plane_;
  EventsCallback events_;
  Napi::Reference<Napi::Float64Array> countersHold_;
};

// ---- lifetime ---------------------------------------------------------------------------------

// Owns a plane until libuv has let go of its handles. JavaScript holds functions that name the
// shared state, never the plane itself: calls after close() find null.
template <typename Plane>
struct Handle {
  std::unique_ptr<Plane> plane;
  napi_env env = nullptr;
  napi_async_cleanup_hook_handle hook = nullptr;
  bool closing = false;
  bool envEnding = false;
};

template <typename Plane>
void onPlaneClosed(void* context) {
  auto* handle = static_cast<std::shared_ptr<Handle<Plane>>*>(context);
  napi_async_cleanup_hook_handle hook = (*handle)->hook;
  (*handle)->hook = nullptr;
  {
    // Releasing references to JavaScript values wants a scope.
    Napi::HandleScope scope((*handle)->env);
    (*handle)->plane.reset();
  }
  if (hook != nullptr) napi_remove_async_cleanup_hook(hook);
  delete handle;
}

template <typename Plane>
void closePlane(const std::shared_ptr<Handle<Plane>>& handle) {
  if (handle->closing || handle->plane == nullptr) return;
  handle->closing = true;
  handle->plane->plane()->close(onPlaneClosed<Plane>, new std::shared_ptr<Handle<Plane>>(handle));
}

// The environment ends (process exit, test runner): handles must be closed before the loop is.
template <typename Plane>
void onCleanup(napi_async_cleanup_hook_handle hook, void* data) {
  auto* handle = static_cast<std::shared_ptr<Handle<Plane>>*>(data);
  std::shared_ptr<Handle<Plane>> alive = *handle;
  alive->envEnding = true;
  if (!alive->closing && alive->plane != nullptr) closePlane(alive);
  (void)hook;
}

template <typename Plane>
Napi::Value startPlane(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  if (loop != uv_default_loop()) {
    // Fibers and their stacks belong to one thread.
    Napi::Error::New(env, "the data plane runs on the main thread only, not in a Worker")
        .ThrowAsJavaScriptException();
    return env.Undefined();
  }
  auto handle = std::make_shared<Handle<Plane>>();
  handle->env = env;
  handle->plane = std::make_unique<Plane>(info[0].As<Napi::Object>());
  if (env.IsExceptionPending()) return env.Undefined();
  const std::string error = handle->plane->start(loop);
  if (!error.empty()) {
    // libuv may already hold handles inside it: it is closed like one that ran.
    if (handle->plane->plane() != nullptr) closePlane(handle);
    Napi::Error::New(env, error).ThrowAsJavaScriptException();
    return env.Undefined();
  }
  // Never freed before the environment: the hook names it.
  auto* hold = new std::shared_ptr<Handle<Plane>>(handle);
  napi_add_async_cleanup_hook(env, onCleanup<Plane>, hold, &handle->hook);

  Napi::Object object = Napi::Object::New(env);
  object.Set("drain", Napi::Function::New(env, [handle](const Napi::CallbackInfo& call) {
               if (handle->plane != nullptr && !handle->closing) {
                 handle->plane->plane()->drain(call[0].ToBoolean());
               }
             }));
  object.Set("close",
             Napi::Function::New(env, [handle](const Napi::CallbackInfo&) { closePlane(handle); }));
  return object;
}

// ---- the small ones ---------------------------------------------------------------------------

Napi::Value raiseFileLimit(const Napi::CallbackInfo& info) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
  }
  return Napi::Number::New(info.Env(), static_cast<double>(limit.rlim_cur));
}

Napi::Value openListenerBinding(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  SocketAddress address;
  if (!readAddress(info[0], &address)) return throwErrno(env, "listen", EINVAL);
  const int backlog = info[1].ToNumber().Int32Value();
  uint16_t port = 0;
  const int fd = openListener(address, backlog, address.family() != AF_UNIX, &port);
  if (fd < 0) return throwErrno(env, "listen", -fd);
  Napi::Object result = Napi::Object::New(env);
  result.Set("fd", fd);
  result.Set("port", port);
  return result;
}

Napi::Value closeFd(const Napi::CallbackInfo& info) {
  ::close(info[0].ToNumber().Int32Value());
  return info.Env().Undefined();
}

Napi::Value frameHello(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  const Napi::Array chunks = info[0].As<Napi::Array>();
  HelloFramer framer;
  HelloFramer::State state = HelloFramer::State::kIncomplete;
  std::string gathered;
  for (uint32_t i = 0; i < chunks.Length(); ++i) {
    const Napi::Uint8Array chunk = chunks.Get(i).As<Napi::Uint8Array>();
    gathered.append(reinterpret_cast<const char*>(chunk.Data()), chunk.ByteLength());
    const size_t length = std::min(gathered.size(), HelloFramer::kMaxBytes);
    state = framer.feed(reinterpret_cast<const uint8_t*>(gathered.data()), length);
    if (state != HelloFramer::State::kIncomplete) break;
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("state", HelloFramer::name(state));
  result.Set("length", static_cast<double>(framer.helloEnd()));
  return result;
}

Napi::Array names(Napi::Env env, std::initializer_list<const char*> list) {
  Napi::Array array = Napi::Array::New(env, list.size());
  uint32_t i = 0;
  for (const char* name : list) array.Set(i++, name);
  return array;
}

}  // namespace

void registerPlaneBindings(Napi::Env env, Napi::Object exports) {
  exports.Set("raiseFileLimit", Napi::Function::New(env, raiseFileLimit));
  exports.Set("openListener", Napi::Function::New(env, openListenerBinding));
  exports.Set("closeFd", Napi::Function::New(env, closeFd));
  exports.Set("startBalancer", Napi::Function::New(env, startPlane<BalancerPlane>));
  exports.Set("startTerminator", Napi::Function::New(env, startPlane<TerminatorPlane>));
  exports.Set("frameHello", Napi::Function::New(env, frameHello));
#define TLSFARM_COUNTER_NAME(name) #name,
  exports.Set("balancerCounterNames",
              names(env, {TLSFARM_BALANCER_COUNTERS(TLSFARM_COUNTER_NAME)}));
  exports.Set("terminatorCounterNames",
              names(env, {TLSFARM_TERMINATOR_COUNTERS(TLSFARM_COUNTER_NAME)}));
#undef TLSFARM_COUNTER_NAME
}

}  // namespace tlsfarm
