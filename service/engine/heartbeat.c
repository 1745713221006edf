#include "engine/heartbeat.h"

#include "engine/engine.h"
#include "engine/nodes.h"

static void on_time(void *context, const redisReply *reply)
{
    engine_loop_t *engine = context;
    if (gate_reply_is_array(reply, 2))
        remote_clock_observe(&engine->node->gate_clock, engine->time_sent_ms,
                             (uint64_t)gate_reply_i64(reply, 0) * 1000 +
                                 (uint64_t)gate_reply_i64(reply, 1) / 1000);
    engine->time_sent_ms = 0;
}

/* The clock is read again at each beat. With a single reading that was slow, or with a clock that
   was set afterwards, every id would be late. */
static void follow_clock(engine_loop_t *engine)
{
    uint64_t now = clock_mono_ms();
    redis_args_begin(&engine->args, "TIME");
    if (engine->time_sent_ms == 0 && redis_link_call(engine->gate, &engine->args, on_time, engine))
        engine->time_sent_ms = now;
}

static void beat(engine_loop_t *engine)
{
    redis_args_t *args = &engine->args;
    char key[GATE_OWNER_KEY_SIZE];
    redis_args_begin(args, "SET");
    redis_args_add(args, gate_owner_key(key, str_of(engine->node->incarnation)));
    redis_args_add(args, STR("1"));
    redis_args_add(args, STR("PX"));
    redis_args_add_u64(args, HEARTBEAT_MS);
    redis_link_call(engine->gate, args, NULL, NULL);
    follow_clock(engine);
    nodes_beat(engine->nodes);
}

/* The interval is an eighth of the expiry, so that a Redis that comes back contains the heartbeats
   of all live processes soon. */
static void on_heartbeat(loop_timer_t *timer)
{
    engine_loop_t *engine = H2O_STRUCT_FROM_MEMBER(engine_loop_t, heartbeat, timer);
    if (engine->loop->index == 0) /* one loop beats for the process */
        beat(engine);
    strategy_loop_check(&engine->strategies);
    loop_timer_start(engine->loop, &engine->heartbeat, HEARTBEAT_INTERVAL_MS, on_heartbeat);
}

void heartbeat_start(engine_loop_t *engine)
{
    loop_timer_start(engine->loop, &engine->heartbeat, 0, on_heartbeat);
}

void heartbeat_stop(engine_loop_t *engine)
{
    loop_timer_stop(&engine->heartbeat);
}
