#pragma once

/* the compiler checks the formats, as those of ESP-IDF let it */
void log_stand_in(const char *tag, const char *format, ...) __attribute__((format(printf, 2, 3)));
#define ESP_LOGE(tag, ...) log_stand_in(tag, __VA_ARGS__)
#define ESP_LOGW(tag, ...) log_stand_in(tag, __VA_ARGS__)
