#include "text/python_runtime.h"

#include <dlfcn.h>

#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
// The interpreter is never stopped, so what it holds at the end (its _hashlib holds libcrypto's)
// is no leak of ours.
extern "C" const char* __lsan_default_suppressions();   // NOLINT
extern "C" const char* __lsan_default_suppressions() {  // NOLINT
  return "leak:libpython3\nleak:libcrypto\n";
}
#endif

namespace weft::text {
namespace {

constexpr int kFileInput = 257;  // Py_file_input: a whole module.
constexpr int kOldestMinor = 8;
constexpr int kNewestMinor = 20;

// Where a libpython3 may be, the likeliest first.
std::vector<std::string> Candidates() {
  if (const char* chosen = std::getenv("WEFT_LIBPYTHON")) return {chosen};
  std::vector<std::string> names = {"libpython3.so"};
  for (int minor = kNewestMinor; minor >= kOldestMinor; --minor) {
    names.push_back(fmt::format("libpython3.{}.so.1.0", minor));
    names.push_back(fmt::format("libpython3.{}.so", minor));
  }
  return names;
}

}  // namespace

Result<const PythonRuntime*> PythonRuntime::Get() {
  static const Result<const PythonRuntime*> runtime = Start();
  return runtime;
}

Result<const PythonRuntime*> PythonRuntime::Start() {
  // Never freed: templates may outlive every destructor of this program.
  auto* python = new PythonRuntime();  // NOLINT
  WEFT_RETURN_IF_ERROR(python->Open());
  if (python->is_initialized_() == 0) {
    constexpr int kNoSignalHandlers = 0;
    python->initialize_(kNoSignalHandlers);
    python->save_thread_();  // Gives up the lock that starting took.
  }
  return python;
}

Status PythonRuntime::Open() {
  std::string last;
  for (const std::string& name : Candidates()) {
    // Global, because Python's own extension modules look for its functions there.
    void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr) {
      last = dlerror();
      continue;
    }
    path_ = name;
    return Bind(library);
  }
  return MakeError(ErrorCode::kUnavailable,
                   "chat templates need Python: no libpython3 was found (install libpython3.11 and "
                   "python3-jinja2, or name the library in WEFT_LIBPYTHON; the last one tried: {})",
                   last);
}

Status PythonRuntime::Bind(void* library) {
  bool complete = true;
  const auto bind = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    complete = complete && function != nullptr;
  };
  bind(initialize_, "Py_InitializeEx");
  bind(is_initialized_, "Py_IsInitialized");
  bind(save_thread_, "PyEval_SaveThread");
  bind(acquire_, "PyGILState_Ensure");
  bind(release_, "PyGILState_Release");
  bind(drop_, "Py_DecRef");
  bind(keep_, "Py_IncRef");
  bind(compile_, "Py_CompileString");
  bind(execute_module_, "PyImport_ExecCodeModule");
  bind(import_module_, "PyImport_ImportModule");
  bind(get_attribute_, "PyObject_GetAttrString");
  bind(call_, "PyObject_Call");
  bind(new_tuple_, "PyTuple_New");
  bind(set_tuple_item_, "PyTuple_SetItem");
  bind(new_bytes_, "PyBytes_FromStringAndSize");
  bind(read_bytes_, "PyBytes_AsStringAndSize");
  bind(clear_error_, "PyErr_Clear");
  if (complete) return OkStatus();
  return MakeError(
      ErrorCode::kUnavailable,
      "{} lacks functions of Python 3's stable ABI: chat templates need Python 3.{} or "
      "newer",
      path_, kOldestMinor);
}

Status PythonRuntime::Define(const std::string& module, const char* source) const {
  const Reference code(*this, compile_(source, module.c_str(), kFileInput));
  const Reference defined(*this, code ? execute_module_(module.c_str(), code.get()) : nullptr);
  if (defined) return OkStatus();
  clear_error_();
  return MakeError(ErrorCode::kInternal, "{} cannot run the module {}", path_, module);
}

Result<PythonRuntime::Reference> PythonRuntime::Call(
    const std::string& module, const std::string& function,
    const std::vector<PyObject*>& arguments) const {
  const Reference owner(*this, import_module_(module.c_str()));
  const Reference callee(*this, owner ? get_attribute_(owner.get(), function.c_str()) : nullptr);
  const Reference tuple(*this, new_tuple_(static_cast<intptr_t>(arguments.size())));
  if (callee && tuple) {
    for (size_t i = 0; i < arguments.size(); ++i) {
      keep_(arguments[i]);  // The tuple takes a reference over.
      set_tuple_item_(tuple.get(), static_cast<intptr_t>(i), arguments[i]);
    }
    Reference result(*this, call_(callee.get(), tuple.get(), nullptr));
    if (result) return result;
  }
  clear_error_();
  return MakeError(ErrorCode::kInternal, "{} failed to call {}.{}", path_, module, function);
}

PythonRuntime::Reference PythonRuntime::Bytes(std::string_view bytes) const {
  Reference object(*this, new_bytes_(bytes.data(), static_cast<intptr_t>(bytes.size())));
  WEFT_CHECK(object);  // Out of memory otherwise.
  return object;
}

std::optional<std::string> PythonRuntime::ToString(PyObject* object) const {
  char* data = nullptr;
  intptr_t size = 0;
  if (read_bytes_(object, &data, &size) != 0) {
    clear_error_();
    return std::nullopt;
  }
  return std::string(data, static_cast<size_t>(size));
}

}  // namespace weft::text
