/*
 * Request bodies, keys and paths. Strict where cJSON and URLs are lenient. Pure, any thread; the
 * only memory taken is cJSON's.
 *
 * A body must be one JSON object in UTF-8 (RFC 8259). No name may occur twice, no string may
 * contain NUL, and every name must be expected. cJSON parses; inputs that it accepts and RFC 8259
 * does not are refused before or after it.
 */
#ifndef HOLDFAST_HTTP_BODY_H
#define HOLDFAST_HTTP_BODY_H

#include <cjson/cJSON.h>

#include "reconcile/change.h"
#include "sale/problem.h"

/* The first mistake of a request; filled in when a function fails. */
typedef struct {
    problem_t problem; /* PROBLEM_NONE: none */
    char detail[192];  /* names the member and the accepted values */
} mistake_t;

/* Parses a body. Returns the object, which the caller frees with cJSON_Delete(); or NULL, with the
   mistake filled in. */
cJSON *body_parse(str_t body, mistake_t *mistake);

/* The three members of a purchase; the strings are borrowed from `json`. With `known_buyer` the
   buyer may be left out: then `buyer_id` is STR_NONE. */
typedef struct {
    str_t sku, buyer_id;
    uint32_t quantity;
} order_body_t;
bool body_read_order(const cJSON *json, uint32_t quantity_max, bool known_buyer, order_body_t *out,
                     mistake_t *mistake);

/* Reads the terms of an item. For PUT (`change->create`) `total` is required, and other members
   that are missing get their defaults; for PATCH members that are missing stay as they are. False:
   *mistake is filled in. */
bool body_read_change(const cJSON *json, strategy_id_t default_strategy, item_change_t *change,
                      mistake_t *mistake);
/* Reads the units of a cancel; 0: the body has none, which means all units. */
bool body_read_cancel(const cJSON *json, uint32_t *units, mistake_t *mistake);
/* Checks the body of a call without members: none is accepted. */
bool body_read_nothing(const cJSON *json, mistake_t *mistake);
bool body_read_strategy(const cJSON *json, strategy_id_t *out, mistake_t *mistake);

bool is_sku(str_t text);
bool is_buyer_id(str_t text);
/* 1 to `bytes_max` bytes of UTF-8 without control characters. */
bool is_plain_text(str_t text, size_t bytes_max);
bool is_idempotency_key(str_t text);

/*
 * Reads the key from the value of an Idempotency-Key header: 1 to KEY_BYTES_MAX visible ASCII
 * characters, either bare or as a quoted string (draft-ietf-httpapi-idempotency-key-header: a
 * string of RFC 8941), which is the same key without its quotes. False: the value is not a key.
 * Stricter than the draft: no spaces in a key, no parameters after it. *key is borrowed from
 * `value`, or from `bytes` (KEY_BYTES_MAX) if the string has escapes.
 */
bool idempotency_key_read(str_t value, char *bytes, str_t *key);

/* Whether a Content-Type names `type` ("application/json", in lower case). It may have any
   well-formed parameters (RFC 9110, 8.3.1; RFC 8259 gives them no meaning). */
bool is_media_type(str_t value, const char *type);

/* Decodes %XX of one path segment or query value into `out` (as long as the input);
   false: broken escape. */
bool percent_decode(str_t in, char *out, size_t *out_length);

#endif
