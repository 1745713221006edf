#include "gate/health.h"

#include <assert.h>
#include <stdio.h>

#include "base/clock.h"

/* A lost connection reconnects within this time if Redis is available. */
#define RECONNECT_MS 250

void gate_health_init(gate_health_t *health)
{
    atomic_store(&health->up, 0);
    atomic_store(&health->condition, GATE_UNKNOWN);
    atomic_store(&health->down_since_ms, clock_mono_ms());
    atomic_store(&health->known, false);
    pthread_mutex_init(&health->mutex, NULL);
    snprintf(health->reason, sizeof(health->reason), "not connected yet");
}

void gate_health_add(gate_health_t *health)
{
    pthread_mutex_lock(&health->mutex);
    atomic_fetch_add(&health->up, 1);
    atomic_store(&health->known, true);
    pthread_mutex_unlock(&health->mutex);
}

/* The caller holds the mutex. */
static void set_reason(gate_health_t *health, gate_condition_t condition, const char *reason)
{
    atomic_store(&health->condition, condition);
    atomic_store(&health->known, true);
    snprintf(health->reason, sizeof(health->reason), "%s", reason);
}

/* down_since_ms is set before `up` becomes 0, so that no reader sees an older time. */
void gate_health_remove(gate_health_t *health, gate_condition_t condition, const char *reason)
{
    pthread_mutex_lock(&health->mutex);
    set_reason(health, condition, reason);
    assert(atomic_load(&health->up) != 0); /* a connection is added once and removed once */
    if (atomic_load(&health->up) == 1)
        atomic_store(&health->down_since_ms, clock_mono_ms());
    atomic_fetch_sub(&health->up, 1);
    pthread_mutex_unlock(&health->mutex);
}

void gate_health_note(gate_health_t *health, gate_condition_t condition, const char *reason)
{
    pthread_mutex_lock(&health->mutex);
    set_reason(health, condition, reason);
    pthread_mutex_unlock(&health->mutex);
}

gate_condition_t gate_health_condition(const gate_health_t *health)
{
    return atomic_load(&health->up) != 0 ? GATE_OK
                                         : (gate_condition_t)atomic_load(&health->condition);
}

uint64_t gate_health_down_ms(const gate_health_t *health)
{
    uint64_t since_ms = atomic_load(&health->down_since_ms);
    return atomic_load(&health->up) != 0 ? 0 : clock_mono_ms() - since_ms;
}

void gate_health_reason(gate_health_t *health, char *out)
{
    pthread_mutex_lock(&health->mutex);
    snprintf(out, GATE_REASON_SIZE, "%s", atomic_load(&health->up) != 0 ? "" : health->reason);
    pthread_mutex_unlock(&health->mutex);
}

/* An unknown gate does not answer, so it is hopeless at once. An away gate gets RECONNECT_MS,
   because a connection that was only lost is back by then. */
bool gate_health_is_hopeless(const gate_health_t *health)
{
    uint64_t down_ms = gate_health_down_ms(health);
    return atomic_load(&health->up) == 0 && atomic_load(&health->known) &&
           (atomic_load(&health->condition) == GATE_UNKNOWN || down_ms >= RECONNECT_MS);
}
