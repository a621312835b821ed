/* This processor: nanoseconds of a step, the least of many rounds. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "driver.h"

static void put(char letter) { putchar(letter); }

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(void) {
    double least = 1e9;
    for (int round = 0; round < 50; ++round) {
        const double first = seconds();
        for (int i = 0; i < 100; ++i) steps();
        const double took = seconds() - first;
        least = took < least ? took : least;
    }
    report((uint32_t)(least * 1e9 / (100 * STEPS)));
    return 0;
}
