/*
 * The gate's words: keys, functions and answers, as in lua/holdfast.lua. Pure.
 *
 * The calls themselves are in gate/redis_link.h (loops, never blocking) and gate/gate_sync.h
 * (pool threads, blocking).
 */
#ifndef HOLDFAST_GATE_GATE_H
#define HOLDFAST_GATE_GATE_H

#include <hiredis/hiredis.h>

#include "config/deployment.h"
#include "gate/gate_errors.h"
#include "gate/redis_args.h"
#include "sale/order.h"
#include "sale/problem.h"

/* Must be the VERSION of lua/holdfast.lua. */
#define GATE_LIBRARY_VERSION 18
/* Separates the fields of a record in `unsettled`. */
#define GATE_FIELD_SEPARATOR '\x1f'

/* What reserve says about the item as a whole. */
typedef enum {
    GATE_ITEM_OK,
    GATE_ITEM_MISSING, /* no gate: empty Redis, or an item that it never had */
    GATE_ITEM_STALE,   /* the caller's epoch is not the gate's */
    GATE_ITEM_FOREIGN, /* built under another Redis process or role: what it holds may be old */
    GATE_ITEM_CLOSED,  /* a SQL strategy rules */
    GATE_ITEM_FROZEN   /* for some milliseconds: `total` is about to be lowered */
} gate_item_t;

/* What it says about one order, as one character: see gate_reply_answer(). */
typedef enum {
    GATE_ADMITTED,
    GATE_SOLD_OUT,
    GATE_BUYER_LIMIT,
    GATE_NOT_STARTED,
    GATE_ENDED,
    GATE_LATE, /* past its commit deadline by the clock of Redis */
    GATE_LOOK, /* would be admitted, once it is known that MySQL has no order of its key */
    GATE_FIRST /* an earlier order of this key is unsettled */
} gate_answer_t;
#define GATE_SEEN 8 /* added: the gate has admitted this buyer before */

problem_t gate_answer_problem(gate_answer_t answer);

/* How far reserve knows an order's key. */
typedef enum {
    GATE_MARK_NO_KEY,
    GATE_MARK_KEY,
    GATE_MARK_LOOKED /* MySQL has no order of it */
} gate_mark_t;

#define GATE_KEY_SIZE (SKU_BYTES_MAX + 48)
typedef enum { GATE_KEY_GATE, GATE_KEY_BUYERS, GATE_KEY_UNSETTLED, GATE_KEY_KEYS } gate_key_t;

/* "FCALL" name and the number of keys; then the keys are added one by one. */
void gate_call(redis_args_t *args, const char *function, unsigned keys);
/* A whole call: reserve of no orders. It answers with the gate_item_t that a caller of `epoch`
   would hear and changes nothing, but Redis refuses it whenever it would refuse to admit. */
void gate_look(redis_args_t *args, const item_ref_t *item, uint64_t epoch);
/* Of GATE_KEY_UNSETTLED and GATE_KEY_KEYS only the item's slot counts. */
void gate_add_key(redis_args_t *args, gate_key_t key, const item_ref_t *item);
/* Writes the key into `out` (GATE_KEY_SIZE) and returns it. */
str_t gate_key(char *out, gate_key_t key, const item_ref_t *item);

/*
 * What to do about the answer to hello. A Redis carries the name of its deployment; one without it
 * (empty, or of before there were names) is stamped, one with another name is away.
 */
typedef enum {
    GATE_GREETING_OK,
    GATE_GREETING_LOAD,  /* the functions library is absent or old: load it, say hello again */
    GATE_GREETING_STAMP, /* gate_stamp(), and then gate_stamp_read() */
    GATE_GREETING_AWAY   /* not to be used: why says what is wrong */
} gate_greeting_t;

#define GATE_WHY_SIZE 256
/* `deployment` NULL: any Redis will do. */
gate_greeting_t gate_greeting_read(const redisReply *reply, const deployment_t *deployment,
                                   char *why);
/* _OK or _AWAY. */
gate_greeting_t gate_stamp_read(const redisReply *reply, const deployment_t *deployment, char *why);
/* `watches`: its user must be allowed the commands of the watch strategy too. */
void gate_hello(redis_args_t *args, bool watches);
void gate_stamp(redis_args_t *args, const deployment_t *deployment);

/* Bytes of the name of a process that owns records. */
#define GATE_OWNER_MAX 64

/* A process that lives keeps this key, for some seconds at a time. `out` has GATE_OWNER_KEY_SIZE.
 */
#define GATE_OWNER_KEY_SIZE (GATE_OWNER_MAX + 16)
str_t gate_owner_key(char *out, str_t incarnation);

/* One record of `unsettled`, read back. Borrowed from the text. */
typedef struct {
    uint64_t epoch;
    str_t sku;
    uint16_t bucket;
    str_t buyer;
    uint32_t quantity;
    str_t key;
    uint64_t deadline_ms;
    str_t owner;
    uint64_t digest;
} gate_record_t;

bool gate_record_parse(str_t text, gate_record_t *out);

/* Bytes of a record, and of a field of the index of keys, at the most. */
#define GATE_RECORD_SIZE                                                                           \
    (SKU_BYTES_MAX + BUYER_BYTES_MAX + KEY_BYTES_MAX + GATE_OWNER_MAX + 5 * U64_DIGITS_MAX + 8)
/* Appends the record as Redis holds it: what gate_record_parse() reads. */
str_t gate_record_put(char **at, const gate_record_t *record);
/* Appends the field under which the index of keys has the order's id. */
str_t gate_key_field_put(char **at, str_t sku, str_t buyer, str_t key);

/* As far as Lua counts exactly; sums of some of these do not overflow, whatever stands in Redis. */
#define GATE_NUMBER_MAX (INT64_C(1) << 53)
/* The number that a reply is, 0 if it is none; integers come as numbers or as text. One beyond
   GATE_NUMBER_MAX is taken for that. */
int64_t gate_reply_number(const redisReply *reply);
/* Likewise, of an element. */
int64_t gate_reply_i64(const redisReply *reply, size_t element);
/* What an error says of its call: see gate_classify(). No reply, or one that is no error, proves
   nothing: RESULT_UNKNOWN. */
result_t gate_reply_error(const redisReply *reply);
/* An error that proves that the call changed nothing. */
static inline bool gate_reply_is_refusal(const redisReply *reply)
{
    return gate_reply_error(reply) != RESULT_UNKNOWN;
}
bool gate_reply_is_array(const redisReply *reply, size_t elements_min);
/* A reply of reserve has a part for each item: gate_item_t, epoch, available, the answers, and an
   id for each GATE_FIRST among them. `part` is the first element of one; that of the first item is
   0. */
/* What it says about one of the item's orders, with GATE_SEEN or without; -1: nothing. */
int gate_reply_answer(const redisReply *reply, size_t part, size_t order);
/* Where the ids of a part are. */
#define GATE_PART_IDS 4
/* The next item's part; where none is, at the end of the reply or behind it. */
size_t gate_reply_next(const redisReply *reply, size_t part);

#endif
