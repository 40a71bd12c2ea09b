#include "server/session_reply.h"

#include <fmt/format.h>

#include <ctime>

namespace weft::server {
namespace {

/// "Sun, 22 Nov 2026 12:00:00 GMT", made once a second.
const std::string& HttpDate() {
  thread_local std::time_t made_at = 0;
  thread_local std::string date;
  const std::time_t now = std::time(nullptr);
  if (now != made_at) {
    std::tm parts{};
    gmtime_r(&now, &parts);
    char buffer[64];
    const size_t size = std::strftime(buffer, sizeof(buffer), "%a, %d %b %Y %H:%M:%S GMT", &parts);
    date.assign(buffer, size);
    made_at = now;
  }
  return date;
}

}  // namespace

void SessionReply::AppendHead(const HttpResponse& head, bool stream) {
  pending_ += fmt::format("HTTP/1.1 {} {}\r\nServer: weft\r\nDate: {}\r\n", head.status,
                          ReasonPhrase(head.status), HttpDate());
  if (!head.content_type.empty()) pending_ += "Content-Type: " + head.content_type + "\r\n";
  for (const auto& [name, value] : head.headers) pending_ += name + ": " + value + "\r\n";
  if (!stream) {
    pending_ += fmt::format("Content-Length: {}\r\n", head.body.size());
  } else if (framing_.chunked) {
    pending_ += "Transfer-Encoding: chunked\r\n";
  } else {
    framing_.keep_alive = false;
  }
  pending_ += framing_.keep_alive ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
}

void SessionReply::AppendPart(std::string_view data) {
  if (data.empty() || framing_.head_only) return;
  if (framing_.chunked) pending_ += fmt::format("{:x}\r\n", data.size());
  pending_ += data;
  if (framing_.chunked) pending_ += "\r\n";
}

void SessionReply::Send(HttpResponse response) {
  if (ended_) return;
  AppendHead(response, false);
  if (!framing_.head_only) pending_ += response.body;
  ended_ = true;
  ForgetHangUp();
  Wake();
}

void SessionReply::BeginStream(HttpResponse head) {
  if (ended_) return;
  AppendHead(head, true);
  AppendPart(head.body);
  Wake();
}

void SessionReply::WriteStream(std::string_view data) {
  if (ended_) return;
  AppendPart(data);
  overflowed_ = overflowed_ || static_cast<Bytes>(pending_.size()) > framing_.max_unread;
  Wake();
}

void SessionReply::EndStream() {
  if (ended_) return;
  if (framing_.chunked && !framing_.head_only) pending_ += "0\r\n\r\n";
  ended_ = true;
  ForgetHangUp();
  Wake();
}

void SessionReply::ClientGone() {
  ended_ = true;
  pending_.clear();
  HangUp();
}

}  // namespace weft::server
