# The CUDA toolchain, and weft_cuda_library(NAME SOURCES ... DEPS ...): the static library of one folder's CUDA part.
# All of them end up in libweft_cuda.so (src/ops/CMakeLists.txt), which `weft` opens when a GPU is asked for.
if(NOT DEFINED CMAKE_CUDA_COMPILER AND EXISTS /usr/local/cuda/bin/nvcc)
  set(CMAKE_CUDA_COMPILER /usr/local/cuda/bin/nvcc)
endif()
if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80-real 89-real 90a-real)
endif()
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
enable_language(CUDA)
if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)  # CMake 3.25 does not know that nvcc has it.
endif()
find_package(CUDAToolkit 13.0 REQUIRED)
if(CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CMAKE_CXX_COMPILER_LAUNCHER})
endif()
set(CMAKE_CUDA_FLAGS "${CMAKE_CUDA_FLAGS} -Werror=all-warnings --expt-relaxed-constexpr -Xcompiler=-Wall")
set(CMAKE_CUDA_FLAGS_RELEASE "-O3 -DNDEBUG")
# Profilers and compute-sanitizer name source lines with it. It triples the library, and changes no instruction.
option(WEFT_CUDA_LINES "Line numbers in device code" OFF)
if(WEFT_CUDA_LINES)
  string(APPEND CMAKE_CUDA_FLAGS_RELEASE " -lineinfo")
endif()
option(WEFT_RACECHECK "Barriers as compute-sanitizer's racecheck understands them" OFF)
if(WEFT_RACECHECK)
  add_compile_definitions($<$<COMPILE_LANGUAGE:CUDA>:WEFT_RACECHECK>)
endif()
# A compilation of device code takes gigabytes.
set_property(GLOBAL APPEND PROPERTY JOB_POOLS nvcc=3)

function(weft_cuda_library name)
  weft_library(${name} ${ARGN})
  target_link_libraries(${name} PUBLIC CUDA::cudart_static)
  set_target_properties(${name} PROPERTIES JOB_POOL_COMPILE nvcc)
endfunction()

if(NOT WEFT_FLASHINFER)
  execute_process(COMMAND ${CMAKE_SOURCE_DIR}/scripts/fetch-flashinfer
    OUTPUT_VARIABLE fetched OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  set(WEFT_FLASHINFER ${fetched} CACHE PATH "The folder with FlashInfer's headers (flashinfer/data of its wheel)")
endif()

# Where libweft_cuda.so is built, and where programs of this build look for it.
set(WEFT_CUDA_FOLDER ${CMAKE_BINARY_DIR}/lib)
list(APPEND CMAKE_BUILD_RPATH ${WEFT_CUDA_FOLDER})
