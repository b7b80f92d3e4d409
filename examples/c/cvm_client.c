/* SPDX-License-Identifier: Apache-2.0 */
#include "cvm_client.h"

/* ---- bytes and texts ---- */

static void copy(uint8_t *to, const uint8_t *from, size_t length)
{
  for (size_t at = 0U; at < length; at++) {
    to[at] = from[at];
  }
}

static bool is_same(const uint8_t *a, const uint8_t *b, size_t length)
{
  for (size_t at = 0U; at < length; at++) {
    if (a[at] != b[at]) {
      return false;
    }
  }
  return true;
}

/* Bytes before the NUL; `most` + 1 where there are more than `most`. */
static size_t length_of(const char *text, size_t most)
{
  size_t length = 0U;
  while ((length <= most) && (text[length] != '\0')) {
    length++;
  }
  return length;
}

static uint16_t uint16_at(const uint8_t *bytes)
{
  return (uint16_t)(((uint16_t)bytes[0] << 8U) | (uint16_t)bytes[1]);
}

static uint32_t uint32_at(const uint8_t *bytes)
{
  return ((uint32_t)uint16_at(bytes) << 16U) | (uint32_t)uint16_at(&bytes[2]);
}

static bool is_letter_or_digit(char character)
{
  return ((character >= 'A') && (character <= 'Z')) || ((character >= 'a') && (character <= 'z')) ||
         ((character >= '0') && (character <= '9'));
}

static bool is_serial(const char *serial)
{
  const size_t length = (serial == NULL) ? 0U : length_of(serial, 128U);
  for (size_t at = 0U; at < length; at++) {
    const char each = serial[at];
    if (!is_letter_or_digit(each) && (each != ':') && (each != '_') && (each != '-')) {
      return false;
    }
  }
  return (length >= 1U) && (length <= 128U);
}

static bool is_nonce(const char *nonce)
{
  const size_t length = (nonce == NULL) ? 0U : length_of(nonce, 64U);
  for (size_t at = 0U; at < length; at++) {
    if (!is_letter_or_digit(nonce[at]) && (nonce[at] != '-') && (nonce[at] != '_')) {
      return false;
    }
  }
  return (length >= 11U) && (length <= 64U);
}

static bool is_token(const char *token)
{
  const size_t length = length_of(token, 512U);
  for (size_t at = 0U; at < length; at++) {
    if ((token[at] <= ' ') || (token[at] > '~')) {
      return false;
    }
  }
  return (length >= 1U) && (length <= 512U);
}

const char *cvm_fault_text(cvm_fault_t fault)
{
  static const char *const texts[CVM_FAULT_COUNT] = {
    "no fault",
    "the buffer is too small",
    "a serial has 1 to 128 of the characters A-Z a-z 0-9 : _ -",
    "a token has 1 to 512 printable characters and no space",
    "an id has at most 36 bytes",
    "max_packet is at least 128, and 62 more than the serial has characters",
    "a nonce has 11 to 64 of the characters A-Z a-z 0-9 - _",
    "the message is empty",
    "the message is JSON: this library asks in CBOR",
    "the message is of no known type",
    "the message is cut off or malformed",
    "the message is for a request with another id",
    "the store failed",
    "the stored reply has another SHA-256 than part 0 says",
    "the part has another size than part 0 says",
    "the accepted reply lacks a field",
    "the time is not signed for this nonce by the pinned key",
  };
  const unsigned int index = (unsigned int)fault;
  return (index < (unsigned int)CVM_FAULT_COUNT) ? texts[index] : "unknown fault";
}

/* ---- writing ---- */

/* Bytes into a buffer. `is_full` stays true once something did not fit. */
typedef struct {
  uint8_t *buffer;
  size_t room;
  size_t length;
  bool is_full;
} writer_t;

static void put(writer_t *writer, const uint8_t *bytes, size_t length)
{
  if (writer->is_full || (length > (writer->room - writer->length))) {
    writer->is_full = true;
    return;
  }
  copy(&writer->buffer[writer->length], bytes, length);
  writer->length += length;
}

/* The major types of CBOR (RFC 8949, 3.1). */
enum { CBOR_UINT = 0, CBOR_NEGATIVE = 1, CBOR_BYTES = 2, CBOR_TEXT = 3, CBOR_ARRAY = 4, CBOR_MAP = 5, CBOR_TAG = 6, CBOR_SIMPLE = 7 };
#define CBOR_FALSE 20U

/* The first byte of an item and its number, in the shortest form. */
static void put_head(writer_t *writer, uint8_t major, uint32_t number)
{
  const uint8_t bytes[5] = { 0U, (uint8_t)(number >> 24U), (uint8_t)(number >> 16U), (uint8_t)(number >> 8U), (uint8_t)number };
  uint8_t first = (uint8_t)(major << 5U);
  size_t more = 0U;
  if (number < 24U) {
    first |= (uint8_t)number;
  } else if (number <= 0xFFU) {
    first |= 24U;
    more = 1U;
  } else if (number <= 0xFFFFU) {
    first |= 25U;
    more = 2U;
  } else {
    first |= 26U;
    more = 4U;
  }
  put(writer, &first, 1U);
  put(writer, &bytes[5U - more], more);
}

static void put_text(writer_t *writer, const char *text)
{
  const size_t length = length_of(text, 0xFFFFU);
  put_head(writer, (uint8_t)CBOR_TEXT, (uint32_t)length);
  put(writer, (const uint8_t *)text, length);
}

cvm_fault_t cvm_write_topic(cvm_topic_t topic, const char *name, char *buffer, size_t room)
{
  static const char *const prefixes[4] = { "cvm/request/", "cvm/reply/", "cvm/ack/", "cvm/time/" };
  const bool is_time = (topic == CVM_TOPIC_TIME);
  if (is_time && !is_nonce(name)) {
    return CVM_FAULT_NONCE;
  }
  if (!is_time && !is_serial(name)) {
    return CVM_FAULT_SERIAL;
  }
  writer_t writer = { (uint8_t *)buffer, room, 0U, false };
  const char *const prefix = prefixes[(unsigned int)topic & 3U];
  put(&writer, (const uint8_t *)prefix, length_of(prefix, 16U));
  put(&writer, (const uint8_t *)name, length_of(name, 128U) + 1U);
  return writer.is_full ? CVM_FAULT_ROOM : CVM_OK;
}

static cvm_fault_t fault_of_request(const cvm_request_t *request)
{
  if (!is_serial(request->serial)) {
    return CVM_FAULT_SERIAL;
  }
  if ((request->token != NULL) && !is_token(request->token)) {
    return CVM_FAULT_TOKEN;
  }
  if ((request->id != NULL) && (length_of(request->id, 36U) > 36U)) {
    return CVM_FAULT_ID;
  }
  const size_t least = length_of(request->serial, 128U) + 62U;
  if ((request->max_packet != 0U) && ((request->max_packet < 128U) || (request->max_packet < least))) {
    return CVM_FAULT_MAX_PACKET;
  }
  return CVM_OK;
}

cvm_fault_t cvm_write_request(const cvm_request_t *request, uint16_t part, uint8_t *buffer, size_t room, size_t *length)
{
  const cvm_fault_t fault = fault_of_request(request);
  if (fault != CVM_OK) {
    return fault;
  }
  const bool has_id = (request->id != NULL) && (request->id[0] != '\0');
  const bool has_token = (request->token != NULL);
  const bool is_ec = (request->csr == NULL) && (request->key == CVM_KEY_EC);
  const uint32_t keys = 1U + (has_id ? 1U : 0U) + (has_token ? 1U : 0U) + (is_ec ? 1U : 0U) + (request->root_ca ? 0U : 1U) +
                        (request->pending ? 0U : 1U) + ((request->max_packet != 0U) ? 1U : 0U) + ((part != 0U) ? 1U : 0U) +
                        ((request->csr != NULL) ? 1U : 0U);
  writer_t writer = { buffer, room, 0U, false };
  put_head(&writer, (uint8_t)CBOR_MAP, keys);
  put_text(&writer, "format");
  put_text(&writer, (request->format == CVM_FORMAT_COMPACT) ? "compact" : "der");
  if (has_id) {
    put_text(&writer, "id");
    put_text(&writer, request->id);
  }
  if (has_token) {
    put_text(&writer, "token");
    put_text(&writer, request->token);
  }
  if (is_ec) {
    put_text(&writer, "key");
    put_text(&writer, "ec");
  }
  if (!request->root_ca) {
    put_text(&writer, "rootCa");
    put_head(&writer, (uint8_t)CBOR_SIMPLE, CBOR_FALSE);
  }
  if (!request->pending) {
    put_text(&writer, "pending");
    put_head(&writer, (uint8_t)CBOR_SIMPLE, CBOR_FALSE);
  }
  if (request->max_packet != 0U) {
    put_text(&writer, "maxPacket");
    put_head(&writer, (uint8_t)CBOR_UINT, request->max_packet);
  }
  if (part != 0U) {
    put_text(&writer, "part");
    put_head(&writer, (uint8_t)CBOR_UINT, part);
  }
  if (request->csr != NULL) {
    put_text(&writer, "csr");
    put_head(&writer, (uint8_t)CBOR_BYTES, (uint32_t)request->csr_length);
  }
  *length = writer.length;
  return writer.is_full ? CVM_FAULT_ROOM : CVM_OK;
}

cvm_fault_t cvm_write_ack(const uint8_t certificate_id[CVM_CERTIFICATE_ID_BYTES], uint8_t *buffer, size_t room, size_t *length)
{
  writer_t writer = { buffer, room, 0U, false };
  put_head(&writer, (uint8_t)CBOR_MAP, 1U);
  put_text(&writer, "certificateId");
  put_head(&writer, (uint8_t)CBOR_BYTES, CVM_CERTIFICATE_ID_BYTES);
  put(&writer, certificate_id, CVM_CERTIFICATE_ID_BYTES);
  *length = writer.length;
  return writer.is_full ? CVM_FAULT_ROOM : CVM_OK;
}

/* ---- reading CBOR ---- */

/* The keys that the library knows: up to errorMessage their place is their number in a compact reply. */
enum {
  KEY_STATUS = 0,
  KEY_ID,
  KEY_CERTIFICATE_ID,
  KEY_CERTIFICATE,
  KEY_PRIVATE_KEY,
  KEY_THING_NAME,
  KEY_ENDPOINT,
  KEY_ROOT_CA,
  KEY_TIME,
  KEY_POSITION,
  KEY_ETA_SECONDS,
  KEY_RETRY_AFTER,
  KEY_STATUS_CODE,
  KEY_ERROR_CODE,
  KEY_ERROR_MESSAGE,
  KEY_SIGNATURE,
  KEY_COUNT
};
#define COMPACT_KEYS ((uint32_t)KEY_SIGNATURE)
#define LONGEST_KEY 14U

/* Where the bytes are: in the store, or, where `memory` is given, there. */
typedef struct {
  const cvm_store_t *store;
  const uint8_t *memory;
  uint32_t offset;
  uint32_t end;
  cvm_fault_t fault;
} reader_t;

/* A number, or where the bytes of a text are. `major` is CBOR_SIMPLE where the message has no such key. */
typedef struct {
  uint8_t major;
  uint32_t number;
  cvm_slice_t slice;
} value_t;

static bool take(reader_t *reader, uint8_t *bytes, uint32_t length)
{
  if ((reader->fault == CVM_OK) && (length > (reader->end - reader->offset))) {
    reader->fault = CVM_FAULT_MALFORMED;
  }
  if (reader->fault != CVM_OK) {
    return false;
  }
  if (reader->memory != NULL) {
    copy(bytes, &reader->memory[reader->offset], (size_t)length);
  } else if (!reader->store->read(reader->store->context, reader->offset, bytes, (size_t)length)) {
    reader->fault = CVM_FAULT_STORE;
    return false;
  } else {
    /* they are in `bytes` */
  }
  reader->offset += length;
  return true;
}

static void skip(reader_t *reader, uint32_t length)
{
  if ((reader->fault == CVM_OK) && (length > (reader->end - reader->offset))) {
    reader->fault = CVM_FAULT_MALFORMED;
  }
  if (reader->fault == CVM_OK) {
    reader->offset += length;
  }
}

/* The first byte of an item and its number. Replies have no indefinite lengths; a number of more than 32 bits is read as the largest. */
static bool take_head(reader_t *reader, uint8_t *major, uint32_t *number)
{
  uint8_t bytes[8] = { 0U, 0U, 0U, 0U, 0U, 0U, 0U, 0U };
  uint8_t first = 0U;
  if (!take(reader, &first, 1U)) {
    return false;
  }
  const uint8_t form = first & 0x1FU;
  *major = first >> 5U;
  if (form < 24U) {
    *number = form;
    return true;
  }
  if (form > 27U) {
    reader->fault = CVM_FAULT_MALFORMED;
    return false;
  }
  const uint32_t more = (uint32_t)1U << (form - 24U);
  if (!take(reader, &bytes[8U - more], more)) {
    return false;
  }
  *number = (uint32_at(bytes) != 0U) ? 0xFFFFFFFFU : uint32_at(&bytes[4]);
  return true;
}

/* Passes over `items` items with all that is in them. Each has a byte at least, which bounds the loop. */
static void skip_items(reader_t *reader, uint32_t items)
{
  uint32_t left = items;
  while ((left > 0U) && (reader->fault == CVM_OK)) {
    uint8_t major = 0U;
    uint32_t number = 0U;
    left--;
    if (!take_head(reader, &major, &number)) {
      return;
    }
    const uint32_t rest = reader->end - reader->offset;
    if ((major == (uint8_t)CBOR_BYTES) || (major == (uint8_t)CBOR_TEXT)) {
      skip(reader, number);
    } else if (major == (uint8_t)CBOR_TAG) {
      left++;
    } else if ((major == (uint8_t)CBOR_ARRAY) || (major == (uint8_t)CBOR_MAP)) {
      if (number > rest) {
        reader->fault = CVM_FAULT_MALFORMED;
        return;
      }
      left += (major == (uint8_t)CBOR_MAP) ? (2U * number) : number;
    } else {
      /* a number or a simple value: nothing is behind its head */
    }
    if (left > (reader->end - reader->offset)) {
      reader->fault = CVM_FAULT_MALFORMED;
    }
  }
}

/* The number of a key, KEY_COUNT where it is none of ours. */
static unsigned int take_key(reader_t *reader)
{
  static const char *const names[KEY_COUNT] = {
    "status", "id", "certificateId", "certificatePem", "privateKey", "thingName", "endpoint", "rootCa",
    "time", "position", "etaSeconds", "retryAfter", "statusCode", "errorCode", "errorMessage", "sig",
  };
  uint8_t text[LONGEST_KEY];
  uint8_t major = 0U;
  uint32_t number = 0U;
  const uint32_t before = reader->offset;
  if (!take_head(reader, &major, &number)) {
    return (unsigned int)KEY_COUNT;
  }
  if ((major == (uint8_t)CBOR_UINT) && (number < COMPACT_KEYS)) {
    return (unsigned int)number;
  }
  if ((major != (uint8_t)CBOR_TEXT) || (number > LONGEST_KEY)) {
    reader->offset = before;
    skip_items(reader, 1U);
    return (unsigned int)KEY_COUNT;
  }
  if (!take(reader, text, number)) {
    return (unsigned int)KEY_COUNT;
  }
  for (unsigned int key = 0U; key < (unsigned int)KEY_COUNT; key++) {
    if ((length_of(names[key], LONGEST_KEY) == number) && is_same(text, (const uint8_t *)names[key], (size_t)number)) {
      return key;
    }
  }
  return (unsigned int)KEY_COUNT;
}

static void take_value(reader_t *reader, value_t *value)
{
  uint8_t major = 0U;
  uint32_t number = 0U;
  const uint32_t before = reader->offset;
  if (!take_head(reader, &major, &number)) {
    return;
  }
  if ((major == (uint8_t)CBOR_BYTES) || (major == (uint8_t)CBOR_TEXT)) {
    value->slice.offset = reader->offset;
    value->slice.length = number;
    skip(reader, number);
  } else if (major == (uint8_t)CBOR_UINT) {
    value->number = number;
  } else {
    /* of no type that a reply has: as if it were not there */
    reader->offset = before;
    skip_items(reader, 1U);
    return;
  }
  value->major = major;
}

/* Reads a map, which must be all that there is. A key that comes twice is a fault. */
static cvm_fault_t take_map(reader_t *reader, value_t values[KEY_COUNT])
{
  uint8_t major = 0U;
  uint32_t pairs = 0U;
  for (unsigned int key = 0U; key < (unsigned int)KEY_COUNT; key++) {
    const value_t none = { (uint8_t)CBOR_SIMPLE, 0U, { 0U, 0U } };
    values[key] = none;
  }
  if (take_head(reader, &major, &pairs) && ((major != (uint8_t)CBOR_MAP) || (pairs > (reader->end - reader->offset)))) {
    reader->fault = CVM_FAULT_MALFORMED;
  }
  for (uint32_t pair = 0U; (pair < pairs) && (reader->fault == CVM_OK); pair++) {
    const unsigned int key = take_key(reader);
    if (key == (unsigned int)KEY_COUNT) {
      skip_items(reader, 1U);
    } else if (values[key].major != (uint8_t)CBOR_SIMPLE) {
      reader->fault = CVM_FAULT_MALFORMED;
    } else {
      take_value(reader, &values[key]);
    }
  }
  if ((reader->fault == CVM_OK) && (reader->offset != reader->end)) {
    reader->fault = CVM_FAULT_MALFORMED;
  }
  return reader->fault;
}

static bool is_text(const value_t *value)
{
  return (value->major == (uint8_t)CBOR_TEXT) && (value->slice.length > 0U);
}

static bool is_bytes(const value_t *value)
{
  return (value->major == (uint8_t)CBOR_BYTES) && (value->slice.length > 0U);
}

/* ---- replies ---- */

enum { STATUS_UNKNOWN = 0, STATUS_ACCEPTED = 1, STATUS_PENDING = 2, STATUS_REJECTED = 3 };

/* The first bytes of the small messages. */
enum { MESSAGE_HEAD = 1, MESSAGE_PART = 2, MESSAGE_PENDING = 3, MESSAGE_REJECTED = 4 };
#define PART_HEADER_BYTES 5U

static void clear(cvm_reply_t *reply)
{
  static const cvm_reply_t none = { 0 };
  *reply = none;
}

static cvm_event_t with_fault(cvm_reply_t *reply, cvm_event_t event, cvm_fault_t fault)
{
  reply->fault = fault;
  return event;
}

static uint32_t take_status(const reader_t *reader, const value_t *status)
{
  static const char *const words[4] = { "", "accepted", "pending", "rejected" };
  uint8_t text[8];
  if (status->major == (uint8_t)CBOR_UINT) {
    return (status->number <= (uint32_t)STATUS_REJECTED) ? status->number : (uint32_t)STATUS_UNKNOWN;
  }
  if (!is_text(status) || (status->slice.length > sizeof text)) {
    return (uint32_t)STATUS_UNKNOWN;
  }
  reader_t again = { reader->store, reader->memory, status->slice.offset, reader->end, CVM_OK };
  if (!take(&again, text, status->slice.length)) {
    return (uint32_t)STATUS_UNKNOWN;
  }
  for (uint32_t word = 1U; word < 4U; word++) {
    if ((length_of(words[word], 8U) == status->slice.length) && is_same(text, (const uint8_t *)words[word], (size_t)status->slice.length)) {
      return word;
    }
  }
  return (uint32_t)STATUS_UNKNOWN;
}

/* Whether a message is for our request: its id is ours, or it has none, or we have none. */
static bool is_ours(const char *own, const uint8_t *id, size_t length)
{
  if ((own == NULL) || (own[0] == '\0') || (length == 0U)) {
    return true;
  }
  return (length_of(own, 36U) == length) && is_same((const uint8_t *)own, id, length);
}

static cvm_event_t on_small_pending(const cvm_client_t *client, const uint8_t *payload, size_t length, cvm_reply_t *reply)
{
  if ((length < 14U) || (((size_t)payload[13] + 14U) > length)) {
    return with_fault(reply, CVM_NOTHING, CVM_FAULT_MALFORMED);
  }
  if (!is_ours(client->id, &payload[14], payload[13])) {
    return with_fault(reply, CVM_NOTHING, CVM_FAULT_OTHER_ID);
  }
  reply->position = uint32_at(&payload[1]);
  reply->eta_seconds = uint32_at(&payload[5]);
  reply->retry_after = uint32_at(&payload[9]);
  return CVM_PENDING;
}

static cvm_event_t on_small_rejected(const cvm_client_t *client, const uint8_t *payload, size_t length, cvm_reply_t *reply)
{
  const size_t id_at = (length < 8U) ? length : (8U + (size_t)payload[7]);
  if ((id_at >= length) || ((id_at + 1U + (size_t)payload[id_at]) > length)) {
    return with_fault(reply, CVM_NOTHING, CVM_FAULT_MALFORMED);
  }
  if (!is_ours(client->id, &payload[id_at + 1U], payload[id_at])) {
    return with_fault(reply, CVM_NOTHING, CVM_FAULT_OTHER_ID);
  }
  const size_t message_at = id_at + 1U + (size_t)payload[id_at];
  reply->status_code = uint16_at(&payload[1]);
  reply->retry_after = uint32_at(&payload[3]);
  reply->error_code = (const char *)&payload[8];
  reply->error_code_length = payload[7];
  reply->error_message = (const char *)&payload[message_at];
  reply->error_message_length = length - message_at;
  return CVM_REJECTED;
}

static void copy_rejection(const uint8_t *payload, const value_t values[KEY_COUNT], cvm_reply_t *reply)
{
  reply->status_code = (uint16_t)values[KEY_STATUS_CODE].number;
  reply->retry_after = values[KEY_RETRY_AFTER].number;
  reply->error_code = (const char *)&payload[values[KEY_ERROR_CODE].slice.offset];
  reply->error_code_length = (size_t)values[KEY_ERROR_CODE].slice.length;
  reply->error_message = (const char *)&payload[values[KEY_ERROR_MESSAGE].slice.offset];
  reply->error_message_length = (size_t)values[KEY_ERROR_MESSAGE].slice.length;
}

static cvm_fault_t copy_accepted(const reader_t *reader, const value_t values[KEY_COUNT], cvm_reply_t *reply)
{
  const bool is_accepted = (take_status(reader, &values[KEY_STATUS]) == (uint32_t)STATUS_ACCEPTED);
  if (!is_accepted || (values[KEY_CERTIFICATE_ID].slice.length == 0U) || !is_bytes(&values[KEY_CERTIFICATE]) ||
      !is_text(&values[KEY_THING_NAME]) || !is_text(&values[KEY_ENDPOINT])) {
    return CVM_FAULT_INCOMPLETE;
  }
  reply->certificate_id = values[KEY_CERTIFICATE_ID].slice;
  reply->certificate = values[KEY_CERTIFICATE].slice;
  reply->private_key = values[KEY_PRIVATE_KEY].slice;
  reply->thing_name = values[KEY_THING_NAME].slice;
  reply->endpoint = values[KEY_ENDPOINT].slice;
  reply->root_ca = values[KEY_ROOT_CA].slice;
  return CVM_OK;
}

/* Where everything is in a reply that is stored whole. */
static cvm_event_t accept_stored(const cvm_client_t *client, cvm_reply_t *reply)
{
  value_t values[KEY_COUNT];
  reader_t reader = { client->store, NULL, 0U, client->length, CVM_OK };
  cvm_fault_t fault = take_map(&reader, values);
  if (fault == CVM_OK) {
    fault = copy_accepted(&reader, values, reply);
  }
  return with_fault(reply, (fault == CVM_OK) ? CVM_ACCEPTED : CVM_FAILED, fault);
}

static void forget(cvm_client_t *client)
{
  client->has_head = false;
  client->is_asked = false;
  client->next = 0U;
  client->length = 0U;
}

/* A reply in one packet: what is at a place of the packet is at the same place of the store. */
static cvm_event_t store_whole(cvm_client_t *client, const uint8_t *payload, uint32_t length, cvm_reply_t *reply)
{
  const cvm_store_t *const store = client->store;
  forget(client);
  if (!store->begin(store->context, NULL, length) || !store->write(store->context, 0U, payload, (size_t)length)) {
    return with_fault(reply, CVM_FAILED, CVM_FAULT_STORE);
  }
  return CVM_ACCEPTED;
}

static cvm_event_t on_map(cvm_client_t *client, const uint8_t *payload, uint32_t length, cvm_reply_t *reply)
{
  value_t values[KEY_COUNT];
  reader_t reader = { NULL, payload, 0U, length, CVM_OK };
  const cvm_fault_t fault = take_map(&reader, values);
  if (fault != CVM_OK) {
    return with_fault(reply, CVM_NOTHING, fault);
  }
  const cvm_slice_t id = values[KEY_ID].slice;
  if (!is_ours(client->id, &payload[id.offset], (size_t)id.length)) {
    return with_fault(reply, CVM_NOTHING, CVM_FAULT_OTHER_ID);
  }
  reply->time = values[KEY_TIME].number;
  const uint32_t status = take_status(&reader, &values[KEY_STATUS]);
  if (status == (uint32_t)STATUS_ACCEPTED) {
    const cvm_fault_t lacking = copy_accepted(&reader, values, reply);
    return (lacking == CVM_OK) ? store_whole(client, payload, length, reply) : with_fault(reply, CVM_NOTHING, lacking);
  }
  if (status == (uint32_t)STATUS_PENDING) {
    reply->position = values[KEY_POSITION].number;
    reply->eta_seconds = values[KEY_ETA_SECONDS].number;
    reply->retry_after = values[KEY_RETRY_AFTER].number;
    return CVM_PENDING;
  }
  if (status == (uint32_t)STATUS_REJECTED) {
    copy_rejection(payload, values, reply);
    return CVM_REJECTED;
  }
  return with_fault(reply, CVM_NOTHING, CVM_FAULT_TYPE);
}

/* ---- parts ---- */

/* Asks once for a gap: while that is under way, more parts may come. */
static cvm_event_t ask(cvm_client_t *client, uint16_t part, cvm_reply_t *reply)
{
  if (client->is_asked && (client->asked == part)) {
    return CVM_NOTHING;
  }
  client->is_asked = true;
  client->asked = part;
  reply->part = part;
  return CVM_ASK;
}

static uint32_t offset_of(const cvm_client_t *client, uint16_t part)
{
  return ((uint32_t)part - 1U) * (uint32_t)client->size;
}

static uint32_t bytes_of(const cvm_client_t *client, uint16_t part)
{
  return (part < client->last) ? (uint32_t)client->size : (client->length - offset_of(client, part));
}

/* Takes the fields of part 0. Returns whether the numbers agree with each other. */
static bool read_part_0(cvm_client_t *client, const uint8_t *head)
{
  client->last = uint16_at(&head[1]);
  client->size = uint16_at(&head[3]);
  client->length = uint32_at(&head[5]);
  copy(client->sha256, &head[13], sizeof client->sha256);
  if ((head[0] != (uint8_t)MESSAGE_HEAD) || (client->last == 0U) || (client->size == 0U)) {
    return false;
  }
  const uint32_t before_last = offset_of(client, client->last);
  return (client->length > before_last) && ((client->length - before_last) <= (uint32_t)client->size);
}

static cvm_event_t on_part_0(cvm_client_t *client, const uint8_t *payload, size_t length, cvm_reply_t *reply)
{
  if (length != CVM_HEAD_BYTES) {
    return with_fault(reply, CVM_NOTHING, CVM_FAULT_MALFORMED);
  }
  reply->time = uint32_at(&payload[9]);
  if (client->has_head && (client->size == uint16_at(&payload[3])) && is_same(client->sha256, &payload[13], 32U)) {
    return CVM_NOTHING;
  }
  forget(client);
  if (!read_part_0(client, payload)) {
    return with_fault(reply, CVM_NOTHING, CVM_FAULT_MALFORMED);
  }
  if (!client->store->begin(client->store->context, payload, client->length)) {
    return with_fault(reply, CVM_FAILED, CVM_FAULT_STORE);
  }
  client->has_head = true;
  client->next = 1U;
  return CVM_STORED;
}

/* All parts are stored. */
static cvm_event_t finish(cvm_client_t *client, cvm_reply_t *reply)
{
  uint8_t digest[32];
  if (!client->store->sha256(client->store->context, client->length, digest)) {
    forget(client);
    return with_fault(reply, CVM_FAILED, CVM_FAULT_STORE);
  }
  if (!is_same(digest, client->sha256, sizeof digest)) {
    forget(client);
    return with_fault(reply, ask(client, 0U, reply), CVM_FAULT_DIGEST);
  }
  return accept_stored(client, reply);
}

static cvm_event_t on_part(cvm_client_t *client, const uint8_t *payload, size_t length, cvm_reply_t *reply)
{
  if (length <= PART_HEADER_BYTES) {
    return with_fault(reply, CVM_NOTHING, CVM_FAULT_MALFORMED);
  }
  const uint16_t number = uint16_at(&payload[1]);
  const uint32_t data_length = (uint32_t)(length - PART_HEADER_BYTES);
  if (!client->has_head || !is_same(client->sha256, &payload[3], 2U)) {
    return ask(client, 0U, reply);
  }
  if (number > client->next) {
    return (client->next <= client->last) ? ask(client, client->next, reply) : CVM_NOTHING;
  }
  if (number < client->next) {
    return CVM_NOTHING;
  }
  if (number > client->last) {
    return with_fault(reply, CVM_NOTHING, CVM_FAULT_MALFORMED);
  }
  if (data_length != bytes_of(client, number)) {
    /* the packets had another size when part 0 was stored: by an earlier firmware, say */
    forget(client);
    return with_fault(reply, ask(client, 0U, reply), CVM_FAULT_PART_SIZE);
  }
  if (!client->store->write(client->store->context, offset_of(client, number), &payload[PART_HEADER_BYTES], (size_t)data_length)) {
    forget(client);
    return with_fault(reply, CVM_FAILED, CVM_FAULT_STORE);
  }
  client->is_asked = false;
  client->next++;
  return (number < client->last) ? CVM_STORED : finish(client, reply);
}

void cvm_start(cvm_client_t *client, const cvm_store_t *store, const char *id)
{
  client->store = store;
  client->id = id;
  client->last = 0U;
  client->size = 0U;
  client->asked = 0U;
  forget(client);
}

cvm_event_t cvm_resume(cvm_client_t *client, const uint8_t head[CVM_HEAD_BYTES], uint32_t stored, cvm_reply_t *reply)
{
  clear(reply);
  forget(client);
  if (!read_part_0(client, head)) {
    return with_fault(reply, ask(client, 0U, reply), CVM_FAULT_MALFORMED);
  }
  client->has_head = true;
  if (stored >= client->length) {
    client->next = (uint16_t)(client->last + 1U);
    return finish(client, reply);
  }
  client->next = (uint16_t)((stored / (uint32_t)client->size) + 1U);
  return ask(client, client->next, reply);
}

cvm_event_t cvm_on_reply(cvm_client_t *client, const uint8_t *payload, size_t length, cvm_reply_t *reply)
{
  clear(reply);
  if (length == 0U) {
    return with_fault(reply, CVM_NOTHING, CVM_FAULT_EMPTY);
  }
  switch (payload[0]) {
    case (uint8_t)MESSAGE_HEAD:
      return on_part_0(client, payload, length, reply);
    case (uint8_t)MESSAGE_PART:
      return on_part(client, payload, length, reply);
    case (uint8_t)MESSAGE_PENDING:
      return on_small_pending(client, payload, length, reply);
    case (uint8_t)MESSAGE_REJECTED:
      return on_small_rejected(client, payload, length, reply);
    case (uint8_t)'{':
      return with_fault(reply, CVM_NOTHING, CVM_FAULT_JSON);
    default:
      if ((payload[0] >> 5U) != (uint8_t)CBOR_MAP) {
        return with_fault(reply, CVM_NOTHING, CVM_FAULT_TYPE);
      }
      return on_map(client, payload, (uint32_t)length, reply);
  }
}

uint16_t cvm_ask_again(cvm_client_t *client)
{
  if (client->has_head && (client->next > client->last)) {
    forget(client);
  }
  client->is_asked = true;
  client->asked = client->next;
  return client->next;
}

/* Four bits of a lower-case hex digit; 16 where it is none. */
static uint8_t bits_of(uint8_t digit)
{
  if ((digit >= (uint8_t)'0') && (digit <= (uint8_t)'9')) {
    return (uint8_t)(digit - (uint8_t)'0');
  }
  if ((digit >= (uint8_t)'a') && (digit <= (uint8_t)'f')) {
    return (uint8_t)((digit - (uint8_t)'a') + (uint8_t)10U);
  }
  return 16U;
}

cvm_fault_t cvm_read_certificate_id(const cvm_store_t *store, const cvm_reply_t *reply, uint8_t id[CVM_CERTIFICATE_ID_BYTES])
{
  const cvm_slice_t slice = reply->certificate_id;
  if (slice.length == CVM_CERTIFICATE_ID_BYTES) {
    return store->read(store->context, slice.offset, id, (size_t)slice.length) ? CVM_OK : CVM_FAULT_STORE;
  }
  if (slice.length != (2U * CVM_CERTIFICATE_ID_BYTES)) {
    return CVM_FAULT_INCOMPLETE;
  }
  for (uint32_t at = 0U; at < CVM_CERTIFICATE_ID_BYTES; at++) {
    uint8_t digits[2];
    if (!store->read(store->context, slice.offset + (2U * at), digits, sizeof digits)) {
      return CVM_FAULT_STORE;
    }
    const uint8_t high = bits_of(digits[0]);
    const uint8_t low = bits_of(digits[1]);
    if ((high > 15U) || (low > 15U)) {
      return CVM_FAULT_INCOMPLETE;
    }
    id[at] = (uint8_t)((high << 4U) | low);
  }
  return CVM_OK;
}

/* ---- time ---- */

#define TIME_PURPOSE "cvm-gateway time v1"
#define TIME_PURPOSE_BYTES 19U

cvm_event_t cvm_on_time(const char *nonce, const uint8_t *payload, size_t length, cvm_verify_t verify, void *context, cvm_reply_t *reply)
{
  value_t values[KEY_COUNT];
  uint8_t signed_bytes[TIME_PURPOSE_BYTES + 64U + 8U];
  reader_t reader = { NULL, payload, 0U, (uint32_t)length, CVM_OK };
  clear(reply);
  const cvm_fault_t fault = is_nonce(nonce) ? take_map(&reader, values) : CVM_FAULT_NONCE;
  if (fault != CVM_OK) {
    return with_fault(reply, CVM_NOTHING, fault);
  }
  const uint32_t status = take_status(&reader, &values[KEY_STATUS]);
  if (status == (uint32_t)STATUS_REJECTED) {
    copy_rejection(payload, values, reply);
    return CVM_REJECTED;
  }
  if ((status != (uint32_t)STATUS_ACCEPTED) || (values[KEY_TIME].number == 0U) || !is_bytes(&values[KEY_SIGNATURE])) {
    return with_fault(reply, CVM_NOTHING, CVM_FAULT_INCOMPLETE);
  }
  const uint32_t time = values[KEY_TIME].number;
  const uint8_t seconds[8] = { 0U, 0U, 0U, 0U, (uint8_t)(time >> 24U), (uint8_t)(time >> 16U), (uint8_t)(time >> 8U), (uint8_t)time };
  writer_t writer = { signed_bytes, sizeof signed_bytes, 0U, false };
  put(&writer, (const uint8_t *)TIME_PURPOSE, TIME_PURPOSE_BYTES);
  put(&writer, (const uint8_t *)nonce, length_of(nonce, 64U));
  put(&writer, seconds, sizeof seconds);
  const cvm_slice_t signature = values[KEY_SIGNATURE].slice;
  if (writer.is_full || !verify(context, signed_bytes, writer.length, &payload[signature.offset], (size_t)signature.length)) {
    return with_fault(reply, CVM_NOTHING, CVM_FAULT_SIGNATURE);
  }
  reply->time = time;
  return CVM_ACCEPTED;
}
