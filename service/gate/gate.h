/*
 * The protocol of the gate: its keys, functions and answers, as in lua/holdfast.lua.
 *
 * Pure: builds calls and reads replies. gate/redis_link.h (loops, does not block) and
 * gate/gate_sync.h (pool threads, blocks) send the calls. Any thread may call; nothing here blocks.
 * The caller owns every buffer and reply that it passes in. Times are ms since 1970 UTC.
 */
#ifndef HOLDFAST_GATE_GATE_H
#define HOLDFAST_GATE_GATE_H

#include <hiredis/hiredis.h>

#include "config/deployment.h"
#include "gate/gate_errors.h"
#include "gate/redis_args.h"
#include "sale/order.h"
#include "sale/problem.h"

/* Equal to VERSION of lua/holdfast.lua. */
#define GATE_LIBRARY_VERSION 21
/* Separates the fields of a record in `unsettled`. */
#define GATE_FIELD_SEPARATOR '\x1f'

/* The answer of reserve about the item as a whole. */
typedef enum {
    GATE_ITEM_OK,
    GATE_ITEM_MISSING, /* no gate: Redis is empty, or never had this item */
    GATE_ITEM_STALE,   /* the caller's epoch is not the gate's */
    GATE_ITEM_FOREIGN, /* built under another Redis process or role: its content may be old */
    GATE_ITEM_CLOSED,  /* a SQL strategy sells this item */
    GATE_ITEM_FROZEN   /* for some milliseconds, before `total` is lowered */
} gate_item_t;

/* The answer of reserve about one order, one character on the wire: see gate_reply_answer(). */
typedef enum {
    GATE_ADMITTED,
    GATE_SOLD_OUT,
    GATE_BUYER_LIMIT,
    GATE_NOT_STARTED,
    GATE_ENDED,
    GATE_LATE,      /* past its commit deadline by the clock of Redis */
    GATE_CHECK_KEY, /* would be admitted after a read of MySQL shows that no order has its key */
    GATE_FIRST,     /* an earlier order of this key is unsettled */
    /* the gate is loading, and the buyer's units have to be loaded first; never with GATE_SEEN */
    GATE_NOT_LOADED = 16
} gate_answer_t;
/* Added to the answer: the gate has admitted this buyer before, or may have. */
#define GATE_SEEN 8

problem_t gate_answer_problem(gate_answer_t answer);

/* The caller's information about an order's key, for reserve. */
typedef enum {
    GATE_MARK_NO_KEY,
    GATE_MARK_KEY,
    GATE_MARK_KEY_FREE /* MySQL was read, and has no order of this key */
} gate_mark_t;

#define GATE_KEY_SIZE (SKU_BYTES_MAX + 48)
typedef enum {
    GATE_KEY_GATE,
    GATE_KEY_BUYERS,
    GATE_KEY_UNSETTLED,
    GATE_KEY_KEYS,
    GATE_KEY_EARLY
} gate_key_t;

/* Begins a call: "FCALL", the function's name and the number of keys. The caller then adds that
   many keys with gate_add_key(). */
void gate_call(redis_args_t *args, const char *function, unsigned keys);
/* A complete call: reserve without orders. The reply has the gate_item_t that reserve would return
   to a caller with this epoch. The call changes nothing, but Redis refuses it whenever it would
   refuse to admit. */
void gate_peek(redis_args_t *args, const item_ref_t *item, uint64_t epoch);
/* A complete call: looks at the gates of `count` items, and changes nothing. */
void gate_look(redis_args_t *args, const item_ref_t *const *items, unsigned count);
/* What a buyer of an item would find, of a reply to gate_look(). */
typedef struct {
    gate_item_t answer; /* as of reserve for a caller with the gate's own epoch */
    uint64_t epoch;     /* 0: there is no gate */
    int64_t available;
} gate_seen_t;
/* Reads the part of the item with this index. False: the reply has none, or it is odd. */
bool gate_look_read(const redisReply *reply, unsigned index, gate_seen_t *out);
/* For GATE_KEY_UNSETTLED and GATE_KEY_KEYS only the item's slot is used. */
void gate_add_key(redis_args_t *args, gate_key_t key, const item_ref_t *item);
/* Writes the key into `out` (GATE_KEY_SIZE bytes) and returns it, borrowed from `out`. */
str_t gate_key(char *out, gate_key_t key, const item_ref_t *item);

/*
 * The next step after the answer to hello. A Redis carries the name of its deployment. A Redis
 * without a name (empty, or from before names existed) is stamped; a Redis with another name is
 * away.
 */
typedef enum {
    GATE_GREETING_OK,
    GATE_GREETING_LOAD,  /* the functions library is absent or old: load it, send hello again */
    GATE_GREETING_STAMP, /* send gate_stamp(), then read the reply with gate_stamp_read() */
    GATE_GREETING_AWAY   /* not to be used: `why` has the reason */
} gate_greeting_t;

#define GATE_WHY_SIZE 256
/* Reads the reply to hello. `deployment` NULL: any Redis is accepted. `why` has room for
   GATE_WHY_SIZE bytes, and is set for GATE_GREETING_AWAY only. */
gate_greeting_t gate_greeting_read(const redisReply *reply, const deployment_t *deployment,
                                   char *why);
/* Reads the reply to gate_stamp(): GATE_GREETING_OK or GATE_GREETING_AWAY. */
gate_greeting_t gate_stamp_read(const redisReply *reply, const deployment_t *deployment, char *why);
/* The AUTH of a new connection. False: the configuration has no password, so none is sent. */
bool gate_auth(redis_args_t *args, const config_t *config);
/* `watches`: the user of the connection also needs the commands of the watch strategy. */
void gate_hello(redis_args_t *args, bool watches);
void gate_stamp(redis_args_t *args, const deployment_t *deployment);

/* Most bytes of the name of a process that owns records. */
#define GATE_OWNER_MAX 64

/* The key of a process's heartbeat: the process renews it, and it expires some seconds after the
   process has died. `out` has GATE_OWNER_KEY_SIZE bytes. */
#define GATE_OWNER_KEY_SIZE (GATE_OWNER_MAX + 16)
str_t gate_owner_key(char *out, str_t incarnation);

/* The hash of the processes of this deployment, by incarnation: engine/nodes.h. */
#define GATE_NODES_KEY "hf:nodes"

/* One record of `unsettled`, parsed. Its strings are borrowed from the text. */
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

/* False: the text is not a record; `*out` is then not to be used. */
bool gate_record_parse(str_t text, gate_record_t *out);

/* Most bytes of a record, and of a field of the index of keys. */
#define GATE_RECORD_SIZE                                                                           \
    (SKU_BYTES_MAX + BUYER_BYTES_MAX + KEY_BYTES_MAX + GATE_OWNER_MAX + 5 * U64_DIGITS_MAX + 8)
/* Appends the record in the form in which Redis holds it and gate_record_parse() reads it. `*at`
   has room for it, and moves past it. */
str_t gate_record_put(char **at, const gate_record_t *record);
/* Appends the field under which the index of keys has the order's id. `*at` moves past it. */
str_t gate_key_field_put(char **at, str_t sku, str_t buyer, str_t key);

/* The largest integer that Lua counts exactly. Sums of several such numbers do not overflow,
   whatever Redis holds. */
#define GATE_NUMBER_MAX (INT64_C(1) << 53)
/* The number in a reply, or 0 if the reply is not a number. Redis returns integers as numbers or as
   text. A number beyond GATE_NUMBER_MAX is cut to it. */
int64_t gate_reply_number(const redisReply *reply);
/* The same for one element of an array. */
int64_t gate_reply_i64(const redisReply *reply, size_t element);
/* The kind of an error reply: see gate_classify(). No reply, or a reply that is not an error, is
   RESULT_UNKNOWN. */
result_t gate_reply_error(const redisReply *reply);
/* Is the reply an error that proves that the call changed nothing? */
static inline bool gate_reply_is_refusal(const redisReply *reply)
{
    return gate_reply_error(reply) != RESULT_UNKNOWN;
}
bool gate_reply_is_array(const redisReply *reply, size_t elements_min);
/* A reply of reserve has one part for each item: gate_item_t, epoch, available, the answers, and an
   id for each GATE_FIRST among them. `part` is the index of a part's first element; it is 0 for the
   first item. */
/* The answer for one of the item's orders, with or without GATE_SEEN; -1 if the reply has none. */
int gate_reply_answer(const redisReply *reply, size_t part, size_t order);
/* The answer without GATE_SEEN. */
static inline gate_answer_t gate_answer_plain(int answer)
{
    return (gate_answer_t)(answer == GATE_NOT_LOADED ? answer : answer % GATE_SEEN);
}
/* Offset of the ids in a part. */
#define GATE_PART_IDS 4
/* The index of the next item's part. Where there is no next part, the result is at or behind the
   end of the reply. */
size_t gate_reply_next(const redisReply *reply, size_t part);

#endif
