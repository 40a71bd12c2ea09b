#include "engine/model_executor.h"

#include <algorithm>
#include <utility>

namespace weft::engine {

ModelExecutor::ModelExecutor(model::Transformer& model, device::Device& device, const Clock& clock,
                             std::function<void(StepDone)> done, model::StepProfiler* profiler)
    : model_(model), clock_(clock), done_(std::move(done)), profiler_(profiler) {
  if (model_.steps_at_once() > 1) collector_ = std::make_unique<device::WorkThread>("weft-collect");
  stream_ = device.CreateStream(device::StreamPriority::kCompute, "weft-compute");
}

ModelExecutor::~ModelExecutor() = default;

void ModelExecutor::Submit(StepJob job) {
  stream_->Call([this, job = std::make_shared<StepJob>(std::move(job))]() mutable {
    if (collector_ == nullptr) {
      Compute(std::move(job));
    } else {
      Start(std::move(job));
    }
  });
}

void ModelExecutor::Compute(std::shared_ptr<StepJob> job) {
  StepDone done;
  done.id = job->id;
  if (profiler_ != nullptr) profiler_->Before(job->gap);
  done.begin = clock_.Now();
  job->batch.TakeCarried(chosen_);
  done.samples = model_.Run(job->batch);
  done.end = clock_.Now();
  Remember(done.samples);
  job.reset();
  done_(std::move(done));
}

void ModelExecutor::Start(std::shared_ptr<StepJob> job) {
  {
    std::unique_lock lock(mutex_);
    if (job->batch.ChoosesByCarried()) {
      collected_.wait(lock, [this] { return uncollected_ == 0; });
      job->batch.TakeCarried(chosen_);
    }
    ++uncollected_;
  }
  auto step = std::make_shared<model::StartedStep>(model_.Start(job->batch));
  collector_->Queue([this, job = std::move(job), step = std::move(step)]() mutable {
    Collect(std::move(job), std::move(*step));
  });
}

void ModelExecutor::Collect(std::shared_ptr<StepJob> job, model::StartedStep step) {
  StepDone done;
  done.id = job->id;
  ops::StepTimes times;
  done.samples = model_.Finish(std::move(step), &times);
  done.end = clock_.Now();
  done.begin = std::max(last_end_, done.end - times.computing);
  done.idle = times.idle;
  last_end_ = done.end;
  {
    std::lock_guard lock(mutex_);
    Remember(done.samples);
    --uncollected_;
    collected_.notify_all();
  }
  job.reset();
  done_(std::move(done));
}

void ModelExecutor::Remember(const std::vector<ops::SampledToken>& samples) {
  chosen_.clear();
  for (const ops::SampledToken& sample : samples) chosen_.push_back(sample.token);
}

}  // namespace weft::engine
