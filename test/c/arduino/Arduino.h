/* As much of the Arduino core for ESP32 as examples/arduino uses, to compile it without one. Nothing of it works. */
#ifndef ARDUINO_H
#define ARDUINO_H
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

uint32_t millis();
void delay(uint32_t ms);

class Print {
public:
  void begin(unsigned long baud);
  size_t write(const uint8_t *bytes, size_t length);
  size_t println(const char *text);
  size_t println();
};
extern Print Serial;
#endif
