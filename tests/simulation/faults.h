/*
 * What goes wrong by itself in a history: for each kind "once in so many", 0 never. All are zero in
 * the end, when the world is to come to rest. What is done to servers and nodes as a whole is in
 * redis_wire.h, mysql_server.h and node.h.
 */
#ifndef HOLDFAST_SIMULATION_FAULTS_H
#define HOLDFAST_SIMULATION_FAULTS_H

#include "world.h"

typedef struct {
    uint64_t latency_us; /* of a message one way: up to so long */
    /* For each command to Redis: */
    unsigned redis_lost_before; /* the connection breaks before it arrives */
    unsigned redis_lost_after;  /* or after it ran, before the answer */
    unsigned redis_late;        /* it arrives much later, when its sender has given up */
    unsigned redis_refuses;     /* one that takes memory: there is none */
    unsigned redis_stage_lost;  /* of a staged table a field is gone afterwards */
    /* For each call to MySQL: */
    unsigned db_error;          /* a statement ends in an error, drawn from the server's list */
    unsigned db_commit_refused; /* COMMIT does, having been done or not */
    unsigned db_conflict;       /* deadlock with somebody who is not in the history */
    unsigned db_lost;           /* the connection breaks, before or after the statement */
    unsigned db_commit_lost;    /* or in COMMIT: before it, after it, or it happens later */
    unsigned stall;             /* the caller's thread stands still for long */
    uint64_t stall_us;          /* up to so long */
} faults_t;

extern faults_t faults;

static inline uint64_t fault_latency_us(void)
{
    return chance_time_us(1, faults.latency_us == 0 ? 100 : faults.latency_us);
}

#endif
