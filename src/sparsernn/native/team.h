#pragma once

#include <algorithm>
#include <cstdint>
#include <thread>
#include <vector>

#include "instructions.h"

namespace sparsernn {

// Calls work(first, last) on consecutive shares of `items`, one a thread. The threads live for this call only, so
// that nothing hangs in a forked process; a share never depends on who computes it.
template <typename Work>
void share_out(std::int64_t items, int threads, Work work) {
    const std::int64_t shares = std::max<std::int64_t>(1, std::min<std::int64_t>(threads, items));
    const auto flushed = [&](std::int64_t share) {
        const FlushDenormals flushing;
        work(items * share / shares, items * (share + 1) / shares);
    };
    std::vector<std::thread> team;
    for (std::int64_t share = 1; share < shares; ++share) team.emplace_back(flushed, share);
    flushed(0);
    for (std::thread& member : team) member.join();
}

}  // namespace sparsernn
