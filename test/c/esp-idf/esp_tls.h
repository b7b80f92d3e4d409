#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct psk_key_hint {
  const uint8_t *key;
  const size_t key_size;
  const char *hint;
} psk_hint_key_t;
