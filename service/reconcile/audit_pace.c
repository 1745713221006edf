#include "reconcile/audit_pace.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"

/* Beside a sale: two million in less than 10 s. */
#define PACED_ORDERS_PER_S 220000
/* The background threads of a service commit some times a second; a sale, hundreds of times. */
#define BUSY_COMMITS_PER_S 50
#define LOOK_US (100 * 1000)
#define LATE_MAX_US (200 * 1000)
#define US_PER_S UINT64_C(1000000)

void audit_pace_begin(audit_pace_t *pace)
{
    unsigned rate = FAILPOINT_NUMBER("audit_pace");
    *pace = (audit_pace_t){.orders_per_s = rate != 0 ? rate : PACED_ORDERS_PER_S,
                           .due_us = clock_mono_us(),
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

result_t audit_pace(audit_pace_t *pace, db_t *db, sql_t *sql, uint64_t orders)
{
    result_t result = RESULT_DONE;
    uint64_t now_us = clock_mono_us();
    uint64_t until_us = pace->due_us + orders * US_PER_S / pace->orders_per_s;
    if (now_us - pace->looked_us >= LOOK_US)
        result = look(pace, db, sql, now_us);
    if (pace->busy && now_us < until_us) {
        FAILPOINT("audit_rests");
        usleep((useconds_t)(until_us - now_us));
        pace->due_us = until_us;
    } else {
        /* A slow chunk may be made up for by the next ones; an idle server gives no credit. */
        bool late = until_us <= now_us && now_us - until_us < LATE_MAX_US;
        pace->due_us = pace->busy && late ? until_us : now_us;
    }
    return result;
}
