/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The few packets of MQTT 3.1.1 that a device needs to get its certificate, for firmware that has no MQTT client yet. No SUBSCRIBE: the gateway
 * answers on the connection that asked, subscribed or not. Own memory, heap and I/O as in cvm_client.h: none.
 */
#ifndef CVM_MQTT_H
#define CVM_MQTT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Packet types [MQTT 3.1.1, 2.2.1]. */
enum { CVM_MQTT_CONNACK = 2, CVM_MQTT_PUBLISH = 3, CVM_MQTT_PUBACK = 4, CVM_MQTT_PINGRESP = 13 };

/* Bytes of PUBACK, PINGREQ and DISCONNECT. */
#define CVM_MQTT_PUBACK_BYTES 4U
#define CVM_MQTT_PINGREQ "\xC0\x00"
#define CVM_MQTT_DISCONNECT "\xE0\x00"

/*
 * Each writes a packet, or the beginning of one, and returns its bytes; 0 where the room is too small, or a text too long.
 */

/* A clean session. `user` and `password` may be NULL; the password alone may not. `keep_alive` in seconds. */
size_t cvm_mqtt_connect(uint8_t *buffer, size_t room, const char *client_id, const char *user, const char *password, uint16_t keep_alive);

/* A PUBLISH with QoS 1 up to its payload, of which `payload_length` bytes must be sent behind it. `id` from 1. */
size_t cvm_mqtt_publish(uint8_t *buffer, size_t room, const char *topic, uint16_t id, size_t payload_length);

void cvm_mqtt_puback(uint8_t buffer[CVM_MQTT_PUBACK_BYTES], uint16_t id);

/* A packet that came. What it points to lies in the buffer of the input, and lasts until the next packet. */
typedef struct {
  uint8_t type;
  uint8_t code; /* CONNACK: its return code */
  uint8_t qos;  /* PUBLISH */
  uint16_t id;  /* PUBLISH with QoS 1, PUBACK */
  const char *topic; /* PUBLISH, without a NUL */
  size_t topic_length;
  const uint8_t *payload;
  size_t payload_length;
} cvm_mqtt_packet_t;

/* Puts packets together from what is read. Its members are its own. */
typedef struct {
  uint8_t *buffer;
  size_t room;
  uint32_t used;
  uint32_t header; /* bytes of the fixed header; 0 while it has not come */
  uint32_t rest;   /* bytes behind the fixed header, which may be more than there is room for */
} cvm_mqtt_input_t;

typedef enum {
  CVM_MQTT_MORE = 0,  /* read on */
  CVM_MQTT_PACKET,    /* a packet has come */
  CVM_MQTT_TOO_LONG,  /* a packet that is longer than the buffer was passed over: max_packet is wrong */
  CVM_MQTT_MALFORMED  /* this is not MQTT: close the connection */
} cvm_mqtt_result_t;

/* `buffer` holds one packet: as many bytes as the request says in max_packet. */
void cvm_mqtt_start(cvm_mqtt_input_t *input, uint8_t *buffer, size_t room);

/* How many bytes to read next, 1 at least, and where to. */
size_t cvm_mqtt_wanted(const cvm_mqtt_input_t *input, uint8_t **at);

/* Tells that `length` bytes were read, at most as many as wanted. */
cvm_mqtt_result_t cvm_mqtt_read(cvm_mqtt_input_t *input, size_t length, cvm_mqtt_packet_t *packet);

#ifdef __cplusplus
}
#endif

#endif
