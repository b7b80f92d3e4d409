/* Of esp-mqtt. It names the struct of a pre-shared key, and does not include esp_tls.h, which has it. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "esp_err.h"
#include "esp_event.h"

typedef struct esp_mqtt_client *esp_mqtt_client_handle_t;
typedef enum { MQTT_EVENT_ANY = -1, MQTT_EVENT_ERROR, MQTT_EVENT_CONNECTED, MQTT_EVENT_DATA = 6 } esp_mqtt_event_id_t;
typedef enum { MQTT_TRANSPORT_OVER_TCP = 1, MQTT_TRANSPORT_OVER_SSL } esp_mqtt_transport_t;

typedef struct {
  char *data;
  int data_len;
  int total_data_len;
} esp_mqtt_event_t;
typedef esp_mqtt_event_t *esp_mqtt_event_handle_t;

typedef struct {
  struct {
    struct {
      const char *hostname;
      esp_mqtt_transport_t transport;
      uint32_t port;
    } address;
    struct {
      const struct psk_key_hint *psk_hint_key;
    } verification;
  } broker;
  struct {
    const char *client_id;
  } credentials;
  struct {
    int size;
    int out_size;
  } buffer;
} esp_mqtt_client_config_t;

esp_mqtt_client_handle_t esp_mqtt_client_init(const esp_mqtt_client_config_t *config);
esp_err_t esp_mqtt_client_start(esp_mqtt_client_handle_t client);
esp_err_t esp_mqtt_client_register_event(esp_mqtt_client_handle_t client, esp_mqtt_event_id_t event, esp_event_handler_t handler, void *arg);
int esp_mqtt_client_publish(esp_mqtt_client_handle_t client, const char *topic, const char *data, int len, int qos, int retain);
