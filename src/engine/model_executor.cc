#include "engine/model_executor.h"

#include <utility>

namespace weft::engine {

ModelExecutor::ModelExecutor(model::Transformer& model, device::Device& device, const Clock& clock,
                             std::function<void(StepDone)> done, model::StepProfiler* profiler)
    : model_(model),
      clock_(clock),
      done_(std::move(done)),
      profiler_(profiler),
      stream_(device.CreateStream(device::StreamPriority::kCompute, "weft-compute")) {}

ModelExecutor::~ModelExecutor() = default;

void ModelExecutor::Submit(StepJob job) {
  stream_->Call([this, job = std::make_shared<StepJob>(std::move(job))]() mutable {
    StepDone done;
    done.id = job->id;
    if (profiler_ != nullptr) profiler_->Before(job->gap);
    done.begin = clock_.Now();
    job->batch.TakeCarried(chosen_);
    done.samples = model_.Run(job->batch);
    done.end = clock_.Now();
    chosen_.clear();
    for (const ops::SampledToken& sample : done.samples) chosen_.push_back(sample.token);
    job.reset();
    done_(std::move(done));
  });
}

}  // namespace weft::engine
