#pragma once

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "base/file.h"
#include "checkpoint/peft_adapter.h"
#include "model/naive_transformer.h"

namespace weft::model::naive {

/// For tests: a PEFT folder's matrices in plain form.
inline Adapter ReadPeftAdapter(const std::string& folder, const ModelConfig& config) {
  auto files = checkpoint::OpenAdapter(LocalFiles(), folder, config, {});
  EXPECT_TRUE(files.ok()) << (files.ok() ? "" : files.error().message);
  auto file = std::move(LocalFiles().Open(files->weights_path)).value();
  Adapter adapter;
  for (const checkpoint::AdapterModule& source : files->modules) {
    Module module;
    module.rank = source.rank;
    module.scaling = source.scaling;
    module.a.resize(static_cast<size_t>(source.a.rows * source.a.columns));
    module.b.resize(static_cast<size_t>(source.b.rows * source.b.columns));
    EXPECT_TRUE(checkpoint::ReadModule(*file, source, module.a, module.b).ok());
    adapter.modules[{source.layer.value(), source.projection}] = std::move(module);
  }
  return adapter;
}

}  // namespace weft::model::naive
