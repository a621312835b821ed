#pragma once

// The semirings of scan.cpp: scores of transitions from what is projected, their sum and product, and derivatives.

#include "elementary.h"

namespace sparsernn {
namespace {

template <typename T>
struct Product {
    static constexpr T one = T(1);
    static T times(T x, T y) { return x * y; }
    static T slope(T other) { return other; }  // of a product in one factor
};

template <typename T>
struct Sum {
    static constexpr T one = T(0);
    static T times(T x, T y) { return x + y; }
    static T slope(T) { return T(1); }
};

// How much of a sum's gradient each term gets: all to the larger one, to the second if they are equal. What is not a
// number is larger than all numbers.
template <typename T>
struct Largest {
    static bool second(T x, T y) { return y >= x || y != y; }
    static T plus(T x, T y) { return second(x, y) ? y : x; }
    static T share_of_first(T x, T y, T) { return second(x, y) ? T(0) : T(1); }
    static T share_of_second(T x, T y, T) { return second(x, y) ? T(1) : T(0); }
};

// Scores of the main path and of the self-loop, both a sigmoid; and gradients with respect to what they are made of.
template <typename T>
struct Sigmoids {
    static void scores(T a, T x, T& main, T& loop) {
        main = sigmoid(a);
        loop = sigmoid(x);
    }
    static void slopes(T, T, T main, T loop, T& by_main, T& by_loop) {
        by_main *= main * (T(1) - main);
        by_loop *= loop * (T(1) - loop);
    }
};

template <typename T>
struct PlusTimes : Product<T> {
    static constexpr T zero = T(0);
    static constexpr bool picks = false;
    static T plus(T x, T y) { return x + y; }
    static T share_of_first(T, T, T) { return T(1); }
    static T share_of_second(T, T, T) { return T(1); }
    static void scores(T a, T x, T& main, T& loop) {
        const T grown = exponential(-x), squashed = T(1) / (T(1) + grown);
        loop = x < -Number<T>::largest ? T(0) : squashed;
        main = a * (grown * squashed);
    }
    static void slopes(T a, T, T, T loop, T& by_main, T& by_loop) {
        const T rest = T(1) - loop;
        by_loop = (by_loop - by_main * a) * loop * rest;
        by_main *= rest;
    }
};

template <typename T>
struct MaxTimes : Product<T>, Largest<T>, Sigmoids<T> {
    static constexpr T zero = T(0);
    static constexpr bool picks = true;
};

template <typename T>
struct MaxPlus : Sum<T>, Largest<T>, Sigmoids<T> {
    static constexpr T zero = -T(__builtin_inff());
    static constexpr bool picks = true;
};

template <typename T>
struct Log : Sum<T> {
    static constexpr T zero = -T(__builtin_inff());
    static constexpr bool picks = false;
    static T plus(T x, T y) {
        const T high = x > y ? x : y, low = x > y ? y : x;
        const T gap = low - high;  // not a number where both are infinite
        return gap == gap ? high + log_of_one_plus(exponential(gap)) : high + low;
    }
    static T share_of_first(T x, T, T sum) { return sum == zero ? T(0) : exponential(x - sum); }
    static T share_of_second(T, T y, T sum) { return sum == zero ? T(0) : exponential(y - sum); }
    static void scores(T a, T x, T& main, T& loop) {
        main = log_sigmoid(a);
        loop = log_sigmoid(x);
    }
    static void slopes(T a, T x, T, T, T& by_main, T& by_loop) {
        by_main *= sigmoid(-a);
        by_loop *= sigmoid(-x);
    }
};

}  // namespace
}  // namespace sparsernn
