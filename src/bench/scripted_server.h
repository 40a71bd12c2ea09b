#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"

namespace weft::bench {

/// What a ScriptedServer answers: pieces of a chunked body, each after a pause.
struct Script {
  struct Piece {
    Duration pause{};
    std::string bytes;
  };
  int status = 200;
  std::vector<Piece> pieces;
  bool cut = false;  ///< Hang up without the last chunk.
};

/// An HTTP server for tests on a free port of 127.0.0.1: one thread a connection, one request a
/// connection. `answer` gets the request's bytes and may be called by several threads at once.
class ScriptedServer {
 public:
  explicit ScriptedServer(std::function<Script(const std::string& request)> answer);
  ~ScriptedServer();
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  int port() const { return port_; }
  /// The most requests that were being answered at one moment.
  int most_at_once() const { return most_at_once_; }

 private:
  void Accept();
  void Serve(int connection);

  std::function<Script(const std::string&)> answer_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<int> running_{0};
  std::atomic<int> most_at_once_{0};
  std::vector<std::thread> connections_;  ///< Owned by the accepting thread until it ended.
  std::thread acceptor_;
};

}  // namespace weft::bench
