/*
 * Order ids: UUID version 7 (RFC 9562), so that they sort by time.
 *
 *   unix_ts_ms 48 | version 4 | rand_a 12: the slot | variant 2 | check 16 | random 46
 *
 * The slot leads from an id to its shard. The check bits are the first 16 bits of SipHash-2-4 over
 * the other 14 bytes, under the first 16 bytes of SHA-256(key). An id that was not issued here
 * passes the check once in 65,536 times; the service answers 404 to an id that fails it, without
 * writing a row. The time comes from the gate's clock (see remote_clock_t), or from the shard's
 * until Redis was observed; never from the node's own.
 *
 * Any thread may call after order_id_set_key(); nothing blocks. Times are ms since 1970 UTC.
 */
#ifndef HOLDFAST_BASE_ORDER_ID_H
#define HOLDFAST_BASE_ORDER_ID_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

typedef struct {
    uint8_t bytes[16];
} order_id_t;

#define ORDER_ID_TEXT 36
#define ORDER_ID_NONE ((order_id_t){{0}})

/* Sets the key for the whole process. Comes before any thread issues or checks an id. */
void order_id_set_key(str_t key);
order_id_t order_id_issue(uint16_t slot, uint64_t now_ms);
/* Was it issued under this key? Wrong once in 65,536 times for an id that was not. */
bool order_id_issued_here(const order_id_t *id);
uint16_t order_id_slot(const order_id_t *id);
uint64_t order_id_time_ms(const order_id_t *id);
/* Below every id of this time or a later one, and above all earlier ones; it is no id itself. */
order_id_t order_id_first_of(uint64_t ms);
bool order_id_is_none(const order_id_t *id);
bool order_id_eq(const order_id_t *a, const order_id_t *b);
/* Lower case, with hyphens; 36 characters and a NUL. */
void order_id_format(char out[ORDER_ID_TEXT + 1], const order_id_t *id);
/* Accepts either case; false if it is not a UUID of version 7. */
bool order_id_parse(str_t text, order_id_t *out);

#endif
