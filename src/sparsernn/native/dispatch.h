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

// DECLARE(SET, TYPE, NAME) for every set of floating point, TYPE and NAME being those of a function.
#define SPARSERNN_IN_EVERY_SET(DECLARE, TYPE, NAME)                  \
    DECLARE(baseline, TYPE, NAME)                                    \
    SPARSERNN_IF_AVX2(DECLARE(avx2, TYPE, NAME))                     \
    SPARSERNN_IF_AVX512(DECLARE(avx512, TYPE, NAME))

// Returns what the function of the set called `instructions` returns; avx512_vnni has kernels of whole numbers alone.
#define SPARSERNN_RETURN_FROM(instructions, ...)                                                             \
    SPARSERNN_IF_AVX512(if (instructions >= Instructions::avx512) return avx512::__VA_ARGS__();)             \
    SPARSERNN_IF_AVX2(if (instructions == Instructions::avx2) return avx2::__VA_ARGS__();)                   \
    return (void)instructions, baseline::__VA_ARGS__();

// The same for a function of which avx512 has no form of its own, as it would gain nothing.
#define SPARSERNN_RETURN_UP_TO_AVX2(instructions, ...)                                                       \
    SPARSERNN_IF_AVX2(if (instructions >= Instructions::avx2) return avx2::__VA_ARGS__();)                   \
    return (void)instructions, baseline::__VA_ARGS__();

#define SPARSERNN_DECLARE_KERNEL(SET, TYPE, NAME)      \
    namespace SET {                                    \
    template <typename T>                              \
    TYPE<T> NAME();                                    \
    extern template TYPE<float> NAME<float>();         \
    }

// Declares the function `NAME`, a template that returns a `TYPE` of float or double, in all sets, and defines
// `NAME(instructions)`. Numbers of double precision, which are rare, have kernels in the baseline alone.
#define SPARSERNN_DISPATCH(TYPE, NAME) SPARSERNN_DISPATCH_BY(SPARSERNN_RETURN_FROM, TYPE, NAME)
#define SPARSERNN_DISPATCH_BY(RETURN, TYPE, NAME)                  \
    SPARSERNN_IN_EVERY_SET(SPARSERNN_DECLARE_KERNEL, TYPE, NAME)   \
    namespace baseline {                                           \
    extern template TYPE<double> NAME<double>();                   \
    }                                                              \
    template <typename T>                                          \
    TYPE<T> NAME(Instructions instructions) {                      \
        if constexpr (sizeof(T) == sizeof(double)) {               \
            return (void)instructions, baseline::NAME<T>();        \
        } else {                                                   \
            RETURN(instructions, NAME<T>)                          \
        }                                                          \
    }

#define SPARSERNN_DECLARE_PLAIN_KERNEL(SET, TYPE, NAME) \
    namespace SET {                                     \
    TYPE NAME();                                        \
    }

// The same for a function that is no template.
#define SPARSERNN_DISPATCH_PLAIN(TYPE, NAME)                             \
    SPARSERNN_IN_EVERY_SET(SPARSERNN_DECLARE_PLAIN_KERNEL, TYPE, NAME)   \
    TYPE NAME(Instructions instructions) {                               \
        SPARSERNN_RETURN_FROM(instructions, NAME)                        \
    }
