/*
 * Put in front of every source of the service when it is built for the simulation (-include):
 * what a process gets from the machine is taken from the simulated one instead. The service's
 * own text is not touched.
 *
 *   time, sleep      virtual: see world.h
 *   threads          coroutines of the simulated node; a mutex is nothing, because a coroutine is
 *                    only left where it waits
 *   memory           of the history, freed as a whole at its end, for a killed node frees nothing
 *
 * The headers of the libraries come first, so that the names in them stay what they are. The
 * functions of libh2o, hiredis and store/db.h need no names here: the simulation links its own.
 */
#ifndef HOLDFAST_SIMULATION_SEAMS_H
#define HOLDFAST_SIMULATION_SEAMS_H

#include <cjson/cJSON.h>
#include <h2o.h>
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void *sim_malloc(size_t size);
void *sim_calloc(size_t count, size_t size);
void *sim_realloc(void *memory, size_t size);
void sim_free(void *memory);
char *sim_strdup(const char *text);
int sim_usleep(unsigned micros);
int sim_clock_gettime(clockid_t id, struct timespec *out);
int sim_cond_wait(void *cond);
int sim_cond_timedwait(void *cond, const struct timespec *until);
int sim_cond_signal(void *cond);

#define malloc(size_) sim_malloc(size_)
#define calloc(count_, size_) sim_calloc(count_, size_)
#define realloc(memory_, size_) sim_realloc(memory_, size_)
#define free(memory_) sim_free(memory_)
#undef strdup
#define strdup(text_) sim_strdup(text_)
#define usleep(micros_) sim_usleep(micros_)
#define clock_gettime(id_, out_) sim_clock_gettime(id_, out_)
#define pthread_mutex_init(mutex_, attributes_) ((void)(mutex_))
#define pthread_mutex_lock(mutex_) ((void)(mutex_))
#define pthread_mutex_unlock(mutex_) ((void)(mutex_))
#define pthread_cond_init(cond_, attributes_) ((void)(cond_))
#define pthread_cond_wait(cond_, mutex_) sim_cond_wait(cond_)
#define pthread_cond_timedwait(cond_, mutex_, until_) sim_cond_timedwait(cond_, until_)
#define pthread_cond_signal(cond_) sim_cond_signal(cond_)
#define pthread_cond_broadcast(cond_) sim_cond_signal(cond_)

#endif
