#pragma once

#include <memory>

#include "base/result.h"
#include "device/device.h"

// libweft_cuda.so: the CUDA backend, built with the program and opened when a GPU is asked for, so
// that the program itself needs no CUDA.
namespace weft::device {

/// Part of the names of the library's entry points; changes when what passes through them does, so
/// that a library of another build is refused by name.
#define WEFT_CUDA_CREATE_DEVICE weft_cuda_create_device_2
#define WEFT_CUDA_CREATE_OPERATORS weft_cuda_create_operators_2

/// An entry point's name as text.
#define WEFT_CUDA_NAME_INNER(name) #name
#define WEFT_CUDA_NAME(name) WEFT_CUDA_NAME_INNER(name)

/// What the first entry point takes and gives.
struct CudaDeviceArguments {
  void (*assert_may_block)(const char* what) = nullptr;
  Result<std::unique_ptr<Device>> device = Error{ErrorCode::kInternal, "not created"};
};

/// The address of an entry point. Opens the library at the first call: beside the program, in
/// ../lib of it, or where the system looks. It stays open for the life of the process. The error
/// says what is missing: the library, or cuBLASLt, which it needs.
Result<void*> FindInCudaLibrary(const char* entry_point);

}  // namespace weft::device
