#include "reconcile/audit_pace.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"

/* An order costs the server and the audit somewhat more than 1 us of processor time together; this
   rate is an eighth of two cores. Two million orders then take 9.1 s; alone, some 3 s. */
#define PACED_ORDERS_PER_S 220000
/* The background threads of a service commit some times a second; a sale, hundreds of times. */
#define BUSY_COMMITS_PER_S 50
#define LOOK_US (100 * 1000)
#define REST_MAX_US (300 * 1000)
/* What one part has seen counts so long for the others: some looks, of which a rest delays one. */
#define SEEN_US (1000 * 1000)
#define STOP_LOOK_US (10 * 1000)
#define US_PER_S UINT64_C(1000000)

/* When a part of any audit last saw that others write at its server; monotonic. */
static _Atomic uint64_t sale_seen_us;

void audit_pace_begin(audit_pace_t *pace)
{
    unsigned rate = FAILPOINT_NUMBER("audit_pace");
    pace->orders_per_s = rate != 0 ? rate : PACED_ORDERS_PER_S;
    pace->begun_us = clock_mono_us();
}

static result_t look(audit_pace_t *pace, db_t *db, sql_t *sql, uint64_t now_us)
{
    uint64_t before_us = pace->looked_us;
    pace->looked_us = now_us;
    sql_reset(sql);
    sql_add(sql, "SHOW GLOBAL STATUS LIKE 'Com_commit'");
    result_t result = db_query(db, sql);
    if (result != RESULT_DONE || !db_next(db))
        return result;
    uint64_t commits = db_u64(db, 1);
    pace->busy = before_us == 0 ||
                 (commits - pace->commits) * US_PER_S >= BUSY_COMMITS_PER_S * (now_us - before_us);
    if (before_us != 0 && pace->busy)
        atomic_store(&sale_seen_us, now_us);
    pace->commits = commits;
    return RESULT_DONE;
}

result_t audit_pace_look(audit_pace_t *pace, db_t *db, sql_t *sql)
{
    uint64_t now_us = clock_mono_us();
    return now_us - pace->looked_us < LOOK_US ? RESULT_DONE : look(pace, db, sql, now_us);
}

void audit_pace_look_on(audit_pace_t *pace, db_t *db, sql_t *sql, const atomic_bool *stop)
{
    while (!atomic_load(stop) && audit_pace_look(pace, db, sql) == RESULT_DONE)
        usleep(STOP_LOOK_US);
}

/* At most so many orders a second, and at most a third of the time. The second counts where the
   processor is scarce, since a chunk then takes longer. */
static uint64_t rest_us(const audit_pace_t *pace, uint64_t orders, uint64_t took_us)
{
    uint64_t slot_us = orders * US_PER_S / pace->orders_per_s;
    return slot_us > 3 * took_us ? slot_us - took_us : 2 * took_us;
}

result_t audit_pace(audit_pace_t *pace, db_t *db, sql_t *sql, uint64_t orders)
{
    uint64_t now_us = clock_mono_us(), took_us = now_us - pace->begun_us;
    result_t result = audit_pace_look(pace, db, sql);
    if (pace->busy || now_us < atomic_load(&sale_seen_us) + SEEN_US) {
        uint64_t us = rest_us(pace, orders, took_us);
        FAILPOINT("audit_rests");
        usleep((useconds_t)(us < REST_MAX_US ? us : REST_MAX_US));
    }
    pace->begun_us = clock_mono_us();
    return result;
}
