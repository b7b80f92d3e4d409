#pragma once
#include <stddef.h>
#include <stdint.h>

void esp_fill_random(void *bytes, size_t length);
uint32_t esp_random(void);
