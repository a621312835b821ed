/* What every machine does: STEPS steps of a network, and a line of what they took and gave. */
#include <stdint.h>
#include "g.h"
#if defined(__FLASH)
#define INPUTS_ const __flash
#else
#define INPUTS_ const
#endif
#include "x.h"

static float state[G_STATE], input[G_INPUTS], output[G_OUTPUTS];

static void put(char letter);

static void steps(void) {
    g_reset(state);
    for (int t = 0; t < STEPS; ++t) {
        for (int i = 0; i < G_INPUTS; ++i) input[i] = XS[t][i];
        g_step(state, input, output);
    }
}

static void put_text(const char *text) {
    while (*text) put(*text++);
}

static void put_number(uint32_t number, uint32_t base) {
    char digits[11];
    int count = 0;
    do {
        digits[count++] = "0123456789abcdef"[number % base];
        number /= base;
    } while (number);
    while (count) put(digits[--count]);
}

static void report(uint32_t count) {
    put_text("count ");
    put_number(count, 10);
    put_text("\noutput ");
    for (int i = 0; i < G_OUTPUTS; ++i) {
        union {
            float number;
            uint32_t bits;
        } one;
        one.number = output[i];
        put_number(one.bits, 16);
        put(' ');
    }
    put('\n');
}
