#include "mysql_server.h"

#include "base/clock.h"
#include "faults.h"
#include "mysql_statement.h"

static struct {
    session_t *sessions;
    bool up;
    uint64_t commits;
    int64_t clock_ms;
    bool leads_elsewhere[WORLD_OWNERS_MAX];
    uint64_t select_limit; /* the global one */
} server;

bool mysql_snapshot_isolation;
void (*mysql_on_commit)(const row_t *row, const value_t *before, const value_t *after);
void (*mysql_after_commit)(void);

void mysql_begin(void)
{
    server.sessions = NULL;
    server.up = true;
    server.commits = 1;
    server.clock_ms = (int64_t)chance_below(400) - 200;
    mysql_snapshot_isolation = chance(2);
    memset(server.leads_elsewhere, 0, sizeof(server.leads_elsewhere));
    server.select_limit = UINT64_MAX;
    mysql_rows_forget();
}

void mysql_copy_elsewhere(const char *name)
{
    const table_t *table = mysql_table(name);
    for (unsigned i = 0; i < table->rows_count; ++i)
        if (version_values(table->rows[i]->committed) != NULL)
            mysql_row_add(mysql_table_elsewhere(table))->committed = table->rows[i]->committed;
}

void mysql_lead_elsewhere(unsigned node, bool wrong)
{
    server.leads_elsewhere[node] = wrong;
}

void mysql_set_select_limit(uint64_t rows)
{
    TRACE("mysql: new sessions have sql_select_limit %llu", (unsigned long long)rows);
    server.select_limit = rows;
}

bool mysql_is_up(void)
{
    return server.up;
}

uint64_t mysql_now_ms(void)
{
    return WORLD_EPOCH_MS + world_now_us() / 1000 + (uint64_t)server.clock_ms;
}

uint64_t mysql_commits(void)
{
    return server.commits;
}

/* --- sessions --- */

session_t *mysql_connect(uint64_t idle_limit_us, uint64_t lock_limit_us)
{
    session_t *session = world_alloc(sizeof(*session));
    memset(session, 0, offsetof(session_t, undo));
    session->undo_count = 0;
    session->owner = world_owner();
    session->idle_limit_us = idle_limit_us;
    session->lock_limit_us = lock_limit_us;
    session->said_us = world_now_us();
    session->elsewhere = server.leads_elsewhere[session->owner.node];
    session->select_limit = server.select_limit;
    session->next = server.sessions;
    server.sessions = session;
    return session;
}

static void end_transaction(session_t *session)
{
    for (unsigned i = 0; i < session->undo_count; ++i)
        if (session->undo[i].row->owner == session)
            session->undo[i].row->owner = NULL;
    session->undo_count = 0;
    session->open = session->repeatable = false;
    session->snapshot = 0;
    for (session_t *s = server.sessions; s != NULL; s = s->next)
        if (s->waits_for == session)
            world_wake(s->coroutine, chance_time_us(1, 50));
}

void mysql_undo_to(session_t *session, unsigned mark)
{
    for (unsigned i = session->undo_count; i-- > mark;)
        if (!session->undo[i].locks_only) {
            session->undo[i].row->pending = session->undo[i].before;
            session->undo[i].locks_only = true; /* the lock stays */
        }
}

void mysql_rollback(session_t *session)
{
    if (session->open)
        TRACE("mysql: rolled back");
    mysql_undo_to(session, 0);
    end_transaction(session);
}

void mysql_commit(session_t *session)
{
    uint64_t number = ++server.commits;
    TRACE("mysql: committed as %llu", (unsigned long long)number);
    for (unsigned i = 0; i < session->undo_count; ++i) {
        row_t *row = session->undo[i].row;
        if (row->pending == NULL || session->undo[i].locks_only)
            continue;
        row->pending->commit = number;
        row->pending->older = row->committed;
        row->committed = row->pending;
        row->pending = NULL;
    }
    for (unsigned i = 0; i < session->undo_count; ++i) {
        row_t *row = session->undo[i].row;
        bool again = false;
        for (unsigned j = 0; j < i; ++j)
            again = again || session->undo[j].row == row;
        if (!again && row->committed != NULL && row->committed->commit == number)
            mysql_on_commit(row, version_values(row->committed->older),
                            version_values(row->committed));
    }
    end_transaction(session);
    mysql_after_commit();
}

static void kill_session(session_t *session)
{
    mysql_rollback(session);
    session->killed = true;
}

bool mysql_session_is_dead(session_t *session)
{
    if (!session->killed && session->open && !session->executing && !session->client_gone &&
        world_now_us() - session->said_us > session->idle_limit_us) {
        TRACE("mysql: a transaction of node %u was idle for too long", session->owner.node);
        kill_session(session);
    }
    return session->killed;
}

static void on_abandoned(void *context, uint64_t number)
{
    session_t *session = context;
    (void)number;
    if (!session->killed)
        kill_session(session);
}

void mysql_abandon(session_t *session)
{
    session->client_gone = true;
    session->waits_for = NULL;
    if (session->killed)
        return;
    if (!session->open || chance(2))
        kill_session(session);
    else
        world_after(chance_time_us(100, 1000000), (owner_t){0, 0}, on_abandoned, session, 0);
}

static void on_late_commit(void *context, uint64_t number)
{
    session_t *session = context;
    (void)number;
    if (session->killed)
        return;
    TRACE("mysql: a COMMIT of node %u that nobody waits for", session->owner.node);
    mysql_commit(session);
    session->killed = true;
}

void mysql_commit_later(session_t *session)
{
    session->client_gone = true;
    world_after(chance_time_us(100, 2000000), (owner_t){0, 0}, on_late_commit, session, 0);
}

void mysql_forget_node(owner_t owner)
{
    for (session_t *s = server.sessions; s != NULL; s = s->next)
        if (s->owner.node == owner.node && s->owner.life == owner.life && !s->client_gone)
            mysql_abandon(s);
}

void mysql_kill(void)
{
    TRACE("mysql is killed");
    server.up = false;
    for (session_t *s = server.sessions; s != NULL; s = s->next)
        if (!s->killed)
            kill_session(s);
}

void mysql_start(void)
{
    TRACE("mysql is back");
    server.up = true;
}

bool mysql_is_quiet(void)
{
    for (session_t *s = server.sessions; s != NULL; s = s->next)
        if (s->open && !mysql_session_is_dead(s))
            return false;
    return true;
}

/* --- locks --- */

static bool waits_in_a_ring(const session_t *session, const session_t *owner)
{
    for (const session_t *s = owner; s != NULL; s = s->waits_for)
        if (s == session)
            return true;
    return false;
}

result_t mysql_wait_for(session_t *session, row_t *row)
{
    uint64_t limit = world_now_us() + session->lock_limit_us;
    while (row->owner != NULL && row->owner != session) {
        session_t *owner = row->owner;
        if (mysql_session_is_dead(owner))
            continue;
        if (waits_in_a_ring(session, owner)) {
            TRACE("mysql: deadlock");
            mysql_rollback(session);
            return RESULT_RETRY;
        }
        if (world_now_us() >= limit) {
            TRACE("mysql: lock wait timeout");
            session->error = ERROR_LOCK_WAIT;
            return RESULT_RETRY;
        }
        uint64_t wait = limit - world_now_us();
        uint64_t idle = owner->said_us + owner->idle_limit_us + 1;
        if (!owner->executing && !owner->client_gone && owner->open && idle > world_now_us() &&
            idle - world_now_us() < wait)
            wait = idle - world_now_us();
        session->waits_for = owner;
        session->coroutine = world_coroutine();
        world_wait(wait + 1);
        session->waits_for = NULL;
        if (session->killed)
            return RESULT_UNKNOWN;
    }
    return RESULT_DONE;
}

void mysql_remember(session_t *session, row_t *row, bool locks_only)
{
    if (session->undo_count == UNDO_MAX)
        world_unknown("so large a transaction", "", 0);
    session->undo[session->undo_count++] = (undo_t){row, row->pending, locks_only};
    row->owner = session;
}

const value_t *mysql_visible(session_t *session, const row_t *row)
{
    if (row->pending != NULL && row->owner == session)
        return version_values(row->pending);
    const version_t *version = row->committed;
    if (session->open && session->repeatable) {
        if (session->snapshot == 0)
            session->snapshot = server.commits;
        while (version != NULL && version->commit > session->snapshot)
            version = version->older;
    }
    return version_values(version);
}

bool mysql_is_too_new(const session_t *session, const row_t *row)
{
    return mysql_snapshot_isolation && session->open && session->repeatable &&
           session->snapshot != 0 && row->committed != NULL &&
           row->committed->commit > session->snapshot;
}
