#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "server/api_error.h"
#include "server/prompt.h"

namespace weft::server {

/// SGLang's POST /generate.
struct GenerateRequest {
  std::vector<Prompt> prompts;
  std::vector<std::string> rids;  ///< One a prompt.
  bool as_list = false;           ///< A batch, or n > 1: the reply is a list, events have an index.
  bool stream = false;
  bool text_in_logprobs = false;
};

/// Fields as SGLang's io_struct.GenerateReqInput has them. Pure.
ApiStatus ParseGenerateRequest(const boost::json::object& body, GenerateRequest& into);

/// 32 random hexadecimal digits, as Python's uuid4().hex.
std::string RandomHexId();

}  // namespace weft::server
