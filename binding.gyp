{
  # The addon links against the OpenSSL and libuv that the node binary itself exports (no -lssl):
  # one copy of libcrypto in the process, and the version we were built for.
  "targets": [
    {
      "target_name": "tlsfarm",
      "sources": ["<!@(find native/src -maxdepth 1 -name '*.cc' | sort)"],
      "include_dirs": ["<!@(node -p \"require('node-addon-api').include_dir\")", "native/src"],
      "defines": ["NAPI_VERSION=9", "NODE_ADDON_API_DISABLE_CPP_EXCEPTIONS"],
      "cflags_cc!": ["-std=gnu++20", "-std=gnu++17", "-fexceptions"],
      "cflags_cc": ["-std=c++20", "-fno-exceptions", "-fno-rtti", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter", "-O2"],
      "cflags!": ["-O3"],
      "variables": { "tlsfarm_sanitize%": "" },
      "conditions": [
        ["tlsfarm_sanitize!=''", {
          "cflags_cc": ["-fsanitize=<(tlsfarm_sanitize)", "-fno-omit-frame-pointer", "-g"],
          "ldflags": ["-fsanitize=<(tlsfarm_sanitize)"]
        }]
      ]
    }
  ]
}
