#include "base/aside.h"

#include <assert.h>
#include <stdlib.h>
#include <uthash.h>

#include "base/alloc.h"

typedef struct {
    UT_hash_handle hh;
    unsigned failures;
    uint64_t until_ms;
    char note[ASIDE_NOTE_MAX];
    uint8_t length;
    char key[ASIDE_KEY_MAX];
} entry_t;

struct aside {
    uint32_t base_ms, cap_ms;
    entry_t *entries; /* uthash by key */
};

aside_t *aside_new(uint32_t base_ms, uint32_t cap_ms)
{
    aside_t *aside = alloc_zero(1, sizeof(*aside));
    aside->base_ms = base_ms;
    aside->cap_ms = cap_ms;
    return aside;
}

static void drop(aside_t *aside, entry_t *entry)
{
    HASH_DEL(aside->entries, entry);
    free(entry);
}

void aside_clear(aside_t *aside)
{
    entry_t *entry, *next;
    HASH_ITER(hh, aside->entries, entry, next)
    {
        drop(aside, entry);
    }
}

void aside_free(aside_t *aside)
{
    aside_clear(aside);
    free(aside);
}

static entry_t *find(const aside_t *aside, str_t key)
{
    entry_t *entry;
    assert(key.n <= ASIDE_KEY_MAX);
    HASH_FIND(hh, aside->entries, key.p, key.n, entry);
    return entry;
}

static entry_t *add(aside_t *aside, str_t key, const void *note, size_t note_length)
{
    assert(note_length <= ASIDE_NOTE_MAX);
    entry_t *entry = alloc_zero(1, sizeof(*entry));
    entry->length = (uint8_t)key.n;
    memcpy(entry->key, key.p, key.n);
    if (note != NULL)
        memcpy(entry->note, note, note_length);
    HASH_ADD(hh, aside->entries, key, entry->length, entry);
    return entry;
}

unsigned aside_put(aside_t *aside, str_t key, const void *note, size_t note_length, uint64_t now_ms)
{
    entry_t *entry = find(aside, key);
    if (entry == NULL && HASH_COUNT(aside->entries) >= ASIDE_MAX)
        return 0;
    if (entry == NULL)
        entry = add(aside, key, note, note_length);
    /* The bound keeps the shift below 64 bits; `cap_ms` is reached long before. */
    unsigned doublings = entry->failures < 20 ? entry->failures : 20;
    uint64_t wait = (uint64_t)aside->base_ms << doublings;
    entry->until_ms = now_ms + (wait < aside->cap_ms ? wait : aside->cap_ms);
    return ++entry->failures;
}

bool aside_drop(aside_t *aside, str_t key)
{
    entry_t *entry = find(aside, key);
    if (entry == NULL)
        return false;
    drop(aside, entry);
    return true;
}

bool aside_has(const aside_t *aside, str_t key)
{
    return find(aside, key) != NULL;
}

unsigned aside_failures(const aside_t *aside, str_t key)
{
    const entry_t *entry = find(aside, key);
    return entry == NULL ? 0 : entry->failures;
}

uint64_t aside_wait_ms(const aside_t *aside, str_t key, uint64_t now_ms)
{
    const entry_t *entry = find(aside, key);
    return entry == NULL || entry->until_ms <= now_ms ? 0 : entry->until_ms - now_ms;
}

bool aside_waits(const aside_t *aside, str_t key, uint64_t now_ms)
{
    return aside_wait_ms(aside, key, now_ms) != 0;
}

bool aside_next(const aside_t *aside, uint64_t now_ms, char key[ASIDE_KEY_MAX], size_t *length,
                void *note)
{
    const entry_t *first = NULL;
    for (const entry_t *entry = aside->entries; entry != NULL; entry = entry->hh.next)
        if (entry->until_ms <= now_ms && (first == NULL || entry->until_ms < first->until_ms))
            first = entry;
    if (first == NULL)
        return false;
    memcpy(key, first->key, first->length);
    *length = first->length;
    memcpy(note, first->note, sizeof(first->note));
    return true;
}

unsigned aside_count(const aside_t *aside)
{
    return HASH_COUNT(aside->entries);
}

unsigned aside_forget_untried(aside_t *aside, uint64_t now_ms, uint64_t ms)
{
    unsigned count = 0;
    entry_t *entry, *next;
    HASH_ITER(hh, aside->entries, entry, next)
    {
        if (entry->until_ms + ms > now_ms)
            continue;
        drop(aside, entry);
        ++count;
    }
    return count;
}
