#include "reconcile/audit_pace.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"

/* An order costs the server and the audit somewhat more than 1 us of processor time together; this
   rate is a twelfth of two cores. Two million orders then take 12.5 s; alone, some 3 s. */
#define PACED_ORDERS_PER_S 160000
/* The background threads of a service commit some times a second; a sale, hundreds of times. */
#define BUSY_COMMITS_PER_S 50
#define LOOK_US (100 * 1000)
#define REST_MAX_US (300 * 1000)
#define US_PER_S UINT64_C(1000000)

void audit_pace_begin(audit_pace_t *pace)
{
    unsigned rate = FAILPOINT_NUMBER("audit_pace");
    *pace = (audit_pace_t){.orders_per_s = rate != 0 ? rate : PACED_ORDERS_PER_S,
                           .begun_us = clock_mono_us(),
                           .busy = true};
}

static result_t look(audit_pace_t *pace, db_t *db, sql_t *sql, uint64_t now_us)
{
    sql_reset(sql);
    sql_add(sql, "SHOW GLOBAL STATUS LIKE 'Com_commit'");
    result_t result = db_query(db, sql);
    if (result != RESULT_DONE || !db_next(db))
        return result;
    uint64_t commits = db_u64(db, 1);
    if (pace->looked_us != 0)
        pace->busy =
            (commits - pace->commits) * US_PER_S >= BUSY_COMMITS_PER_S * (now_us - pace->looked_us);
    pace->commits = commits;
    pace->looked_us = now_us;
    return RESULT_DONE;
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
    result_t result = RESULT_DONE;
    uint64_t now_us = clock_mono_us(), took_us = now_us - pace->begun_us;
    if (now_us - pace->looked_us >= LOOK_US)
        result = look(pace, db, sql, now_us);
    if (pace->busy) {
        uint64_t us = rest_us(pace, orders, took_us);
        FAILPOINT("audit_rests");
        usleep((useconds_t)(us < REST_MAX_US ? us : REST_MAX_US));
    }
    pace->begun_us = clock_mono_us();
    return result;
}
