#include <gtest/gtest.h>

#include <limits>

#include "server/json_reader.h"
#include "server/json_writer.h"

namespace weft::server {
namespace {

template <typename T>
std::string Written(T value) {
  std::string text;
  AppendJsonNumber(value, text);
  return text;
}

TEST(JsonWriter, NumbersLookLikePythons) {
  EXPECT_EQ(Written(1.0), "1.0");
  EXPECT_EQ(Written(0.0), "0.0");
  EXPECT_EQ(Written(-0.0), "-0.0");
  EXPECT_EQ(Written(-12.5), "-12.5");
  EXPECT_EQ(Written(0.1), "0.1");
  EXPECT_EQ(Written(123456789.0), "123456789.0");
  EXPECT_EQ(Written(1e15), "1000000000000000.0");
  EXPECT_EQ(Written(1e16), "1e+16");
  EXPECT_EQ(Written(1.5e22), "1.5e+22");
  EXPECT_EQ(Written(0.0001), "0.0001");
  EXPECT_EQ(Written(0.00012345), "0.00012345");
  EXPECT_EQ(Written(0.00001), "1e-05");
  EXPECT_EQ(Written(1e-300), "1e-300");
  EXPECT_EQ(Written(-0.3F), "-0.3");
  EXPECT_EQ(Written(std::numeric_limits<double>::quiet_NaN()), "null");
  EXPECT_EQ(Written(-std::numeric_limits<float>::infinity()), "null");
}

TEST(JsonWriter, EscapesWhatJsonDemands) {
  std::string text;
  AppendJsonString("a\"b\\c\n\t\r\b\f\x01\x1f\x7f é", text);
  EXPECT_EQ(text, "\"a\\\"b\\\\c\\n\\t\\r\\b\\f\\u0001\\u001f\x7f é\"");
}

TEST(JsonWriter, NeverWritesInvalidUtf8) {
  std::string text;
  JsonWriter(text).String("a\xff\xc3");
  EXPECT_EQ(text, "\"a\xef\xbf\xbd\xef\xbf\xbd\"");
}

TEST(JsonWriter, PutsCommasBetweenValues) {
  std::string text;
  JsonWriter(text)
      .BeginObject()
      .Key("a")
      .BeginArray()
      .Integer(1)
      .Null()
      .Bool(true)
      .EndArray()
      .Key("b")
      .BeginObject()
      .EndObject()
      .Key("c")
      .Number(2.0)
      .EndObject();
  EXPECT_EQ(text, R"({"a":[1,null,true],"b":{},"c":2.0})");
}

std::string ParseError(std::string_view body) {
  const auto parsed = ParseJsonObject(body);
  return parsed.ok() ? "" : parsed.error().message;
}

TEST(JsonReader, ErrorsNameThePlace) {
  EXPECT_NE(ParseError("{\"a\": 1,\n \"b\": oops}").find("line 2"), std::string::npos);
  EXPECT_NE(ParseError("{\"a\": 1} x").find("line 1, column 10"), std::string::npos)
      << ParseError("{\"a\": 1} x");
  EXPECT_NE(ParseError("{\"a\": ").find("not valid JSON"), std::string::npos);
  EXPECT_NE(ParseError("").find("empty"), std::string::npos);
  EXPECT_NE(ParseError("[1]").find("must be a JSON object, it is a list"), std::string::npos);
}

TEST(JsonReader, RefusesWhatIsNotUtf8) {
  EXPECT_NE(ParseError("{\"a\": \"\xff\"}"), "");
  EXPECT_NE(ParseError("{\"a\": \"\xed\xa0\x80\"}"), "");  // An encoded surrogate.
  EXPECT_NE(ParseError(R"({"a": "\ud800"})"), "");         // A lone one.
  EXPECT_NE(ParseError(R"({"a": "\ud800\u0041"})"), "");
  EXPECT_NE(ParseError(R"({"a": "\udc00"})"), "");
  EXPECT_EQ(ParseError(R"({"a": "\ud83d\ude00"})"), "");
}

TEST(JsonReader, RefusesEndlessNesting) {
  EXPECT_NE(ParseError("{\"a\":" + std::string(100000, '[')), "");
}

template <typename T>
std::string FieldError(std::string_view body, T value) {
  const auto parsed = ParseJsonObject(body);
  JsonFields fields(*parsed);
  fields.Read("x", value);
  return fields.ok() ? "" : fields.error()->error.message;
}

TEST(JsonReader, WrongTypesNameTheFieldAndWhatIsWanted) {
  EXPECT_EQ(FieldError(R"({"x": "1"})", int32_t{}), "x must be a whole number, it is a string");
  EXPECT_EQ(FieldError(R"({"x": true})", float{}), "x must be a number, it is a boolean");
  EXPECT_EQ(FieldError(R"({"x": 1})", bool{}), "x must be true or false, it is a number");
  EXPECT_EQ(FieldError(R"({"x": {}})", std::string{}), "x must be a string, it is an object");
  EXPECT_NE(FieldError(R"({"x": 1.5})", int32_t{}), "");
  EXPECT_NE(FieldError(R"({"x": 99999999999})", int32_t{}), "");
  EXPECT_NE(FieldError(R"({"x": 1e300})", float{}), "");
  EXPECT_NE(FieldError(R"({"x": [1, -1]})", std::vector<TokenId>{}), "");
}

TEST(JsonReader, TakesWhatMeansTheSame) {
  EXPECT_EQ(FieldError(R"({"x": 3.0})", int32_t{}), "");
  EXPECT_EQ(FieldError(R"({"x": 3})", float{}), "");
  EXPECT_EQ(FieldError(R"({"x": null})", int32_t{}), "");
  EXPECT_EQ(FieldError(R"({})", int32_t{}), "");
  EXPECT_EQ(FieldError(R"({"x": 18446744073709551615})", int64_t{}), "");
}

TEST(JsonReader, WritesBackWhatItRead) {
  const std::string text = R"({"a":[1,-2,3.5,"x\"y",null,true,{}],"b":[]})";
  EXPECT_EQ(JsonText(*ParseJsonObject(text)), text);
}

}  // namespace
}  // namespace weft::server
