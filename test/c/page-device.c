/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The device around the C of docs/protocol.md, which PAGE names: prints what that code does with each message of stdin, `reply HEX` or
 * `time NONCE HEX`.
 */
#include <stdio.h>
#include <string.h>

#include "ram-store.h"

#define AWAKE_SECONDS 600U
#define BUILD_TIME 1790000000U

#include PAGE

static ram_store_t ram;
cvm_store_t own_flash;

void start_timer(uint32_t seconds) { (void)printf("timer %lu\n", (unsigned long)seconds); }
void leave(uint32_t seconds) { (void)printf("leave %lu\n", (unsigned long)seconds); }
void publish_request(uint16_t part) { (void)printf("ask %u\n", (unsigned int)part); }
void set_clock(uint32_t seconds) { (void)printf("clock %lu\n", (unsigned long)seconds); }
void log_line(const char *text, size_t length) { (void)printf("log %.*s\n", (int)length, text); }

void stored(const cvm_reply_t *reply)
{
  (void)printf("stored %.*s\n", (int)reply->thing_name.length, (const char *)&ram.bytes[reply->thing_name.offset]);
}

static bool begin(void *context, const uint8_t *head, uint32_t length) { (void)context; return own_flash.begin(&ram, head, length); }
static bool write_part(void *context, uint32_t offset, const uint8_t *data, size_t length)
{
  (void)context;
  return own_flash.write(&ram, offset, data, length);
}
static bool read_back(void *context, uint32_t offset, uint8_t *data, size_t length)
{
  (void)context;
  return own_flash.read(&ram, offset, data, length);
}
static bool digest_of(void *context, uint32_t length, uint8_t digest[32]) { (void)context; return own_flash.sha256(&ram, length, digest); }
const cvm_store_t flash = { NULL, begin, write_part, read_back, digest_of };

int main(void)
{
  static char line[8192];
  static char first[4096];
  static char second[4096];
  static uint8_t bytes[4096];
  char word[8];
  own_flash = ram_store(&ram);
  on_start();
  on_connect();
  while (fgets(line, (int)sizeof line, stdin) != NULL) {
    second[0] = '\0';
    (void)sscanf(line, "%7s %4095s %4095s", word, first, second);
    const char *const hex = (word[0] == 't') ? second : first;
    const size_t length = strlen(hex) / 2U;
    for (size_t at = 0U; at < length; at++) {
      unsigned int byte = 0U;
      (void)sscanf(&hex[2U * at], "%2x", &byte);
      bytes[at] = (uint8_t)byte;
    }
    if (word[0] == 't') {
      on_time(first, bytes, length);
    } else {
      on_reply(bytes, length);
    }
  }
  on_timer();
  return 0;
}
