/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A cvm_store_t in RAM which ends the program where the library breaks its promises: parts in order, each once, nothing outside.
 */
#ifndef RAM_STORE_H
#define RAM_STORE_H

#include "cvm_client.h"

#define RAM_STORE_BYTES 8192U

typedef struct {
  uint8_t bytes[RAM_STORE_BYTES];
  uint8_t head[CVM_HEAD_BYTES];
  uint32_t length;
  uint32_t written;
  uint32_t begun;
  bool has_head;
  /* for a fuzzer: the SHA-256 is what the head says, whatever is stored */
  bool lies;
  /* for a fuzzer: no write works */
  bool fails;
} ram_store_t;

cvm_store_t ram_store(ram_store_t *ram);

/* Ends the program with words where a promise is broken. */
void promise(bool is_kept, const char *what);

#endif
