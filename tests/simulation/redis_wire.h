/*
 * Two Redis servers and the connections to them: hiredis 0.14 for the real gate/gate_sync.c and
 * gate/redis_link.c, blocking and not.
 *
 * Commands of one connection arrive and are answered in order; nothing is in order between
 * connections. A connection may break before or after a command ran, a command may be held up for
 * seconds and run when its sender has long given up. A server may stand still, be killed, come
 * back with all its data, with an older state of it, or empty, always under another run id; or
 * nodes may be sent to the other server, whose copy is old, and back.
 *
 * Not modelled: partial writes, the wire format of replies, replication as a process, waiting for
 * the disk (with appendfsync always a command that was answered is there after a restart).
 */
#ifndef HOLDFAST_SIMULATION_REDIS_WIRE_H
#define HOLDFAST_SIMULATION_REDIS_WIRE_H

#include "redis_store.h"

#define REDIS_SERVERS 2

typedef enum { REDIS_ALL_DATA, REDIS_OLD_DATA, REDIS_NO_DATA } redis_return_t;

void redis_begin(void); /* of a history: server 0 is up and empty */
void redis_end(void);
redis_store_t *redis_store(unsigned server);
bool redis_is_up(unsigned server);
/* Writes of a transaction ran by themselves, since its MULTI was refused and they were not. */
extern bool redis_ran_without_multi;
/* Server 0's data as it is now: what REDIS_OLD_DATA and a failover give. */
void redis_snapshot(void);
void redis_kill(unsigned server);
void redis_start(unsigned server, redis_return_t with);
void redis_flush(unsigned server);
/* Nothing is run for so long. */
void redis_stall(unsigned server, uint64_t us);
/* For so long it answers commands that write, or all, with an error of dispatch: nothing is run. */
void redis_refuse(unsigned server, uint64_t us);
/* New connections of this node (0: of all) go to this server; the old ones break or, if `keep`,
   stay. A server that was never up begins with the snapshot, or goes on with what it had. */
void redis_point(unsigned node, unsigned server, bool keep);
/* Breaks the connections of this node's loops, or those of its other threads, that lead to another
   server than new ones. */
void redis_break(unsigned node, bool of_loops);
/* Before each FCALL of server 0 (`reply` NULL), and after it. */
extern void (*redis_on_call)(const redis_store_t *store, const str_t *words, unsigned count,
                             const redisReply *reply);
/* All connections of a node that is gone. */
void redis_forget_node(owner_t owner);

#endif
