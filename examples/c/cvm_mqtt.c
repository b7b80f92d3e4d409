/* SPDX-License-Identifier: Apache-2.0 */
#include "cvm_mqtt.h"

/* The fixed header has a byte and at most four of length [2.2.3]; all packets that come to a device have two bytes at least. */
#define LONGEST_HEADER 5U
#define SHORTEST_PACKET 2U
#define LONGEST_TEXT 0xFFFFU

static size_t length_of(const char *text)
{
  size_t length = 0U;
  while ((length <= LONGEST_TEXT) && (text[length] != '\0')) {
    length++;
  }
  return length;
}

static size_t put_uint16(uint8_t *at, size_t number)
{
  at[0] = (uint8_t)((number >> 8U) & 0xFFU);
  at[1] = (uint8_t)(number & 0xFFU);
  return 2U;
}

static size_t put_text(uint8_t *at, const char *text)
{
  const size_t length = length_of(text);
  (void)put_uint16(at, length);
  for (size_t each = 0U; each < length; each++) {
    at[2U + each] = (uint8_t)text[each];
  }
  return 2U + length;
}

/* Remaining Length [2.2.3]. */
static size_t put_length(uint8_t *at, size_t length)
{
  size_t used = 0U;
  size_t rest = length;
  do {
    at[used] = (uint8_t)((rest & 0x7FU) | ((rest > 0x7FU) ? 0x80U : 0U));
    rest >>= 7U;
    used++;
  } while ((rest > 0U) && (used < (LONGEST_HEADER - 1U)));
  return used;
}

static uint16_t uint16_at(const uint8_t *bytes)
{
  return (uint16_t)(((uint16_t)bytes[0] << 8U) | (uint16_t)bytes[1]);
}

size_t cvm_mqtt_connect(uint8_t *buffer, size_t room, const char *client_id, const char *user, const char *password, uint16_t keep_alive)
{
  static const uint8_t protocol[7] = { 0U, 4U, (uint8_t)'M', (uint8_t)'Q', (uint8_t)'T', (uint8_t)'T', 4U };
  const size_t id_bytes = 2U + length_of(client_id);
  const size_t user_bytes = (user == NULL) ? 0U : (2U + length_of(user));
  const size_t password_bytes = ((user == NULL) || (password == NULL)) ? 0U : (2U + length_of(password));
  const size_t rest = sizeof protocol + 3U + id_bytes + user_bytes + password_bytes;
  /* the longest header is allowed for; no text is longer than its two bytes of length can say */
  if ((room < (LONGEST_HEADER + rest)) || (rest > LONGEST_TEXT)) {
    return 0U;
  }
  size_t used = 1U;
  buffer[0] = 0x10U;
  used += put_length(&buffer[used], rest);
  for (size_t at = 0U; at < sizeof protocol; at++) {
    buffer[used] = protocol[at];
    used++;
  }
  buffer[used] = (uint8_t)(0x02U | ((user_bytes > 0U) ? 0x80U : 0U) | ((password_bytes > 0U) ? 0x40U : 0U));
  used++;
  used += put_uint16(&buffer[used], keep_alive);
  used += put_text(&buffer[used], client_id);
  if (user_bytes > 0U) {
    used += put_text(&buffer[used], user);
  }
  if (password_bytes > 0U) {
    used += put_text(&buffer[used], password);
  }
  return used;
}

size_t cvm_mqtt_publish(uint8_t *buffer, size_t room, const char *topic, uint16_t id, size_t payload_length)
{
  const size_t head = 2U + length_of(topic) + 2U;
  if ((room < (LONGEST_HEADER + head)) || (head > LONGEST_TEXT) || (payload_length > LONGEST_TEXT)) {
    return 0U;
  }
  size_t used = 1U;
  buffer[0] = 0x32U;
  used += put_length(&buffer[used], head + payload_length);
  used += put_text(&buffer[used], topic);
  used += put_uint16(&buffer[used], id);
  return used;
}

void cvm_mqtt_puback(uint8_t buffer[CVM_MQTT_PUBACK_BYTES], uint16_t id)
{
  buffer[0] = 0x40U;
  buffer[1] = 2U;
  (void)put_uint16(&buffer[2], id);
}

void cvm_mqtt_start(cvm_mqtt_input_t *input, uint8_t *buffer, size_t room)
{
  input->buffer = buffer;
  input->room = room;
  input->used = 0U;
  input->header = 0U;
  input->rest = 0U;
}

size_t cvm_mqtt_wanted(const cvm_mqtt_input_t *input, uint8_t **at)
{
  uint32_t whole = SHORTEST_PACKET;
  if (input->header > 0U) {
    whole = input->header + input->rest;
  } else if (input->used >= SHORTEST_PACKET) {
    whole = input->used + 1U;
  } else {
    /* the first two bytes */
  }
  const uint32_t left = whole - input->used;
  if (whole <= input->room) {
    *at = &input->buffer[input->used];
    return (size_t)left;
  }
  /* of a packet that is too long: each piece over the one before */
  const size_t space = input->room - (size_t)input->header;
  *at = &input->buffer[input->header];
  return (left < space) ? (size_t)left : space;
}

/* Looks whether the fixed header is whole, and reads it. */
static cvm_mqtt_result_t read_header(cvm_mqtt_input_t *input)
{
  uint32_t rest = 0U;
  for (uint32_t at = 1U; at < input->used; at++) {
    rest |= ((uint32_t)input->buffer[at] & 0x7FU) << (7U * (at - 1U));
    if ((input->buffer[at] & 0x80U) == 0U) {
      input->header = at + 1U;
      input->rest = rest;
      return CVM_MQTT_PACKET;
    }
  }
  return (input->used >= LONGEST_HEADER) ? CVM_MQTT_MALFORMED : CVM_MQTT_MORE;
}

static cvm_mqtt_result_t read_publish(const uint8_t *body, size_t length, cvm_mqtt_packet_t *packet)
{
  const size_t topic_length = (length < 2U) ? length : (size_t)uint16_at(body);
  const size_t id_bytes = (packet->qos == 0U) ? 0U : 2U;
  if ((packet->qos > 1U) || ((2U + topic_length + id_bytes) > length)) {
    return CVM_MQTT_MALFORMED;
  }
  packet->topic = (const char *)&body[2];
  packet->topic_length = topic_length;
  packet->id = (packet->qos == 0U) ? 0U : uint16_at(&body[2U + topic_length]);
  packet->payload = &body[2U + topic_length + id_bytes];
  packet->payload_length = length - (2U + topic_length + id_bytes);
  return CVM_MQTT_PACKET;
}

static cvm_mqtt_result_t read_packet(const cvm_mqtt_input_t *input, cvm_mqtt_packet_t *packet)
{
  static const cvm_mqtt_packet_t none = { 0 };
  const uint8_t *const body = &input->buffer[input->header];
  *packet = none;
  packet->type = input->buffer[0] >> 4U;
  packet->qos = (input->buffer[0] >> 1U) & 3U;
  switch (packet->type) {
    case (uint8_t)CVM_MQTT_PUBLISH:
      return read_publish(body, (size_t)input->rest, packet);
    case (uint8_t)CVM_MQTT_CONNACK:
    case (uint8_t)CVM_MQTT_PUBACK:
      if (input->rest != 2U) {
        return CVM_MQTT_MALFORMED;
      }
      packet->code = body[1];
      packet->id = uint16_at(body);
      return CVM_MQTT_PACKET;
    default:
      return CVM_MQTT_PACKET;
  }
}

cvm_mqtt_result_t cvm_mqtt_read(cvm_mqtt_input_t *input, size_t length, cvm_mqtt_packet_t *packet)
{
  input->used += (uint32_t)length;
  if (input->header == 0U) {
    if (input->used < SHORTEST_PACKET) {
      return CVM_MQTT_MORE;
    }
    const cvm_mqtt_result_t result = read_header(input);
    if (result != CVM_MQTT_PACKET) {
      return result;
    }
  }
  if (input->used < (input->header + input->rest)) {
    return CVM_MQTT_MORE;
  }
  const bool fits = ((input->header + input->rest) <= input->room);
  const cvm_mqtt_result_t result = fits ? read_packet(input, packet) : CVM_MQTT_TOO_LONG;
  input->used = 0U;
  input->header = 0U;
  return result;
}
