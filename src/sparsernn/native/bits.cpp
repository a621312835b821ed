#include "bits.h"

#include <bit>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

namespace sparsernn {
namespace {

constexpr std::uint64_t low_bits = 0x0101010101010101;
constexpr std::uint64_t high_bits = 0x8080808080808080;

std::uint8_t pack_some(const std::uint8_t* flags, std::size_t count) {
    std::uint8_t bits = 0;
    for (std::size_t i = 0; i < count; ++i) bits |= static_cast<std::uint8_t>((flags[i] != 0) << i);
    return bits;
}

std::uint8_t pack_eight(const std::uint8_t* flags) {
    if constexpr (std::endian::native != std::endian::little) return pack_some(flags, 8);
    std::uint64_t word;
    std::memcpy(&word, flags, 8);
    const std::uint64_t nonzero = ((((word & ~high_bits) + ~high_bits) | word) & high_bits) >> 7;
    return static_cast<std::uint8_t>((nonzero * 0x0102040810204080) >> 56);
}

// Packs whole sixteens with one compare each where the processor can; returns how many bytes of bits are done.
std::size_t pack_sixteens(const std::uint8_t* flags, std::size_t count, std::uint8_t* bits) {
#if defined(__SSE2__)
    const __m128i zero = _mm_setzero_si128();
    for (std::size_t i = 0; i < count / 16; ++i) {
        const __m128i some = _mm_loadu_si128(reinterpret_cast<const __m128i*>(flags + 16 * i));
        const auto nonzero = static_cast<std::uint16_t>(~_mm_movemask_epi8(_mm_cmpeq_epi8(some, zero)));
        std::memcpy(bits + 2 * i, &nonzero, 2);
    }
    return count / 16 * 2;
#else
    static_cast<void>(flags), static_cast<void>(count), static_cast<void>(bits);
    return 0;
#endif
}

void unpack_some(std::uint8_t bits, std::size_t count, std::uint8_t* flags) {
    for (std::size_t i = 0; i < count; ++i) flags[i] = (bits >> i) & 1;
}

void unpack_eight(std::uint8_t bits, std::uint8_t* flags) {
    if constexpr (std::endian::native != std::endian::little) return unpack_some(bits, 8, flags);
    const std::uint64_t spread = (bits * low_bits) & 0x8040201008040201;
    const std::uint64_t word = ((spread + ~high_bits) >> 7) & low_bits;
    std::memcpy(flags, &word, 8);
}

}  // namespace

void pack_bits(const std::uint8_t* flags, std::size_t count, std::uint8_t* bits) {
    const std::size_t whole = count / 8;
    for (std::size_t i = pack_sixteens(flags, count, bits); i < whole; ++i) bits[i] = pack_eight(flags + 8 * i);
    if (count % 8 != 0) bits[whole] = pack_some(flags + 8 * whole, count % 8);
}

void unpack_bits(const std::uint8_t* bits, std::size_t count, std::uint8_t* flags) {
    const std::size_t whole = count / 8;
    for (std::size_t i = 0; i < whole; ++i) unpack_eight(bits[i], flags + 8 * i);
    if (count % 8 != 0) unpack_some(bits[whole], count % 8, flags + 8 * whole);
}

}  // namespace sparsernn
