#include "grams.h"

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <stdexcept>

#include "arguments.h"
#include "modules.h"

namespace nb = nanobind;

namespace sparsernn {
namespace {

constexpr std::uint32_t blank = 32;
constexpr std::uint32_t word_factor = 0x9E3779B1, pair_factor = 0x85EBCA77, next_factor = 0xC2B2AE3D;
constexpr std::uint32_t run_factor = 0x27D4EB2F, last_factor = 0x165667B1;
constexpr std::size_t shortest = 3, longest = 5;

std::uint32_t folded(std::uint32_t code) { return code ^ (code >> 15); }

std::vector<std::uint32_t> words_of(std::span<const std::uint32_t> characters) {
    std::vector<std::uint32_t> codes;
    bool inside = false;
    std::uint32_t power = 1;
    for (const std::uint32_t character : characters) {
        if (character == blank) {
            inside = false;
            continue;
        }
        if (!inside) {
            codes.push_back(0);
            power = word_factor;
            inside = true;
        }
        codes.back() += character * power;
        power *= word_factor;
    }
    for (std::uint32_t& code : codes) code = folded(code) * run_factor;
    return codes;
}

}  // namespace

std::vector<std::int32_t> text_grams(std::span<const std::uint32_t> characters, int bits) {
    const std::vector<std::uint32_t> words = words_of(characters);
    const int rest = 32 - bits;
    std::vector<std::int32_t> numbers;
    numbers.reserve(1 + 2 * words.size() + 3 * characters.size());
    const auto add = [&](std::uint32_t hash) { numbers.push_back(static_cast<std::int32_t>(hash >> rest)); };
    numbers.push_back(static_cast<std::int32_t>(words.size()));
    for (const std::uint32_t word : words) add(word * word_factor);
    for (std::size_t i = 1; i < words.size(); ++i)
        add(((words[i - 1] * pair_factor) ^ (words[i] >> 15)) * next_factor + words[i] * last_factor);
    std::vector<std::uint32_t> runs(characters.begin(), characters.end());
    for (std::uint32_t& run : runs) run *= word_factor;
    for (std::size_t length = 2; length <= longest && length <= characters.size(); ++length) {
        runs.resize(characters.size() - length + 1);
        for (std::size_t i = 0; i < runs.size(); ++i)
            runs[i] = folded(runs[i]) * next_factor + characters[i + length - 1] * pair_factor;
        if (length >= shortest)
            for (const std::uint32_t run : runs) add(folded(run) * run_factor);
    }
    return numbers;
}

namespace {

using Numbers = nb::ndarray<nb::numpy, std::int32_t, nb::ndim<1>>;

Numbers bound_text_grams(nb::handle array, nb::handle number) {
    const Argument<std::uint32_t> characters(array, "characters", {any});
    const auto bits = static_cast<int>(whole(number, "bits", 1, 30));
    if (characters.count() > (std::int64_t{1} << 28)) throw std::invalid_argument("characters must be at most 2^28");
    auto made = std::make_unique<std::vector<std::int32_t>>();
    {
        nb::gil_scoped_release unlocked;
        *made = text_grams({characters.data(), static_cast<std::size_t>(characters.count())}, bits);
    }
    std::vector<std::int32_t>* const numbers = made.release();
    nb::capsule owner(numbers, [](void* data) noexcept { delete static_cast<std::vector<std::int32_t>*>(data); });
    return Numbers(numbers->data(), {numbers->size()}, owner);
}

void bound_gram_sums(nb::handle text_, nb::handle places_, nb::handle starts_, nb::handle number, nb::handle weights_,
                     nb::handle rows_, nb::handle sums_, nb::handle words_) {
    const auto shift = static_cast<int>(whole(number, "shift", 0, 30));
    const Argument<std::int32_t> text(text_, "text", {any}), places(places_, "places", {any}), starts(starts_, "starts", {any});
    const std::int64_t count = places.count(), buckets = starts.count() - 1;
    const Argument<float> weights(weights_, "weights", {count, any});
    const std::int64_t outputs = weights.length(1);
    const Argument<std::int32_t> rows(rows_, "rows", {count});
    const Argument<float> sums(sums_, "sums", {outputs}, true);
    if (text.count() < 1 || text.data()[0] < 0 || text.data()[0] >= text.count())
        throw std::invalid_argument("text must begin with the number of its words");
    const Argument<std::int32_t> words(words_, "words", {text.data()[0]}, true);
    require_apart(text, places, starts, weights, rows, sums, words);
    const GramTable table{{places.data(), static_cast<std::size_t>(count)},
                          {starts.data(), static_cast<std::size_t>(starts.count())}, shift};
    const std::int64_t grams = text.count() - 1;
    for (std::int64_t i = 1; i <= grams; ++i)
        if (text.data()[i] < 0 || (text.data()[i] >> shift) >= buckets)
            throw std::invalid_argument("text must hold places that starts knows");
    std::vector<bool> seen(static_cast<std::size_t>(count));
    std::fill_n(sums.data(), outputs, 0.0F);
    for (std::int64_t i = 0; i < grams; ++i) {
        const std::int64_t gram = table.find(text.data()[1 + i]);
        if (i < words.count()) words.data()[i] = gram < 0 ? 0 : rows.data()[gram];
        if (gram < 0 || seen[static_cast<std::size_t>(gram)]) continue;
        seen[static_cast<std::size_t>(gram)] = true;
        for (std::int64_t j = 0; j < outputs; ++j) sums.data()[j] += weights.data()[gram * outputs + j];
    }
    const float scale = grams > 0 ? 1.0F / std::sqrt(static_cast<float>(grams)) : 0.0F;
    for (std::int64_t j = 0; j < outputs; ++j) sums.data()[j] *= scale;
}

}  // namespace

void bind_grams(nb::module_& module) {
    module.def("text_grams", &bound_text_grams, nb::arg("characters").none(), nb::arg("bits").none(),
               "How many words a text has, and the places of its words, pairs of words and runs of characters.");
    module.def("gram_sums", &bound_gram_sums, nb::arg("text").none(), nb::arg("places").none(), nb::arg("starts").none(),
               nb::arg("shift").none(), nb::arg("weights").none(), nb::arg("rows").none(), nb::arg("sums").none(),
               nb::arg("words").none(), "The weights of a text's distinct n-grams, added, and the rows of its words.");
}

}  // namespace sparsernn
