#include "server/metrics_text.h"

#include <prometheus/metric_family.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <limits>
#include <sstream>
#include <utility>

#include "server/wall_clock.h"

namespace weft::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;
using Labels = std::vector<ClientMetric::Label>;

class Families {
 public:
  void Gauge(std::string name, std::string help, double value, Labels labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.gauge.value = value;
    Add(std::move(name), std::move(help), MetricType::Gauge, std::move(metric));
  }

  void Counter(std::string name, std::string help, double value, Labels labels = {}) {
    ClientMetric metric;
    metric.label = std::move(labels);
    metric.counter.value = value;
    Add(std::move(name), std::move(help), MetricType::Counter, std::move(metric));
  }

  void Histogram(std::string name, std::string help, const weft::Histogram& from, Labels labels) {
    ClientMetric metric;
    metric.label = std::move(labels);
    uint64_t count = 0;
    for (size_t i = 0; i < from.counts().size(); ++i) {
      count += from.counts()[i];
      const bool last = i == from.bounds().size();
      metric.histogram.bucket.push_back(
          {count, last ? std::numeric_limits<double>::infinity() : from.bounds()[i]});
    }
    metric.histogram.sample_count = count;
    metric.histogram.sample_sum = from.sum();
    Add(std::move(name), std::move(help), MetricType::Histogram, std::move(metric));
  }

  const std::vector<MetricFamily>& all() const { return families_; }

 private:
  void Add(std::string name, std::string help, MetricType type, ClientMetric metric) {
    const auto found =
        std::find_if(families_.begin(), families_.end(),
                     [&](const MetricFamily& family) { return family.name == name; });
    if (found != families_.end()) {
      found->metric.push_back(std::move(metric));
      return;
    }
    families_.push_back({std::move(name), std::move(help), type, {std::move(metric)}});
  }

  std::vector<MetricFamily> families_;
};

std::string Join(const std::vector<std::string>& names) {
  std::string joined;
  for (const std::string& name : names) {
    if (!joined.empty()) joined += ',';
    joined += name;
  }
  return joined;
}

// The names that the Gateway API Inference Extension and llm-d read.
void AddGatewayNames(const engine::EngineStats& stats, const std::string& model_name,
                     Families& families) {
  const Labels of_engine{{"model_name", model_name}, {"engine", "0"}};
  const auto waiting = static_cast<double>(stats.waiting + stats.suspended + stats.paused);
  families.Gauge("vllm:num_requests_running", "Number of requests in model execution batches.",
                 static_cast<double>(stats.running), of_engine);
  families.Gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.",
                 waiting, of_engine);
  // What new requests cannot have: pages of running sequences and of adapters in use; cached
  // prefixes and idle adapters give way.
  const int64_t used =
      stats.pages_total - stats.pages_free - stats.pages_prefix - stats.pages_adapter_idle;
  const double usage = stats.pages_total > 0
                           ? static_cast<double>(used) / static_cast<double>(stats.pages_total)
                           : 0;
  families.Gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", usage,
                 of_engine);
  families.Gauge("vllm:cache_config_info", "Information of the cache configuration.", 1,
                 {{"block_size", std::to_string(stats.tokens_per_page)},
                  {"num_gpu_blocks", std::to_string(stats.pages_total)},
                  {"engine", "0"}});
  families.Gauge("vllm:lora_requests_info", "Running stats on lora requests.",
                 static_cast<double>(UnixSeconds()),
                 {{"max_lora", std::to_string(stats.max_loras_per_batch)},
                  {"running_lora_adapters", Join(stats.running_adapters)},
                  {"waiting_lora_adapters", Join(stats.waiting_adapters)}});
}

void AddCounters(const engine::EngineStats& stats, Families& families) {
  const auto count = [&](const char* name, const char* help, uint64_t value) {
    families.Counter(name, help, static_cast<double>(value));
  };
  count("weft:prompt_tokens_total", "Tokens of prompts.", stats.prompt_tokens_total);
  count("weft:cached_tokens_total", "Prompt tokens found in the prefix cache.",
        stats.cached_tokens_total);
  count("weft:generated_tokens_total", "Tokens generated.", stats.generated_tokens_total);
  count("weft:adapter_evictions_total", "Adapters evicted from the device.",
        stats.adapter_evictions_total);
  count("weft:adapter_copied_bytes_total", "Bytes of adapters copied to the device.",
        stats.adapter_copied_bytes_total);
  count("weft:suspensions_total", "Sequences suspended for lack of pages.",
        stats.suspensions_total);
  count("weft:pauses_total", "Sequences paused because their adapter's turn was over.",
        stats.pauses_total);
  count("weft:steps_total", "Steps of the engine.", stats.steps_total);
  for (const auto& [reason, value] : stats.requests_total) {
    families.Counter("weft:requests_total", "Requests ended, by finish reason.",
                     static_cast<double>(value), {{"finish_reason", reason}});
  }
  for (const auto& [result, value] : stats.adapter_loads_total) {
    families.Counter("weft:adapter_loads_total", "Adapter loads, by result.",
                     static_cast<double>(value), {{"result", result}});
  }
}

void AddGauges(const engine::EngineStats& stats, Families& families) {
  const auto pages = [&](const char* use, int64_t value) {
    families.Gauge("weft:pages", "Pages of device memory, by use.", static_cast<double>(value),
                   {{"use", use}});
  };
  pages("free", stats.pages_free);
  pages("kv", stats.pages_kv);
  pages("prefix", stats.pages_prefix);
  pages("adapter", stats.pages_adapter);
  families.Gauge("weft:adapter_host_bytes", "Bytes of adapter images in host memory.",
                 static_cast<double>(stats.adapter_host_bytes));
  families.Gauge("weft:requests_suspended", "Sequences suspended now.",
                 static_cast<double>(stats.suspended));
  families.Gauge("weft:requests_paused", "Sequences that wait for their adapter's next turn.",
                 static_cast<double>(stats.paused));
}

/// The engine names a histogram "ttft_seconds", or "step_seconds:decode" when it has one a kind.
void AddHistogram(const std::string& key, const weft::Histogram& histogram, Families& families) {
  const size_t colon = key.find(':');
  const std::string name = key.substr(0, colon);
  Labels labels;
  if (colon != std::string::npos) labels.push_back({"kind", key.substr(colon + 1)});
  families.Histogram("weft:" + name, "Distribution of " + name + ".", histogram, std::move(labels));
}

}  // namespace

MetricsText::MetricsText(std::string model_name, const Clock& clock)
    : model_name_(std::move(model_name)), clock_(clock), last_scrape_(clock.Now()) {}

double MetricsText::CopyLinkUtilisation(const engine::EngineStats& stats) {
  std::lock_guard lock(mutex_);
  const Moment now = clock_.Now();
  const double passed = Seconds(now - last_scrape_);
  const double busy = stats.copy_busy_seconds_total - last_copy_busy_;
  last_scrape_ = now;
  last_copy_busy_ = stats.copy_busy_seconds_total;
  return passed > 0 ? std::clamp(busy / passed, 0.0, 1.0) : 0.0;
}

std::string MetricsText::Serialize(const engine::EngineStats& stats) {
  Families families;
  AddGatewayNames(stats, model_name_, families);
  AddCounters(stats, families);
  AddGauges(stats, families);
  families.Gauge("weft:copy_link_utilisation",
                 "Share of the time since the last scrape in which adapters were being copied.",
                 CopyLinkUtilisation(stats));
  for (const auto& [key, histogram] : stats.histograms) AddHistogram(key, histogram, families);
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, families.all());
  return text.str();
}

}  // namespace weft::server
