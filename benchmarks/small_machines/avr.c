/* An ATmega328P: cycles by timer 1, text by its serial port. */
#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include "driver.h"

static volatile uint16_t turns;

ISR(TIMER1_OVF_vect) { ++turns; }

static void put(char letter) {
    while (!(UCSR0A & (1 << UDRE0)))
        ;
    UDR0 = letter;
}

int main(void) {
    UBRR0 = 0;
    UCSR0B = 1 << TXEN0;
    TIMSK1 = 1 << TOIE1;
    TCNT1 = 0;
    TCCR1B = 1 << CS10;
    sei();
    steps();
    {
        const uint16_t rest = TCNT1;
        cli();
        report((((uint32_t)turns + ((TIFR1 >> TOV1) & 1)) << 16) + rest);
    }
    sleep_mode();
    return 0;
}
