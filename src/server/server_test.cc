#include "server/server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "server/scripted_service_for_test.h"

namespace weft::server {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kEnd = "data: [DONE]\n\n\r\n0\r\n\r\n";

/// A blocking socket to the server, with a limit of 20 s for each read. With `receive_buffer` the
/// kernel keeps at most about that many bytes unread, where its own limit may be tens of mebibytes.
class Client {
 public:
  explicit Client(uint16_t port, int receive_buffer = 0) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0)
      ::setsockopt(fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer));
    timeval patience{20, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int result = ::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    EXPECT_EQ(result, 0);
  }
  ~Client() { HangUp(); }
  Client(Client&& other) noexcept : fd_(std::exchange(other.fd_, -1)), seen_(other.seen_) {}

  void Send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(sent));
    }
  }

  void Post(const std::string& path, const std::string& body, const std::string& headers = "") {
    Send("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + headers +
         "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body);
  }

  /// All that came until `end` was in it, the connection closed, or time was up.
  std::string ReadUntil(std::string_view end) {
    while (seen_.find(end) == std::string::npos && ReadSome()) {
    }
    const size_t at = seen_.find(end);
    const size_t size = at == std::string::npos ? seen_.size() : at + end.size();
    std::string taken = seen_.substr(0, size);
    seen_.erase(0, size);
    return taken;
  }
  std::string ReadAll() { return ReadUntil("\1never\1"); }
  bool Closed() { return !ReadSome() && errno != EAGAIN; }

  void HangUp() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  bool ReadSome() {
    char buffer[4096];
    const ssize_t size = ::recv(fd_, buffer, sizeof(buffer), 0);
    if (size > 0) seen_.append(buffer, static_cast<size_t>(size));
    return size > 0;
  }

  int fd_;
  std::string seen_;
};

class ServerTest : public testing::Test {
 protected:
  ServerTest() {
    options_.served_model_name = "base";
    options_.read_timeout = milliseconds(5000);
  }

  static BoundPort AnyPort() { return BoundPort::Bind("127.0.0.1", 0).value(); }
  void Start() { Start(AnyPort()); }
  void Start(BoundPort port) {
    auto server =
        Server::Create(options_, std::move(port), service_, {4096, 20}, ByteTokenizer(), nullptr);
    ASSERT_TRUE(server.ok());
    server_ = std::move(*server);
    const Status status = server_->Start();
    ASSERT_TRUE(status.ok()) << status.error().message;
  }
  Client Connect() { return Client(server_->port()); }

  ServerOptions options_;
  ScriptedService service_;
  std::unique_ptr<Server> server_;
};

const engine::Finish kLength{engine::FinishType::kLength};

TEST_F(ServerTest, AnswersAndKeepsTheConnection) {
  Start();
  Client client = Connect();
  for (int i = 0; i < 3; ++i) {
    client.Send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 200 OK\r\n"));
  }
}

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrder) {
  Start();
  Client client = Connect();
  client.Send(
      "GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /nope HTTP/1.1\r\nHost: x\r\n\r\n"
      "HEAD /version HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  const std::string all = client.ReadAll();
  const size_t version = all.find("{\"version\"");
  const size_t nope = all.find("404 Not Found");
  EXPECT_LT(version, nope);
  EXPECT_NE(nope, std::string::npos);
  EXPECT_EQ(all.find("{\"version\"", version + 1), std::string::npos);  // None for HEAD.
  EXPECT_THAT(all, testing::EndsWith("Connection: close\r\n\r\n"));
}

TEST_F(ServerTest, StreamsInChunksAsTokensCome) {
  Start();
  Client client = Connect();
  client.Post("/generate", R"({"text": "a", "stream": true})");
  ASSERT_TRUE(service_.WaitForSubmits(1));
  service_.Emit(0, "x");
  const std::string head = client.ReadUntil("\"text\":\"x\"");
  EXPECT_THAT(head, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(head, HasSubstr("Content-Type: text/event-stream; charset=utf-8\r\n"));
  EXPECT_THAT(head, HasSubstr("Transfer-Encoding: chunked\r\n"));
  service_.Emit(0, "y", kLength);
  EXPECT_THAT(client.ReadUntil(kEnd), HasSubstr("\"text\":\"xy\""));
  client.Send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");  // The connection is still good.
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST_F(ServerTest, Http10StreamsUntilTheConnectionCloses) {
  Start();
  Client client = Connect();
  const std::string body = R"({"text": "a", "stream": true})";
  client.Send("POST /generate HTTP/1.0\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n\r\n" + body);
  ASSERT_TRUE(service_.WaitForSubmits(1));
  service_.Emit(0, "x", kLength);
  const std::string all = client.ReadAll();
  EXPECT_EQ(all.find("chunked"), std::string::npos);
  EXPECT_THAT(all, testing::EndsWith("data: [DONE]\n\n"));
}

TEST_F(ServerTest, HangUpAbortsAStreamAndAWaitingRequest) {
  Start();
  {
    Client streaming = Connect();
    streaming.Post("/generate", R"({"text": "a", "stream": true})");
    Client waiting = Connect();
    waiting.Post("/v1/completions", R"({"prompt": "b"})");
    ASSERT_TRUE(service_.WaitForSubmits(2));
    service_.Emit(0, "x");
    service_.Emit(1, "x");
    streaming.ReadUntil("\"text\":\"x\"");
    EXPECT_TRUE(service_.aborted().empty());
  }
  EXPECT_TRUE(service_.WaitForAborts(2));
}

TEST_F(ServerTest, TooLargeABodyIsRefusedUnread) {
  options_.max_body_size = 1000;
  Start();
  Client declared = Connect();
  declared.Send("POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
  EXPECT_THAT(declared.ReadAll(), StartsWith("HTTP/1.1 413 "));
  Client chunked = Connect();
  chunked.Send("POST /generate HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" +
               std::string(2000, 'x') + "\r\n0\r\n\r\n");
  EXPECT_THAT(chunked.ReadAll(), HasSubstr("HTTP/1.1 413 "));
  Client fits = Connect();
  fits.Post("/generate", std::string(1000, ' '));
  EXPECT_THAT(fits.ReadUntil("}}"), StartsWith("HTTP/1.1 400 "));
}

TEST_F(ServerTest, MalformedHttpIsRefused) {
  Start();
  for (const std::string& bytes :
       {std::string("GARBAGE\r\n\r\n"), std::string("GET / HTTP/9.9\r\n\r\n"),
        std::string("GET / HTTP/1.1\r\nBad Header\r\n\r\n"),
        std::string("POST /generate HTTP/1.1\r\nContent-Length: x\r\n\r\n"),
        std::string("POST /generate HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: "
                    "chunked\r\n\r\n"),
        std::string("\x16\x03\x01\x02\x00\x01\x00\x01", 8) + "\r\n\r\n"}) {
    Client client = Connect();
    client.Send(bytes);
    EXPECT_THAT(client.ReadAll(), StartsWith("HTTP/1.1 400 Bad Request")) << bytes;
  }
  Client large = Connect();
  large.Send("GET /health HTTP/1.1\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n");
  EXPECT_THAT(large.ReadAll(), StartsWith("HTTP/1.1 431 "));
  Client good = Connect();
  good.Send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(good.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 200 OK"));
}

TEST_F(ServerTest, SlowRequestsAreEnded) {
  options_.read_timeout = milliseconds(200);
  options_.keep_alive_timeout = milliseconds(300);
  Start();
  Client header = Connect();
  header.Send("GET /health HTTP/1.1\r\nHo");
  EXPECT_THAT(header.ReadAll(), StartsWith("HTTP/1.1 408 "));
  Client body = Connect();
  body.Send("POST /generate HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{");
  EXPECT_THAT(body.ReadAll(), StartsWith("HTTP/1.1 408 "));
  Client idle = Connect();
  EXPECT_TRUE(idle.Closed());
}

TEST_F(ServerTest, ExpectContinueIsAnswered) {
  Start();
  Client client = Connect();
  client.Send(
      "POST /tokenize HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 15\r\n\r\n");
  EXPECT_THAT(client.ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 100 Continue"));
  client.Send(R"({"prompt": "a"})");
  EXPECT_THAT(client.ReadUntil("}"), StartsWith("HTTP/1.1 200 OK"));
}

TEST_F(ServerTest, ConnectionsBeyondTheLimitAreTurnedAway) {
  options_.max_connections = 1;
  Start();
  Client first = Connect();
  first.Send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
  first.ReadUntil("\r\n\r\n");
  Client second = Connect();
  EXPECT_THAT(second.ReadAll(), StartsWith("HTTP/1.1 503 "));
  first.HangUp();
  for (int attempt = 0; attempt < 100; ++attempt) {  // The place becomes free again.
    Client third = Connect();
    third.Send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    if (third.ReadUntil("\r\n\r\n").starts_with("HTTP/1.1 200")) return;
    std::this_thread::sleep_for(milliseconds(20));
  }
  FAIL() << "no connection was accepted after one was closed";
}

TEST_F(ServerTest, AClientThatNeverReadsIsDropped) {
  options_.max_unread_reply = 1000 * kKiB;
  Start();
  Client client(server_->port(), 64 * 1024);
  client.Post("/v1/completions", R"({"prompt": "a", "stream": true})");
  ASSERT_TRUE(service_.WaitForSubmits(1));
  const std::string many(300'000, 'x');  // More in all than the server's side of the kernel takes.
  for (int i = 0; i < 60 && service_.aborted().empty(); ++i) {
    service_.Emit(0, many);
    std::this_thread::sleep_for(milliseconds(5));
  }
  EXPECT_TRUE(service_.WaitForAborts(1));
}

TEST_F(ServerTest, TwoHundredStreamsAtOnce) {
  options_.io_threads = 2;
  Start();
  constexpr size_t kStreams = 200;
  std::vector<Client> clients;
  for (size_t i = 0; i < kStreams; ++i) {
    clients.push_back(Connect());
    clients.back().Post("/v1/completions", R"({"prompt": [1], "stream": true, "max_tokens": 20})");
  }
  ASSERT_TRUE(service_.WaitForSubmits(kStreams));
  for (int step = 0; step < 20; ++step) {
    for (size_t i = 0; i < kStreams; ++i)
      service_.Emit(i, "t", step == 19 ? std::optional(kLength) : std::nullopt);
  }
  for (Client& client : clients) {
    const std::string all = client.ReadUntil(kEnd);
    size_t tokens = 0;
    for (size_t at = all.find("\"text\":\"t\""); at != std::string::npos;
         at = all.find("\"text\":\"t\"", at + 1))
      ++tokens;
    EXPECT_EQ(tokens, 20U);
    EXPECT_THAT(all, testing::EndsWith(std::string(kEnd)));
  }
}

TEST_F(ServerTest, StopLetsRunningRequestsFinish) {
  Start();
  Client idle = Connect();
  Client client = Connect();
  client.Post("/generate", R"({"text": "a", "stream": true})");
  ASSERT_TRUE(service_.WaitForSubmits(1));
  std::thread stopping([&] { server_->Stop(milliseconds(10'000)); });
  EXPECT_TRUE(idle.Closed());
  service_.Emit(0, "x", kLength);
  EXPECT_THAT(client.ReadAll(), HasSubstr("\"finish_reason\":{\"type\":\"length\""));
  stopping.join();
}

TEST_F(ServerTest, StopEndsStreamsWithALastEventWhenTimeIsUp) {
  Start();
  Client client = Connect();
  client.Post("/v1/completions", R"({"prompt": "a", "stream": true})");
  ASSERT_TRUE(service_.WaitForSubmits(1));
  service_.Emit(0, "x");
  client.ReadUntil("\"text\":\"x\"");
  std::thread stopping([&] { server_->Stop(milliseconds(100)); });
  const std::string rest = client.ReadAll();
  EXPECT_THAT(rest, HasSubstr("\"finish_reason\":\"abort\""));
  EXPECT_THAT(rest, testing::EndsWith(std::string(kEnd)));
  stopping.join();
  EXPECT_EQ(service_.aborted().size(), 1U);
  service_.Emit(0, "late", kLength);  // The engine may still deliver: nothing happens.
  server_.reset();
  service_.Emit(0, "later", kLength);
}

TEST_F(ServerTest, APortInUseIsAClearError) {
  Start();
  const auto second = BoundPort::Bind("127.0.0.1", server_->port());
  ASSERT_FALSE(second.ok());
  EXPECT_THAT(second.error().message, HasSubstr("the port is in use"));
  EXPECT_THAT(second.error().message, HasSubstr("--port"));
}

TEST_F(ServerTest, OfTwoThatBoundOnePortTheSecondCannotListen) {
  BoundPort first = AnyPort();
  auto second = BoundPort::Bind("127.0.0.1", first.port());
  ASSERT_TRUE(second.ok()) << second.error().message;
  Start(std::move(first));
  auto late =
      Server::Create(options_, std::move(*second), service_, {4096, 20}, ByteTokenizer(), nullptr);
  ASSERT_TRUE(late.ok());
  const Status status = (*late)->Start();
  ASSERT_FALSE(status.ok());
  EXPECT_THAT(status.error().message, HasSubstr("the port is in use"));
}

TEST_F(ServerTest, AHostThatIsNoneIsRefused) {
  const auto bound = BoundPort::Bind("no.such.host.invalid", 0);
  ASSERT_FALSE(bound.ok());
  EXPECT_THAT(bound.error().message, HasSubstr("--host no.such.host.invalid"));
}

TEST_F(ServerTest, WrongOptionsAreRefused) {
  options_.io_threads = 0;
  EXPECT_FALSE(
      Server::Create(options_, AnyPort(), service_, {4096, 20}, ByteTokenizer(), nullptr).ok());
  options_.io_threads = 1;
  options_.served_model_name.clear();
  EXPECT_FALSE(
      Server::Create(options_, AnyPort(), service_, {4096, 20}, ByteTokenizer(), nullptr).ok());
}

}  // namespace
}  // namespace weft::server
