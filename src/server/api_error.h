#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"
#include "server/http_message.h"

namespace weft::server {

/// Whose form an answer takes.
enum class ApiStyle : uint8_t {
  kSglang,  ///< The native routes: {"error": {"message": ...}}
  kOpenAi,  ///< /v1/*: {"error": {message, type, param, code}}
};

/// Why a request is refused, and the field at fault (empty: none in particular).
struct ApiError {
  Error error;
  std::string param;
  std::string type;  ///< Empty: the usual one of the status.
};

/// Nothing, or why not.
using ApiStatus = std::optional<ApiError>;

ApiError BadRequest(std::string message, std::string param = "");
ApiError NotSupported(std::string message, std::string param = "");

/// The one place where an error code becomes an HTTP status.
int HttpStatus(ErrorCode code, ApiStyle style);

/// The JSON that describes the error, without any framing.
std::string ErrorJson(const ApiError& error, ApiStyle style);
/// The same for what has a status but no ErrorCode (401, 404 of a path, 405, 408, 413, 431).
std::string ErrorJson(int status, std::string_view message, std::string_view param,
                      std::string_view type, ApiStyle style);

HttpResponse ErrorResponse(const ApiError& error, ApiStyle style);
HttpResponse ErrorResponse(int status, std::string_view message, ApiStyle style);

/// Paths below /v1, and vLLM's own, answer in OpenAI's form.
ApiStyle StyleOfPath(std::string_view path);

}  // namespace weft::server
