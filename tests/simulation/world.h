/*
 * The simulated world: virtual time, a seeded order of events, coroutines, memory.
 *
 * One history is one run of the world from its seed: all that looks random comes from one
 * generator, so that a seed always gives the same history. Everything runs on one thread. Events
 * stand in a heap by their time; those of one moment come in random order. Time only moves from
 * event to event.
 *
 * Blocking code runs in coroutines with stacks of their own, and is left only where it waits
 * (world_sleep_us(), sim_cond_wait()). A coroutine or event belongs to a node or to the world
 * itself (node 0); when a node is killed, all that is its own is never run again.
 *
 * Times are microseconds of virtual time since the history began, if not said otherwise.
 */
#ifndef HOLDFAST_SIMULATION_WORLD_H
#define HOLDFAST_SIMULATION_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The wall clock of the world at the beginning: 2026-01-31T00:00:00Z. */
#define WORLD_EPOCH_MS UINT64_C(1769817600000)
#define WORLD_OWNERS_MAX 64

/* --- chance --- */
uint64_t chance_u64(void);
/* Uniform in 0..n-1. */
unsigned chance_below(unsigned n);
/* Uniform in low..high. */
unsigned chance_between(unsigned low, unsigned high);
/* True once in `one_in`; never if it is 0. */
bool chance(unsigned one_in);
/* Between low and high, small values as likely as great ones: for times. */
uint64_t chance_time_us(uint64_t low, uint64_t high);

/* --- time and events --- */
uint64_t world_now_us(void);
/* Whose code runs now: a node's number from 1 on, with its life; 0 is the world. */
typedef struct {
    uint16_t node;
    uint16_t life; /* of a killed node the next life is another */
} owner_t;
owner_t world_owner(void);
void world_set_owner(owner_t owner);
bool world_owner_lives(owner_t owner);
/* Life of a node that begins now. */
owner_t world_begin_life(unsigned node);
void world_kill(owner_t owner);
/* Nothing of this node runs for so long; the others go on. */
void world_freeze(unsigned node, uint64_t us);
bool world_is_frozen(unsigned node);
/* Runs `run(context, number)` after `delay_us`, for `owner`, if it lives then. */
void world_after(uint64_t delay_us, owner_t owner, void (*run)(void *context, uint64_t number),
                 void *context, uint64_t number);
/* Starts a history. */
void world_begin(uint64_t seed);
/* Runs events until there is none, `until_us` is past, or the history failed. */
void world_run(uint64_t until_us);
void world_end(void);
uint64_t world_events(void);

/* --- coroutines --- */
void world_spawn(owner_t owner, void (*run)(void *context), void *context);
/* In a coroutine only. */
bool world_in_coroutine(void);
void world_sleep_us(uint64_t delay_us);
/* Until world_wake() is called for this coroutine's number, or `limit_us` passed (false). */
bool world_wait(uint64_t limit_us);
unsigned world_coroutine(void);
void world_wake(unsigned coroutine, uint64_t delay_us);

/* --- memory of the history; never NULL --- */
void *world_alloc(size_t size);
void *world_alloc_zero(size_t size);
void *world_copy(const void *bytes, size_t n);

/* --- words --- */
extern bool world_tracing;
void world_trace(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define TRACE(...)                                                                                 \
    do {                                                                                           \
        if (world_tracing)                                                                         \
            world_trace(__VA_ARGS__);                                                              \
    } while (0)
/* The first words are kept; the history ends with this event. */
void world_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *world_failure(void); /* NULL: none */
/* The model does not know this: never passed over in silence. */
_Noreturn void world_unknown(const char *what, const char *text, size_t n);

#endif
