// Boost.JSON is a library of headers; this file is the one that compiles it.
#include <boost/json/src.hpp>
