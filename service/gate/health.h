/*
 * Does Redis take calls now? What the connections of a process's loops (gate/redis_link.h) know of
 * it, for all threads of the process.
 *
 * A connection counts while it is up, the server has taken its last probe, and no call waits for
 * an answer for too long. If none counts the gate is away or unknown. The connections go on
 * probing, so the gate comes back without anybody asking for it.
 *
 * One for each process. Nothing here blocks.
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
    GATE_AWAY,   /* none: there is no connection, or the server refuses calls */
    GATE_UNKNOWN /* none: the server does not answer, or was not asked yet */
} gate_condition_t;

/* Bytes of a reason, with its end. */
#define GATE_REASON_SIZE 200

typedef struct {
    atomic_uint up;                 /* connections that count */
    atomic_uint condition;          /* while `up` is 0: gate_condition_t */
    _Atomic uint64_t down_since_ms; /* monotonic: when `up` became 0 */
    atomic_bool heard;              /* any connection has come to a result */
    pthread_mutex_t mutex;          /* of what follows, and held by all who write */
    char reason[GATE_REASON_SIZE];
} gate_health_t;

void gate_health_init(gate_health_t *health);

/* --- for the connections --- */
/* One more counts. */
void gate_health_add(gate_health_t *health);
/* One that has counted does so no more. */
void gate_health_remove(gate_health_t *health, gate_condition_t condition, const char *reason);
/* One that does not count says why. */
void gate_health_note(gate_health_t *health, gate_condition_t condition, const char *reason);

/* --- for everybody --- */
gate_condition_t gate_health_condition(const gate_health_t *health);
static inline const char *gate_condition_name(gate_condition_t condition)
{
    return condition == GATE_OK ? "ok" : condition == GATE_AWAY ? "away" : "unknown";
}
/* For how long no connection has counted; 0 while one does. */
uint64_t gate_health_down_ms(const gate_health_t *health);
/* Why it is not OK, in the server's words if it has said any; "" if it is. `out` has
   GATE_REASON_SIZE. */
void gate_health_reason(gate_health_t *health, char *out);
/* A blocking call now would only wait, or be refused: do without Redis. False before the first
   result, and for a moment after the last connection was lost, since most of those are back at
   once. */
bool gate_health_is_hopeless(const gate_health_t *health);

#endif
