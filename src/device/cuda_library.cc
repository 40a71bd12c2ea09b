#include "device/cuda_library.h"

#include <dlfcn.h>

#include <string>

#include "base/thread_role.h"

namespace weft::device {
namespace {

constexpr const char* kLibrary = "libweft_cuda.so";

struct Opened {
  void* handle = nullptr;
  std::string error;
};

/// The program's run path says where beside it to look.
Opened Open() {
  Opened opened;
  opened.handle = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (opened.handle == nullptr) opened.error = dlerror();
  return opened;
}

}  // namespace

Result<void*> FindInCudaLibrary(const char* entry_point) {
  static const Opened library = Open();
  if (library.handle == nullptr)
    return MakeError(ErrorCode::kUnavailable,
                     "the CUDA backend cannot be opened: {}; it needs {} beside weft and CUDA 13's "
                     "libcublasLt.so.13, or use --device cpu",
                     library.error, kLibrary);
  void* address = dlsym(library.handle, entry_point);
  if (address == nullptr)
    return MakeError(ErrorCode::kUnavailable,
                     "{} is of another version of Weft: it has no {}; install both from one build",
                     kLibrary, entry_point);
  return address;
}

Result<std::unique_ptr<Device>> CreateCudaDevice() {
  WEFT_ASSIGN_OR_RETURN(void* const address,
                        FindInCudaLibrary(WEFT_CUDA_NAME(WEFT_CUDA_CREATE_DEVICE)));
  CudaDeviceArguments arguments;
  arguments.assert_may_block = AssertMayBlock;
  reinterpret_cast<void (*)(CudaDeviceArguments*)>(address)(&arguments);
  return std::move(arguments.device);
}

}  // namespace weft::device
