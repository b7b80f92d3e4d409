/*
 * As much of Zephyr 3.5 and later as examples/zephyr uses, by its documentation (https://docs.zephyrproject.org), to check the types of the
 * example without it. Nothing of it works. Each of these headers stands for the one of its name.
 */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
  int64_t ticks;
} k_timeout_t;

#define K_SECONDS(s) ((k_timeout_t){ .ticks = (int64_t)(s) })
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

int32_t k_sleep(k_timeout_t timeout);
