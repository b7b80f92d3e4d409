#pragma once

/* the compiler checks the formats, as Zephyr's macros let it */
void log_stand_in(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define LOG_MODULE_REGISTER(name) extern int log_module_##name
#define LOG_ERR(...) log_stand_in(__VA_ARGS__)
#define LOG_WRN(...) log_stand_in(__VA_ARGS__)
#define LOG_INF(...) log_stand_in(__VA_ARGS__)
