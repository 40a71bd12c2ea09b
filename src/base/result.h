#pragma once

#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"

namespace weft {

/// What kind of thing went wrong. server/ maps each to one HTTP status in one place.
enum class ErrorCode {
  kInvalidArgument,    ///< The request, flag or file content is wrong.
  kNotFound,           ///< The named thing does not exist.
  kAlreadyExists,      ///< The name is taken.
  kUnsupported,        ///< Well formed, but Weft does not serve it.
  kResourceExhausted,  ///< A limit is reached; try again later.
  kUnavailable,        ///< Shutting down, or not ready yet.
  kCancelled,          ///< Whoever asked no longer wants it.
  kIo,                 ///< The operating system refused a read or write.
  kInternal,           ///< A third-party call failed in a way nobody asked for.
};

std::string_view ErrorCodeName(ErrorCode code);

/// Why something failed: one sentence that says what is wrong, where, and what would be right.
struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;

  /// The same error with `context` and ": " before its message.
  Error WithContext(std::string_view context) const {
    return Error{code, fmt::format("{}: {}", context, message)};
  }
};

template <typename... Args>
Error MakeError(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  return Error{code, fmt::format(format, std::forward<Args>(args)...)};
}

/// A value or the Error that kept it from being. Asking for the absent one is a program error.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & {
    WEFT_CHECK(ok());
    return std::get<0>(state_);
  }
  const T& value() const& {
    WEFT_CHECK(ok());
    return std::get<0>(state_);
  }
  T&& value() && {
    WEFT_CHECK(ok());
    return std::get<0>(std::move(state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const {
    WEFT_CHECK(!ok());
    return std::get<1>(state_);
  }

 private:
  std::variant<T, Error> state_;
};

/// Success, or the Error. For what returns nothing.
class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Error error) : error_(std::move(error)) {}  // NOLINT

  bool ok() const { return !error_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    WEFT_CHECK(!ok());
    return *error_;
  }

 private:
  std::optional<Error> error_;
};

inline Status OkStatus() { return Status(); }

}  // namespace weft

#define WEFT_CONCAT_INNER(a, b) a##b
#define WEFT_CONCAT(a, b) WEFT_CONCAT_INNER(a, b)

/// Returns the error of a Status or Result expression from the enclosing function.
#define WEFT_RETURN_IF_ERROR(expression)                                                \
  do {                                                                                  \
    if (auto weft_status = (expression); !weft_status.ok()) return weft_status.error(); \
  } while (false)

/// WEFT_ASSIGN_OR_RETURN(auto x, F()): binds the value, or returns the error.
#define WEFT_ASSIGN_OR_RETURN(declaration, expression) \
  WEFT_ASSIGN_OR_RETURN_IMPL(WEFT_CONCAT(weft_result_, __LINE__), declaration, expression)
#define WEFT_ASSIGN_OR_RETURN_IMPL(result, declaration, expression) \
  auto result = (expression);                                       \
  if (!result.ok()) return result.error();                          \
  declaration = std::move(result).value()
