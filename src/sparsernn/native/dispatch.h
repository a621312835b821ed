#pragma once

#include "instructions.h"

// Every kernel is compiled once for each instruction set, in a namespace of that name.
#if defined(SPARSERNN_AVX2)
#define SPARSERNN_IF_AVX2(...) __VA_ARGS__
#else
#define SPARSERNN_IF_AVX2(...)
#endif
#if defined(SPARSERNN_AVX512)
#define SPARSERNN_IF_AVX512(...) __VA_ARGS__
#else
#define SPARSERNN_IF_AVX512(...)
#endif

// DECLARE(SET, TYPE, NAME) for every set, TYPE and NAME being those of a function.
#define SPARSERNN_IN_EVERY_SET(DECLARE, TYPE, NAME)                  \
    DECLARE(baseline, TYPE, NAME)                                    \
    SPARSERNN_IF_AVX2(DECLARE(avx2, TYPE, NAME))                     \
    SPARSERNN_IF_AVX512(DECLARE(avx512, TYPE, NAME))                 \
    SPARSERNN_IF_AVX512(DECLARE(avx512_vnni, TYPE, NAME))

// Returns what the function of the set called `instructions` returns. Kernels in floating point are those of avx512
// where there is avx512_vnni.
#define SPARSERNN_RETURN_FROM(instructions, ...)                                                             \
    SPARSERNN_IF_AVX512(if (instructions >= Instructions::avx512) return avx512::__VA_ARGS__();)             \
    SPARSERNN_IF_AVX2(if (instructions == Instructions::avx2) return avx2::__VA_ARGS__();)                   \
    return (void)instructions, baseline::__VA_ARGS__();

#define SPARSERNN_DECLARE_KERNEL(SET, TYPE, NAME)      \
    namespace SET {                                    \
    template <typename T>                              \
    TYPE<T> NAME();                                    \
    extern template TYPE<float> NAME<float>();         \
    extern template TYPE<double> NAME<double>();       \
    }

// Declares the function `NAME`, a template that returns a `TYPE` of float or double, in all sets, and defines
// `NAME(instructions)`.
#define SPARSERNN_DISPATCH(TYPE, NAME)                             \
    SPARSERNN_IN_EVERY_SET(SPARSERNN_DECLARE_KERNEL, TYPE, NAME)   \
    template <typename T>                                          \
    TYPE<T> NAME(Instructions instructions) {                      \
        SPARSERNN_RETURN_FROM(instructions, NAME<T>)               \
    }

#define SPARSERNN_DECLARE_PLAIN_KERNEL(SET, TYPE, NAME) \
    namespace SET {                                     \
    TYPE NAME();                                        \
    }

// The same for a function that is no template.
#define SPARSERNN_DISPATCH_PLAIN(TYPE, NAME)                             \
    SPARSERNN_IN_EVERY_SET(SPARSERNN_DECLARE_PLAIN_KERNEL, TYPE, NAME)   \
    TYPE NAME(Instructions instructions) {                               \
        SPARSERNN_IF_AVX512(if (instructions == Instructions::avx512_vnni) return avx512_vnni::NAME();) \
        SPARSERNN_RETURN_FROM(instructions, NAME)                        \
    }
