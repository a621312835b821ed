#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace sparsernn {

// A text as whole numbers: how many words it has, their places, those of pairs of words, and those of runs of 3 to 5
// characters. Words are what stands between blanks. The hashes are those of runtime/hashing.py.
std::vector<std::int32_t> text_grams(std::span<const std::uint32_t> characters, int bits);

// The characters of a text of ASCII in lower case, with a blank before and after each word and each run of other marks.
std::vector<std::uint32_t> apart(std::span<const std::uint8_t> text);

// N-grams that count, by their places. A number says of 32 places which are among them, in its lower half, and how many
// are before, in its upper half. Whatever it holds, no number outside of the n-grams comes out.
struct GramTable {
    std::span<const std::uint64_t> places;
    std::int64_t count;

    // The number of a place among them, -1 where it is none.
    std::int64_t find(std::int32_t place) const {
        const std::uint64_t entry = places[static_cast<std::size_t>(place >> 5)];
        const std::uint64_t bit = std::uint64_t{1} << (place & 31);
        const auto number = static_cast<std::int64_t>(entry >> 32) + std::popcount(entry & (bit - 1));
        return (entry & bit) != 0 && number < count ? number : -1;
    }
};

}  // namespace sparsernn
