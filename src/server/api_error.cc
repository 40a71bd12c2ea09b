#include "server/api_error.h"

#include "server/json_writer.h"

namespace weft::server {
namespace {

constexpr std::string_view kRetryAfterSeconds = "1";

std::string_view TypeName(int status) {
  switch (status) {
    case 400:
      return "BadRequestError";
    case 401:
      return "AuthenticationError";
    case 404:
      return "NotFoundError";
    case 405:
      return "MethodNotAllowedError";
    case 408:
      return "RequestTimeoutError";
    case 409:
      return "ConflictError";
    case 413:
      return "ContentTooLargeError";
    case 429:
      return "RateLimitError";
    case 431:
      return "HeadersTooLargeError";
    case 499:
      return "ClientClosedRequestError";
    case 503:
      return "ServiceUnavailableError";
    default:
      return "InternalServerError";
  }
}

}  // namespace

ApiError BadRequest(std::string message, std::string param) {
  return {Error{ErrorCode::kInvalidArgument, std::move(message)}, std::move(param), ""};
}

ApiError NotSupported(std::string message, std::string param) {
  return {Error{ErrorCode::kUnsupported, std::move(message)}, std::move(param), ""};
}

int HttpStatus(ErrorCode code, ApiStyle style) {
  switch (code) {
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kUnsupported:
      return 400;
    case ErrorCode::kNotFound:
      return style == ApiStyle::kOpenAi ? 404 : 400;
    case ErrorCode::kAlreadyExists:
      return 400;
    case ErrorCode::kResourceExhausted:
      return 429;
    case ErrorCode::kUnavailable:
      return 503;
    case ErrorCode::kCancelled:
      return 499;
    case ErrorCode::kIo:
    case ErrorCode::kInternal:
      return 500;
  }
  return 500;
}

std::string ErrorJson(int status, std::string_view message, std::string_view param,
                      std::string_view type, ApiStyle style) {
  std::string json;
  JsonWriter writer(json);
  writer.BeginObject().Key("error").BeginObject().Key("message").String(message);
  if (style == ApiStyle::kOpenAi) {
    writer.Key("type").String(type.empty() ? TypeName(status) : type).Key("param");
    if (param.empty()) {
      writer.Null();
    } else {
      writer.String(param);
    }
    writer.Key("code").Integer(status);
  }
  writer.EndObject().EndObject();
  return json;
}

std::string ErrorJson(const ApiError& error, ApiStyle style) {
  return ErrorJson(HttpStatus(error.error.code, style), error.error.message, error.param,
                   error.type, style);
}

HttpResponse ErrorResponse(const ApiError& error, ApiStyle style) {
  HttpResponse response;
  response.status = HttpStatus(error.error.code, style);
  response.body = ErrorJson(error, style);
  if (response.status == 429) response.headers.emplace_back("Retry-After", kRetryAfterSeconds);
  return response;
}

HttpResponse ErrorResponse(int status, std::string_view message, ApiStyle style) {
  HttpResponse response;
  response.status = status;
  response.body = ErrorJson(status, message, "", "", style);
  return response;
}

ApiStyle StyleOfPath(std::string_view path) {
  const bool openai = path.starts_with("/v1/") || path == "/v1" || path == "/tokenize" ||
                      path == "/detokenize" || path == "/version" || path == "/ping";
  return openai ? ApiStyle::kOpenAi : ApiStyle::kSglang;
}

}  // namespace weft::server
