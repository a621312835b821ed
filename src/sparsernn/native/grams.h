#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <span>
#include <vector>

namespace sparsernn {

// A text as whole numbers: how many words it has, their places, those of pairs of words, and those of runs of 3 to 5
// characters. Words are what stands between blanks. The hashes are those of runtime/hashing.py.
std::vector<std::int32_t> text_grams(std::span<const std::uint32_t> characters, int bits);

// N-grams that count. Their places ascend; starts[b] is the first whose place is at least b << shift. Whatever starts
// holds, nothing outside of places is read.
struct GramTable {
    std::span<const std::int32_t> places, starts;
    int shift;

    // The number of a place among them, -1 where it is none.
    std::int64_t find(std::int32_t place) const {
        const auto bucket = static_cast<std::size_t>(place >> shift);
        const std::int64_t first = std::max(starts[bucket], 0), last = std::ssize(places);
        for (std::int64_t i = first; i < std::min<std::int64_t>(starts[bucket + 1], last); ++i)
            if (places[static_cast<std::size_t>(i)] == place) return i;
        return -1;
    }
};

}  // namespace sparsernn
