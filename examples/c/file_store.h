/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * A cvm_store_t on files, in place of the flash of a device: `reply.head` and `reply.data` in a folder.
 */
#ifndef FILE_STORE_H
#define FILE_STORE_H

#include "cvm_client.h"

/* Uses the working folder. One store for a program. */
extern const cvm_store_t file_store;

/* Reads a small file. Returns its bytes; 0 where it is not there or has more than `room`. */
size_t read_file(const char *name, uint8_t *bytes, size_t room);

/* Writes a file: after a power cut it has its whole content, or is not there. */
bool write_file(const char *name, const uint8_t *bytes, size_t length);

/* The bytes of the reply that are stored. */
uint32_t stored_bytes(void);

/* Copies bytes of the reply to a file of their own. */
bool export_slice(const char *name, const cvm_slice_t *slice);

#endif
