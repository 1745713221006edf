#include "base/pacer.h"

#include <errno.h>

#include "base/clock.h"

void pacer_init(pacer_t *pacer)
{
    pacer->woken = pacer->stopping = false;
    pthread_mutex_init(&pacer->mutex, NULL);
    clock_cond_init(&pacer->wake);
}

void pacer_dispose(pacer_t *pacer)
{
    pthread_cond_destroy(&pacer->wake);
    pthread_mutex_destroy(&pacer->mutex);
}

bool pacer_wait(pacer_t *pacer, uint32_t ms)
{
    struct timespec until = clock_mono_in(ms);
    pthread_mutex_lock(&pacer->mutex);
    int result = 0;
    while (!pacer->woken && !pacer->stopping && result != ETIMEDOUT)
        result = pthread_cond_timedwait(&pacer->wake, &pacer->mutex, &until);
    pacer->woken = false;
    bool go_on = !pacer->stopping;
    pthread_mutex_unlock(&pacer->mutex);
    return go_on;
}

void pacer_wake(pacer_t *pacer)
{
    pthread_mutex_lock(&pacer->mutex);
    pacer->woken = true;
    pthread_cond_signal(&pacer->wake);
    pthread_mutex_unlock(&pacer->mutex);
}

void pacer_stop(pacer_t *pacer)
{
    pthread_mutex_lock(&pacer->mutex);
    pacer->stopping = true;
    pthread_cond_signal(&pacer->wake);
    pthread_mutex_unlock(&pacer->mutex);
}

bool pacer_is_stopping(pacer_t *pacer)
{
    pthread_mutex_lock(&pacer->mutex);
    bool stopping = pacer->stopping;
    pthread_mutex_unlock(&pacer->mutex);
    return stopping;
}
