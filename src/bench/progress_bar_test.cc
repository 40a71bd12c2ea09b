#include "bench/progress_bar.h"

#include <gtest/gtest.h>

namespace weft::bench {
namespace {

TEST(ProgressBarTest, ShowsShareTimeAndRate) {
  EXPECT_EQ(RenderProgress(0, 100, 0),
            "  0%|                              | 0/100 [00:00<?,  0.00req/s]");
  EXPECT_EQ(RenderProgress(25, 100, 5),
            " 25%|███████▌                      | 25/100 [00:05<00:15,  5.00req/s]");
  EXPECT_EQ(RenderProgress(100, 100, 3700),
            "100%|██████████████████████████████| 100/100 [1:01:40<00:00,  0.03req/s]");
}

}  // namespace
}  // namespace weft::bench
