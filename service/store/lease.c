#include "store/lease.h"

#include "base/clock.h"
#include "base/log.h"

/* Reads the fence of the lease; 0 if the row has another holder or its time is over. */
static result_t read_fence(db_t *db, sql_t *sql, const lease_t *lease, uint64_t *fence)
{
    *fence = 0;
    sql_reset(sql);
    sql_add(sql, "SELECT fence FROM leases WHERE name = %w AND holder = %w AND until > NOW(3)",
            lease->name, lease->holder);
    result_t result = db_query(db, sql);
    if (result == RESULT_DONE && db_next(db))
        *fence = db_u64(db, 0);
    return result;
}

enum { MADE, ENDED, TAKEN, STATEMENTS };

/* MADE, if there is no row. ENDED, if it has a deadline beyond the length of a lease: the clock was
   set back since. TAKEN: `fence` is set first, since assignments run from left to right and
   `holder` is still the old one. */
static void take_statements(sql_t *sql, const lease_t *lease, uint32_t ms)
{
    sql_reset(sql);
    sql_add(sql,
            "INSERT INTO leases (name, holder, fence, until) VALUES (%w, '', 1, NOW(3)) "
            "ON DUPLICATE KEY UPDATE name = leases.name; "
            "UPDATE leases SET until = NOW(3) WHERE name = %w AND holder <> %w AND "
            "until > NOW(3) + INTERVAL %u MICROSECOND; "
            "UPDATE leases SET fence = fence + (holder <> %w), holder = %w, "
            "until = NOW(3) + INTERVAL %u MICROSECOND "
            "WHERE name = %w AND (holder = %w OR until <= NOW(3))",
            lease->name, lease->name, lease->holder, (uint64_t)ms * 1000, lease->holder,
            lease->holder, (uint64_t)ms * 1000, lease->name, lease->holder);
}

/* The lease runs here from the moment of the request, and on the server from a later one: so it
   ends here first. */
result_t lease_take(db_t *db, sql_t *sql, lease_t *lease, uint32_t ms)
{
    uint64_t sent_ms = clock_mono_ms();
    lease->fence = 0;
    take_statements(sql, lease, ms);
    uint64_t affected[STATEMENTS] = {0};
    result_t result = db_exec(db, sql, affected, STATEMENTS);
    if (result == RESULT_DONE && affected[ENDED] != 0)
        LOG_WARN("a lease ends later than any lease lasts; it counts as over: was the clock of "
                 "MySQL set back?",
                 LOG_STR("lease", lease->name));
    if (result == RESULT_DONE)
        result = read_fence(db, sql, lease, &lease->fence);
    lease->until_ms = sent_ms + ms;
    return result;
}

bool lease_is_held(const lease_t *lease)
{
    return lease->fence != 0 && clock_mono_ms() < lease->until_ms;
}

result_t lease_holder(db_t *db, sql_t *sql, const char *name, char *out)
{
    out[0] = '\0';
    sql_reset(sql);
    sql_add(sql, "SELECT holder FROM leases WHERE name = %w AND until > NOW(3)", name);
    result_t result = db_query(db, sql);
    if (result == RESULT_DONE && db_next(db)) {
        str_t holder = db_bytes(db, 0);
        size_t n = holder.n < 64 ? holder.n : 64;
        memcpy(out, holder.p, n);
        out[n] = '\0';
    }
    return result;
}

void lease_condition(sql_t *sql, const lease_t *lease)
{
    sql_add(sql,
            " AND EXISTS (SELECT 1 FROM leases WHERE name = %w AND holder = %w AND fence = %u AND "
            "until > NOW(3))",
            lease->name, lease->holder, lease->fence);
}
