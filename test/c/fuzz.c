/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Feeds mutated messages to the protocol library: fuzz SEED CASES < FILE, a message in hex on each line. Each message lies in memory of its exact
 * size, so AddressSanitizer sees a byte that is read behind it. Prints how often each event came.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cvm_client.h"
#include "cvm_mqtt.h"
#include "ram-store.h"

#define MOST_MESSAGES 64U
#define MOST_BYTES 8192U

typedef struct {
  uint8_t bytes[MOST_BYTES];
  size_t length;
} message_t;

static message_t corpus[MOST_MESSAGES];
static size_t corpus_size;
static uint64_t state;
static unsigned long counts[7];
static unsigned long packets[4];

/* xorshift64* */
static uint32_t below(uint32_t bound)
{
  state ^= state >> 12U;
  state ^= state << 25U;
  state ^= state >> 27U;
  return (uint32_t)((state * 2685821657736338717ULL) >> 33U) % bound;
}

static void read_corpus(void)
{
  static char line[2U * MOST_BYTES + 2U];
  while ((corpus_size < MOST_MESSAGES) && (fgets(line, (int)sizeof line, stdin) != NULL)) {
    message_t *const each = &corpus[corpus_size];
    each->length = strcspn(line, "\r\n") / 2U;
    for (size_t at = 0U; at < each->length; at++) {
      unsigned int byte = 0U;
      (void)sscanf(&line[2U * at], "%2x", &byte);
      each->bytes[at] = (uint8_t)byte;
    }
    corpus_size++;
  }
}

static void mutate_once(message_t *message)
{
  static const uint8_t odd[] = { 0x00, 0x01, 0x17, 0x18, 0x19, 0x1A, 0x1B, 0x1F, 0x5A, 0x5F, 0x7F, 0x80, 0x9F, 0xBB, 0xBF, 0xC0, 0xFF };
  const uint32_t at = (message->length == 0U) ? 0U : below((uint32_t)message->length);
  const message_t *const other = &corpus[below((uint32_t)corpus_size)];
  switch (below(6U)) {
    case 0U:
      message->bytes[at] ^= (uint8_t)(1U << below(8U));
      break;
    case 1U:
      message->bytes[at] = odd[below(sizeof odd)];
      break;
    case 2U:
      message->length = at;
      break;
    case 3U: /* a piece of another message from here on */
      if (other->length > at) {
        (void)memcpy(&message->bytes[at], &other->bytes[at], other->length - at);
        message->length = other->length;
      }
      break;
    case 4U: /* a byte more */
      if (message->length < (MOST_BYTES - 1U)) {
        (void)memmove(&message->bytes[at + 1U], &message->bytes[at], message->length - at);
        message->length++;
      }
      break;
    default: /* four bytes of a number */
      for (uint32_t each = at; (each < (at + 4U)) && (each < message->length); each++) {
        message->bytes[each] = (below(2U) == 0U) ? 0xFFU : 0U;
      }
      break;
  }
}

static uint32_t touched;

static void touch(const char *text, size_t length)
{
  for (size_t at = 0U; at < length; at++) {
    touched += (uint8_t)text[at];
  }
}

static void check(cvm_event_t event, const cvm_reply_t *reply, const cvm_client_t *client, const ram_store_t *ram)
{
  const cvm_slice_t slices[] = { reply->certificate_id, reply->certificate, reply->private_key, reply->thing_name, reply->endpoint, reply->root_ca };
  counts[event]++;
  touch(reply->error_code, reply->error_code_length);
  touch(reply->error_message, reply->error_message_length);
  promise(strlen(cvm_fault_text(reply->fault)) > 0U, "each fault has words");
  promise((event != CVM_FAILED) || (reply->fault != CVM_OK), "a failure has a fault");
  promise((event != CVM_ASK) || (reply->part == 0U) || (reply->part <= client->last), "it asks for a part that there is");
  if (event == CVM_ACCEPTED) {
    for (size_t each = 0U; each < (sizeof slices / sizeof slices[0]); each++) {
      promise((slices[each].offset <= ram->written) && (slices[each].length <= (ram->written - slices[each].offset)), "a slice is in the store");
    }
    promise((reply->certificate.length > 0U) && (reply->thing_name.length > 0U), "an accepted reply has a certificate");
  }
}

static bool any_signature(void *context, const uint8_t *message, size_t length, const uint8_t *signature, size_t signature_length)
{
  (void)context;
  touch((const char *)message, length);
  touch((const char *)signature, signature_length);
  return true;
}

/* A message to all that reads one. */
static void feed(cvm_client_t *client, const ram_store_t *ram, const message_t *message)
{
  cvm_reply_t reply;
  uint8_t id[CVM_CERTIFICATE_ID_BYTES];
  uint8_t *const exact = malloc((message->length == 0U) ? 1U : message->length);
  promise(exact != NULL, "there is memory");
  (void)memcpy(exact, message->bytes, message->length);
  const cvm_event_t event = cvm_on_reply(client, exact, message->length, &reply);
  check(event, &reply, client, ram);
  if (event == CVM_ACCEPTED) {
    (void)cvm_read_certificate_id(client->store, &reply, id);
  }
  if (cvm_on_time("00112233445566778899aabbccddeeff", exact, message->length, any_signature, NULL, &reply) == CVM_ACCEPTED) {
    promise(reply.time != 0U, "an accepted time is a time");
  }
  free(exact);
}

/* Packets, the first one mutated, in pieces into a buffer of exact size. */
static void feed_packets(const message_t *message)
{
  const size_t room = 16U + below(256U);
  uint8_t *const buffer = malloc(room);
  cvm_mqtt_input_t input;
  cvm_mqtt_packet_t packet;
  size_t at = 0U;
  promise(buffer != NULL, "there is memory");
  cvm_mqtt_start(&input, buffer, room);
  while (at < message->length) {
    uint8_t *to = NULL;
    const size_t wanted = cvm_mqtt_wanted(&input, &to);
    promise((wanted > 0U) && (to >= buffer) && ((to + wanted) <= (buffer + room)), "it reads into its buffer");
    size_t length = 1U + below((uint32_t)wanted);
    length = (length < (message->length - at)) ? length : (message->length - at);
    (void)memcpy(to, &message->bytes[at], length);
    at += length;
    const cvm_mqtt_result_t result = cvm_mqtt_read(&input, length, &packet);
    packets[result]++;
    if (result == CVM_MQTT_PACKET) {
      touch(packet.topic, packet.topic_length);
      touch((const char *)packet.payload, packet.payload_length);
    } else if (result == CVM_MQTT_MALFORMED) {
      break;
    } else {
      /* it goes on */
    }
  }
  free(buffer);
}

/* A request into a buffer of any size. */
static void write_any(void)
{
  const size_t room = below(160U);
  uint8_t *const buffer = malloc((room == 0U) ? 1U : room);
  size_t length = 0U;
  cvm_request_t request = { 0 };
  promise(buffer != NULL, "there is memory");
  request.serial = "AABBCCDDEE01";
  request.token = (below(2U) == 0U) ? "kJ8vQ2mX4tZr7LwN0aYcBdEfGhI" : NULL;
  request.id = (below(2U) == 0U) ? "7" : NULL;
  request.max_packet = 128U + below(1000U);
  if (cvm_write_request(&request, (uint16_t)below(65536U), buffer, room, &length) == CVM_OK) {
    promise(length <= room, "a request is in its buffer");
  }
  (void)cvm_write_topic((cvm_topic_t)below(4U), "AABBCCDDEE01", (char *)buffer, room);
  (void)cvm_mqtt_connect(buffer, room, "AABBCCDDEE01", request.token, request.id, 60U);
  (void)cvm_mqtt_publish(buffer, room, "cvm/request/AABBCCDDEE01", 1U, below(300U));
  free(buffer);
}

/* A device, from its start over a row of messages: the next one of the corpus more often than any. */
static void play(void)
{
  static ram_store_t ram;
  static message_t message;
  cvm_client_t client;
  cvm_reply_t reply;
  const cvm_store_t store = ram_store(&ram);
  size_t next = below((uint32_t)corpus_size);
  ram.length = 0U;
  ram.written = 0U;
  ram.has_head = false;
  ram.lies = (below(2U) == 0U);
  ram.fails = (below(50U) == 0U);
  cvm_start(&client, &store, (below(2U) == 0U) ? "7" : NULL);
  if (below(3U) == 0U) {
    next = 0U;
  }
  for (uint32_t each = 0U; each < 14U; each++) {
    message = corpus[next % corpus_size];
    next = (below(8U) == 0U) ? below((uint32_t)corpus_size) : (next + 1U);
    for (uint32_t change = (below(3U) == 0U) ? below(4U) : 0U; change > 0U; change--) {
      mutate_once(&message);
    }
    feed(&client, &ram, &message);
    if (below(16U) == 0U) {
      promise(cvm_ask_again(&client) <= client.last, "it asks for a part that there is");
    }
    if ((below(16U) == 0U) && ram.has_head && (ram.written <= ram.length)) {
      ram.head[below(CVM_HEAD_BYTES)] ^= (below(4U) == 0U) ? (uint8_t)(1U << below(8U)) : 0U;
      const cvm_event_t event = cvm_resume(&client, ram.head, ram.written, &reply);
      check(event, &reply, &client, &ram);
      if (event != CVM_ASK || reply.part != 0U) {
        /* what a part has too little was written off, and the store takes it again */
        ram.written = (client.has_head && (client.next <= client.last)) ? (((uint32_t)client.next - 1U) * client.size) : ram.written;
        ram.length = (client.length <= RAM_STORE_BYTES) ? client.length : ram.length;
        ram.has_head = client.has_head && (client.length <= RAM_STORE_BYTES);
      }
      if (!ram.has_head || (ram.written > ram.length)) {
        return;
      }
    }
  }
}

int main(int argc, char **argv)
{
  if (argc != 3) {
    return 2;
  }
  state = 88172645463325252ULL + strtoull(argv[1], NULL, 10);
  read_corpus();
  promise(corpus_size > 0U, "there are messages");
  for (unsigned long cases = strtoul(argv[2], NULL, 10); cases > 0U; cases--) {
    static message_t message;
    play();
    write_any();
    message.length = 0U;
    for (uint32_t each = 0U; each < 3U; each++) {
      const message_t *const other = &corpus[below((uint32_t)corpus_size)];
      uint8_t *const at = &message.bytes[message.length];
      const size_t head = cvm_mqtt_publish(at, 64U, "cvm/reply/AABBCCDDEE01", 1U, other->length);
      (void)memcpy(&at[head], other->bytes, other->length);
      message.length += head + other->length;
    }
    if (below(2U) == 0U) {
      mutate_once(&message);
    }
    feed_packets(&message);
  }
  (void)printf("{\"nothing\":%lu,\"stored\":%lu,\"ask\":%lu,\"pending\":%lu,\"rejected\":%lu,\"accepted\":%lu,\"failed\":%lu,\"packets\":%lu,\"tooLong\":%lu}\n",
               counts[0], counts[1], counts[2], counts[3], counts[4], counts[5], counts[6], packets[1], packets[2]);
  return (touched == 0U) ? 1 : 0;
}
