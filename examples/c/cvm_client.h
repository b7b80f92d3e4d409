/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * The device's side of the protocol of cvm-gateway (docs/protocol.md), in small packets: writes requests, reads replies.
 *
 * C99. It needs no libc, uses no heap, keeps nothing in globals, and neither sends nor receives: the caller owns all memory and moves the
 * bytes. It is written with MISRA C:2012 in mind: no recursion, no goto, no function pointers but the caller's own, every loop is bounded by the
 * length of its input. One deviation: a function may return early (advisory rule 15.5).
 */
#ifndef CVM_CLIENT_H
#define CVM_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of part 0, of a certificate's id, and the most that a topic and the payload of an acknowledgement have, the topic with its NUL. */
#define CVM_HEAD_BYTES 45U
#define CVM_CERTIFICATE_ID_BYTES 32U
#define CVM_TOPIC_BYTES 141U
#define CVM_ACK_BYTES 49U

/* Bytes of a request before its CSR, without the token and the id. */
#define CVM_REQUEST_BYTES 80U

/* HKDF-SHA256 of the token with the serial as salt and this as info gives the 32 bytes of the TLS pre-shared key. */
#define CVM_PSK_INFO "cvm-gateway tls psk v1"
#define CVM_PSK_BYTES 32U

/* What went wrong on the device's side. cvm_fault_text() has the words. */
typedef enum {
  CVM_OK = 0,
  CVM_FAULT_ROOM,       /* the buffer of the caller is too small */
  CVM_FAULT_SERIAL,     /* not 1 to 128 of A-Z a-z 0-9 : _ - */
  CVM_FAULT_TOKEN,      /* not 1 to 512 printable characters without a space */
  CVM_FAULT_ID,         /* more than 36 bytes */
  CVM_FAULT_MAX_PACKET, /* below 128, or below 62 more than the serial has characters */
  CVM_FAULT_NONCE,      /* not 11 to 64 of A-Z a-z 0-9 - _ */
  CVM_FAULT_EMPTY,      /* a message without a byte */
  CVM_FAULT_JSON,       /* a message in JSON: somebody asked in JSON */
  CVM_FAULT_TYPE,       /* the first byte is of no message that this version knows */
  CVM_FAULT_MALFORMED,  /* a message that is cut off, or breaks the rules of its kind */
  CVM_FAULT_OTHER_ID,   /* a message for a request with another id */
  CVM_FAULT_STORE,      /* the store cannot take, or give back, what it should */
  CVM_FAULT_DIGEST,     /* what is stored has not the SHA-256 that part 0 says */
  CVM_FAULT_PART_SIZE,  /* a part with more or fewer bytes than part 0 says: the device took packets of another size then */
  CVM_FAULT_INCOMPLETE, /* an accepted reply without certificate, id, thing name or endpoint */
  CVM_FAULT_SIGNATURE,  /* the signature of a time does not verify with the pinned key */
  CVM_FAULT_COUNT
} cvm_fault_t;

/* A line for the log. Never NULL. */
const char *cvm_fault_text(cvm_fault_t fault);

/* ---- requests ---- */

typedef enum { CVM_FORMAT_DER = 0, CVM_FORMAT_COMPACT } cvm_format_t;

/* Who makes the key pair where the request has no CSR. */
typedef enum { CVM_KEY_RSA = 0, CVM_KEY_EC } cvm_key_t;

typedef struct {
  const char *serial;
  const char *token;   /* NULL: CONNECT or the pre-shared key proved it */
  const char *id;      /* NULL, or the same in every request for one certificate; at most 36 bytes */
  const uint8_t *csr;  /* PKCS#10 in DER; NULL: the key pair is made elsewhere */
  size_t csr_length;
  cvm_key_t key;       /* without a CSR */
  cvm_format_t format; /* compact has 11 % fewer bytes */
  bool root_ca;        /* whether the reply has the CA of the endpoint in it */
  bool pending;        /* whether the gateway says how long it will take */
  uint32_t max_packet; /* bytes of the largest MQTT packet that the device takes, 128 or more; 0: as large as it comes */
} cvm_request_t;

typedef enum { CVM_TOPIC_REQUEST = 0, CVM_TOPIC_REPLY, CVM_TOPIC_ACK, CVM_TOPIC_TIME } cvm_topic_t;

/*
 * Writes a topic, with a NUL. `name` is the serial, or for CVM_TOPIC_TIME the nonce.
 */
cvm_fault_t cvm_write_topic(cvm_topic_t topic, const char *name, char *buffer, size_t room);

/* The topic on which the time comes. */
#define CVM_TIME_REPLY_TOPIC "cvm/time/reply"

/*
 * Writes the payload of a request up to the bytes of its CSR. The whole payload is what is written here and the `csr_length` bytes of
 * `csr` behind it, so the CSR need not be copied, nor the payload be held in one buffer.
 * `part`: the first part to send, 0 at first; cvm_ask_again() and CVM_ASK say which.
 * `room`: CVM_REQUEST_BYTES and the lengths of token and id are enough.
 */
cvm_fault_t cvm_write_request(const cvm_request_t *request, uint16_t part, uint8_t *buffer, size_t room, size_t *length);

/* Writes the payload of an acknowledgement: "the certificate is safe in flash". */
cvm_fault_t cvm_write_ack(const uint8_t certificate_id[CVM_CERTIFICATE_ID_BYTES], uint8_t *buffer, size_t room, size_t *length);

/* ---- replies ---- */

/*
 * Where a reply is kept: in flash, say. Each function gets `context`, and returns false where it cannot do it.
 */
typedef struct {
  void *context;
  /*
   * Makes room for a reply of `length` bytes, and drops what was there. `head` is part 0, to be kept over a restart for cvm_resume(); NULL
   * where the reply came in one packet.
   */
  bool (*begin)(void *context, const uint8_t *head, uint32_t length);
  /* Keeps bytes. They come in order, each once; when it returns, the part may be acknowledged. */
  bool (*write)(void *context, uint32_t offset, const uint8_t *data, size_t length);
  /* Gives bytes back that were written. */
  bool (*read)(void *context, uint32_t offset, uint8_t *data, size_t length);
  /* The SHA-256 of the first `length` bytes as they are stored. */
  bool (*sha256)(void *context, uint32_t length, uint8_t digest[32]);
} cvm_store_t;

/* A device that puts a reply together. Its members are the library's own; the caller gives the memory. */
typedef struct {
  const cvm_store_t *store;
  const char *id;
  uint32_t length;
  uint16_t last;
  uint16_t size;
  uint16_t next;
  uint16_t asked;
  bool has_head;
  bool is_asked;
  uint8_t sha256[32];
} cvm_client_t;

/* What the caller does next. */
typedef enum {
  CVM_NOTHING = 0, /* go on waiting; `fault` says why a message was passed over, if it was */
  CVM_STORED,      /* go on waiting: a part was stored */
  CVM_ASK,         /* publish the request again, with `part` of the reply */
  CVM_PENDING,     /* wait, or leave and come back: position, eta_seconds, retry_after */
  CVM_REJECTED,    /* status_code, error_code, error_message, retry_after */
  CVM_ACCEPTED,    /* the whole is stored, and its SHA-256 is right; the slices say where each thing is */
  CVM_FAILED       /* `fault` says why; nothing is lost at the gateway: mend it, and ask again from part 0 */
} cvm_event_t;

/* Bytes in the store. A length of 0: it is not there. */
typedef struct {
  uint32_t offset;
  uint32_t length;
} cvm_slice_t;

typedef struct {
  cvm_fault_t fault;
  uint32_t time;        /* epoch seconds at the gateway; 0: not in this message */
  uint16_t part;        /* CVM_ASK: from which part on */
  uint32_t position;    /* CVM_PENDING: from 1 */
  uint32_t eta_seconds; /* CVM_PENDING; 0: nobody knows */
  uint32_t retry_after; /* seconds; CVM_REJECTED: 0 where asking again does not help */
  /* CVM_REJECTED. The texts have no NUL, and last as long as the message. */
  uint16_t status_code;
  const char *error_code;
  size_t error_code_length;
  const char *error_message;
  size_t error_message_length;
  /* CVM_ACCEPTED */
  cvm_slice_t certificate_id; /* cvm_read_certificate_id() */
  cvm_slice_t certificate;    /* DER */
  cvm_slice_t private_key;    /* DER; only without a CSR */
  cvm_slice_t thing_name;
  cvm_slice_t endpoint;
  cvm_slice_t root_ca; /* DER; only with `root_ca` */
} cvm_reply_t;

/* Begins with nothing stored. `store` and `id` (as in the request; may be NULL) must live as long as the client. */
void cvm_start(cvm_client_t *client, const cvm_store_t *store, const char *id);

/*
 * Goes on after a restart. `head`: part 0 as `begin` got it; `stored`: the bytes that are surely stored (a part that may be half written is
 * taken off by the library).
 * Returns CVM_ACCEPTED, CVM_FAILED, or CVM_ASK with the part.
 */
cvm_event_t cvm_resume(cvm_client_t *client, const uint8_t head[CVM_HEAD_BYTES], uint32_t stored, cvm_reply_t *reply);

/*
 * Takes a message of cvm/reply/<serial>. When it returns, the message may be acknowledged, whatever it was.
 */
cvm_event_t cvm_on_reply(cvm_client_t *client, const uint8_t *payload, size_t length, cvm_reply_t *reply);

/* The part from which on to ask, on a new connection, or when nothing came for some ten seconds. */
uint16_t cvm_ask_again(cvm_client_t *client);

/* Reads the id of the certificate of a reply that was CVM_ACCEPTED, for cvm_write_ack(). */
cvm_fault_t cvm_read_certificate_id(const cvm_store_t *store, const cvm_reply_t *reply, uint8_t id[CVM_CERTIFICATE_ID_BYTES]);

/* ---- time ---- */

/* Whether an ECDSA signature (P-256, SHA-256, DER) over a message verifies with the pinned key. */
typedef bool (*cvm_verify_t)(void *context, const uint8_t *message, size_t message_length, const uint8_t *signature, size_t signature_length);

/* The payload of a question for the time, published to cvm/time/<nonce>: an empty map, so the answer is CBOR. */
#define CVM_TIME_QUESTION ((uint8_t)0xA0U)

/*
 * Takes a message of CVM_TIME_REPLY_TOPIC. Returns CVM_ACCEPTED with `time` in the reply where the signature is right for this nonce,
 * CVM_REJECTED, or CVM_NOTHING with the fault: go on waiting, at most ten seconds after the question.
 */
cvm_event_t cvm_on_time(const char *nonce, const uint8_t *payload, size_t length, cvm_verify_t verify, void *context, cvm_reply_t *reply);

#ifdef __cplusplus
}
#endif

#endif
