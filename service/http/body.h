/*
 * Request bodies and paths: strict where cJSON and URLs are lenient. Pure.
 *
 * A body must be one JSON object in UTF-8 (RFC 8259), with no name twice, no NUL in a string and
 * no name that is not expected. cJSON parses; what it lets pass is refused before or after it.
 */
#ifndef HOLDFAST_HTTP_BODY_H
#define HOLDFAST_HTTP_BODY_H

#include <cjson/cJSON.h>

#include "reconcile/change.h"
#include "sale/problem.h"

/* Filled with the first mistake. */
typedef struct {
    problem_t problem; /* PROBLEM_NONE: none */
    char detail[192];  /* names the member, and says what is taken */
} mistake_t;

/* The object, to be freed with cJSON_Delete(), or NULL and a mistake. */
cJSON *body_parse(str_t body, mistake_t *mistake);

/* The three members of a purchase; strings are borrowed from `json`. */
typedef struct {
    str_t sku, buyer_id;
    uint32_t quantity;
} order_body_t;
bool body_read_order(const cJSON *json, uint32_t quantity_max, order_body_t *out,
                     mistake_t *mistake);

/* The terms of an item. For PUT (`change->create`) `total` must be there and what is missing gets
   its default; for PATCH what is missing stays. */
bool body_read_change(const cJSON *json, strategy_id_t default_strategy, item_change_t *change,
                      mistake_t *mistake);
/* The units of a cancel; 0: it says none, and all are meant. */
bool body_read_cancel(const cJSON *json, uint32_t *units, mistake_t *mistake);
/* Of a call that has nothing to say. */
bool body_read_nothing(const cJSON *json, mistake_t *mistake);
bool body_read_strategy(const cJSON *json, strategy_id_t *out, mistake_t *mistake);

bool is_sku(str_t text);
bool is_buyer_id(str_t text);
bool is_idempotency_key(str_t text);

/*
 * The key that the value of an Idempotency-Key header names: 1 to KEY_BYTES_MAX visible ASCII
 * characters, as they are or as a quoted string (draft-ietf-httpapi-idempotency-key-header: a
 * string of RFC 8941), which is the same key without its quotes. False: it names none. Stricter
 * than the draft: no spaces in a key, no parameters after it. Borrowed from `value`, or from
 * `bytes` (KEY_BYTES_MAX) if something in it was escaped.
 */
bool idempotency_key_read(str_t value, char *bytes, str_t *key);

/* A Content-Type names `type` ("application/json", in lower case), whatever its well-formed
   parameters say (RFC 9110, 8.3.1; RFC 8259 gives them no meaning). */
bool is_media_type(str_t value, const char *type);

/* Decodes %XX of one path segment or query value into `out` (as long as the input);
   false: broken escape. */
bool percent_decode(str_t in, char *out, size_t *out_length);

#endif
