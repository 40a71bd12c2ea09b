#include "ops/cuda/side_stream.h"

#include "device/cuda/cuda_error.h"

namespace weft::ops::cuda {

SideStream::~SideStream() {
  if (stream_ == nullptr) return;
  cudaStreamSynchronize(stream_);
  cudaEventDestroy(fork_);
  cudaEventDestroy(join_);
  cudaStreamDestroy(stream_);
}

void SideStream::Create(int priority) {
  WEFT_CUDA_CHECK(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, priority));
  WEFT_CUDA_CHECK(cudaEventCreateWithFlags(&fork_, cudaEventDisableTiming));
  WEFT_CUDA_CHECK(cudaEventCreateWithFlags(&join_, cudaEventDisableTiming));
}

cudaStream_t SideStream::Fork(cudaStream_t from) {
  WEFT_CUDA_CHECK(cudaEventRecord(fork_, from));
  WEFT_CUDA_CHECK(cudaStreamWaitEvent(stream_, fork_));
  return stream_;
}

void SideStream::Join(cudaStream_t into) {
  WEFT_CUDA_CHECK(cudaEventRecord(join_, stream_));
  WEFT_CUDA_CHECK(cudaStreamWaitEvent(into, join_));
}

}  // namespace weft::ops::cuda
