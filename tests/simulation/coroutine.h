/*
 * Coroutines: a function on a stack of its own, entered and left by hand. Stacks are kept for the
 * next. On x86-64 a switch saves six registers; elsewhere it is swapcontext(). Not thread-safe.
 */
#ifndef HOLDFAST_SIMULATION_COROUTINE_H
#define HOLDFAST_SIMULATION_COROUTINE_H

typedef struct coroutine coroutine_t;

/* `run` begins with the first coroutine_enter(). */
coroutine_t *coroutine_new(void (*run)(void *context), void *context);
/* Ended, or left for good: what stands on its stack is forgotten. */
void coroutine_free(coroutine_t *coroutine);
/* Until it leaves or ends. */
void coroutine_enter(coroutine_t *coroutine);
/* From within. */
void coroutine_leave(coroutine_t *coroutine);

#endif
