/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Plays a device: reads lines of a word and hex, and answers each with a line of JSON.
 *
 *   reply HEX           a message of cvm/reply/<serial>
 *   time NONCE HEX      a message of cvm/time/reply, judged with the key of the test vector
 *   again               nothing came for a while
 *   restart             power is lost; the store is kept
 *   request PART [CSR]  the payload of the request of the golden messages
 *   ack HEX             the payload of an acknowledgement of this id
 *   psk SERIAL TOKEN
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cvm_client.h"
#include "cvm_mbedtls.h"
#include "ram-store.h"

#define LINE_BYTES 20000U

static const char *const events[] = { "nothing", "stored", "ask", "pending", "rejected", "accepted", "failed" };

static uint8_t point[CVM_POINT_BYTES];
static ram_store_t ram;
static cvm_store_t store;
static cvm_client_t client;

static size_t bytes_of(const char *hex, uint8_t *bytes)
{
  const size_t length = strlen(hex) / 2U;
  for (size_t at = 0U; at < length; at++) {
    unsigned int byte = 0U;
    (void)sscanf(&hex[2U * at], "%2x", &byte);
    bytes[at] = (uint8_t)byte;
  }
  return length;
}

static void print_hex(const char *name, const uint8_t *bytes, size_t length)
{
  (void)printf(",\"%s\":\"", name);
  for (size_t at = 0U; at < length; at++) {
    (void)printf("%02x", bytes[at]);
  }
  (void)printf("\"");
}

static void print_text(const char *name, const char *text, size_t length)
{
  (void)printf(",\"%s\":\"", name);
  for (size_t at = 0U; at < length; at++) {
    (void)printf(((text[at] == '"') || (text[at] == '\\')) ? "\\%c" : "%c", text[at]);
  }
  (void)printf("\"");
}

static void print_slice(const char *name, cvm_slice_t slice)
{
  if (slice.length > 0U) {
    print_hex(name, &ram.bytes[slice.offset], slice.length);
  }
}

static void print_reply(cvm_event_t event, const cvm_reply_t *reply)
{
  (void)printf("{\"event\":\"%s\",\"fault\":\"%s\",\"time\":%lu", events[event], (reply->fault == CVM_OK) ? "" : cvm_fault_text(reply->fault),
               (unsigned long)reply->time);
  if (event == CVM_ASK) {
    (void)printf(",\"part\":%u", (unsigned int)reply->part);
  } else if (event == CVM_PENDING) {
    (void)printf(",\"position\":%lu,\"etaSeconds\":%lu,\"retryAfter\":%lu", (unsigned long)reply->position,
                 (unsigned long)reply->eta_seconds, (unsigned long)reply->retry_after);
  } else if (event == CVM_REJECTED) {
    (void)printf(",\"statusCode\":%u,\"retryAfter\":%lu", (unsigned int)reply->status_code, (unsigned long)reply->retry_after);
    print_text("errorCode", reply->error_code, reply->error_code_length);
    print_text("errorMessage", reply->error_message, reply->error_message_length);
  } else if ((event == CVM_ACCEPTED) && (reply->certificate.length > 0U)) {
    uint8_t id[CVM_CERTIFICATE_ID_BYTES];
    promise(cvm_read_certificate_id(&store, reply, id) == CVM_OK, "an accepted reply has an id");
    print_hex("certificateId", id, sizeof id);
    print_slice("certificate", reply->certificate);
    print_slice("privateKey", reply->private_key);
    print_slice("thingName", reply->thing_name);
    print_slice("endpoint", reply->endpoint);
    print_slice("rootCa", reply->root_ca);
  }
  (void)printf("}\n");
}

static void print_bytes(cvm_fault_t fault, const uint8_t *bytes, size_t length)
{
  (void)printf("{\"fault\":\"%s\"", (fault == CVM_OK) ? "" : cvm_fault_text(fault));
  print_hex("bytes", bytes, (fault == CVM_OK) ? length : 0U);
  (void)printf("}\n");
}

static void play_request(uint16_t part, const char *csr_hex)
{
  static uint8_t csr[LINE_BYTES];
  uint8_t bytes[256];
  size_t length = 0U;
  cvm_request_t request = { 0 };
  request.serial = "AABBCCDDEE01";
  request.token = "kJ8vQ2mX4tZr7LwN0aYcBdEfGhI";
  request.id = "7";
  request.format = CVM_FORMAT_COMPACT;
  request.pending = true;
  request.max_packet = 128U;
  if (csr_hex[0] != '\0') {
    request.csr = csr;
    request.csr_length = bytes_of(csr_hex, csr);
  }
  const cvm_fault_t fault = cvm_write_request(&request, part, bytes, sizeof bytes, &length);
  print_bytes(fault, bytes, length);
}

int main(int argc, char **argv)
{
  static char line[LINE_BYTES];
  static uint8_t bytes[LINE_BYTES];
  char word[16];
  static char first[LINE_BYTES];
  static char second[LINE_BYTES];
  cvm_reply_t reply;
  (void)bytes_of((argc > 1) ? argv[1] : "", point);
  store = ram_store(&ram);
  cvm_start(&client, &store, (argc > 2) ? argv[2] : NULL);
  while (fgets(line, (int)sizeof line, stdin) != NULL) {
    first[0] = '\0';
    second[0] = '\0';
    (void)sscanf(line, "%15s %19999s %19999s", word, first, second);
    if (strcmp(word, "reply") == 0) {
      const size_t length = bytes_of(first, bytes);
      print_reply(cvm_on_reply(&client, bytes, length, &reply), &reply);
    } else if (strcmp(word, "time") == 0) {
      const size_t length = bytes_of(second, bytes);
      print_reply(cvm_on_time(first, bytes, length, cvm_verify_time, point, &reply), &reply);
    } else if (strcmp(word, "again") == 0) {
      (void)memset(&reply, 0, sizeof reply);
      reply.part = cvm_ask_again(&client);
      print_reply(CVM_ASK, &reply);
    } else if (strcmp(word, "restart") == 0) {
      cvm_start(&client, &store, NULL);
      (void)memset(&reply, 0, sizeof reply);
      print_reply(ram.has_head ? cvm_resume(&client, ram.head, ram.written, &reply) : CVM_NOTHING, &reply);
    } else if (strcmp(word, "request") == 0) {
      play_request((uint16_t)atoi(first), second);
    } else if (strcmp(word, "ack") == 0) {
      size_t length = 0U;
      uint8_t ack[CVM_ACK_BYTES];
      (void)bytes_of(first, bytes);
      const cvm_fault_t fault = cvm_write_ack(bytes, ack, sizeof ack, &length);
      print_bytes(fault, ack, length);
    } else if (strcmp(word, "psk") == 0) {
      uint8_t psk[CVM_PSK_BYTES];
      promise(cvm_derive_psk(first, second, psk) == 0, "a key is derived");
      print_bytes(CVM_OK, psk, sizeof psk);
    } else {
      return 2;
    }
    (void)fflush(stdout);
  }
  return 0;
}
