#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace weft::text {

/// A CPython object, known only by address.
using PyObject = void;

/// An embedded CPython 3.8 or newer, opened with dlopen and used through its limited API, so that
/// Weft neither links nor is built against one. There is one a process, started when it is first
/// asked for and never stopped; it installs no signal handlers. Any thread may call.
class PythonRuntime {
 public:
  /// Starts the interpreter on the first call. kUnavailable when no libpython3 is found;
  /// WEFT_LIBPYTHON names one explicitly.
  static Result<const PythonRuntime*> Get();

  /// Holds the interpreter's lock: nothing below may be called without one.
  class Lock {
   public:
    explicit Lock(const PythonRuntime& python) : python_(python), state_(python.acquire_()) {}
    ~Lock() { python_.release_(state_); }
    Lock(const Lock&) = delete;
    Lock& operator=(const Lock&) = delete;

   private:
    const PythonRuntime& python_;
    int state_;
  };

  /// One reference to an object. Moves only, under the lock.
  class Reference {
   public:
    Reference(const PythonRuntime& python, PyObject* object) : python_(&python), object_(object) {}
    Reference(Reference&& other) noexcept : python_(other.python_), object_(other.Release()) {}
    Reference& operator=(Reference&&) = delete;
    ~Reference() {
      if (object_ != nullptr) python_->drop_(object_);
    }
    PyObject* get() const { return object_; }
    explicit operator bool() const { return object_ != nullptr; }
    PyObject* Release() {
      PyObject* object = object_;
      object_ = nullptr;
      return object;
    }

   private:
    const PythonRuntime* python_;
    PyObject* object_;
  };

  /// Runs a module's source; its functions are then found by Call. Once for each name.
  Status Define(const std::string& module, const char* source) const;
  /// Calls module.function(arguments...). An error when it raises.
  Result<Reference> Call(const std::string& module, const std::string& function,
                         const std::vector<PyObject*>& arguments) const;
  /// A bytes object.
  Reference Bytes(std::string_view bytes) const;
  /// The content of a bytes object; nullopt when it is something else.
  std::optional<std::string> ToString(PyObject* object) const;
  void Drop(PyObject* object) const { drop_(object); }

 private:
  PythonRuntime() = default;
  static Result<const PythonRuntime*> Start();
  Status Open();
  Status Bind(void* library);

  std::string path_;
  void (*initialize_)(int) = nullptr;
  int (*is_initialized_)() = nullptr;
  void* (*save_thread_)() = nullptr;
  int (*acquire_)() = nullptr;
  void (*release_)(int) = nullptr;
  void (*drop_)(PyObject*) = nullptr;
  PyObject* (*compile_)(const char*, const char*, int) = nullptr;
  PyObject* (*execute_module_)(const char*, PyObject*) = nullptr;
  PyObject* (*import_module_)(const char*) = nullptr;
  PyObject* (*get_attribute_)(PyObject*, const char*) = nullptr;
  PyObject* (*call_)(PyObject*, PyObject*, PyObject*) = nullptr;
  PyObject* (*new_tuple_)(intptr_t) = nullptr;
  int (*set_tuple_item_)(PyObject*, intptr_t, PyObject*) = nullptr;
  void (*keep_)(PyObject*) = nullptr;
  PyObject* (*new_bytes_)(const char*, intptr_t) = nullptr;
  int (*read_bytes_)(PyObject*, char**, intptr_t*) = nullptr;
  void (*clear_error_)() = nullptr;
};

}  // namespace weft::text
