#include "server/http_session.h"

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>

#include "base/log.h"
#include "server/api_error.h"
#include "server/router.h"
#include "server/session_reply.h"

namespace weft::server {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::use_awaitable;
using boost::system::error_code;
using std::chrono::milliseconds;

constexpr size_t kReadSize = 4096;
/// How much of pipelined requests is read ahead while an answer is being made.
constexpr size_t kReadAhead = 64 * 1024;
/// How long a refused client is listened to, so that it can read why before the connection closes.
constexpr milliseconds kLinger{2000};
constexpr milliseconds kRefusalWriteTimeout{2000};

Method MethodOf(http::verb verb) {
  switch (verb) {
    case http::verb::get:
      return Method::kGet;
    case http::verb::head:
      return Method::kHead;
    case http::verb::post:
      return Method::kPost;
    case http::verb::put:
      return Method::kPut;
    default:
      return Method::kOther;
  }
}

class HttpSession final : public Connection, public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(asio::ip::tcp::socket socket, ConnectionOwner& owner)
      : socket_(std::move(socket)),
        owner_(owner),
        options_(owner.context().server.options),
        deadline_(socket_.get_executor()),
        wake_(socket_.get_executor()) {}

  asio::awaitable<void> Run();

  void Drain() override {
    draining_ = true;
    if (idle_) Close();
  }

  void Close() override {
    error_code ignored;
    socket_.close(ignored);
    deadline_.cancel();
    wake_.cancel();
  }

 private:
  using Parser = http::request_parser<http::string_body>;

  asio::awaitable<bool> ServeOne();
  asio::awaitable<bool> AwaitFirstByte();
  asio::awaitable<bool> ReadRequest(Parser& parser);
  asio::awaitable<void> Refuse(error_code why);
  size_t WriteAtOnce();
  asio::awaitable<void> WriteReply();
  asio::awaitable<void> WatchForHangUp();
  asio::awaitable<void> LingerAndClose();
  void Answer(Parser& parser);
  void OnReplyChanged();
  void Arm(milliseconds limit);
  void Disarm() { deadline_.cancel(); }

  asio::ip::tcp::socket socket_;
  ConnectionOwner& owner_;
  const ServerOptions& options_;
  asio::steady_timer deadline_;
  asio::steady_timer wake_;
  boost::beast::flat_buffer buffer_;
  std::string writing_;
  std::shared_ptr<SessionReply> reply_;
  bool idle_ = false;  // Between requests.
  bool draining_ = false;
  bool expired_ = false;  // The deadline passed.
};

void HttpSession::Arm(milliseconds limit) {
  expired_ = false;
  deadline_.expires_after(limit);
  deadline_.async_wait([weak = weak_from_this()](error_code ec) {
    const auto self = weak.lock();
    if (ec || !self || self->deadline_.expiry() > asio::steady_timer::clock_type::now()) return;
    self->expired_ = true;
    error_code ignored;
    self->socket_.cancel(ignored);
  });
}

asio::awaitable<void> HttpSession::Run() {
  const auto self = shared_from_this();
  try {
    bool more = true;
    while (more) more = co_await ServeOne();
  } catch (const std::exception& e) {
    spdlog::warn("a connection ended early: {}", e.what());
  }
  if (reply_) {
    reply_->Detach();
    reply_->ClientGone();
    reply_.reset();
  }
  Close();
  owner_.Remove(this);
}

asio::awaitable<bool> HttpSession::ServeOne() {
  using namespace asio::experimental::awaitable_operators;  // NOLINT: its operators only
  Parser parser;
  const bool arrived = co_await ReadRequest(parser);
  if (!arrived) co_return false;
  Answer(parser);
  if (reply_->ended()) {
    co_await WriteReply();
  } else {
    co_await (WriteReply() || WatchForHangUp());
  }
  const bool more = reply_->keep_alive() && !draining_ && socket_.is_open();
  reply_->Detach();
  reply_.reset();
  co_return more;
}

asio::awaitable<bool> HttpSession::AwaitFirstByte() {
  if (buffer_.size() > 0) co_return true;
  Arm(options_.keep_alive_timeout);
  idle_ = true;
  error_code ec;
  const size_t size = co_await socket_.async_read_some(buffer_.prepare(kReadSize),
                                                       asio::redirect_error(use_awaitable, ec));
  idle_ = false;
  if (ec) co_return false;
  buffer_.commit(size);
  co_return true;
}

asio::awaitable<bool> HttpSession::ReadRequest(Parser& parser) {
  if (draining_) co_return false;
  const bool begun = co_await AwaitFirstByte();
  if (!begun) co_return false;
  parser.header_limit(static_cast<std::uint32_t>(options_.max_header_size));
  parser.body_limit(static_cast<std::uint64_t>(options_.max_body_size));
  Arm(options_.read_timeout);
  error_code ec;
  co_await http::async_read_header(socket_, buffer_, parser,
                                   asio::redirect_error(use_awaitable, ec));
  const auto expect = parser.get()[http::field::expect];
  if (!ec && !parser.is_done() && boost::beast::iequals(expect, "100-continue")) {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    co_await asio::async_write(socket_, asio::buffer(kContinue),
                               asio::redirect_error(use_awaitable, ec));
  }
  if (!ec && !parser.is_done()) {
    co_await http::async_read(socket_, buffer_, parser, asio::redirect_error(use_awaitable, ec));
  }
  Disarm();
  if (!ec) co_return true;
  co_await Refuse(ec);
  co_return false;
}

/// Says why a request cannot be read, where anybody may still be listening.
asio::awaitable<void> HttpSession::Refuse(error_code why) {
  HttpResponse response;
  if (expired_) {
    response = ErrorResponse(408, "the request did not arrive in time", ApiStyle::kOpenAi);
  } else if (why == http::error::body_limit) {
    response = ErrorResponse(413,
                             fmt::format("the body is larger than {} (--max-body-size)",
                                         FormatBytes(options_.max_body_size)),
                             ApiStyle::kOpenAi);
  } else if (why == http::error::header_limit) {
    response = ErrorResponse(
        431, fmt::format("the headers are larger than {}", FormatBytes(options_.max_header_size)),
        ApiStyle::kOpenAi);
  } else if (why.category() == make_error_code(http::error::bad_method).category() &&
             why != http::error::end_of_stream && why != http::error::partial_message) {
    response =
        ErrorResponse(400, "this is not well-formed HTTP: " + why.message(), ApiStyle::kOpenAi);
  } else {
    co_return;  // The client is gone.
  }
  SessionReply refusal({false, true, false, options_.max_unread_reply}, nullptr);
  refusal.Send(std::move(response));
  refusal.Take(writing_);
  Arm(kRefusalWriteTimeout);
  error_code ec;
  co_await asio::async_write(socket_, asio::buffer(writing_),
                             asio::redirect_error(use_awaitable, ec));
  if (!ec) co_await LingerAndClose();
}

/// Hands the request to its route.
void HttpSession::Answer(Parser& parser) {
  http::request<http::string_body>& message = parser.get();
  HttpRequest request;
  request.method = MethodOf(message.method());
  request.path = PathOf(message.target());
  request.authorization = std::string(message[http::field::authorization]);
  request.accept = std::string(message[http::field::accept]);
  request.body = std::move(message.body());
  ReplyFraming framing;
  framing.head_only = request.method == Method::kHead;
  framing.chunked = message.version() >= 11;
  framing.keep_alive = message.keep_alive() && !draining_;
  framing.max_unread = options_.max_unread_reply;
  reply_ = std::make_shared<SessionReply>(framing, [this] { OnReplyChanged(); });
  Dispatch(owner_.context(), std::move(request), reply_);
}

void HttpSession::OnReplyChanged() {
  wake_.cancel();
  if (!reply_->overflowed()) return;
  error_code ignored;
  socket_.cancel(ignored);  // A write to a client that does not read would last until its deadline.
}

/// Writes what the socket takes without waiting, nearly always everything: then a part of a stream
/// costs no deadline and no further turn of the loop. An error is left to the write that follows.
size_t HttpSession::WriteAtOnce() {
  error_code ec;
  const size_t size = socket_.write_some(asio::buffer(writing_), ec);
  return ec ? 0 : size;
}

asio::awaitable<void> HttpSession::WriteReply() {
  error_code ec;
  while (!reply_->overflowed()) {
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none || !socket_.is_open()) co_return;
    if (!reply_->empty()) {
      reply_->Take(writing_);
      const size_t written = WriteAtOnce();
      if (written == writing_.size()) continue;
      Arm(options_.write_timeout);
      co_await asio::async_write(socket_, asio::buffer(writing_) + written,
                                 asio::redirect_error(use_awaitable, ec));
      Disarm();
      if (ec) break;
    } else if (reply_->ended()) {
      co_return;
    } else {
      wake_.expires_at(asio::steady_timer::time_point::max());
      co_await wake_.async_wait(asio::redirect_error(use_awaitable, ec));
    }
  }
  reply_->ClientGone();
  Close();
}

asio::awaitable<void> HttpSession::WatchForHangUp() {
  error_code ec;
  while (buffer_.size() < kReadAhead) {
    const size_t size = co_await socket_.async_read_some(buffer_.prepare(kReadSize),
                                                         asio::redirect_error(use_awaitable, ec));
    buffer_.commit(size);
    const auto state = co_await asio::this_coro::cancellation_state;
    if (state.cancelled() != asio::cancellation_type::none) co_return;
    // The deadline of a write cancels this read as well; then the writer closes the connection.
    if (ec == asio::error::operation_aborted && socket_.is_open()) continue;
    if (ec) {
      reply_->ClientGone();
      Close();
      co_return;
    }
  }
  // A client that pipelines that much is not watched: a failing write tells as well.
  asio::steady_timer never(socket_.get_executor(), asio::steady_timer::time_point::max());
  co_await never.async_wait(asio::redirect_error(use_awaitable, ec));
}

asio::awaitable<void> HttpSession::LingerAndClose() {
  error_code ec;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ec);
  Arm(kLinger);
  while (!ec) {
    buffer_.clear();
    co_await socket_.async_read_some(buffer_.prepare(kReadSize),
                                     asio::redirect_error(use_awaitable, ec));
  }
  Close();
}

}  // namespace

void StartHttpSession(asio::ip::tcp::socket socket, ConnectionOwner& owner) {
  error_code ignored;
  socket.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket.non_blocking(true, ignored);  // For WriteAtOnce.
  const auto executor = socket.get_executor();
  const auto session = std::make_shared<HttpSession>(std::move(socket), owner);
  owner.Add(session);
  asio::co_spawn(executor, session->Run(), asio::detached);
}

}  // namespace weft::server
