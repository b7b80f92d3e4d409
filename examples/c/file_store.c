/* SPDX-License-Identifier: Apache-2.0 */
#define _POSIX_C_SOURCE 200809L
#include "file_store.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mbedtls/md.h>

#define HEAD_FILE "reply.head"
#define DATA_FILE "reply.data"
#define PIECE_BYTES 64U
/* A device has so much of flash for it. */
#define MOST_BYTES 8192U

size_t read_file(const char *name, uint8_t *bytes, size_t room)
{
  const int file = open(name, O_RDONLY);
  const ssize_t got = (file < 0) ? 0 : read(file, bytes, room);
  if (file >= 0) {
    (void)close(file);
  }
  return (got > 0) ? (size_t)got : 0U;
}

/* The name of a file is on the disk when its folder is. */
static bool sync_folder(void)
{
  const int folder = open(".", O_RDONLY);
  const bool is_synced = (folder >= 0) && (fsync(folder) == 0);
  if (folder >= 0) {
    (void)close(folder);
  }
  return is_synced;
}

static bool write_at(const char *name, int flags, uint32_t offset, const uint8_t *bytes, size_t length)
{
  const int file = open(name, O_WRONLY | O_CREAT | flags, 0600);
  if (file < 0) {
    return false;
  }
  const bool is_written = (pwrite(file, bytes, length, (off_t)offset) == (ssize_t)length) && (fsync(file) == 0);
  return (close(file) == 0) && is_written;
}

bool write_file(const char *name, const uint8_t *bytes, size_t length)
{
  return write_at("new", O_TRUNC, 0U, bytes, length) && (rename("new", name) == 0) && sync_folder();
}

static bool begin(void *context, const uint8_t *head, uint32_t length)
{
  (void)context;
  /* the head goes first and comes last: no head is ever beside data of another reply */
  (void)unlink(HEAD_FILE);
  if ((length > MOST_BYTES) || !sync_folder() || !write_at(DATA_FILE, O_TRUNC, 0U, NULL, 0U)) {
    return false;
  }
  return (head == NULL) || write_file(HEAD_FILE, head, CVM_HEAD_BYTES);
}

static bool write_part(void *context, uint32_t offset, const uint8_t *data, size_t length)
{
  (void)context;
  return write_at(DATA_FILE, 0, offset, data, length);
}

static bool read_back(void *context, uint32_t offset, uint8_t *data, size_t length)
{
  (void)context;
  const int file = open(DATA_FILE, O_RDONLY);
  const bool is_read = (file >= 0) && (pread(file, data, length, (off_t)offset) == (ssize_t)length);
  if (file >= 0) {
    (void)close(file);
  }
  return is_read;
}

static bool digest_of(void *context, uint32_t length, uint8_t digest[32])
{
  uint8_t piece[PIECE_BYTES];
  mbedtls_md_context_t hash;
  mbedtls_md_init(&hash);
  bool is_well = (mbedtls_md_setup(&hash, mbedtls_md_info_from_type(MBEDTLS_MD_SHA256), 0) == 0) && (mbedtls_md_starts(&hash) == 0);
  for (uint32_t at = 0U; is_well && (at < length); at += PIECE_BYTES) {
    const size_t bytes = ((length - at) < PIECE_BYTES) ? (size_t)(length - at) : PIECE_BYTES;
    is_well = read_back(context, at, piece, bytes) && (mbedtls_md_update(&hash, piece, bytes) == 0);
  }
  is_well = is_well && (mbedtls_md_finish(&hash, digest) == 0);
  mbedtls_md_free(&hash);
  return is_well;
}

const cvm_store_t file_store = { NULL, begin, write_part, read_back, digest_of };

uint32_t stored_bytes(void)
{
  struct stat about;
  return (stat(DATA_FILE, &about) == 0) ? (uint32_t)about.st_size : 0U;
}

bool export_slice(const char *name, const cvm_slice_t *slice)
{
  uint8_t piece[PIECE_BYTES];
  if (!write_at("new", O_TRUNC, 0U, NULL, 0U)) {
    return false;
  }
  for (uint32_t at = 0U; at < slice->length; at += PIECE_BYTES) {
    const uint32_t left = slice->length - at;
    const size_t bytes = (left < PIECE_BYTES) ? (size_t)left : PIECE_BYTES;
    if (!read_back(NULL, slice->offset + at, piece, bytes) || !write_at("new", 0, at, piece, bytes)) {
      return false;
    }
  }
  return (rename("new", name) == 0) && sync_folder();
}
