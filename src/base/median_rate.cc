#include "base/median_rate.h"

#include <algorithm>
#include <vector>

#include "base/check.h"

namespace weft {

double MedianRate(const Clock& clock, const RateRuns& runs, const std::function<double()>& work) {
  WEFT_CHECK(runs.runs > 0);
  work();
  std::vector<double> rates;
  for (int run = 0; run < runs.runs; ++run) {
    const Moment start = clock.Now();
    double amount = 0;
    Duration spent{};
    do {
      amount += work();
      spent = clock.Now() - start;
    } while (spent < runs.each);
    rates.push_back(amount / std::max(Seconds(spent), 1e-9));
  }
  std::sort(rates.begin(), rates.end());
  const size_t middle = rates.size() / 2;
  return rates.size() % 2 == 1 ? rates[middle] : (rates[middle - 1] + rates[middle]) / 2;
}

}  // namespace weft
