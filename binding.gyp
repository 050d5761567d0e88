{
  # The addon links against the OpenSSL and libuv that the node binary itself exports (no -lssl):
  # one copy of libcrypto in the process, and the version we were built for.
  "target_defaults": {
    # Our own folder is no -I: <limits.h> and its like must stay the system's.
    "include_dirs": ["<!@(node -p \"require('node-addon-api').include_dir\")"],
    "defines": ["NAPI_VERSION=9", "NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS"],
    "cflags_cc!": ["-std=gnu++20", "-std=gnu++17", "-fexceptions"],
    "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter", "-O2"],
    "cflags!": ["-O3"],
    "variables": { "tlsfarm_sanitize%": "" },
    "conditions": [
      ["tlsfarm_sanitize!=''", {
        "cflags_cc": ["-fsanitize=<(tlsfarm_sanitize)", "-fno-omit-frame-pointer", "-g", "-O1"],
        "ldflags": ["-fsanitize=<(tlsfarm_sanitize)"]
      }]
    ]
  },
  "targets": [
    {
      "target_name": "tlsfarm",
      "sources": ["<!@(find native/src -maxdepth 1 -name '*.cc' | sort)"]
    },
    {
      # Experiments that JavaScript cannot make; see test/native/offload.test.ts.
      "target_name": "tlsfarm_selftest",
      "sources": [
        "native/test/offload_selftest.cc",
        "native/src/fiber_stacks.cc",
        "native/src/inline_device.cc",
        "native/src/offload_engine.cc",
        "native/src/operation.cc",
        "native/src/provider.cc",
        "native/src/test_device.cc",
        "native/src/tls_context.cc"
      ]
    }
  ]
}
