/* WebAssembly: what node calls. */
#include "driver.h"

void run(int rounds);
float *outputs(void);

static void put(char letter) { (void)letter; }

void run(int rounds) {
    if (rounds < 0) report(0);
    for (int i = 0; i < rounds; ++i) steps();
}

float *outputs(void) { return output; }
