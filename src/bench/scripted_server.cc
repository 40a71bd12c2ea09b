#include "bench/scripted_server.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"

namespace weft::bench {
namespace {

void SendAll(int connection, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(connection, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

/// Reads headers and as much body as Content-Length says.
std::string ReadRequest(int connection) {
  constexpr std::string_view kLength = "Content-Length: ";
  std::string request;
  char buffer[4096];
  while (true) {
    const size_t head = request.find("\r\n\r\n");
    if (head != std::string::npos) {
      const size_t field = request.find(kLength);
      const size_t length = field < head ? std::stoul(request.substr(field + kLength.size())) : 0;
      if (request.size() >= head + 4 + length) return request;
    }
    const ssize_t got = recv(connection, buffer, sizeof buffer, 0);
    if (got <= 0) return request;
    request.append(buffer, static_cast<size_t>(got));
  }
}

}  // namespace

ScriptedServer::ScriptedServer(std::function<Script(const std::string&)> answer)
    : answer_(std::move(answer)), listener_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  WEFT_CHECK(listener_ >= 0);
  WEFT_CHECK(bind(listener_, generic, size) == 0);
  WEFT_CHECK(listen(listener_, 512) == 0);
  WEFT_CHECK(getsockname(listener_, generic, &size) == 0);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { Accept(); });
}

ScriptedServer::~ScriptedServer() {
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  for (std::thread& connection : connections_) connection.join();
  close(listener_);
}

void ScriptedServer::Accept() {
  while (true) {
    const int connection = accept(listener_, nullptr, nullptr);
    if (connection < 0) return;
    connections_.emplace_back([this, connection] { Serve(connection); });
  }
}

void ScriptedServer::Serve(int connection) {
  const std::string request = ReadRequest(connection);
  const int now = ++running_;
  int most = most_at_once_;
  while (now > most && !most_at_once_.compare_exchange_weak(most, now)) {
  }
  const Script script = answer_(request);
  SendAll(connection,
          fmt::format("HTTP/1.1 {} Status\r\nTransfer-Encoding: chunked\r\n\r\n", script.status));
  for (const Script::Piece& piece : script.pieces) {
    std::this_thread::sleep_for(piece.pause);
    SendAll(connection, fmt::format("{:x}\r\n{}\r\n", piece.bytes.size(), piece.bytes));
  }
  --running_;
  if (!script.cut) SendAll(connection, "0\r\n\r\n");
  close(connection);
}

}  // namespace weft::bench
