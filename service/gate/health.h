/*
 * Whether Redis takes calls now, as seen by the connections of the loops (gate/redis_link.h).
 *
 * A connection counts while it is up, the server has accepted its last probe, and no call waits for
 * an answer for too long. If no connection counts, the gate is away or unknown. The connections go
 * on probing, so the gate comes back without a request for it.
 *
 * Each process has one; its creator owns it. Any thread may call. Nothing here waits for Redis;
 * some functions take a mutex for the copy of a text.
 */
#ifndef HOLDFAST_GATE_HEALTH_H
#define HOLDFAST_GATE_HEALTH_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    GATE_OK,     /* at least one connection counts */
    GATE_AWAY,   /* no connection counts: none is open, or the server refuses calls */
    GATE_UNKNOWN /* no connection counts: the server does not answer, or was not called yet */
} gate_condition_t;

/* Bytes of a reason, with its NUL. */
#define GATE_REASON_SIZE 200

typedef struct {
    atomic_uint up;                 /* connections that count */
    atomic_uint condition;          /* while `up` is 0: gate_condition_t */
    _Atomic uint64_t down_since_ms; /* monotonic: when `up` became 0 */
    atomic_bool known;              /* a connection has been up or has failed */
    pthread_mutex_t mutex;          /* guards `reason`; every writer of this struct holds it */
    char reason[GATE_REASON_SIZE];
} gate_health_t;

void gate_health_init(gate_health_t *health);

/* --- for the connections --- */
/* One more connection counts. */
void gate_health_add(gate_health_t *health);
/* A connection that counted does not count any more. */
void gate_health_remove(gate_health_t *health, gate_condition_t condition, const char *reason);
/* Sets the reason of a connection that does not count. */
void gate_health_note(gate_health_t *health, gate_condition_t condition, const char *reason);

/* --- for all threads --- */
gate_condition_t gate_health_condition(const gate_health_t *health);
static inline const char *gate_condition_name(gate_condition_t condition)
{
    return condition == GATE_OK ? "ok" : condition == GATE_AWAY ? "away" : "unknown";
}
/* The time in ms for which no connection has counted; 0 while one counts. */
uint64_t gate_health_down_ms(const gate_health_t *health);
/* Why the condition is not GATE_OK: the server's text if there is any. "" if it is GATE_OK. `out`
   has GATE_REASON_SIZE bytes. */
void gate_health_reason(gate_health_t *health, char *out);
/* Would a blocking call only wait, or be refused? Then the caller does without Redis. False before
   the first result, and for a moment after the last connection was lost, because most lost
   connections are back at once. */
bool gate_health_is_hopeless(const gate_health_t *health);

#endif
