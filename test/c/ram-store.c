/* SPDX-License-Identifier: Apache-2.0 */
#include "ram-store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/md.h>

void promise(bool is_kept, const char *what)
{
  if (!is_kept) {
    (void)fprintf(stderr, "broken promise: %s\n", what);
    abort();
  }
}

static bool begin(void *context, const uint8_t *head, uint32_t length)
{
  ram_store_t *const ram = context;
  if (length > RAM_STORE_BYTES) {
    return false;
  }
  ram->length = length;
  ram->written = 0U;
  ram->begun++;
  ram->has_head = (head != NULL);
  if (head != NULL) {
    (void)memcpy(ram->head, head, CVM_HEAD_BYTES);
  }
  return true;
}

static bool write_part(void *context, uint32_t offset, const uint8_t *data, size_t length)
{
  ram_store_t *const ram = context;
  promise((length > 0U) && (length <= (ram->length - offset)), "a part is written inside of its reply");
  promise(offset == ram->written, "parts are written in their order, each once");
  if (ram->fails) {
    return false;
  }
  (void)memcpy(&ram->bytes[offset], data, length);
  ram->written += (uint32_t)length;
  return true;
}

static bool read_back(void *context, uint32_t offset, uint8_t *data, size_t length)
{
  const ram_store_t *const ram = context;
  promise((offset <= ram->written) && (length <= (ram->written - offset)), "only what was written is read");
  (void)memcpy(data, &ram->bytes[offset], length);
  return true;
}

static bool digest_of(void *context, uint32_t length, uint8_t digest[32])
{
  const ram_store_t *const ram = context;
  promise(length <= ram->written, "the digest is of what was written");
  if (ram->lies) {
    (void)memcpy(digest, &ram->head[13], 32U);
    return true;
  }
  return mbedtls_md(mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), ram->bytes, length, digest) == 0;
}

cvm_store_t ram_store(ram_store_t *ram)
{
  const cvm_store_t store = { ram, begin, write_part, read_back, digest_of };
  return store;
}
