#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "instructions.h"

namespace sparsernn {

// How many shares work on so many items is cut into.
inline std::int64_t shares_of(std::int64_t items, std::int64_t threads) {
    return std::max<std::int64_t>(1, std::min(threads, items));
}

// Calls work(first, last, share) on consecutive shares of `items`, one a thread. The threads live for this call only,
// so that nothing hangs in a forked process; a share never depends on who computes it. The calling thread computes the
// shares for which no thread can be had. What is thrown in any of them is thrown here, once all are done.
template <typename Work>
void share_out(std::int64_t items, std::int64_t threads, Work work) {
    const std::int64_t shares = shares_of(items, threads), each = items / shares, more = items % shares;
    std::mutex one_at_a_time;
    std::exception_ptr failure;
    const auto first_of = [&](std::int64_t share) { return each * share + std::min(share, more); };
    const auto compute = [&](std::int64_t share) noexcept {
        try {
            const FlushDenormals flushing;
            work(first_of(share), first_of(share + 1), share);
        } catch (...) {
            const std::lock_guard<std::mutex> locked(one_at_a_time);
            if (!failure) failure = std::current_exception();
        }
    };
    std::vector<std::thread> team;
    std::int64_t begun = 1;
    try {
        team.reserve(static_cast<std::size_t>(shares - 1));
        for (; begun < shares; ++begun) team.emplace_back(compute, begun);
    } catch (const std::exception&) {
        // No more threads, or no memory for them.
    }
    compute(0);
    for (; begun < shares; ++begun) compute(begun);
    for (std::thread& member : team) member.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace sparsernn
