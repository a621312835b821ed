#pragma once

#include "instructions.h"

// Every kernel is compiled once for each instruction set, in a namespace of that name. This declares the function
// `NAME`, a template that returns a `TYPE` of float or double, in all of them, and defines `NAME(instructions)`.
#define SPARSERNN_DECLARE_KERNEL(SET, TYPE, NAME)      \
    namespace SET {                                    \
    template <typename T>                              \
    TYPE<T> NAME();                                    \
    extern template TYPE<float> NAME<float>();         \
    extern template TYPE<double> NAME<double>();       \
    }

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

#define SPARSERNN_DISPATCH(TYPE, NAME)                                                 \
    SPARSERNN_DECLARE_KERNEL(baseline, TYPE, NAME)                                     \
    SPARSERNN_IF_AVX2(SPARSERNN_DECLARE_KERNEL(avx2, TYPE, NAME))                      \
    SPARSERNN_IF_AVX512(SPARSERNN_DECLARE_KERNEL(avx512, TYPE, NAME))                  \
    template <typename T>                                                              \
    TYPE<T> NAME(Instructions instructions) {                                          \
        SPARSERNN_IF_AVX512(if (instructions == Instructions::avx512) return avx512::NAME<T>();) \
        SPARSERNN_IF_AVX2(if (instructions == Instructions::avx2) return avx2::NAME<T>();)       \
        return (void)instructions, baseline::NAME<T>();                                \
    }
