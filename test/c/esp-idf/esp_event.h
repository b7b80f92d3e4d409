#pragma once
#include <stdint.h>

#define ESP_EVENT_ANY_ID -1

typedef const char *esp_event_base_t;
typedef void (*esp_event_handler_t)(void *arg, esp_event_base_t base, int32_t id, void *data);
