/*
 * As much of ESP-IDF 5 as examples/esp-idf uses, by its documentation (https://docs.espressif.com/projects/esp-idf), to check the types of the
 * example without it. Nothing of it works. Each of these headers stands for the one of its name.
 */
#pragma once

typedef int esp_err_t;

#define ESP_OK 0
#define ESP_ERR_NOT_FOUND 0x105

void error_check_stand_in(esp_err_t error);
#define ESP_ERROR_CHECK(x) error_check_stand_in(x)
