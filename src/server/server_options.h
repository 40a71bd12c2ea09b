#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace weft::server {

/// What `weft serve` can be told about its HTTP side.
struct ServerOptions {
  std::string api_key;        ///< Empty: no key is asked for.
  std::string admin_api_key;  ///< For load, unload, flush, abort, trace; empty: as api_key.
  std::string served_model_name;
  std::string model_path;
  std::string tokenizer_path;
  std::string version = "0.1.0";

  Bytes max_body_size = 16 * kMiB;
  Bytes max_header_size = 64 * kKiB;
  /// What one client may leave unread of its reply before it counts as gone.
  Bytes max_unread_reply = 64 * kMiB;
  int io_threads = 1;
  int text_threads = 1;
  int text_queue_limit = 4096;                           ///< Prompts waiting to be tokenized.
  int max_connections = 8192;                            ///< More are answered with 503 and closed.
  std::chrono::milliseconds read_timeout{30'000};        ///< For one whole request to arrive.
  std::chrono::milliseconds keep_alive_timeout{75'000};  ///< Between requests.
  std::chrono::milliseconds write_timeout{60'000};       ///< For one write to make progress.

  /// The command line's flags as /get_server_info shows them. `true`, `false` and whole numbers are
  /// written as such, all else as strings.
  std::vector<std::pair<std::string, std::string>> flags;
};

}  // namespace weft::server
