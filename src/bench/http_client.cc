#include "bench/http_client.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <deque>
#include <memory>

namespace weft::bench {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kRequestTimeout = std::chrono::hours(6);  // bench_serving's.
constexpr size_t kReadBytes = 8 * 1024;
constexpr unsigned kOk = 200;
constexpr size_t kShownRefusal = 500;
constexpr Bytes kMaxWholeReply = 64 * kMiB;

http::request<http::string_body> MakeRequest(http::verb verb, const Endpoint& endpoint,
                                             std::string_view path, const HttpHeaders& headers,
                                             std::string body) {
  http::request<http::string_body> request{verb, endpoint.prefix + std::string(path), 11};
  request.set(http::field::host, endpoint.host + ":" + endpoint.port);
  request.set(http::field::user_agent, "weft-bench");
  request.set(http::field::accept, "*/*");
  if (verb == http::verb::post) request.set(http::field::content_type, "application/json");
  for (const auto& [name, value] : headers) request.set(name, value);
  request.keep_alive(false);
  request.body() = std::move(body);
  request.prepare_payload();
  return request;
}

/// The beginning of a refusal's body, for a message.
std::string OneLine(std::string text) {
  if (text.size() > kShownRefusal) text.replace(kShownRefusal, std::string::npos, "...");
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
  }
  return text;
}

Error Unreachable(const Endpoint& endpoint, const error_code& error) {
  return MakeError(ErrorCode::kUnavailable, "no server answers at {} ({})", endpoint.Url(""),
                   error.message());
}

tcp::resolver::results_type Resolve(asio::io_context& context, const Endpoint& endpoint,
                                    error_code& error) {
  return tcp::resolver(context).resolve(endpoint.host, endpoint.port, error);
}

asio::awaitable<error_code> Connect(beast::tcp_stream& stream,
                                    const tcp::resolver::results_type& addresses) {
  error_code error;
  co_await stream.async_connect(addresses, asio::redirect_error(asio::use_awaitable, error));
  if (error) co_return error;
  stream.socket().set_option(tcp::no_delay(true), error);
  co_return error;
}

/// Leaves what came of it in `reply`.
asio::awaitable<void> Exchange(const Endpoint& endpoint,
                               const tcp::resolver::results_type& addresses,
                               const http::request<http::string_body>& request, Duration timeout,
                               std::optional<Result<HttpReply>>& reply) {
  beast::tcp_stream stream(co_await asio::this_coro::executor);
  stream.expires_after(timeout);
  error_code error = co_await Connect(stream, addresses);
  beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(static_cast<uint64_t>(kMaxWholeReply));
  if (!error) {
    co_await http::async_write(stream, request, asio::redirect_error(asio::use_awaitable, error));
  }
  if (!error) {
    co_await http::async_read(stream, buffer, parser,
                              asio::redirect_error(asio::use_awaitable, error));
  }
  if (error) {
    reply = Unreachable(endpoint, error);
  } else {
    reply = HttpReply{static_cast<int>(parser.get().result_int()), std::move(parser.get().body())};
  }
}

Result<HttpReply> ExchangeAndWait(const Endpoint& endpoint,
                                  const http::request<http::string_body>& request,
                                  Duration timeout) {
  asio::io_context context(1);
  error_code error;
  const auto addresses = Resolve(context, endpoint, error);
  if (error) return Unreachable(endpoint, error);
  std::optional<Result<HttpReply>> reply;
  asio::co_spawn(context, Exchange(endpoint, addresses, request, timeout, reply), asio::detached);
  context.run();
  WEFT_CHECK(reply.has_value());
  return std::move(*reply);
}

/// Runs one load. Lives on the thread that calls Run.
class LoadRunner {
 public:
  LoadRunner(const Load& load, const Clock& clock, const std::function<void(size_t)>& on_finished)
      : load_(load), clock_(clock), on_finished_(on_finished), context_(1) {
    result_.outcomes.resize(load.requests.size());
  }

  LoadResult Run() {
    // Once, so that no request's latency has a look-up in it.
    addresses_ = Resolve(context_, load_.endpoint, resolve_error_);
    const Moment start = clock_.Now();
    asio::co_spawn(context_, PostAll(), asio::detached);
    context_.run();
    result_.duration = Seconds(clock_.Now() - start);
    return std::move(result_);
  }

 private:
  /// The generator of arrivals: requests that may not start yet wait in order.
  asio::awaitable<void> PostAll() {
    asio::steady_timer timer(context_);
    const auto start = std::chrono::steady_clock::now();
    for (size_t i = 0; i < load_.requests.size(); ++i) {
      const auto due = start + load_.requests[i].at;
      if (due > std::chrono::steady_clock::now()) {
        timer.expires_at(due);
        co_await timer.async_wait(asio::use_awaitable);
      }
      waiting_.push_back(i);
      StartWaiting();
    }
  }

  void StartWaiting() {
    while (!waiting_.empty() &&
           (!load_.max_concurrency || running_ < static_cast<size_t>(*load_.max_concurrency))) {
      const size_t index = waiting_.front();
      waiting_.pop_front();
      ++running_;
      asio::co_spawn(context_, PostOne(index), asio::detached);
    }
  }

  asio::awaitable<void> PostOne(size_t index) {
    const TimedRequest& request = load_.requests[index];
    ResponseTimer timer(load_.protocol, request.prompt_tokens, request.output_tokens, clock_.Now(),
                        event_parser_);
    beast::tcp_stream stream(context_);
    stream.expires_after(kRequestTimeout);
    co_await Converse(stream, request, timer);
    error_code ignored;
    stream.socket().shutdown(tcp::socket::shutdown_both, ignored);
    result_.outcomes[index] = timer.Take();
    --running_;
    on_finished_(++finished_);
    StartWaiting();
  }

  asio::awaitable<void> Converse(beast::tcp_stream& stream, const TimedRequest& request,
                                 ResponseTimer& timer) {
    error_code error = resolve_error_;
    if (!error) error = co_await Connect(stream, addresses_);
    if (error) co_return timer.OnFailure(Unreachable(load_.endpoint, error).message);
    const auto message =
        MakeRequest(http::verb::post, load_.endpoint, load_.path, load_.headers, request.body);
    co_await http::async_write(stream, message, asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return timer.OnFailure("posting the request: " + error.message());
    beast::flat_buffer buffer;
    http::response_parser<http::buffer_body> parser;
    parser.body_limit(boost::none);
    co_await http::async_read_header(stream, buffer, parser,
                                     asio::redirect_error(asio::use_awaitable, error));
    if (error) co_return timer.OnFailure("reading the reply: " + error.message());
    co_await ReadBody(stream, buffer, parser, timer);
  }

  /// The parser is not eager: an eager one returns only when a read ends inside an element, which
  /// holds back a chunk that came alone until the next one.
  asio::awaitable<void> ReadBody(beast::tcp_stream& stream, beast::flat_buffer& buffer,
                                 http::response_parser<http::buffer_body>& parser,
                                 ResponseTimer& timer) {
    const auto status = parser.get().result_int();
    std::vector<char> read(kReadBytes);
    std::string refusal;
    while (!parser.is_done()) {
      auto& body = parser.get().body();
      body.data = read.data();
      body.size = read.size();
      error_code error;
      co_await http::async_read_some(stream, buffer, parser,
                                     asio::redirect_error(asio::use_awaitable, error));
      const Moment now = clock_.Now();
      if (error && error != http::error::need_buffer) {
        co_return timer.OnFailure("the reply was cut short: " + error.message());
      }
      const std::string_view bytes(read.data(), read.size() - body.size);
      if (status == kOk) {
        timer.OnBytes(bytes, now);
      } else {
        refusal.append(bytes);
      }
    }
    if (status == kOk) co_return timer.OnEnd(clock_.Now());
    timer.OnFailure(fmt::format("{} {}: {}", status, std::string_view(parser.get().reason()),
                                OneLine(refusal)));
  }

  const Load& load_;
  const Clock& clock_;
  const std::function<void(size_t)>& on_finished_;
  asio::io_context context_;
  StreamEventParser event_parser_;
  tcp::resolver::results_type addresses_;
  error_code resolve_error_;
  std::deque<size_t> waiting_;
  size_t running_ = 0;
  size_t finished_ = 0;
  LoadResult result_;
};

}  // namespace

std::string Endpoint::Url(std::string_view path) const {
  const bool ipv6 = host.find(':') != std::string::npos;
  return fmt::format("http://{}{}{}:{}{}{}", ipv6 ? "[" : "", host, ipv6 ? "]" : "", port, prefix,
                     path);
}

Result<Endpoint> ParseBaseUrl(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  const auto bad = [&](std::string_view what) {
    return MakeError(ErrorCode::kInvalidArgument,
                     "--base-url {}: {}; it should look like http://127.0.0.1:30000", url, what);
  };
  if (!url.starts_with(kScheme)) return bad("only http:// is supported");
  std::string_view rest = url.substr(kScheme.size());
  const size_t slash = std::min(rest.find('/'), rest.size());
  std::string_view authority = rest.substr(0, slash);
  std::string_view prefix = rest.substr(slash);
  while (prefix.ends_with('/')) prefix.remove_suffix(1);
  std::string_view port = "80";
  const size_t colon = authority.rfind(':');
  const size_t bracket = authority.rfind(']');
  if (colon != std::string_view::npos && (bracket == std::string_view::npos || colon > bracket)) {
    port = authority.substr(colon + 1);
    authority = authority.substr(0, colon);
  }
  if (authority.starts_with('[') && authority.ends_with(']')) {
    authority = authority.substr(1, authority.size() - 2);
  }
  if (authority.empty()) return bad("the host is missing");
  const bool digits =
      std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (port.empty() || port.size() > 5 || !digits) return bad("the port is not a number");
  return Endpoint{std::string(authority), std::string(port), std::string(prefix)};
}

Result<HttpReply> Get(const Endpoint& endpoint, std::string_view path, const HttpHeaders& headers,
                      Duration timeout) {
  return ExchangeAndWait(endpoint, MakeRequest(http::verb::get, endpoint, path, headers, ""),
                         timeout);
}

Result<HttpReply> Post(const Endpoint& endpoint, std::string_view path, const HttpHeaders& headers,
                       const std::string& body, Duration timeout) {
  return ExchangeAndWait(endpoint, MakeRequest(http::verb::post, endpoint, path, headers, body),
                         timeout);
}

LoadResult RunLoad(const Load& load, const Clock& clock,
                   const std::function<void(size_t)>& on_finished) {
  return LoadRunner(load, clock, on_finished).Run();
}

}  // namespace weft::bench
