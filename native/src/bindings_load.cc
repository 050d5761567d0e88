#include "bindings_load.h"

#include <memory>
#include <string>
#include <vector>

#include "load_generator.h"

namespace tlsfarm {

namespace {

#define TLSFARM_LOAD_NAME(name) #name,
constexpr const char* kCounterNames[] = {TLSFARM_LOAD_COUNTERS(TLSFARM_LOAD_NAME)};
constexpr const char* kErrorNames[] = {TLSFARM_LOAD_ERRORS(TLSFARM_LOAD_NAME)};
#undef TLSFARM_LOAD_NAME

// ---- reading the options ------------------------------------------------------------------------
// TypeScript has validated them for people.

double real(const Napi::Object& from, const char* name) {
  return from.Get(name).ToNumber().DoubleValue();
}

uint32_t number(const Napi::Object& from, const char* name) {
  return from.Get(name).ToNumber().Uint32Value();
}

uint64_t large(const Napi::Object& from, const char* name) {
  return static_cast<uint64_t>(from.Get(name).ToNumber().Int64Value());
}

std::string text(const Napi::Object& from, const char* name) {
  return from.Get(name).ToString().Utf8Value();
}

bool readTargets(const Napi::Array& list, LoadConfig* config, std::string* error) {
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Object from = list.Get(i).As<Napi::Object>();
    LoadTarget target;
    target.host = text(from, "host");
    if (!target.address.setInternet(target.host, static_cast<uint16_t>(number(from, "port")))) {
      *error = "targets[" + std::to_string(i) + "]: " + target.host + " is no literal IP address";
      return false;
    }
    target.serverName = text(from, "serverName");
    target.request = text(from, "request");
    target.lastRequest = text(from, "lastRequest");
    config->targets.push_back(std::move(target));
  }
  if (config->targets.empty()) *error = "there are no targets";
  return error->empty();
}

bool readConfig(const Napi::Object& options, LoadConfig* config, std::string* error) {
  if (!readTargets(options.Get("targets").As<Napi::Array>(), config, error)) return false;
  config->clients = number(options, "clients");
  config->ratePerS = real(options, "ratePerS");
  config->rampMs = number(options, "rampMs");
  config->durationMs = number(options, "durationMs");
  config->connections = large(options, "connections");
  config->requestsPerConnection = number(options, "requestsPerConnection");
  config->uploadBytes = large(options, "uploadBytes");
  config->connectTimeoutMs = number(options, "connectTimeoutMs");
  config->handshakeTimeoutMs = number(options, "handshakeTimeoutMs");
  config->responseTimeoutMs = number(options, "responseTimeoutMs");
  config->graceMs = number(options, "graceMs");
  config->seed = large(options, "seed");
  config->maxOpen = number(options, "maxOpen");
  const std::string offer = text(options, "offer");
  config->offer = offer == "never"   ? LoadConfig::Offer::kNever
                  : offer == "ratio" ? LoadConfig::Offer::kRatio
                                     : LoadConfig::Offer::kAlways;
  config->fullEvery = number(options, "fullEvery");
  config->offerRatio = real(options, "offerRatio");
  config->ticketOnly = text(options, "mechanism") == "ticket";

  LoadTlsConfig& tls = config->tls;
  const std::string version = text(options, "tlsVersion");
  if (version == "1.2") tls.maxVersion = TLS1_2_VERSION;
  if (version == "1.3") tls.minVersion = TLS1_3_VERSION;
  tls.ciphers = text(options, "ciphers");
  tls.ciphersuites = text(options, "ciphersuites");
  tls.groups = text(options, "groups");
  tls.signatureAlgorithms = text(options, "signatureAlgorithms");
  tls.ca = text(options, "ca");
  tls.noTicket = !config->ticketOnly;
  const Napi::Array alpn = options.Get("alpn").As<Napi::Array>();
  for (uint32_t i = 0; i < alpn.Length(); ++i) {
    tls.alpn.push_back(alpn.Get(i).ToString().Utf8Value());
  }
  return true;
}

// ---- the result ---------------------------------------------------------------------------------

Napi::Object histogramOf(Napi::Env env, const LoadHistogram& from) {
  std::vector<double> pairs;
  for (size_t i = 0; i < LoadHistogram::kBuckets; ++i) {
    if (from.at(i) == 0) continue;
    pairs.push_back(static_cast<double>(LoadHistogram::upperUs(i)));
    pairs.push_back(static_cast<double>(from.at(i)));
  }
  Napi::Float64Array buckets = Napi::Float64Array::New(env, pairs.size());
  std::copy(pairs.begin(), pairs.end(), buckets.Data());
  Napi::Object object = Napi::Object::New(env);
  object.Set("count", static_cast<double>(from.count()));
  object.Set("minUs", static_cast<double>(from.minUs()));
  object.Set("maxUs", static_cast<double>(from.maxUs()));
  object.Set("sumUs", static_cast<double>(from.sumUs()));
  object.Set("buckets", buckets);
  return object;
}

// Structs of doubles, one after the other.
template <typename Row>
Napi::Float64Array rowsOf(Napi::Env env, const std::vector<Row>& rows) {
  static_assert(sizeof(Row) % sizeof(double) == 0);
  const size_t length = rows.size() * sizeof(Row) / sizeof(double);
  Napi::Float64Array array = Napi::Float64Array::New(env, length);
  const auto* values = reinterpret_cast<const double*>(rows.data());
  std::copy(values, values + length, array.Data());
  return array;
}

Napi::Object resultOf(Napi::Env env, const LoadGenerator& generator) {
  Napi::Object result = Napi::Object::New(env);
  result.Set("elapsedMs", generator.elapsedMs());
  Napi::Object errors = Napi::Object::New(env);
  for (size_t i = 0; i < std::size(kErrorNames); ++i) {
    errors.Set(kErrorNames[i], generator.errors()[i]);
  }
  result.Set("errors", errors);
  Napi::Object negotiated = Napi::Object::New(env);
  for (const LoadNegotiated& each : generator.negotiated()) negotiated.Set(each.name, each.count);
  result.Set("negotiated", negotiated);
  result.Set("perTarget", rowsOf(env, generator.targets()));
  result.Set("perSecond", rowsOf(env, generator.seconds()));
  const LoadHistograms& histograms = generator.histograms();
  result.Set("handshake", histogramOf(env, histograms.handshake));
  result.Set("handshakeFull", histogramOf(env, histograms.handshakeFull));
  result.Set("handshakeResumed", histogramOf(env, histograms.handshakeResumed));
  result.Set("firstByte", histogramOf(env, histograms.firstByte));
  result.Set("total", histogramOf(env, histograms.total));
  return result;
}

// ---- lifetime -----------------------------------------------------------------------------------

// One run. Freed when libuv has let go of the generator's handles; JavaScript's functions name the
// shared pointer to it, which is empty then.
class Run final : public LoadGenerator::Policy {
 public:
  using Shared = std::shared_ptr<std::unique_ptr<Run>>;

  static Napi::Value start(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const Napi::Object options = info[0].As<Napi::Object>();
    uv_loop_t* loop = nullptr;
    napi_get_uv_event_loop(env, &loop);
    LoadConfig config;
    std::string error;
    if (loop != uv_default_loop()) error = "startLoad runs on the main thread, not in a Worker";
    if (!error.empty() || !readConfig(options, &config, &error)) return refuse(env, error);

    auto shared = std::make_shared<std::unique_ptr<Run>>(new Run(env));
    Run* run = shared->get();
    run->self_ = shared;
    Napi::Float64Array counters = options.Get("counters").As<Napi::Float64Array>();
    run->counters_ = Napi::Persistent(counters);
    run->done_ = Napi::Persistent(options.Get("done").As<Napi::Function>());
    config.counters = counters.Data();
    run->generator_ = std::make_unique<LoadGenerator>(std::move(config), run);
    error = run->generator_->start(loop);
    if (!error.empty()) {
      run->close();
      return refuse(env, error);
    }
    napi_add_async_cleanup_hook(env, onCleanup, run, &run->hook_);

    Napi::Object object = Napi::Object::New(env);
    object.Set("stop", Napi::Function::New(env, [shared](const Napi::CallbackInfo&) {
                 if (*shared != nullptr) (*shared)->generator_->stop();
               }));
    object.Set("close", Napi::Function::New(env, [shared](const Napi::CallbackInfo&) {
                 if (*shared != nullptr) (*shared)->close();
               }));
    return object;
  }

  void finished() override {
    Napi::HandleScope scope(env_);
    const Napi::Object result = resultOf(env_, *generator_);
    close();
    done_.MakeCallback(env_.Global(), {result}, context_);
    if (env_.IsExceptionPending()) {
      napi_fatal_exception(env_, env_.GetAndClearPendingException().Value());
    }
  }

 private:
  explicit Run(Napi::Env env) : env_(env), context_(env, "tlsfarm.load") {}

  static Napi::Value refuse(Napi::Env env, const std::string& error) {
    Napi::Error::New(env, error).ThrowAsJavaScriptException();
    return env.Undefined();
  }

  void close() {
    if (closing_) return;
    closing_ = true;
    generator_->close(onClosed, this);
  }

  static void onClosed(void* context) {
    auto* run = static_cast<Run*>(context);
    napi_async_cleanup_hook_handle hook = run->hook_;
    {
      // Releasing references to JavaScript values wants a scope.
      Napi::HandleScope scope(run->env_);
      const Shared alive = run->self_;
      alive->reset();
    }
    if (hook != nullptr) napi_remove_async_cleanup_hook(hook);
  }

  // The environment ends: libuv's handles must be closed before the loop is.
  static void onCleanup(napi_async_cleanup_hook_handle, void* data) {
    static_cast<Run*>(data)->close();
  }

  Napi::Env env_;
  Napi::AsyncContext context_;
  Napi::FunctionReference done_;
  Napi::Reference<Napi::Float64Array> counters_;
  std::unique_ptr<LoadGenerator> generator_;
  Shared self_;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  bool closing_ = false;
};

}  // namespace

void registerLoadBindings(Napi::Env env, Napi::Object exports) {
  exports.Set("startLoad", Napi::Function::New(env, Run::start, "startLoad"));
  Napi::Array names = Napi::Array::New(env, std::size(kCounterNames));
  for (uint32_t i = 0; i < std::size(kCounterNames); ++i) names.Set(i, kCounterNames[i]);
  exports.Set("loadCounterNames", names);
}

}  // namespace tlsfarm
